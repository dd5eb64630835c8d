"""Lambda's words into ours: devices, types, instances, leases."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.lease import LeaseState
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from providers.lambda_cloud import names
from providers.lambda_cloud.translate import REGIONS, Node, accelerator, node, offer, state, types

AT = datetime(2026, 11, 22, 10, 0, 0, 123000, tzinfo=UTC)
LEASE = names.new_lease_id("run-1-1", AT)


def listed(**changes: object) -> dict[str, object]:
    kind = {
        "name": "gpu_8x_h100_sxm5",
        "description": "8x H100 (80 GB SXM5)",
        "gpu_description": "H100 (80 GB SXM5)",
        "price_cents_per_hour": 3192,
        "specs": {"vcpus": 208, "memory_gib": 1800, "storage_gib": 22000, "gpus": 8},
    }
    return {
        "instance_type": {**kind, **changes},
        "regions_with_capacity_available": [{"name": "us-east-1", "description": "Virginia, USA"}],
    }


def instance(**changes: object) -> Document:
    shown: dict[str, object] = {
        "id": "0920582c7ff041399e34823a0be62549",
        "name": names.instance_name("me", LEASE, 0, 2),
        "status": "active",
        "ip": "198.51.100.2",
        "region": {"name": "us-east-1", "description": ""},
        "instance_type": listed()["instance_type"],
        "tags": names.tag_list("me", "run-1-1", LEASE, 3192),
    }
    return Document({**shown, **changes}, "instance")


def read(**changes: object) -> Node:
    found = node(instance(**changes), "me", names.owner_digest("me"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "description", "device"),
    [
        ("gpu_8x_a100", "A100 (40 GB SXM4)", "A100-40GB"),
        ("gpu_1x_a100", "A100 (40 GB PCIe)", "A100-PCIe-40GB"),
        ("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", "A100-80GB"),
        ("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", "H100-SXM"),
        ("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", "H100-PCIe"),
        ("gpu_1x_gh200", "GH200 (96 GB)", "GH200"),
        ("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", "B200"),
        ("gpu_1x_a10", "A10 (24 GB PCIe)", "A10"),
        ("gpu_1x_rtx6000", "RTX 6000 (24 GB)", "Quadro-RTX-6000"),
        ("gpu_8x_v100_n", "Tesla V100 (16 GB)", "V100-16GB"),
        ("gpu_1x_a6000", "A6000 (48 GB)", "A6000"),
        ("gpu_1x_h100_pcie", "", "H100-PCIe"),  # no description: the name says it
    ],
)
def test_a_device_is_named_exactly(name: str, description: str, device: str) -> None:
    assert accelerator(name, description) == device


def test_a_device_that_nobody_knows_keeps_lambdas_words() -> None:
    assert accelerator("gpu_1x_x900", "X900 (512 GB SXM9)") == "X900 (512 GB SXM9)"


def test_a_description_goes_before_the_name() -> None:
    """A family's usual device is no guess for a size that it does not have."""
    assert accelerator("gpu_8x_a100", "A100 (120 GB SXM4)") == "A100 (120 GB SXM4)"


def test_cents_become_dollars_and_stock_is_none_or_nothing() -> None:
    found, told = types(Document({"gpu_8x_h100_sxm5": listed()}, "types"))
    kind = found["gpu_8x_h100_sxm5"]
    here = offer(kind, "us-east-1", facts=Facts("lambda"), now=AT)
    there = offer(kind, "us-west-1", facts=Facts("lambda"), now=AT)
    assert (here.usd_per_hour, here.available, there.available) == (31.92, None, 0)
    assert (here.accelerator, here.gpus, here.vcpus, here.host_memory_gib) == ("H100-SXM", 8, 208, 1800)
    assert told == []


@pytest.mark.parametrize("cents", [0, -5, 12.5])
def test_a_price_that_is_none_leaves_the_type_out_and_is_told(cents: float) -> None:
    found, told = types(Document({"a": listed(), "b": listed(name="b", price_cents_per_hour=cents)}, "types"))
    assert list(found) == ["gpu_8x_h100_sxm5"]
    assert told == [f"1 instance types without a price, left out: b: {cents:g} cents per hour"]


def test_a_type_that_cannot_be_read_leaves_the_others() -> None:
    found, told = types(Document({"a": listed(), "b": {"instance_type": 7}, "c": None}, "types"))
    assert list(found) == ["gpu_8x_h100_sxm5"]
    assert "2 instance types that cannot be read" in told[0]


def test_an_unknown_device_is_sold_and_told() -> None:
    found, told = types(Document({"a": listed(name="gpu_1x_x900", gpu_description="X900 (512 GB)")}, "types"))
    assert found["gpu_1x_x900"].accelerator == "X900 (512 GB)"
    assert told == ["1 instance types of devices without known facts: gpu_1x_x900 (X900 (512 GB))"]


def test_a_machine_without_gpus_is_no_offer() -> None:
    specs = {"vcpus": 4, "memory_gib": 16, "storage_gib": 64, "gpus": 0}
    found, told = types(Document({"cpu_4x_general": listed(name="cpu_4x_general", specs=specs)}, "types"))
    assert (found, told) == ({}, [])


def test_a_name_holds_owner_lease_and_place() -> None:
    name = names.instance_name("me", LEASE, 3, 8)
    marked = names.mark(name)
    assert marked is not None
    assert (marked.owner, marked.lease_id, marked.node, marked.nodes) == (names.owner_digest("me"), LEASE, 3, 8)
    assert names.bought_at(LEASE) == AT
    assert len(names.instance_name("me", LEASE, 99_999, 99_999)) <= 64


@pytest.mark.parametrize("name", ["", "isoflop", "isoflop-run-1", "my machine", f"{'isoflop-'}{'0' * 40}"])
def test_other_names_are_not_ours(name: str) -> None:
    assert names.mark(name) is None


def test_tags_have_keys_and_values_that_lambda_takes() -> None:
    for tag in names.tag_list("o" * 100, "run-1-1", LEASE, 3192):
        assert re.fullmatch("[a-z][a-z0-9-:]+", tag["key"])
        assert len(tag["key"]) <= 55
        assert len(tag["value"]) <= 128


def test_an_instance_is_read_back() -> None:
    found = read()
    assert (found.token, found.cents, found.region, found.address) == ("run-1-1", 3192, "us-east-1", "198.51.100.2")
    assert found.mark.nodes == 2


def test_an_instance_without_tags_is_ours_by_its_name() -> None:
    found = read(tags=None)
    assert (found.token, found.cents, found.mark.lease_id) == ("", 0, LEASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": names.instance_name("you", LEASE, 0, 2)},
        {"name": "somebody's"},
        {"name": None},
        {"status": "terminated"},
        {"tags": [{"key": "isoflop-owner", "value": "you"}]},
    ],
)
def test_what_is_not_ours_or_is_over_is_left_out(changes: dict[str, object]) -> None:
    assert node(instance(**changes), "me", names.owner_digest("me")) is None


def test_an_instance_of_ours_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(Malformed):
        node(instance(region=None), "me", names.owner_digest("me"))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["active", "active"], LeaseState.READY),
        (["booting", "active"], LeaseState.BOOTING),
        (["active"], LeaseState.RECLAIMING),
        (["active", "preempted"], LeaseState.RECLAIMING),
        (["unhealthy", "active"], LeaseState.RECLAIMING),
        (["terminating", "active"], LeaseState.RELEASING),
    ],
)
def test_a_lease_stands_as_its_worst_node(statuses: list[str], expected: LeaseState) -> None:
    assert state([read(status=status) for status in statuses], 2) is expected


def test_an_active_node_without_an_address_is_not_ready() -> None:
    assert state([read(), read(ip=None)], 2) is LeaseState.BOOTING


def test_the_regions_are_those_of_the_description(shared_data: Path) -> None:
    path = shared_data / "specs" / "lambda" / "openapi-1.8.3.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    text = path.read_text()
    listed_there = re.search(r'"PublicRegionCode":\s*\{[^}]*?"enum":\s*\[([^\]]*)\]', text, re.DOTALL)
    assert listed_there is not None
    assert sorted(re.findall(r'"([a-z0-9-]+)"', listed_there[1])) == list(REGIONS)
