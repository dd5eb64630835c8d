"""What the AWS adapter reads, through boto3 and over HTTP, at the simulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.domain.errors import CapacityError, QuotaError, Scope, TransientError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.faults import Kind
from orchestrator.testing.accounts import OWNER
from tests.wire.aws_cloud import SimulatedAws, offer_of, pools

BOOT = Boot(run_id="run-7")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path) as cloud:
        yield cloud


# What is on sale


def test_every_device_is_named_exactly_and_fractions_are_fractions(aws: SimulatedAws) -> None:
    book = aws.made(OWNER).offers()
    devices = {offer.instance_type: (offer.accelerator, offer.gpus) for offer in book}
    assert devices == {
        "g4dn.metal": ("T4", 8.0),
        "g5g.xlarge": ("T4g", 1.0),
        "g6.xlarge": ("L4", 1.0),
        "g6f.xlarge": ("L4", 0.125),
        "p4d.24xlarge": ("A100-40GB", 8.0),
        "p4de.24xlarge": ("A100-80GB", 8.0),
        "p5.48xlarge": ("H100-SXM", 8.0),
        "trn2.48xlarge": ("Trainium2", 16.0),
    }


def test_prices_are_those_of_the_market_to_the_last_digit(aws: SimulatedAws) -> None:
    found = {
        (offer.region, offer.zone, offer.instance_type, offer.billing): offer.usd_per_hour
        for offer in aws.made(OWNER).offers()
    }
    wanted = {
        (key.region, key.zone or f"{key.region}a", key.instance_type, key.billing): aws.market.price(key)
        for key in aws.market.pools
    }
    assert found == wanted


def test_an_offer_tells_its_zones_identity_and_where_its_price_is_from(aws: SimulatedAws) -> None:
    for offer in aws.made(OWNER).offers():
        assert f"{offer.zone} is " in offer.source
        assert "-az" in offer.source
        assert ("Price List" in offer.source) is (offer.billing is Billing.ON_DEMAND)


def test_a_refresh_asks_few_questions_and_none_per_instance_type(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    provider.offers()
    first = aws.wire.counts()
    aws.wire.forget()
    provider.offers()
    again = aws.wire.counts()
    regions = 2
    for operation in ("DescribeAvailabilityZones", "DescribeInstanceTypeOfferings", "ListServiceQuotas"):
        assert again[operation] == regions
    assert again["GetProducts"] == regions + 1  # bare metal in one of them
    assert again["DescribeSpotPriceHistory"] <= 2 * regions  # a page may be empty
    assert again["DescribeInstances"] == regions
    assert "DescribeInstanceTypes" not in again  # remembered for a day, as are placement scores for hours
    assert "GetSpotPlacementScores" not in again
    assert first["DescribeInstanceTypes"] == regions


def test_a_book_of_many_regions_and_types_pages_fully(tmp_path: Path) -> None:
    types = [name for name in _recorded_gpu_types() if not name.endswith(".metal")]
    stock = [
        pool
        for region in ("us-east-1", "us-west-2", "eu-west-1")
        for zone in "abcd"
        for name in types
        for pool in pools(f"{region}/{region}{zone}", name, "T4", 1, (3.0, 1.0))
    ]
    with SimulatedAws(tmp_path, stock) as aws:
        survey = aws.made(OWNER).survey()
        assert len(survey.book) == len(stock)
        assert not survey.gaps


def _recorded_gpu_types() -> list[str]:
    from orchestrator.simulation.clouds.aws.catalogue import recorded

    return sorted(name for name, row in recorded().items() if "GpuInfo" in row)


def test_a_region_that_does_not_answer_is_a_gap_and_the_others_are_offers(aws: SimulatedAws) -> None:
    aws.script(Kind.ERROR, "DescribeInstanceTypeOfferings", where="eu-west-1")
    survey = aws.made(OWNER).survey()
    assert set(survey.book.region.vocab) == {"us-east-1"}
    assert [gap for gap in survey.gaps if gap.startswith("eu-west-1:") and "DescribeInstanceTypeOfferings" in gap]


def test_where_no_region_answers_there_is_an_error_and_no_empty_book(aws: SimulatedAws) -> None:
    aws.script(Kind.ERROR, "DescribeInstanceTypeOfferings")
    with pytest.raises(TransientError):
        aws.made(OWNER).offers()


def test_a_region_that_the_account_does_not_have_is_a_gap(aws: SimulatedAws) -> None:
    survey = aws.made(OWNER, regions=["eu-west-1", "mars-north-1"], home_region="us-east-1").survey()
    assert set(survey.book.region.vocab) == {"eu-west-1"}
    assert "mars-north-1: the account has no such region" in survey.gaps


def test_a_price_of_zero_is_left_out_and_told(aws: SimulatedAws) -> None:
    aws.market.move_prices(0.0, lambda key: key.instance_type == "p4d.24xlarge")
    survey = aws.made(OWNER).survey()
    assert "p4d.24xlarge" not in survey.book.instance_type.vocab
    told = [gap for gap in survey.gaps if "p4d.24xlarge" in gap]
    assert any("on-demand" in gap and "price of 0" in gap for gap in told)
    assert any("spot" in gap for gap in told)


def test_a_device_that_nobody_knows_keeps_the_vendors_word_and_is_told(tmp_path: Path) -> None:
    stock = pools("us-east-1/us-east-1a", "g4ad.xlarge", "Quark-9000", 1, (1.0, None))
    with SimulatedAws(tmp_path, stock) as aws:
        survey = aws.made(OWNER).survey()
    assert [offer.accelerator for offer in survey.book] == ["NVIDIA Quark-9000"]
    assert [gap for gap in survey.gaps if "no facts" in gap and "Quark-9000" in gap]


@pytest.mark.parametrize("operation", ["ListServiceQuotas", "GetSpotPlacementScores"])
def test_what_offers_do_without_is_a_gap_where_the_account_may_not_ask(aws: SimulatedAws, operation: str) -> None:
    aws.script(Kind.UNAUTHORISED, operation)
    survey = aws.made(OWNER).survey()
    assert len(survey.book) == len(aws.market.pools)
    assert survey.gaps


def test_quotas_are_in_vcpus_and_count_what_anybody_runs(aws: SimulatedAws) -> None:
    aws.market.set_quota("aws", "L-DB2E81BA", 18.0, "us-east-1")  # on demand, G and VT; a g6.xlarge has 4 vCPUs
    provider = aws.made(OWNER)
    assert offer_of(provider, "g6.xlarge").quota_nodes == 4
    provider.acquire(offer_of(provider, "g6.xlarge"), 2, token="two", boot=BOOT)
    assert offer_of(aws.made("isoflop-neighbour"), "g6.xlarge").quota_nodes == 2
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).quota_nodes > 2


def test_the_quota_refuses_for_the_region_and_the_type(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "g6.xlarge")
    aws.use_quota_up(offer)
    with pytest.raises(QuotaError, match="VcpuLimitExceeded") as refused:
        provider.acquire(offer, 1, token="over", boot=BOOT)
    assert refused.value.scope is Scope.REGION


def test_placement_scores_are_chances_asked_for_once_in_hours(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 1.0
    aws.market.set_capacity(next(k for k in aws.market.pools if k[3:] == ("p5.48xlarge", Billing.SPOT)), 0)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 1.0
    aws.wait(7 * 3600)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 0.1
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).obtainability is None


def test_capacity_blocks_are_listed_by_the_hour_and_not_bought(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER, capacity_blocks=["p5.48xlarge"], capacity_block_hours=48)
    block = offer_of(provider, "p5.48xlarge", Billing.RESERVED)
    assert block.usd_per_hour == pytest.approx(0.75 * 55.04, abs=1e-3)
    assert block.min_billing_s == 48 * 3600
    assert block.boot_s > 3600  # it begins tomorrow
    with pytest.raises(CapacityError, match="not bought"):
        provider.acquire(block, 1, token="block", boot=BOOT)
    assert not aws.machines()


def test_how_often_spot_is_taken_back_is_read_from_aws_s_feed(aws: SimulatedAws, tmp_path: Path) -> None:
    feed = tmp_path / "advisor.json"
    feed.write_text('{"spot_advisor": {"us-east-1": {"Linux": {"p5.48xlarge": {"s": 60, "r": 4}}}}}')
    provider = aws.made(OWNER, spot_advisor_file=str(feed))
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).interruption_rate == pytest.approx(0.000394, rel=0.01)
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).interruption_rate is None


def test_a_type_sold_as_spot_in_one_region_alone_is_found_there(tmp_path: Path) -> None:
    stock = [
        *pools("us-east-1/us-east-1a", "p5.48xlarge", "H100-SXM", 8, (55.04, None)),
        *pools("us-west-2/us-west-2a", "p5.48xlarge", "H100-SXM", 8, (55.04, 20.0)),
    ]
    with SimulatedAws(tmp_path, stock) as aws:
        survey = aws.made(OWNER).survey()
    assert len(survey.book) == 3
    assert not survey.gaps
