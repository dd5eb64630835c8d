"""The simulated price list of Google, read by the adapter, gives back the price of every machine in the market."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.gcp.documents import sku_json
from orchestrator.simulation.clouds.gcp.parts import priced_by_parts, rates
from orchestrator.simulation.clouds.gcp.shapes import shape
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from providers.gcp.prices import PriceList, Sku
from providers.gcp.shapes import MachineType, Shape

KINDS = (  # type, GPUs, vCPUs, GiB
    ("a2-highgpu-1g", 1.0, 12, 85.0),
    ("a2-highgpu-8g", 8.0, 96, 680.0),
    ("a2-megagpu-16g", 16.0, 96, 1360.0),
    ("a2-ultragpu-4g", 4.0, 48, 680.0),
    ("a3-highgpu-2g", 2.0, 52, 468.0),
    ("a3-highgpu-8g", 8.0, 208, 1872.0),
    ("a3-megagpu-8g", 8.0, 208, 1872.0),
    ("a3-ultragpu-8g", 8.0, 224, 2952.0),
    ("a4-highgpu-8g", 8.0, 224, 3968.0),
    ("g2-standard-4", 1.0, 4, 16.0),
    ("g2-standard-32", 1.0, 32, 128.0),
    ("g2-standard-96", 8.0, 96, 384.0),
    ("g4-standard-6", 0.125, 6, 22.5),
    ("g4-standard-24", 0.5, 24, 90.0),
    ("g4-standard-384", 8.0, 384, 1440.0),
    ("n1-standard-4+t4", 1.0, 4, 15.0),
    ("n1+nvidia-tesla-v100", 8.0, 0, 0.0),
)


@st.composite
def pools(draw: st.DrawFn) -> list[Pool]:
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))
    return [
        Pool(
            key=Key("gcp", region, zone, name, billing),
            accelerator="",
            gpus=gpus,
            vcpus=float(cpus),
            host_memory_gib=gib,
            usd_per_hour=draw(st.floats(0.01, 200.0)),
            capacity=1,
            volatility=0.2,
        )
        for name, gpus, cpus, gib in chosen
        for region, zone in (("us-central1", "us-central1-a"), ("us-central1", "us-central1-b"), ("europe-west4", ""))
        for billing in (Billing.ON_DEMAND, Billing.SPOT)
    ]


def rows(market: Market) -> list[Sku]:
    """The price list that the simulated cloud gives."""
    forms = {pool.key: found for pool in market.sold_by("gcp") if (found := shape(pool)) is not None}
    found = []
    for row in (sku_json(rate) for rate in rates(market, forms)):
        expression = row["pricingInfo"][0]["pricingExpression"]
        price = expression["tieredRates"][0]["unitPrice"]
        nanos = int(price["units"]) * 10**9 + price["nanos"]
        usage, regions = row["category"]["usageType"], tuple(row["serviceRegions"])
        found.append(Sku(row["description"], usage, regions, expression["usageUnit"], price["currencyCode"], nanos))
    return found


def asked(pool: Pool) -> Shape:
    """The machine as the adapter sees it."""
    form = shape(pool)
    assert form is not None
    machine = MachineType(
        pool.key.zone, form.machine_type, form.cpus, form.memory_mb, form.accelerator, form.cards, form.ssds
    )
    return Shape(machine, form.accelerator, form.cards, form.attached)


def a_market(sold: list[Pool]) -> Market:
    return Market(priced_by_parts(sold), seed=1, clock=MarketClock(datetime(2026, 11, 1, tzinfo=UTC)))


@settings(max_examples=60, deadline=None)
@given(sold=pools(), factor=st.sampled_from([1.0, 1.5, 2.0, 3.0]), days=st.integers(0, 40))
def test_the_parts_of_every_machine_sum_to_its_price(sold: list[Pool], factor: float, days: int) -> None:
    market = a_market(sold)
    market.clock.advance(days * 86400.0)
    if factor != 1.0:
        market.move_prices(factor, lambda _: True)
    prices = PriceList(rows(market))
    assert prices.odd == {}
    for pool in market.sold_by("gcp"):
        priced = prices.of(asked(pool), spot=pool.key.billing is Billing.SPOT)
        assert priced.usd == pytest.approx(market.price(pool.key), abs=1e-12 if factor == 1.0 else 1e-4)


@settings(max_examples=60, deadline=None)
@given(sold=pools(), data=st.data())
def test_a_price_list_with_rows_lost_doubled_or_spoilt_gives_the_right_price_or_none(
    sold: list[Pool], data: st.DataObject
) -> None:
    market = a_market(sold)
    found = []
    for row in rows(market):
        match data.draw(
            st.sampled_from(["kept", "kept", "lost", "twice", "contradicted", "nothing", "yen", "monthly"])
        ):
            case "kept":
                found.append(row)
            case "twice":
                found += [row, row]
            case "contradicted":
                found += [row, row._replace(nanos=1 + (row.nanos or 0))]
            case "nothing":
                found.append(row._replace(nanos=0))
            case "yen":
                found.append(row._replace(currency="JPY"))
            case "monthly":
                found.append(row._replace(unit="mo"))
    prices = PriceList(data.draw(st.permutations(found)))
    for pool in market.sold_by("gcp"):
        priced = prices.of(asked(pool), spot=pool.key.billing is Billing.SPOT)
        assert priced.usd in {None, market.price(pool.key)}
        assert bool(priced.missing) == (priced.usd is None)


@given(sold=pools())
def test_prices_made_of_parts_stay_as_they_are(sold: list[Pool]) -> None:
    once = priced_by_parts(sold)
    assert priced_by_parts(once) == once


@given(sold=pools())
def test_other_clouds_are_left_alone(sold: list[Pool]) -> None:
    others = tuple(replace(pool, key=pool.key._replace(provider="aws")) for pool in sold)
    assert priced_by_parts(others) == others
