"""Refreshing prices from a simulated AWS, through its real SDK: what is kept, what changed, what was missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.catalog import market, pricebook, refreshed
from orchestrator.catalog.changes import Kind as Change
from orchestrator.domain.offer import Billing
from orchestrator.inventory.refresh import Asking, Outcome, keep_live, of_providers, refresh
from orchestrator.simulation.clouds.faults import ALWAYS, Kind
from orchestrator.simulation.clouds.pools import Key
from tests.wire.aws_cloud import SimulatedAws

P5 = Key("aws", "us-east-1", "us-east-1a", "p5.48xlarge", Billing.SPOT)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path / "aws") as cloud:
        yield cloud


def refreshed_from(aws: SimulatedAws, folder: Path) -> Outcome:
    asking = Asking(folder=folder, clock=aws.clock, patience_s=60.0, keep=keep_live)
    [outcome] = refresh(of_providers({"aws": aws.made("isoflop-test")}), asking, lambda _: None)
    return outcome


def test_prices_come_over_the_wire_into_the_market_and_what_moved_is_told(aws: SimulatedAws, tmp_path: Path) -> None:
    first = refreshed_from(aws, tmp_path)
    assert (first.problem, first.gaps) == ("", ())
    aws.market.move_prices(1.5, lambda key: key == P5)
    aws.clock.advance(2 * 3600.0)
    second = refreshed_from(aws, tmp_path)
    assert second.changes is not None
    moved = {(change.instance_type, change.billing): change for change in second.changes.changes}
    assert moved["p5.48xlarge", "spot"].kind is Change.UP
    assert moved["p5.48xlarge", "spot"].now == pytest.approx(aws.market.price(P5))
    bundled = [offer for offer in pricebook.load() if offer.provider == "aws"]
    found = [offer for offer in market.read(tmp_path, pricebook.CURRENT) if offer.provider == "aws"]
    regions = {pool.key.region for pool in aws.market.sold_by("aws")}
    assert {offer.source for offer in found}.isdisjoint({offer.source for offer in bundled})
    assert {offer.region for offer in found} == regions, "it answered completely: nothing else is sold"


def test_a_region_that_fails_keeps_its_prices_and_the_bundled_ones_stay_where_nothing_was_ever_said(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    refreshed_from(aws, tmp_path)
    before = {offer.label for offer in market.read(tmp_path, pricebook.CURRENT) if offer.region == "eu-west-1"}
    aws.script(Kind.ERROR, "DescribeInstanceTypeOfferings", where="eu-west-1")
    outcome = refreshed_from(aws, tmp_path)
    assert [gap for gap in outcome.gaps if gap.startswith("eu-west-1:")]
    assert outcome.changes is not None
    assert not [change for change in outcome.changes.changes if change.kind is Change.GONE]
    assert {offer.label for offer in market.read(tmp_path, pricebook.CURRENT) if offer.region == "eu-west-1"} >= before
    refreshed.remove(tmp_path, "aws")
    refreshed_from(aws, tmp_path)
    listed = {offer.label for offer in pricebook.load() if (offer.provider, offer.region) == ("aws", "eu-west-1")}
    assert {offer.label for offer in market.read(tmp_path, pricebook.CURRENT)} >= listed


def test_an_answer_of_nonsense_changes_nothing(aws: SimulatedAws, tmp_path: Path) -> None:
    refreshed_from(aws, tmp_path)
    kept = refreshed.load(tmp_path)[0]
    for kind in (Kind.HTML, Kind.TRUNCATED, Kind.EXPIRED):
        aws.mend()
        aws.script(kind, "Describe*", times=ALWAYS)
        outcome = refreshed_from(aws, tmp_path)
        assert outcome.told is None, kind
        assert outcome.problem, kind
        assert list(refreshed.load(tmp_path)[0].book) == list(kept.book)
