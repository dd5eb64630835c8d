"""The market before anybody is asked: price book and imports as one book."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.catalog import cache, market, pricebook
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH

CURRENT = pricebook.CURRENT


def labels(book: OfferBook) -> list[str]:
    return [found.label for found in book]


def listed(**changes: object) -> OfferBook:
    return OfferBook.of([offer(**changes)])


def test_without_imports_the_market_is_the_price_book_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    assert labels(market.read(folder, CURRENT)) == labels(pricebook.load())
    assert not folder.exists()


def test_imports_join_the_price_book(tmp_path: Path) -> None:
    cache.store(listed(), tmp_path, "mine")
    found = market.read(tmp_path, CURRENT)
    assert len(found) == len(pricebook.load()) + 1
    assert "acme us-east-1 h100.8x on-demand" in labels(found)


def test_the_second_reading_takes_the_kept_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(listed(), tmp_path, "mine")
    first = market.read(tmp_path, CURRENT)

    def unexpected(edition: str) -> OfferBook:
        raise AssertionError("merged again")

    monkeypatch.setattr(pricebook, "load", unexpected)
    assert labels(market.read(tmp_path, CURRENT)) == labels(first)


def test_a_new_a_changed_and_a_removed_import_are_noticed(tmp_path: Path) -> None:
    book = len(pricebook.load())
    cache.store(listed(), tmp_path, "mine")
    assert len(market.read(tmp_path, CURRENT)) == book + 1
    cache.store(listed(region="moon"), tmp_path, "other")
    assert len(market.read(tmp_path, CURRENT)) == book + 2
    cache.store(OfferBook.of([offer(region="mars"), offer(region="venus")]), tmp_path, "other")
    assert len(market.read(tmp_path, CURRENT)) == book + 3
    cache.remove(tmp_path, "other")
    assert len(market.read(tmp_path, CURRENT)) == book + 1


def test_editions_are_kept_apart(tmp_path: Path) -> None:
    cache.store(listed(), tmp_path, "mine")
    for _ in range(2):
        assert len(market.read(tmp_path, CURRENT)) == len(pricebook.load(CURRENT)) + 1
        assert len(market.read(tmp_path, pricebook.A16Z)) == len(pricebook.load(pricebook.A16Z)) + 1


def test_a_damaged_kept_merge_is_made_anew(tmp_path: Path) -> None:
    cache.store(listed(), tmp_path, "mine")
    market.read(tmp_path, CURRENT)
    [kept] = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(market.read(tmp_path, CURRENT)) == len(pricebook.load()) + 1
    assert cache.read(kept).notes


def test_a_damaged_import_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = cache.store(listed(), tmp_path, "mine")
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError, match="mine"):
        market.read(tmp_path, CURRENT)


def test_a_folder_that_cannot_be_written_plans_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(listed(), tmp_path, "mine")
    before = sorted(path.name for path in tmp_path.iterdir())

    def read_only(path: Path, book: OfferBook, notes: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "write", read_only)
    assert len(market.read(tmp_path, CURRENT)) == len(pricebook.load()) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_read_only_folder_plans_all_the_same(tmp_path: Path) -> None:
    cache.store(listed(), tmp_path, "mine")
    tmp_path.chmod(0o500)
    try:
        assert len(market.read(tmp_path, CURRENT)) == len(pricebook.load()) + 1
    finally:
        tmp_path.chmod(0o700)


def test_an_unknown_edition_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'nonsense'"):
        market.read(tmp_path, "nonsense")


def merged(base: Offer, *imported: Offer) -> list[str]:
    return labels(market.merge(OfferBook.of([base]), [OfferBook.of(imported)]))


def test_an_offer_of_the_book_gives_way_to_imported_zones_of_its_region() -> None:
    zones = [offer(zone="a"), offer(zone="b")]
    assert merged(offer(), *zones) == [
        "acme us-east-1/a h100.8x on-demand",
        "acme us-east-1/b h100.8x on-demand",
    ]


def test_it_stays_where_the_import_is_older_or_of_another_region_type_or_billing() -> None:
    older = offer(zone="a", observed_at=EPOCH - timedelta(days=1))
    others = (offer(region="elsewhere"), offer(instance_type="other"), offer(billing=Billing.SPOT), older)
    for other in others:
        assert "acme us-east-1 h100.8x on-demand" in merged(offer(), other)


def test_of_two_imports_of_one_offer_the_newer_stays_whatever_their_names() -> None:
    new = OfferBook.of([offer(usd_per_hour=2.0, observed_at=EPOCH + timedelta(days=1))])
    old = OfferBook.of([offer(usd_per_hour=1.0)])
    for pair in ([new, old], [old, new]):
        [found] = market.merge(OfferBook.empty(), pair)
        assert found.usd_per_hour == 2.0
