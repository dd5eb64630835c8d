"""NodePools and nodes into leases; what a pool's status says of its purchase."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.lease import LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.kit.documents import Document, Malformed
from orchestrator.testing import builders
from providers.coreweave.client import Cluster
from providers.coreweave.pricing import region_of
from providers.coreweave.translate import (
    Node,
    Pool,
    Verdict,
    bought,
    lease,
    node,
    order,
    over,
    pool,
    pool_name,
    reclaim,
    verdict,
)

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CLUSTER = Cluster("c1", "training", "US-EAST-04A", "https://c1.example", usable=True)
OFFER = replace(
    builders.offer(),
    provider="coreweave",
    region="US-EAST-04",
    zone="US-EAST-04A",
    instance_type="gd-8xh100ib-i128",
    billing=Billing.SPOT,
    usd_per_hour=20.0,
)


def shown(*, status: object = None, **changes: object) -> Document:
    """The pool of an order as the API shows it."""
    asked = order(OFFER, 2, owner="me", token="run-1-1")
    metadata = {
        **asked["metadata"],  # type: ignore[dict-item]
        "uid": "u-1",
        "creationTimestamp": "2026-11-22T10:00:00Z",
        **changes,
    }
    return Document({**asked, "metadata": metadata, "status": status or {}}, "pool")


def of(**changes: object) -> Pool:
    return pool(shown())._replace(**changes)


def machine(name: str, **changes: object) -> Node:
    return Node(name, "u-1", f"10.0.0.{name}", ready=True, cordoned_at=None)._replace(**changes)


def test_an_order_is_a_pool_of_its_own_that_nobody_else_schedules_on() -> None:
    asked = order(OFFER, 2, owner="me", token="run-1-1")
    spec = asked["spec"]
    assert isinstance(spec, dict)
    assert (spec["computeClass"], spec["instanceType"], spec["targetNodes"]) == ("spot", "gd-8xh100ib-i128", 2)
    assert spec["autoscaling"] is False
    assert spec["nodeTaints"][0]["effect"] == "NoSchedule"


def test_the_name_of_a_pool_is_its_tokens_and_a_valid_one() -> None:
    name = pool_name("me", "run-1-1")
    assert name == pool_name("me", "run-1-1")
    assert len({name, pool_name("you", "run-1-1"), pool_name("me", "run-1-2")}) == 3
    assert len(name) <= 63


@pytest.mark.parametrize(("billing", "compute_class"), [(Billing.ON_DEMAND, "default"), (Billing.RESERVED, "default")])
def test_what_is_not_spot_is_of_the_default_class(billing: Billing, compute_class: str) -> None:
    spec = order(replace(OFFER, billing=billing), 1, owner="me", token="t")["spec"]
    assert isinstance(spec, dict)
    assert spec["computeClass"] == compute_class


def test_racks_are_asked_for_as_racks() -> None:
    spec = order(replace(OFFER, instance_type="gb200-4x"), 36, owner="me", token="t")["spec"]
    assert isinstance(spec, dict)
    assert spec["targetRacks"] == 2
    assert "targetNodes" not in spec


def test_a_pool_is_read_back_with_the_price_that_was_agreed() -> None:
    found = pool(shown(status={"currentNodes": 1, "inProgress": 1, "queuedNodes": 0}))
    assert (found.token, found.owner, found.target, found.spot) == ("run-1-1", "me", 2, True)
    held = lease(found, (), CLUSTER, bought(found) or builders.offer())
    assert (held.usd_per_hour, held.acquired_at, held.state) == (40.0, AT, LeaseState.BOOTING)
    assert held.id == f"c1/{found.name}/u-1"
    assert held.acquired_at.tzinfo is UTC


def test_a_note_that_somebody_changed_is_no_offer() -> None:
    assert bought(of(record="{}")) is None
    assert bought(of(record="")) is None


@pytest.mark.parametrize("changes", [{"uid": None}, {"creationTimestamp": "yesterday"}, {"name": 7}])
def test_a_pool_that_cannot_be_read_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        pool(shown(**changes))


CONDITIONS = {
    "sufficient": {"Capacity": ("True", "Sufficient", "")},
    "queued": {"Capacity": ("False", "QueuedAwaitingCapacity", "busy")},
    "no quota": {"Quota": ("False", "NotSet", "quota limit is 0"), "Capacity": ("False", "QueuedAwaitingCapacity", "")},
    "invalid": {"Validated": ("False", "Invalid", "no such type")},
    "under quota": {"Quota": ("True", "Under", "")},
    "none": {},
}


@pytest.mark.parametrize(
    ("conditions", "counts", "expected"),
    [
        ("none", (0, 0, 2), Verdict.OPEN),
        ("under quota", (0, 0, 2), Verdict.OPEN),
        ("none", (0, 2, 0), Verdict.SERVED),
        ("none", (1, 1, 0), Verdict.SERVED),
        ("sufficient", (0, 0, 2), Verdict.SERVED),
        ("queued", (0, 0, 2), Verdict.QUEUED),
        ("queued", (1, 0, 1), Verdict.QUEUED),
        ("no quota", (0, 0, 2), Verdict.OVER_QUOTA),
        ("invalid", (0, 0, 0), Verdict.INVALID),
    ],
)
def test_a_status_says_whether_the_nodes_come(conditions: str, counts: tuple[int, int, int], expected: Verdict) -> None:
    current, in_progress, queued = counts
    asked = of(conditions=CONDITIONS[conditions], current=current, in_progress=in_progress, queued=queued)
    assert verdict(asked)[0] is expected


def test_a_cordon_of_a_spot_node_is_a_reclaim_two_minutes_later() -> None:
    nodes = [machine("1"), machine("2", cordoned_at=AT)]
    assert reclaim(of(), nodes) == AT + timedelta(minutes=2)
    assert reclaim(of(spot=False), nodes) is None
    assert lease(of(), nodes, CLUSTER, OFFER).state is LeaseState.RECLAIMING
    assert lease(of(spot=False), nodes, CLUSTER, OFFER).state is LeaseState.READY


def test_a_pool_is_over_once_a_reclaim_that_was_seen_has_taken_a_node() -> None:
    assert not over(of(), [machine("1")])  # it may be booting
    assert not over(of(reclaimed="2026-11-22T10:02:00+00:00"), [machine("1"), machine("2")])
    assert over(of(reclaimed="2026-11-22T10:02:00+00:00"), [machine("1")])


def test_a_ready_pool_has_an_endpoint_for_every_node() -> None:
    held = lease(of(), [machine("2"), machine("1")], CLUSTER, OFFER)
    assert held.state is LeaseState.READY
    assert [point.address for point in held.endpoints] == ["10.0.0.1", "10.0.0.2"]
    assert {point.launcher for point in held.endpoints} == {"kubernetes"}
    assert dict(held.endpoints[0].env)["ISOFLOP_NODE"] == "1"


def test_a_pool_on_its_way_out_is_releasing() -> None:
    assert lease(of(deleting=True), [machine("1")], CLUSTER, OFFER).state is LeaseState.RELEASING


def test_a_node_is_read_with_its_address_and_its_cordon() -> None:
    document = {
        "metadata": {
            "name": "g1",
            "creationTimestamp": "2026-11-22T09:00:00Z",
            "labels": {"compute.coreweave.com/node-pool-uid": "u-1"},
        },
        "spec": {
            "unschedulable": True,
            "taints": [
                {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-22T10:00:00Z"}
            ],
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    assert node(Document(document, "node")) == Node("g1", "u-1", "10.0.0.1", ready=True, cordoned_at=AT)


@pytest.mark.parametrize(("zone", "region"), [("US-EAST-04A", "US-EAST-04"), ("RNO2A", "RNO2"), ("ORD1", "ORD1")])
def test_a_zone_is_in_a_region(zone: str, region: str) -> None:
    assert region_of(zone) == region
