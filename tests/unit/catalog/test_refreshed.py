"""Refreshed prices: on disk, brought up to date, and their place in the market."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.catalog import cache, market, pricebook, refreshed
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH

AT = EPOCH + timedelta(days=1)
CURRENT = pricebook.CURRENT


def told(*offers: Offer, everything: bool = True, gaps: tuple[str, ...] = ()) -> Refreshed:
    return Refreshed(provider="acme", book=OfferBook.of(offers), at=AT, everything=everything, gaps=gaps)


def labels(book: OfferBook) -> list[str]:
    return [found.label for found in book]


def test_what_is_stored_is_what_is_loaded(tmp_path: Path) -> None:
    kept = told(offer(available=0), offer(region="b", available=2), everything=False, gaps=("c: silent",))
    refreshed.store(tmp_path, kept)
    [back] = refreshed.load(tmp_path)
    assert list(back.book) == list(kept.book)
    assert (back.provider, back.at, back.everything, back.gaps) == ("acme", AT, False, ("c: silent",))
    assert refreshed.last(tmp_path, "acme") is not None
    assert refreshed.remove(tmp_path, "acme")
    assert (refreshed.load(tmp_path), refreshed.last(tmp_path, "acme")) == ((), None)


def test_a_provider_whose_name_makes_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name"):
        refreshed.store(tmp_path, Refreshed(provider="../x", book=OfferBook.empty(), at=AT, everything=True))


@pytest.mark.parametrize("damage", ["junk", "cut", "no date"])
def test_a_damaged_file_is_named_with_its_remedy_and_is_no_former_answer(tmp_path: Path, damage: str) -> None:
    path = refreshed.store(tmp_path, told(offer()))
    if damage == "no date":
        cache.write(path, OfferBook.of([offer()]), {})
    else:
        path.write_bytes(b"junk" if damage == "junk" else path.read_bytes()[:-5])
    with pytest.raises(ConfigError, match=r"acme\.offers.*isoflop catalog refresh"):
        refreshed.load(tmp_path)
    assert refreshed.last(tmp_path, "acme") is None


def test_an_interrupted_write_leaves_the_former_prices_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed.store(tmp_path, told(offer(usd_per_hour=1.0)))

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        refreshed.store(tmp_path, told(offer(usd_per_hour=2.0)))
    [back] = refreshed.load(tmp_path)
    assert [found.usd_per_hour for found in back.book] == [1.0]
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["acme.offers"]


def test_regions_that_did_not_answer_keep_what_they_said_before() -> None:
    former = told(offer(region="a", usd_per_hour=1.0), offer(region="b", usd_per_hour=1.0), offer(region="c"))
    now = told(offer(region="a", usd_per_hour=2.0), everything=False, gaps=("b: silent",))
    brought = refreshed.brought_up(former, now)
    assert [(found.region, found.usd_per_hour) for found in brought.book] == [("a", 2.0), ("b", 1.0), ("c", 32.0)]
    assert (brought.everything, brought.gaps) == (False, ("b: silent",))
    assert refreshed.brought_up(former, told(offer(region="a"))).book.region.vocab == ("a",), "all answered"
    assert refreshed.brought_up(None, now) is now


def test_owned_machines_and_prices_of_nothing_are_not_kept() -> None:
    offers = [
        offer(region="good"),
        offer(region="free", usd_per_hour=0.0),
        offer(region="odd", usd_per_hour=float("nan")),
        offer(region="minus", usd_per_hour=-1.0),
        offer(region="mine", billing=Billing.OWNED, usd_per_hour=0.0),
    ]
    book, unusable = refreshed.priced(OfferBook.of(offers))
    assert ([found.region for found in book], unusable) == (["good"], 3)


def superseded(listed: list[Offer], *fresh: Refreshed) -> list[tuple[str, float]]:
    book = refreshed.supersede(OfferBook.of(listed), fresh)
    return [(found.label, found.usd_per_hour) for found in book]


def test_refreshed_prices_stand_in_place_of_older_ones_where_the_regions_answered() -> None:
    listed = [offer(region="a"), offer(region="b"), offer(region="a", instance_type="old"), offer(provider="zed")]
    fresh = told(offer(region="a", usd_per_hour=2.0, observed_at=AT), everything=False)
    assert superseded(listed, fresh) == [
        ("acme a h100.8x on-demand", 2.0),
        ("acme b h100.8x on-demand", 32.0),
        ("zed us-east-1 h100.8x on-demand", 32.0),
    ]
    assert len(superseded(listed, told(offer(region="a", usd_per_hour=2.0)))) == 2, "no gap: nothing else is sold"


def test_what_was_imported_after_the_refresh_stays() -> None:
    newer = offer(region="a", usd_per_hour=3.0, observed_at=AT + timedelta(hours=1))
    fresh = told(offer(region="a", usd_per_hour=2.0, observed_at=AT))
    assert superseded([newer], fresh) == [("acme a h100.8x on-demand", 3.0)]


def test_stock_of_a_refresh_is_not_taken_for_stock_of_now() -> None:
    fresh = told(offer(available=0, quota_nodes=3, obtainability=0.5, max_lease_s=60.0))
    [found] = refreshed.supersede(OfferBook.empty(), [fresh])
    assert (found.available, found.quota_nodes, found.obtainability) == (None, None, None)
    assert found.max_lease_s == 60.0  # that is a rule, not the stock of an hour


def test_the_market_notices_refreshed_prices_and_keeps_the_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = len(pricebook.load())
    refreshed.store(tmp_path, told(offer(region="moon")))
    assert len(market.read(tmp_path, CURRENT)) == book + 1
    monkeypatch.setattr(pricebook, "load", lambda edition: pytest.fail("merged again"))
    assert "acme moon h100.8x on-demand" in labels(market.read(tmp_path, CURRENT))
    monkeypatch.undo()
    refreshed.remove(tmp_path, "acme")
    assert len(market.read(tmp_path, CURRENT)) == book


def test_bundled_rows_of_a_refreshed_provider_are_replaced(tmp_path: Path) -> None:
    aws = [found for found in pricebook.load() if found.provider == "aws"]
    region = aws[0].region
    fresh = offer(provider="aws", region=region, instance_type="new", observed_at=AT + timedelta(days=400))
    gone = Refreshed(provider="aws", book=OfferBook.of([fresh]), at=AT + timedelta(days=400), everything=False)
    refreshed.store(tmp_path, gone)
    found = [each for each in market.read(tmp_path, CURRENT) if each.provider == "aws"]
    assert [each.instance_type for each in found if each.region == region] == ["new"]
    assert len(found) == 1 + sum(each.region != region for each in aws)
