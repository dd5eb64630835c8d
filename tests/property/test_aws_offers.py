"""Whatever the regions of AWS answer: every price becomes one offer at that price, and every lack of one is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit.facts import Facts
from providers.aws import offers
from providers.aws.offers import Advice, Region, Zone
from providers.aws.translate import Price, Running, Type

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = Facts("aws")
NAMES = ("p5.48xlarge", "g6.xlarge", "g6f.large", "trn1.2xlarge", "m7i.large")
ZONES = tuple(Zone(f"us-east-1{letter}", f"use1-az{number}") for number, letter in enumerate("abc", start=1))
TYPES = {
    name: Type(name, "L4", True, 0.125 * number, 4.0, 16.0, frozenset({"on-demand", "spot"}), "x86_64", False, False, 0)
    for number, name in enumerate(NAMES[:4], start=1)
}
price = st.floats(min_value=1e-4, max_value=500, allow_nan=False)
spot = st.one_of(st.just(0.0), price)

regions = st.builds(
    Region,
    zones=st.just(ZONES),
    offered=st.fixed_dictionaries({zone.name: st.frozensets(st.sampled_from(NAMES)) for zone in ZONES}),
    demand=st.dictionaries(st.sampled_from(NAMES), st.builds(Price, price)),
    spot=st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from([zone.name for zone in ZONES])), spot),
    limits=st.dictionaries(st.sampled_from(["L-417A185B", "L-DB2E81BA", "L-3819A6DF"]), st.floats(0, 100)),
    running=st.lists(
        st.builds(Running, st.sampled_from(NAMES), st.sampled_from([None, *Billing]), st.floats(0, 200)), max_size=5
    ).map(tuple),
)


@given(region=regions)
def test_every_price_is_one_offer_and_every_lack_is_told(region: Region) -> None:
    found, told = offers.of_region("us-east-1", region, Advice(TYPES, {}, {}), FACTS, NOW)
    assert len(OfferBook.of(found)) == len({offer.label for offer in found})
    wanted: dict[tuple[str, str, Billing], float] = {}
    missing: set[tuple[str, Billing]] = set()
    for zone in ZONES:
        for name in region.offered[zone.name] & TYPES.keys():
            listed = region.demand.get(name)
            for billing, usd in (
                (Billing.ON_DEMAND, listed.usd_per_hour if listed else 0.0),
                (Billing.SPOT, region.spot.get((name, zone.name), 0.0)),
            ):
                if usd > 0:
                    wanted[zone.name, name, billing] = usd
                else:
                    missing.add((name, billing))
    assert {(offer.zone, offer.instance_type, offer.billing): offer.usd_per_hour for offer in found} == wanted
    assert len(told) == len({billing for _, billing in missing})
    for billing in {billing for _, billing in missing}:
        lacking = sum(each is billing for _, each in missing)
        assert [line for line in told if f"{lacking} instance types" in line and billing.value in line]


@given(region=regions)
def test_what_a_quota_leaves_is_never_negative_and_never_more_than_it_allows(region: Region) -> None:
    found, _ = offers.of_region("us-east-1", region, Advice(TYPES, {}, {}), FACTS, NOW)
    for offer in found:
        if offer.quota_nodes is not None:
            assert 0 <= offer.quota_nodes * offer.vcpus <= max(region.limits.values()) + 1e-6
