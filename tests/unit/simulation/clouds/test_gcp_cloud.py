"""The simulated Google Cloud refuses what Google's own description does not allow, and answers within it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.gcp.app import PROJECT, create
from orchestrator.simulation.clouds.gcp.parts import priced_by_parts
from orchestrator.simulation.clouds.machines import End
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.wire import Reply, Request, Wire

ZONE = "us-central1-a"
BASE = f"/compute/v1/projects/{PROJECT}"
INSTANCES = f"{BASE}/zones/{ZONE}/instances"
ORDER: Mapping[str, Any] = {
    "name": "one",
    "machineType": f"zones/{ZONE}/machineTypes/g2-standard-4",
    "scheduling": {"provisioningModel": "SPOT", "onHostMaintenance": "TERMINATE", "automaticRestart": False},
    "disks": [{"boot": True, "initializeParams": {"sourceImage": "projects/p/global/images/i", "diskSizeGb": "100"}}],
    "networkInterfaces": [{"network": "global/networks/default"}],
}
REQUEST_ID = "0b6a6a5e-3f0e-5d1e-9d9e-1f6f0e6f7a01"


def pool(name: str, billing: Billing, usd: float, *, gpus: float = 1.0, vcpus: float = 4.0, gib: float = 16.0) -> Pool:
    key = Key("gcp", "us-central1", ZONE, name, billing)
    return Pool(
        key=key, accelerator="", gpus=gpus, vcpus=vcpus, host_memory_gib=gib, usd_per_hour=usd, capacity=2, boot_s=60.0
    )


@pytest.fixture
def wire() -> Wire:
    sold = priced_by_parts(
        (
            pool("g2-standard-4", Billing.SPOT, 0.4),
            pool("g2-standard-4", Billing.ON_DEMAND, 0.7),
            pool("a3-highgpu-1g", Billing.SPOT, 6.3, vcpus=26.0, gib=234.0),
            pool("n1-standard-4+t4", Billing.SPOT, 0.2, gib=15.0),
        )
    )
    return create(Market(sold, seed=1, clock=MarketClock(datetime(2026, 11, 1, tzinfo=UTC)), hazards=False))


def call(wire: Wire, method: str, path: str, body: object = None, **query: str) -> tuple[int, dict[str, Any]]:
    raw = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, path, tuple(query.items()), {}, raw, "http://127.0.0.1")
    reply, _ = wire.answer(request)
    assert wire.nonconforming == []
    return reply.status, json.loads(reply.body)


def reason(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["errors"][0]["reason"]


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in ORDER.items() if name != field}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**ORDER, "bogus": 1}, "bogus"),
        ({**ORDER, "scheduling": {"provisioningModel": "SPOTT"}}, "SPOTT"),
        ({**ORDER, "labels": {"a": 1}}, "labels"),
        ({**ORDER, "labels": {"a": "Upper"}}, "lower-case"),
        ({**ORDER, "name": "Upper"}, "regex"),
        (without("name"), "name"),
        (without("disks"), "Boot disk"),
        (without("networkInterfaces"), "network interface"),
        ({**ORDER, "scheduling": {"provisioningModel": "SPOT", "automaticRestart": False}}, "live migration"),
        ({**ORDER, "scheduling": {**ORDER["scheduling"], "automaticRestart": True}}, "automaticRestart"),
        ({**ORDER, "scheduling": {**ORDER["scheduling"], "maxRunDuration": {"seconds": "60"}}}, "instanceTermination"),
        ({**ORDER, "machineType": "zones/elsewhere/machineTypes/g2-standard-4"}, "zone"),
        (
            {
                **ORDER,
                "guestAccelerators": [{"acceleratorType": f"zones/{ZONE}/acceleratorTypes/x", "acceleratorCount": 1}],
            },
            "own",
        ),
        ({**ORDER, "machineType": f"zones/{ZONE}/machineTypes/n1-standard-4"}, "not sold"),
        (
            {
                **ORDER,
                "machineType": f"zones/{ZONE}/machineTypes/a3-highgpu-1g",
                "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": False},
            },
            "not sold as on-demand",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_google_would_refuse_is_refused(wire: Wire, body: Mapping[str, Any], words: str) -> None:
    status, answer = call(wire, "POST", INSTANCES, body)
    assert status == 400
    assert words in answer["error"]["message"]
    assert wire.market.machines("gcp") == ()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"bogus": "1"}, "bogus"),
        ({"maxResults": "many"}, "maxResults"),
        ({"maxResults": "501"}, "maxResults"),
        ({"pageToken": "!!"}, "pageToken"),
        ({"filter": "name what"}, "filter"),
        ({"filter": 'name eq "("'}, "filter"),
        ({"includeAllScopes": "perhaps"}, "includeAllScopes"),
    ],
)
def test_a_query_that_google_would_refuse_is_refused(wire: Wire, query: dict[str, str], words: str) -> None:
    status, answer = call(wire, "GET", f"{BASE}/aggregated/machineTypes", **query)
    assert status == 400
    assert words in answer["error"]["message"]


def test_what_every_generated_client_sends_is_taken(wire: Wire) -> None:
    query = {"$alt": "json;enum-encoding=int", "prettyPrint": "false"}
    assert call(wire, "GET", "/v1/services/6F81-5844-456A/skus", **query)[0] == 200


def test_a_path_that_google_does_not_have_and_a_method_that_is_not_simulated_say_so(wire: Wire) -> None:
    assert reason(call(wire, "GET", "/compute/v1/nothing")) == (404, "notFound")
    assert reason(call(wire, "GET", f"{BASE}/global/snapshots")) == (501, "notImplemented")


def test_an_operation_is_pending_then_runs_then_is_done(wire: Wire) -> None:
    _, begun = call(wire, "POST", INSTANCES, ORDER, requestId=REQUEST_ID)
    path = f"{BASE}/zones/{ZONE}/operations/{begun['name']}"
    stands = [begun["status"]]
    for seconds in (1.0, 7.0):
        wire.market.clock.advance(seconds)
        stands.append(call(wire, "POST", f"{path}/wait")[1]["status"])
    assert stands == ["PENDING", "RUNNING", "DONE"]


def test_the_same_request_id_gives_the_same_operation_for_an_hour(wire: Wire) -> None:
    _, first = call(wire, "POST", INSTANCES, ORDER, requestId=REQUEST_ID)
    _, again = call(wire, "POST", INSTANCES, ORDER, requestId=REQUEST_ID)
    assert again["name"] == first["name"]
    wire.market.clock.advance(3601.0)
    assert reason(call(wire, "POST", INSTANCES, ORDER, requestId=REQUEST_ID)) == (409, "alreadyExists")
    assert len(wire.market.machines("gcp")) == 1


@pytest.mark.parametrize("request_id", ["x", "00000000-0000-0000-0000-000000000000"])
def test_a_request_id_is_a_uuid(wire: Wire, request_id: str) -> None:
    assert reason(call(wire, "POST", INSTANCES, ORDER, requestId=request_id)) == (400, "invalid")


def test_a_stock_out_is_inside_the_operation(wire: Wire) -> None:
    wire.market.set_capacity(Key("gcp", "us-central1", ZONE, "g2-standard-4", Billing.SPOT), 0)
    status, begun = call(wire, "POST", INSTANCES, ORDER)
    assert (status, begun["status"]) == (200, "PENDING")
    wire.market.clock.advance(10.0)
    _, done = call(wire, "GET", f"{BASE}/zones/{ZONE}/operations/{begun['name']}")
    assert done["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert done["httpErrorStatusCode"] == 503
    assert reason(call(wire, "GET", f"{INSTANCES}/one")) == (404, "notFound")


def test_a_regions_quota_is_refused_at_once_and_the_projects_in_the_operation(wire: Wire) -> None:
    wire.market.set_quota("gcp", "NVIDIA_L4_GPUS", 0.0, "us-central1")
    assert reason(call(wire, "POST", INSTANCES, ORDER)) == (403, "quotaExceeded")
    wire.market.set_quota("gcp", "NVIDIA_L4_GPUS", 1.0, "us-central1")
    wire.market.set_quota("gcp", "GPUS_ALL_REGIONS", 0.0)
    _, begun = call(wire, "POST", INSTANCES, ORDER)
    wire.market.clock.advance(10.0)
    _, done = call(wire, "GET", f"{BASE}/zones/{ZONE}/operations/{begun['name']}")
    assert done["error"]["errors"][0]["code"] == "QUOTA_EXCEEDED"
    assert "globally" in done["error"]["errors"][0]["message"]


def test_spot_has_a_quota_of_its_own_where_the_project_has_one(wire: Wire) -> None:
    wire.market.set_quota("gcp", "PREEMPTIBLE_NVIDIA_L4_GPUS", 8.0, "us-central1")
    wire.market.set_quota("gcp", "NVIDIA_L4_GPUS", 0.0, "us-central1")
    assert call(wire, "POST", INSTANCES, ORDER)[0] == 200


def test_zones_without_results_carry_a_warning(wire: Wire) -> None:
    _, listed = call(wire, "GET", f"{BASE}/aggregated/instances")
    assert listed["items"][f"zones/{ZONE}"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"


def test_lists_lag_behind_a_purchase_and_a_get_does_not(wire: Wire) -> None:
    wire.market.script(Fault(provider="gcp", kind=Kind.HIDE, seconds=45.0))
    call(wire, "POST", INSTANCES, ORDER)
    assert "instances" not in call(wire, "GET", f"{BASE}/aggregated/instances")[1]["items"][f"zones/{ZONE}"]
    assert call(wire, "GET", f"{INSTANCES}/one")[0] == 200
    wire.market.clock.advance(45.0)
    assert call(wire, "GET", f"{BASE}/aggregated/instances")[1]["items"][f"zones/{ZONE}"]["instances"]


def test_a_preemption_is_an_operation_of_the_systems_own(wire: Wire) -> None:
    call(wire, "POST", INSTANCES, ORDER)
    wire.market.clock.advance(120.0)
    wire.market.end(1, End.PREEMPTED, notice_s=30.0)
    assert call(wire, "GET", f"{INSTANCES}/one")[1]["status"] == "STOPPING"
    query = {"filter": 'operationType="compute.instances.preempted"'}
    _, listed = call(wire, "GET", f"{BASE}/aggregated/operations", **query)
    (operation,) = listed["items"][f"zones/{ZONE}"]["operations"]
    assert operation["targetLink"].endswith("/instances/one")
    assert operation["user"] == "system"
    wire.market.clock.advance(60.0)
    assert call(wire, "GET", f"{INSTANCES}/one")[0] == 404


def test_a_machine_comes_up_step_by_step_and_a_deletion_takes_its_time(wire: Wire) -> None:
    call(wire, "POST", INSTANCES, ORDER)
    seen = []
    for seconds in (0.0, 10.0, 120.0):
        wire.market.clock.advance(seconds)
        seen.append(call(wire, "GET", f"{INSTANCES}/one")[1]["status"])
    _, begun = call(wire, "DELETE", f"{INSTANCES}/one")
    seen.append(call(wire, "GET", f"{INSTANCES}/one")[1]["status"])
    assert seen == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING"]
    wire.market.clock.advance(30.0)
    assert call(wire, "GET", f"{BASE}/zones/{ZONE}/operations/{begun['name']}")[1]["status"] == "DONE"
    assert reason(call(wire, "DELETE", f"{INSTANCES}/one")) == (404, "notFound")


@pytest.mark.parametrize(
    "body", [{"name": "r"}, {"name": "r", "allowed": [{"IPProtocol": "tcp"}], "sourceRanges": ["x"]}]
)
def test_a_firewall_rule_that_means_nothing_is_refused(wire: Wire, body: Mapping[str, Any]) -> None:
    assert reason(call(wire, "POST", f"{BASE}/global/firewalls", body)) == (400, "invalid")


def test_an_answer_outside_googles_description_is_a_fault_of_the_simulator(wire: Wire) -> None:
    bad = json.dumps({"kind": "compute#project", "nonsense": 1}).encode()
    request = Request("GET", BASE, BASE, (), {}, b"", "http://127.0.0.1")
    wire.cloud.handle = lambda _: Reply(200, bad)  # type: ignore[method-assign]
    reply, _ = wire.answer(request)
    assert reply.status == 500
    assert "nonsense" in wire.nonconforming[0]
