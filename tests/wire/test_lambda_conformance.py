"""The simulated Lambda under whatever its vendor's description allows, sent by schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.lambda_cloud import app
from orchestrator.simulation.clouds.lambda_cloud.spec import FILE, UNDOCUMENTED, Spec
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.clock import EPOCH
from tests.wire.lambda_account import SPECS

CALLS = (
    "listInstances",
    "getInstance",
    "postInstance",
    "listInstanceTypes",
    "launchInstance",
    "restartInstance",
    "terminateInstance",
    "listSSHKeys",
    "addSSHKey",
    "deleteSSHKey",
    "listFilesystems",
    "listImages",
    "firewallRulesetsList",
    "createFirewallRuleset",
    "getFirewallRuleset",
    "updateFirewallRuleset",
    "deleteFirewallRuleset",
)
EXAMPLES = 12  # of each call


@pytest.fixture(scope="module")
def specs() -> Path:
    if not (SPECS / FILE).is_file():
        pytest.skip("Lambda's OpenAPI description is not at hand: name its folder in ISOFLOP_SPECS")
    return SPECS


@pytest.fixture(scope="module")
def wire(specs: Path) -> Wire:
    pool = Pool(
        key=Key("lambda", "us-east-1", "", "gpu_8x_a100", Billing.ON_DEMAND),
        accelerator="A100-40GB",
        gpus=8,
        vcpus=124,
        host_memory_gib=1800,
        usd_per_hour=15.92,
        capacity=2,
    )
    return app.create(Market((pool,), seed=1, clock=MarketClock(EPOCH)), specs=specs, rates=False)


@pytest.fixture(scope="module")
def server(wire: Wire) -> Iterator[Server]:
    with Server(wire) as server:
        yield server


@pytest.mark.parametrize("call", CALLS)
def test_every_answer_is_one_that_the_description_allows(call: str, specs: Path, wire: Wire, server: Server) -> None:
    document = {**Spec(specs).document, "servers": [{"url": "/"}]}
    schema = schemathesis.openapi.from_dict(document)
    operation = next(
        found.ok()
        for found in schema.get_all_operations()
        if isinstance(found, Ok) and found.ok().definition.raw["operationId"] == call
    )
    documented = operation.definition.raw["responses"].keys()
    answered: set[int] = set()

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def drive(case: schemathesis.Case) -> None:
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {app.KEY}"})
        answered.add(response.status_code)
        assert response.status_code < 500
        if str(response.status_code) not in documented:
            assert response.status_code in UNDOCUMENTED
        else:
            checks = [content_type_conformance, response_headers_conformance, response_schema_conformance]
            case.validate_response(response, checks=checks)

    drive()
    assert answered
    assert wire.nonconforming == []


def test_without_a_key_nothing_is_answered(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        answer = http.get("/api/v1/instances")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "global/invalid-api-key")


def test_what_the_description_no_longer_has_is_refused(wire: Wire, server: Server) -> None:
    """Older clients still send `quantity`; nobody knows what it would do now."""
    order = {"region_name": "us-east-1", "instance_type_name": "gpu_8x_a100", "ssh_key_names": ["k"], "quantity": 2}
    with httpx.Client(base_url=server.url, trust_env=False, headers={"authorization": f"Bearer {app.KEY}"}) as http:
        answer = http.post("/api/v1/instance-operations/launch", json=order)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "global/invalid-parameters")
    assert "quantity" in answer.json()["error"]["message"]
    assert wire.nonconforming == []
