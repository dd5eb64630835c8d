"""The catalogue under arbitrary input: no line is lost, no order matters, nothing changes on disk."""

from __future__ import annotations

import csv
import io
import random
import tempfile
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import cache, market
from orchestrator.catalog.importer import BadRows, ImportReport, read_csv
from orchestrator.catalog.layout import COLUMNS
from orchestrator.catalog.query import OfferFilter, order, select
from orchestrator.domain.errors import SpecError
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH

WORDS = st.sampled_from(["a", "b", "eu-west-1", "zürich", "x/y"])
PRICES = st.sampled_from([0.1, 1.0, 2.5, 32.0])


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    """Few values each, so that keys often meet."""
    return offer(
        provider=draw(WORDS),
        region=draw(WORDS),
        zone=draw(st.sampled_from(["", "a", "b"])),
        instance_type=draw(st.sampled_from(["one", "two"])),
        billing=draw(st.sampled_from(list(Billing))),
        usd_per_hour=draw(PRICES),
        gpus=draw(st.sampled_from([0.125, 1.0, 8.0])),
        available=draw(st.sampled_from([None, 0, 3])),
        tier=draw(st.sampled_from(list(Tier))),
        interruption_rate=draw(st.sampled_from([None, 0.0, 0.01])),
        observed_at=EPOCH + timedelta(days=draw(st.integers(-2, 2))),
        source=draw(st.sampled_from(["s", "t", ""])),
    )


BOOKS = st.lists(offers(), max_size=8).map(OfferBook.of)


def same(a: OfferBook, b: OfferBook) -> bool:
    for field in fields(OfferBook):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, Words):
            if left.vocab != right.vocab or not np.array_equal(left.codes, right.codes):
                return False
        elif not np.array_equal(left, right, equal_nan=field.name == "interruption_rate"):
            return False
    return True


@given(BOOKS)
def test_a_book_on_disk_is_the_book(book: OfferBook) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache.store(book, Path(folder), "book")
        [back] = cache.load(Path(folder))
    assert same(back, book)


@given(BOOKS, st.lists(BOOKS, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_imports_does_not_change_the_market(
    base: OfferBook, imports: list[OfferBook], chance: random.Random
) -> None:
    shuffled = list(imports)
    chance.shuffle(shuffled)
    assert same(market.merge(base, imports), market.merge(base, shuffled))


@given(BOOKS, st.lists(BOOKS, max_size=3))
def test_every_offer_is_in_the_market_or_a_newer_or_cheaper_one_stands_in_for_it(
    base: OfferBook, imports: list[OfferBook]
) -> None:
    merged = list(market.merge(base, imports))
    for book in (base, *imports):
        for each in book:
            here = [o for o in merged if o.zone == each.zone and site(o) == site(each)]
            # Only an offer of the price book can give way to other zones of its region.
            stand_ins = here or [o for o in merged if book is base and site(o) == site(each)]
            assert max(o.observed_at for o in stand_ins) >= each.observed_at
            assert len(here) <= 1


def site(each: Offer) -> tuple[str, ...]:
    return (each.provider, each.region, each.instance_type, each.billing)


NUMBERS = st.one_of(
    st.sampled_from(["", "1", "8.0", "0.5", "0", "-1", "nan", "inf", "1e9", "x", " 2 ", "1_0"]),
    st.floats(width=16).map(str),
)
CELLS = {
    "provider": st.sampled_from(["aws", "acme", ""]),
    "region": st.sampled_from(["r1", "r2", ""]),
    "zone": st.sampled_from(["", "z"]),
    "instance_type": st.sampled_from(["t1", "t2", ""]),
    "gpu": st.sampled_from(["T4", "abacus", ""]),
    "currency": st.sampled_from(["USD", "EUR", "", "XAU"]),
    "interrupt_idx": st.sampled_from(["", "0", "4.0", "9", "x"]),
    "od_source": st.sampled_from(["", "list", "list (gpu attach only)"]),
    "od_as_of": st.sampled_from(["2026-01-02", "2026", "", "soon"]),
    "spot_source": st.sampled_from(["", "spot-2025-05"]),
}
ROWS = st.fixed_dictionaries({name: CELLS.get(name, NUMBERS) for name in COLUMNS})
JUNK = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=30)


def written(rows: list[dict[str, str] | str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        if isinstance(row, str):
            out.write(row + "\n")
        else:
            writer.writerow([row[name] for name in COLUMNS])
    return out.getvalue().encode()


def imported(data: bytes, on_bad: BadRows) -> ImportReport:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offers.csv"
        path.write_bytes(data)
        return read_csv(path, on_bad=on_bad)


@settings(max_examples=200)
@given(st.lists(st.one_of(ROWS, JUNK), max_size=12))
def test_every_line_is_an_offer_or_priceless_or_reported_and_every_offer_is_sound(
    rows: list[dict[str, str] | str],
) -> None:
    report = imported(written(rows), BadRows.SKIP)
    lines = [row for row in rows if not isinstance(row, str) or row.strip()]
    assert report.rows == len(lines)
    assert report.rows == report.good + report.priceless + report.bad_rows
    assert report.good <= report.offers <= 2 * report.good
    assert len({each.label for each in report.book}) == report.offers
    for each in report.book:
        assert 0 < each.usd_per_hour < 1e6
        assert each.gpus > 0
        assert each.provider
        assert each.region
        assert each.instance_type
        assert each.interruption_rate is None or 0 <= each.interruption_rate < 1


@given(st.lists(st.one_of(ROWS, JUNK), max_size=6))
def test_refusing_imports_all_or_nothing_and_agrees_with_skipping(rows: list[dict[str, str] | str]) -> None:
    data = written(rows)
    skipped = imported(data, BadRows.SKIP)
    if not skipped.bad:
        assert same(imported(data, BadRows.REFUSE).book, skipped.book)
        return
    with pytest.raises(SpecError) as caught:
        imported(data, BadRows.REFUSE)
    assert {problem.line for problem in caught.value.problems} == {row.line for row in skipped.bad}


BEGINNINGS = st.sampled_from(
    [b"", b"\x1f\x8b\x08\x00", b"\xff\xfe", b"\xef\xbb\xbf", ",".join(COLUMNS).encode() + b"\n"]
)


@given(st.tuples(BEGINNINGS, st.binary(max_size=200)).map(b"".join))
def test_no_bytes_whatever_do_anything_but_a_report_or_a_clear_refusal(data: bytes) -> None:
    with suppress(SpecError):
        report = imported(data, BadRows.SKIP)
        assert report.rows == report.good + report.priceless + report.bad_rows


@given(
    BOOKS,
    st.builds(
        OfferFilter,
        providers=st.sampled_from([(), ("a",), ("A", "x*")]),
        regions=st.sampled_from([(), ("eu-*",), ("a/b", "zürich")]),
        billing=st.sampled_from([(), (Billing.SPOT,), (Billing.SPOT, Billing.OWNED)]),
        max_usd_per_gpu_hour=st.sampled_from([None, 1.0]),
        min_gpus=st.sampled_from([None, 1.0]),
        available_only=st.booleans(),
    ),
)
def test_filtering_columns_is_filtering_offers_one_by_one(book: OfferBook, wanted: OfferFilter) -> None:
    def passes(each: Offer) -> bool:
        provider = {(): True, ("a",): each.provider == "a", ("A", "x*"): each.provider in ("a", "x/y")}
        here = {
            (): True,
            ("eu-*",): each.region == "eu-west-1",
            ("a/b", "zürich"): each.region == "zürich" or (each.provider == "a" and "b" in (each.region, each.zone)),
        }
        return (
            provider[wanted.providers]
            and here[wanted.regions]
            and (not wanted.billing or each.billing in wanted.billing)
            and (wanted.max_usd_per_gpu_hour is None or each.usd_per_hour / each.gpus <= wanted.max_usd_per_gpu_hour)
            and (wanted.min_gpus is None or each.gpus >= wanted.min_gpus)
            and (not wanted.available_only or bool(each.available))
        )

    found = select(book, wanted)
    assert list(found) == [each for each in book if passes(each)]
    assert sorted(order(found).tolist()) == list(range(len(found)))
