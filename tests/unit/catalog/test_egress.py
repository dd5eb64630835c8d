"""Egress as the vendors bill it, to the cent."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from orchestrator.catalog import network
from orchestrator.domain.egress import End, Tariffs

KNOWN = network.load()
TARIFFS = Tariffs(KNOWN)
VOLUMES_GIB = (1.0, 10 * 1024.0, 50 * 1024.0, 150 * 1024.0)
OTHER = End("somebody", "somewhere")


def end(name: str) -> End:
    """ "aws/us-east-1/a" as an end."""
    provider, region, zone = (*name.split("/"), "", "")[:3]
    return TARIFFS.end(provider, region, zone)


def bills(source: str, destination: str, before_gib: float = 0.0) -> tuple[float, ...]:
    """USD for 1 GiB and 10, 50 and 150 TiB, to the cent."""
    ends = end(source), end(destination)
    found = [TARIFFS.usd(*ends, gib, before_gib) for gib in VOLUMES_GIB]
    return tuple(round(usd, 2) for usd in found if usd is not None)


# By hand from the list prices; at AWS and Azure the first 100 GiB of a month are free and the tiers begin behind them.
FRESH = [
    ("aws/us-east-1/a", "aws/us-east-1/a", (0.0, 0.0, 0.0, 0.0)),
    ("aws/us-east-1", "aws/us-east-1/b", (0.0, 0.0, 0.0, 0.0)),  # storage of the region
    ("aws/us-east-1/a", "aws/us-east-1/b", (0.02, 204.80, 1024.00, 3072.00)),  # 1 cent out and 1 cent in
    ("aws/us-east-1", "aws/us-east-2", (0.01, 102.40, 512.00, 1536.00)),
    ("aws/us-east-1", "aws/us-west-2", (0.02, 204.80, 1024.00, 3072.00)),
    ("aws/us-east-1", "aws/ap-south-1", (0.02, 204.80, 1024.00, 3072.00)),  # by the departure, whatever the arrival
    ("aws/ap-south-1", "aws/us-east-1", (0.09, 880.64, 4403.20, 13209.60)),
    ("aws/us-east-1", "gcp/us-central1", (0.0, 912.60, 4394.70, 11564.20)),
    ("aws/ap-northeast-1", "gcp/us-central1", (0.0, 1155.96, 4803.90, 13610.60)),
    ("azure/eastus/1", "azure/eastus/2", (0.0, 0.0, 0.0, 0.0)),
    ("azure/eastus", "azure/westus2", (0.02, 204.80, 1024.00, 3072.00)),
    ("azure/eastus", "azure/westeurope", (0.05, 512.00, 2560.00, 7680.00)),
    ("azure/brazilsouth", "azure/eastus", (0.16, 1638.40, 8192.00, 24576.00)),
    ("azure/eastus", "aws/us-east-1", (0.0, 882.18, 4282.26, 11451.56)),
    ("azure/japaneast", "aws/ap-northeast-1", (0.0, 1216.80, 4701.90, 13099.00)),
    ("gcp/us-central1/a", "gcp/us-central1/b", (0.01, 102.40, 512.00, 1536.00)),
    ("gcp/us-central1", "gcp/us-west1", (0.02, 204.80, 1024.00, 3072.00)),
    ("gcp/us-central1", "gcp/europe-west4", (0.05, 512.00, 2560.00, 7680.00)),
    ("gcp/asia-northeast1", "gcp/southamerica-east1", (0.14, 1433.60, 7168.00, 21504.00)),
    ("gcp/us-central1", "aws/us-east-1", (0.12, 1136.64, 4413.44, 12605.44)),
    ("gcp/us-central1", "aws/ap-southeast-2", (0.19, 1853.44, 7997.44, 23357.44)),
    ("lambda/us-east-1", "lambda/us-west-1", (0.0, 0.0, 0.0, 0.0)),
    ("lambda/us-east-1", "aws/us-east-1", (0.0, 0.0, 0.0, 0.0)),
    ("oci/us-ashburn-1", "aws/us-east-1", (0.0, 0.0, 348.16, 1218.56)),
]


@pytest.mark.parametrize(("source", "destination", "usd"), FRESH, ids=[f"{a} to {b}" for a, b, _ in FRESH])
def test_data_that_leaves_costs_what_the_vendor_bills(source: str, destination: str, usd: tuple[float, ...]) -> None:
    assert bills(source, destination) == usd


def test_once_the_free_gigabytes_are_used_up_the_paid_tiers_begin() -> None:
    assert bills("aws/us-east-1", "gcp/us-central1", 100.0) == (0.09, 921.60, 4403.20, 11571.20)
    assert bills("azure/eastus", "gcp/us-central1", 100.0) == (0.09, 890.88, 4290.56, 11458.56)


def test_an_unknown_provider_has_no_rate_rather_than_a_free_one() -> None:
    assert TARIFFS.usd(OTHER, end("aws/us-east-1"), 1.0) is None


def test_a_place_of_ones_own_sends_no_invoice() -> None:
    assert TARIFFS.usd(End(continent="Europe"), end("aws/us-east-1"), 1e6) == 0.0


def test_a_region_that_nobody_placed_is_billed_by_the_rate_for_anywhere() -> None:
    assert TARIFFS.usd(End("aws", "mars-1"), OTHER, 1000.0, 100.0) == pytest.approx(90.0)


def test_every_place_of_a_provider_is_on_a_continent() -> None:
    lost = [at.key for at in KNOWN.places if "/" in at.key and not end(at.key).continent]
    assert lost == []


def test_the_published_price_of_nearly_every_pair_of_aws_regions_is_ours(shared_data: Path) -> None:
    path = shared_data / "network" / "aws_egress_pricing.csv"
    if not path.exists():
        pytest.skip(f"no {path.name} in the data folder")
    with path.open(encoding="utf-8", newline="") as stream:
        pairs = [
            (row["from_region"], row["to_region"], float(row["price_usd_per_gb"])) for row in csv.DictReader(stream)
        ]
    ours = [TARIFFS.usd(end(f"aws/{source}"), end(f"aws/{target}"), 1.0) for source, target, _ in pairs]
    same = [mine == pytest.approx(usd) for mine, (_, _, usd) in zip(ours, pairs, strict=True)]
    assert len(same) > 1000
    assert sum(same) / len(same) > 0.98


def test_the_published_first_tiers_of_aws_and_azure_are_ours(shared_data: Path) -> None:
    path = shared_data / "network" / "skyplane_cost.csv"
    if not path.exists():
        pytest.skip(f"no {path.name} in the data folder")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["src"].startswith(("aws:", "azure:"))]
    assert len(rows) > 1000
    for row in rows:
        ends = end(row["src"].replace(":", "/")), end(row["dest"].replace(":", "/"))
        usd = TARIFFS.usd(*ends, 1000.0, 100.0)
        assert usd == pytest.approx(1000.0 * float(row["cost"]), rel=0.01), row
