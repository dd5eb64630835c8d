"""Whatever JSON a vendor answers with: a reading, or an error with a name; never a crash, never a made-up price."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from providers.coreweave import kube
from providers.coreweave.translate import node as kube_node
from providers.coreweave.translate import pool, verdict
from providers.lambda_cloud import client, names
from providers.lambda_cloud.translate import node, offer, types

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FACTS = Facts("lambda")
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object of which any field may be missing or junk."""
    return st.fixed_dictionaries({}, optional={name: value | JUNK for name, value in fields.items()}) | JUNK


TYPE = some(
    name=st.sampled_from(["gpu_1x_a10", "gpu_8x_a100"]),
    gpu_description=st.sampled_from(["A10 (24 GB PCIe)", "A100 (40 GB SXM4)"]),
    price_cents_per_hour=st.integers(-5, 5000),
    specs=some(vcpus=st.integers(0, 64), memory_gib=st.integers(0, 999), gpus=st.integers(-1, 8)),
)
REGION = some(name=st.sampled_from(["us-east-1", "mars"]))
TYPES = st.dictionaries(
    st.text(max_size=5),
    some(instance_type=TYPE, regions_with_capacity_available=st.lists(REGION, max_size=2)),
    max_size=3,
)
LEASE = names.new_lease_id("run-1-1", NOW)
INSTANCE = some(
    id=st.text(min_size=1, max_size=4),
    name=st.just(names.instance_name("me", LEASE, 0, 1)),
    status=st.sampled_from(["active", "terminated"]),
    region=REGION,
    instance_type=TYPE,
    tags=st.lists(some(key=st.just("isoflop-cents"), value=st.text(max_size=3)), max_size=2),
)
METADATA = some(
    name=st.just("p"),
    uid=st.just("u"),
    creationTimestamp=st.sampled_from(["2026-11-22T10:00:00Z", "now"]),
    annotations=some(),
    labels=some(),
)
CONDITION = some(type=st.sampled_from(["Capacity", "Quota", "Ready"]), status=st.sampled_from(["True", "False"]))
POOL = some(
    metadata=METADATA,
    spec=some(instanceType=st.just("t"), targetNodes=st.integers(0, 9), targetRacks=st.integers(0, 2)),
    status=some(currentNodes=st.integers(0, 9), conditions=st.lists(CONDITION, max_size=2)),
)
NODE = some(
    metadata=METADATA,
    spec=some(unschedulable=st.booleans(), taints=st.lists(some(key=st.text(max_size=3)), max_size=2)),
    status=some(conditions=st.lists(CONDITION, max_size=2), addresses=st.lists(some(), max_size=2)),
)


def test_a_number_beyond_all_numbers_is_none() -> None:
    found, told = types(Document({"a": {"instance_type": {"name": "a", "specs": {"gpus": 10**400}}}}, "types"))
    assert found == {}
    assert len(told) == 1


@given(TYPES)
@settings(max_examples=200)
def test_types_are_read_or_told_and_a_price_is_the_vendors(listing: dict[str, Any]) -> None:
    found, told = types(Document(listing, "types"))
    for kind in found.values():
        stated = [
            item["instance_type"]["price_cents_per_hour"]
            for item in listing.values()
            if isinstance(item, dict)
            and isinstance(item.get("instance_type"), dict)
            and item["instance_type"].get("name") == kind.name
        ]
        assert kind.cents > 0
        assert any(float(price) == kind.cents for price in stated)
        assert offer(kind, "us-east-1", facts=FACTS, now=NOW).usd_per_hour == kind.cents / 100
    assert len(found) + sum(int(line.split()[0]) for line in told if "left out" in line) <= len(listing)


@given(INSTANCE)
@settings(max_examples=200)
def test_an_instance_is_read_or_named(instance: Any) -> None:
    with suppress(Malformed):
        found = node(Document(instance, "instance"), "me", names.owner_digest("me"))
        assert found is None or found.mark.lease_id == LEASE


@given(POOL, NODE)
@settings(max_examples=200)
def test_pools_and_nodes_are_read_or_named(one: Any, another: Any) -> None:
    with suppress(Malformed):
        verdict(pool(Document(one, "pool")))
    with suppress(Malformed):
        kube_node(Document(another, "node"))


@given(st.sampled_from([200, 400, 401, 403, 404, 409, 429, 500, 503]), JUNK)
@settings(max_examples=200)
def test_every_answer_has_a_meaning(status: int, body: Any) -> None:
    meant = client.explain(status, {"error": body})
    assert meant is None or isinstance(meant, ProviderError)
    told = kube.explain(status, body if isinstance(body, dict) else {}, None)
    assert isinstance(told, ProviderError)
    assert not isinstance(told, TransientError) or told.retry_after_s >= 0
