"""The price history: what is kept of changes gives back every look, whatever is folded, in any order of rows."""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import history, refreshed
from orchestrator.catalog.changes import Kind, last_changes
from orchestrator.catalog.history import History, State
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH

Look = dict[tuple[str, str], tuple[float, bool]]  # region and type -> price, and whether it is in stock
KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from(["one", "two"]))
LOOKS = st.lists(
    st.dictionaries(KEYS, st.tuples(st.sampled_from([1.0, 2.0, 3.5]), st.booleans()), max_size=6),
    min_size=1,
    max_size=8,
)


def book(look: Look) -> OfferBook:
    return OfferBook.of(
        [
            offer(region=region, instance_type=kind, usd_per_hour=price, available=3 if stocked else 0)
            for (region, kind), (price, stocked) in look.items()
        ]
    )


def grown(looks: list[Look]) -> History:
    known = history.empty()
    for number, look in enumerate(looks):
        known = history.added(known, book(look), EPOCH + timedelta(hours=number))
    return known


def look_after(known: History, batches: int) -> Look:
    usd, state = history.of_states(known, batches)
    words = known.offers
    return {
        (words["region"][row], words["instance_type"][row]): (float(usd[row]), bool(state[row] == State.LISTED))
        for row in np.flatnonzero(state != State.GONE).tolist()
    }


@given(LOOKS)
def test_every_look_can_be_had_back(looks: list[Look]) -> None:
    known = grown(looks)
    for number, look in enumerate(looks, start=1):
        assert look_after(known, number) == look


@given(LOOKS)
def test_what_is_on_disk_is_what_was_learned(looks: list[Look]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, look in enumerate(looks):
            history.record(Path(folder), "live-acme", book(look), EPOCH + timedelta(hours=number))
        known = history.load(Path(folder))["live-acme"]
    straight = grown(looks)
    for name in ("batches", "gpus", "key", "batch", "observed_at", "state"):
        assert np.array_equal(getattr(known, name), getattr(straight, name)), name
    assert np.array_equal(known.usd_per_hour, straight.usd_per_hour, equal_nan=True)
    assert {name: words.vocab for name, words in known.offers.items()} == {
        name: words.vocab for name, words in straight.offers.items()
    }


@given(LOOKS)
@settings(deadline=None)
def test_folding_forgets_the_past_and_never_the_present(looks: list[Look]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_CHANGES", 8)
        patch.setattr(history, "KEPT_CHANGES", 4)
        patch.setattr(history, "MOST_BATCHES", 4)
        known = grown(looks)
    assert look_after(known, len(known.batches)) == looks[-1]
    assert len(known.batches) <= 4
    assert (np.diff(known.batch) >= 0).all()
    assert (np.diff(known.batches) >= 0).all()
    if len(known.batches) > 1:
        assert look_after(known, len(known.batches) - 1) == looks[-2]


@given(LOOKS, st.randoms(use_true_random=False))
def test_the_order_of_offers_is_no_matter(looks: list[Look], chance: random.Random) -> None:
    shuffled = []
    for look in looks:
        items = list(look.items())
        chance.shuffle(items)
        shuffled.append(dict(items))
    assert last_changes("s", grown(looks)) == last_changes("s", grown(shuffled))


@given(LOOKS)
def test_the_changes_lead_from_one_look_to_the_next(looks: list[Look]) -> None:
    found = last_changes("s", grown(looks))
    assert found.offers == len(looks[-1])
    if len(looks) == 1:
        assert found.changes == ()
        return
    before, after = looks[-2], looks[-1]
    told = {kind: {(c.region, c.instance_type) for c in found.changes if c.kind is kind} for kind in Kind}
    both = before.keys() & after.keys()
    assert told[Kind.NEW] == after.keys() - before.keys()
    assert told[Kind.GONE] == before.keys() - after.keys()
    assert told[Kind.UP] == {key for key in both if after[key][0] > before[key][0]}
    assert told[Kind.DOWN] == {key for key in both if after[key][0] < before[key][0]}
    assert told[Kind.SOLD_OUT] == {key for key in both if before[key][1] and not after[key][1]}
    assert told[Kind.BACK] == {key for key in both if after[key][1] and not before[key][1]}


def sold(draw_from: list[tuple[str, str]], age: int) -> list[Offer]:
    at = EPOCH + timedelta(hours=age)
    return [
        offer(provider=provider, region=region, billing=Billing.SPOT, observed_at=at) for provider, region in draw_from
    ]


SITES = st.lists(st.tuples(st.sampled_from(["acme", "zed"]), st.sampled_from("abc")), unique=True)


@given(SITES, st.lists(st.sampled_from("abc"), unique=True), st.booleans(), st.integers(-3, 3))
def test_a_refresh_replaces_what_is_older_where_it_answered_and_nothing_else(
    listed: list[tuple[str, str]], answered: list[str], everything: bool, age: int
) -> None:
    fresh = OfferBook.of([offer(region=region, instance_type="new", observed_at=EPOCH) for region in answered])
    told = Refreshed(provider="acme", book=fresh, at=EPOCH, everything=everything)
    found = refreshed.supersede(OfferBook.of(sold(listed, age)), [told])
    stays = {
        (provider, region)
        for provider, region in listed
        if provider != "acme" or age > 0 or not (everything or region in answered)
    }
    assert {(each.provider, each.region) for each in found if each.instance_type != "new"} == stays
    assert {each.region for each in found if each.instance_type == "new"} == set(answered)
