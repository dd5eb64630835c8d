"""Google's price list read as prices of machines, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from providers.gcp.prices import Part, PriceList, Sku, parts_of
from providers.gcp.shapes import MachineType, Shape

RECORDED = Path("../shared/data/fixtures/gcp_skus_sample.json")
HERE = "us-central1"


def sku(description: str, nanos: int | None = 1_000_000_000, unit: str = "h", **fields: object) -> Sku:
    row = {"usage": "OnDemand", "regions": (HERE,), "currency": "USD", **fields}
    return Sku(description=description, nanos=nanos, unit=unit, **row)  # type: ignore[arg-type]


def shape(name: str, accelerator: str, cards: int, *, cpus: int = 12, memory_mb: int = 87040, ssds: int = 0) -> Shape:
    return Shape(MachineType(f"{HERE}-a", name, cpus, memory_mb, accelerator, cards, ssds), accelerator, cards, False)


A2 = (
    sku("A2 Instance Core running in Americas", 31_611_000),
    sku("A2 Instance Ram running in Americas", 4_237_000, "GiBy.h"),
    sku("Nvidia Tesla A100 GPU running in Americas", 2_933_908_000),
)
A2_HIGH = shape("a2-highgpu-1g", "nvidia-tesla-a100", 1)


def test_a_machine_costs_the_sum_of_its_parts() -> None:
    # What a public price catalogue said of a2-highgpu-1g in us-central1 in 2026-08.
    assert PriceList(A2).of(A2_HIGH, spot=False).usd == 3.673385


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded prices of Google beside the repository")
def test_recorded_rows_give_the_recorded_machine_price() -> None:
    rows = []
    for row in json.loads(RECORDED.read_text())["skus"]:
        expression = row["pricingInfo"][0]["pricingExpression"]
        price = expression["tieredRates"][0]["unitPrice"]
        rows.append(
            Sku(
                row["description"],
                row["category"]["usageType"],
                tuple(row["serviceRegions"]),
                expression["usageUnit"],
                price["currencyCode"],
                int(price["units"]) * 10**9 + price["nanos"],
            )
        )
    assert PriceList(rows).of(A2_HIGH, spot=False).usd == 3.673385


@pytest.mark.parametrize(
    ("description", "usage", "part"),
    [
        ("Nvidia Tesla A100 80GB GPU running in Americas", "OnDemand", ("gpu", "nvidia-a100-80gb", False)),
        ("Nvidia H100 80GB GPU running in Iowa", "OnDemand", ("gpu", "nvidia-h100-80gb", False)),
        ("Nvidia H100 80GB Mega GPU running in Iowa", "OnDemand", ("gpu", "nvidia-h100-mega-80gb", False)),
        ("Nvidia H100 Mega 80GB GPU running in Iowa", "OnDemand", ("gpu", "nvidia-h100-mega-80gb", False)),
        ("Nvidia H100 80GB Plus GPU running in Iowa", "OnDemand", ("gpu", "nvidia-h100-mega-80gb", False)),
        ("Nvidia H200 141GB GPU running in Iowa", "OnDemand", ("gpu", "nvidia-h200-141gb", False)),
        ("RTX 6000 96GB GPU running in Iowa", "OnDemand", ("gpu", "nvidia-rtx-pro-6000", False)),
        (
            "Nvidia L4 GPU attached to Spot Preemptible VMs running in Americas",
            "Preemptible",
            ("gpu", "nvidia-l4", True),
        ),
        ("Spot Preemptible A3Plus Instance Core running in Iowa", "Preemptible", ("core", "a3plus", True)),
        ("A3 Mega Instance Ram running in Iowa", "OnDemand", ("ram", "a3plus", False)),
        ("A3Ultra Instance Ram running in Iowa", "OnDemand", ("ram", "a3ultra", False)),
        ("N1 Predefined Instance Core running in Americas", "OnDemand", ("core", "n1", False)),
        ("SSD backed Local Storage", "OnDemand", ("ssd", "", False)),
        (
            "SSD backed Local Storage attached to Spot Preemptible VMs in Iowa",
            "Preemptible",
            ("ssd", "", True),
        ),
        ("A4 Nvidia B200 (1 gpu slice) running in Iowa", "OnDemand", ("slice", "nvidia-b200", False)),
        # Typed as on demand, by mistake: the description knows better.
        ("Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in Iowa", "OnDemand", ("slice", "nvidia-b200", True)),
    ],
)
def test_a_description_says_which_part_it_prices(description: str, usage: str, part: tuple[str, str, bool]) -> None:
    kind, of, spot = part
    assert parts_of(sku(description, usage=usage)) == (Part(kind, of, HERE, spot),)


@pytest.mark.parametrize(
    ("description", "usage"),
    [
        ("Commitment v1: Nvidia H100 80GB GPU running in Iowa for 1 Year", "Commit1Yr"),
        ("Nvidia H100 80GB GPU attached to DWS Defined Duration VMs running in Iowa", "OnDemand"),
        ("Nvidia L4 GPU attached to DWS Calendar Mode VMs running in Iowa", "OnDemand"),
        ("Reserved Nvidia L4 GPU in Iowa", "OnDemand"),
        ("Nvidia Tesla T4 Virtual Workstation GPU running in Iowa", "OnDemand"),
        ("N1 Predefined Instance Core Sole Tenancy running in Iowa", "OnDemand"),
        ("A2 Custom Instance Core running in Iowa", "OnDemand"),
        ("A2 Instance Core running in Iowa", "Preemptible"),  # an older kind of row, or one mistyped
        ("E2 Instance Core running in Americas", "OnDemand"),
        ("Nvidia X900 GPU running in Iowa", "OnDemand"),
    ],
)
def test_other_ways_to_buy_and_other_machines_are_passed_over(description: str, usage: str) -> None:
    assert parts_of(sku(description, usage=usage)) == ()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_machine_with_a_part_missing_has_no_price(missing: int) -> None:
    rows = [row for number, row in enumerate(A2) if number != missing]
    priced = PriceList(rows).of(A2_HIGH, spot=False)
    assert priced.usd is None
    assert priced.missing == f"no price of its {('vCPUs', 'memory', 'GPUs')[missing]}"


def test_the_price_of_another_region_or_of_spot_does_not_stand_in() -> None:
    prices = PriceList(A2)
    assert prices.of(A2_HIGH, spot=True).usd is None
    elsewhere = A2_HIGH._replace(machine=A2_HIGH.machine._replace(zone="europe-west4-a"))
    assert prices.of(elsewhere, spot=False).usd is None


def test_two_prices_of_one_part_are_none() -> None:
    priced = PriceList([*A2, sku("Nvidia Tesla A100 GPU running in Iowa", 1)]).of(A2_HIGH, spot=False)
    assert priced == (None, "several prices of its GPUs")


def test_the_same_price_twice_is_one() -> None:
    assert PriceList([*A2, *A2]).of(A2_HIGH, spot=False).usd == 3.673385


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (sku("Nvidia L4 GPU running in Iowa", 0), "not above 0"),
        (sku("Nvidia L4 GPU running in Iowa", -5), "not above 0"),
        (sku("Nvidia L4 GPU running in Iowa", None), "in steps"),
        (sku("Nvidia L4 GPU running in Iowa", currency="EUR"), "in EUR"),
        (sku("Nvidia L4 GPU running in Iowa", unit="mo"), "per mo in place of h"),
    ],
)
def test_a_row_that_cannot_be_a_price_is_counted_and_left_out(row: Sku, fault: str) -> None:
    prices = PriceList([row])
    assert prices.odd == {fault: 1}
    assert prices.of(shape("g2-standard-4", "nvidia-l4", 1), spot=False).usd is None


def test_local_disks_that_come_with_a_machine_are_part_of_its_price() -> None:
    rows = [
        *A2,
        sku("Nvidia Tesla A100 80GB GPU running in Americas"),
        sku("SSD backed Local Storage", 80_000_000, "GiBy.mo"),
    ]
    ultra = shape("a2-ultragpu-1g", "nvidia-a100-80gb", 1, memory_mb=174080, ssds=1)
    bare = shape("a2-ultragpu-1g", "nvidia-a100-80gb", 1, memory_mb=174080)
    prices = PriceList(rows)
    disks, none = prices.of(ultra, spot=False).usd, prices.of(bare, spot=False).usd
    assert disks is not None
    assert none is not None
    assert disks - none == pytest.approx(375 * 0.08 / 730)


def test_a_slice_holds_the_whole_machine() -> None:
    rows = [sku("A4 Nvidia B200 (1 gpu slice) running in Iowa", 16_000_000_000)]
    assert PriceList(rows).of(shape("a4-highgpu-8g", "nvidia-b200", 8, ssds=32), spot=False).usd == 128.0


def test_a_share_of_a_gpu_costs_its_share() -> None:
    rows = [
        sku("G4 Instance Core running in Iowa", 30_000_000),
        sku("G4 Instance Ram running in Iowa", 2_000_000, "GiBy.h"),
        sku("RTX 6000 96GB GPU running in Iowa", 2_400_000_000),
    ]
    small = shape("g4-standard-6", "nvidia-rtx-pro-6000", 1, cpus=6, memory_mb=23040)
    assert PriceList(rows).of(small, spot=False).usd == pytest.approx(0.18 + 0.045 + 0.3)


def test_a_family_whose_words_are_unknown_has_no_price_and_says_so() -> None:
    priced = PriceList(A2).of(shape("a9-hypergpu-8g", "nvidia-x900", 8), spot=False)
    assert priced.usd is None
    assert "a9" in priced.missing
