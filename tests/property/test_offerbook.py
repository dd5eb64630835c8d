"""A book of offers is a value: order in does not matter, nothing is lost, and the newest word on an offer wins."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import KEY, OPTIONAL, UNKNOWN, OfferBook, Words
from orchestrator.domain.snapshot import Snapshot
from orchestrator.testing.builders import EPOCH, offer

offers = st.lists(
    st.builds(
        offer,
        provider=st.sampled_from(["aws", "gcp", "lambda"]),
        region=st.sampled_from(["eu", "us"]),
        zone=st.sampled_from(["", "a"]),
        instance_type=st.sampled_from(["small", "big", "größer"]),
        billing=st.sampled_from(list(Billing)),
        usd_per_hour=st.floats(0.01, 1000),
        available=st.none() | st.integers(0, 100),
        interruption_rate=st.none() | st.floats(0, 1),
        quota_nodes=st.none() | st.integers(0, 100),
        obtainability=st.none() | st.floats(0, 1),
        max_lease_s=st.none() | st.floats(1, 1e6),
        observed_at=st.integers(0, 1000).map(lambda seconds: EPOCH + timedelta(seconds=seconds)),
    ),
    max_size=30,
)


def key(one: Offer) -> tuple[str, ...]:
    return tuple(str(getattr(one, name)) for name in KEY)


@given(offers, st.randoms(use_true_random=False))
def test_a_book_gives_back_its_offers_whatever_their_order(given: list[Offer], chance: random.Random) -> None:
    shuffled = list(given)
    chance.shuffle(shuffled)
    book = OfferBook.of(given)
    assert sorted(map(repr, book)) == sorted(map(repr, given))
    assert list(book) == list(OfferBook.of(shuffled))
    assert [key(one) for one in book] == sorted(key(one) for one in given)


@given(offers, offers, st.booleans())
def test_merging_keeps_one_offer_a_key_and_that_is_the_newest(a: list[Offer], b: list[Offer], swap: bool) -> None:
    books = [OfferBook.of(a), OfferBook.of(b)]
    merged = OfferBook.merge(books[::-1] if swap else books)
    best: dict[tuple[str, ...], Offer] = {}
    for one in a + b:
        known = best.get(key(one))
        if known is None or (one.observed_at, -one.usd_per_hour) > (known.observed_at, -known.usd_per_hour):
            best[key(one)] = one
    assert {key(one) for one in merged} == set(best)
    for one in merged:
        assert (one.observed_at, one.usd_per_hour) == (best[key(one)].observed_at, best[key(one)].usd_per_hour)


@given(offers)
def test_a_selection_is_the_selected_rows_in_order(given: list[Offer]) -> None:
    book = OfferBook.of(given)
    mask = book.provider.isin(frozenset({"aws"}))
    assert list(book.where(mask)) == [one for one in book if one.provider == "aws"]


@given(offers, st.randoms(use_true_random=False))
def test_snapshots_of_equal_content_have_equal_ids_and_of_other_content_others(
    given: list[Offer], chance: random.Random
) -> None:
    shuffled = list(given)
    chance.shuffle(shuffled)
    one, same = (Snapshot(taken_at=EPOCH, book=OfferBook.of(each), accelerators=()) for each in (given, shuffled))
    other = Snapshot(taken_at=EPOCH, book=OfferBook.of([*given, offer(region="elsewhere")]), accelerators=())
    assert one.id == same.id
    assert one.id != other.id


@given(st.lists(st.text(max_size=5), max_size=20))
def test_encoded_words_read_back_and_sort_as_words_do(words: list[str]) -> None:
    column = Words.encode(words)
    assert [column[row] for row in range(len(column))] == words
    order = np.argsort(column.codes, kind="stable")
    assert [words[row] for row in order] == sorted(words)
    kept = column.take(np.flatnonzero(column.codes % 2 == 0)).compact()
    assert set(kept.vocab) == {kept[row] for row in range(len(kept))}


@given(offers)
def test_what_nobody_knows_leaves_no_column_and_no_mark(given: list[Offer]) -> None:
    silent = [replace(one, quota_nodes=None, obtainability=None, max_lease_s=None) for one in given]
    book = OfferBook.of(silent)
    spoken = OfferBook.of([*silent, offer(region="zz", quota_nodes=3, obtainability=0.5, max_lease_s=60.0)])
    assert not set(OPTIONAL) & set(book.columns())
    left = spoken.where(~spoken.region.isin(frozenset({"zz"}))).sort()
    assert set(left.columns()) == set(book.columns())
    ids = {Snapshot(taken_at=EPOCH, book=each, accelerators=()).id for each in (book, left)}
    assert len(ids) == 1


@given(offers)
def test_at_most_as_many_nodes_can_be_bought_as_stock_and_quota_both_allow(given: list[Offer]) -> None:
    book = OfferBook.of(given)
    for one, most in zip(book, book.most_nodes.tolist(), strict=True):
        known = [count for count in (one.available, one.quota_nodes) if count is not None]
        assert most == (min(known) if known else UNKNOWN)
