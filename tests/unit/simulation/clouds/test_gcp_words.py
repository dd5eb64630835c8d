"""The simulated Google Cloud's filters, its machine types, and who may call."""

from __future__ import annotations

import pytest

pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.gcp.filters import BadFilter, parse
from orchestrator.simulation.clouds.gcp.parts import priced_by_parts
from orchestrator.simulation.clouds.gcp.shapes import hosted, shape
from orchestrator.simulation.clouds.gcp.tokens import fault
from orchestrator.simulation.clouds.pools import Key, Pool

ITEM = {"name": "n1-standard-4", "status": "RUNNING", "labels": {"isoflop-owner": "me"}, "cpus": 4}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ('name eq "n1-.*"', True),
        ('name eq "n1"', False),  # the whole value
        ('name ne "a2-.*"', True),
        ("status = RUNNING", True),
        ("status='RUNNING'", True),
        ("status != RUNNING", False),
        ('labels.isoflop-owner="me"', True),
        ('labels.isoflop-token="x"', False),
        ('status="RUNNING" AND labels.isoflop-owner="you"', False),
        ('(status="RUNNING") (labels.isoflop-owner="me")', True),
        ('name > "m"', True),
        ('name <= "m"', False),
        ("", True),
    ],
)
def test_a_filter_holds_where_every_comparison_does(expression: str, holds: bool) -> None:
    assert parse(expression)(ITEM) is holds


@pytest.mark.parametrize("expression", ["name", "name eq", 'name eq "("', "= x", 'status="A" OR status="B"'])
def test_what_is_no_filter_is_refused(expression: str) -> None:
    with pytest.raises(BadFilter):
        parse(expression)


def pool(
    name: str, *, gpus: float = 1.0, cpus: float = 4.0, gib: float = 16.0, zone: str = "r-b", usd: float = 1.0
) -> Pool:
    key = Key("gcp", "r", zone, name, Billing.ON_DEMAND)
    return Pool(
        key=key, accelerator="", gpus=gpus, vcpus=cpus, host_memory_gib=gib, usd_per_hour=usd, capacity=1, boot_s=60.0
    )


def test_gpus_named_alone_get_the_host_that_usually_goes_with_them_and_its_price() -> None:
    (sold,) = priced_by_parts([pool("n1+nvidia-tesla-t4", gpus=2.0, cpus=0.0, gib=0.0, usd=0.7)])
    assert (sold.key.instance_type, sold.vcpus, sold.host_memory_gib) == ("n1-standard-8+2xt4", 8.0, 30.0)
    assert sold.usd_per_hour == pytest.approx(0.7 + 8 * 0.0316 + 30 * 0.00424, abs=0.002)


def test_a_pool_without_a_zone_gets_one() -> None:
    assert hosted(pool("g2-standard-4", zone="")).key.zone == "r-a"


@pytest.mark.parametrize("name", ["ct5lp-hightpu-4t", "n1+nvidia-tesla-k80", "a3-highgpu-1g", "e2-standard-4"])
def test_what_google_does_not_sell_so_is_left_out(name: str) -> None:
    assert priced_by_parts([pool(name)]) == ()


def test_a_share_of_a_gpu_counts_as_one_card() -> None:
    found = shape(pool("g4-standard-6", gpus=0.125, cpus=6.0, gib=22.5))
    assert found is not None
    assert (found.cards, found.gpus, found.memory_mb) == (1, 0.125, 23040)


@pytest.mark.parametrize(
    "header", ["", "Bearer x", "Bearer a.b.c", "Basic a.b.c", "Bearer eyJpc3MiOiJ4In0.eyJpc3MiOiJ4In0.x"]
)
def test_a_token_that_nobody_signed_is_refused(header: str) -> None:
    assert fault(header, {"x": "no key"})
