"""The simulated clusters behave like a Kubernetes API server, as its official client sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator
from kubernetes.client import ApiClient, Configuration, CoreV1Api, CustomObjectsApi, V1DeleteOptions, V1Preconditions
from kubernetes.client.exceptions import ApiException

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.coreweave import app
from orchestrator.simulation.clouds.coreweave.selectors import matches
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.testing.clock import EPOCH

KIND = ("compute.coreweave.com", "v1alpha1", "nodepools")
CLOCK_S = 60.0


class Cluster:
    def __init__(self, market: Market, url: str) -> None:
        self.market, self.url = market, url
        with httpx.Client(trust_env=False, headers={"authorization": f"Bearer {app.TOKEN}"}) as http:
            self.clusters = http.get(f"{url}/v1beta1/cks/clusters").json()
        configuration = Configuration(host=self.clusters["items"][0]["apiServerEndpoint"])
        configuration.api_key = {"authorization": f"Bearer {app.TOKEN}"}
        client = ApiClient(configuration)
        self.objects, self.core = CustomObjectsApi(client), CoreV1Api(client)

    def create(self, name: str = "one", **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "compute.coreweave.com/v1alpha1",
            "kind": "NodePool",
            "metadata": {"name": name, "labels": {"team": name}},
            "spec": {"instanceType": "gd-8xh100ib-i128", "targetNodes": 1, **spec},
        }
        made: dict[str, Any] = self.objects.create_cluster_custom_object(*KIND, body)
        return made

    def patch(self, name: str, body: object, kind: str = "application/merge-patch+json") -> dict[str, Any]:
        patched: dict[str, Any] = self.objects.patch_cluster_custom_object(*KIND, name, body, _content_type=kind)
        return patched


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    pool = Pool(
        key=Key("coreweave", "US-EAST-04", "US-EAST-04A", "gd-8xh100ib-i128", Billing.ON_DEMAND),
        accelerator="H100-SXM",
        gpus=8,
        vcpus=128,
        host_memory_gib=2048,
        usd_per_hour=49.24,
        capacity=3,
        boot_s=20.0,
    )
    market = Market((pool,), seed=1, clock=MarketClock(EPOCH))
    wire = app.create(market)
    with Server(wire) as server:
        yield Cluster(market, server.url)
    assert wire.nonconforming == []


def refused(error: pytest.ExceptionInfo[ApiException]) -> tuple[int, str]:
    body = json.loads(error.value.body)
    assert body["kind"] == "Status"
    return error.value.status, body["reason"]


def test_a_name_is_taken_once(cluster: Cluster) -> None:
    made = cluster.create()
    assert made["metadata"]["generation"] == 1
    with pytest.raises(ApiException) as error:
        cluster.create()
    assert refused(error) == (409, "AlreadyExists")


@pytest.mark.parametrize(
    "spec",
    [
        {"instanceType": "no-such-type"},
        {"targetNodes": -1},
        {"targetNodes": "one"},
        {"targetRacks": 1},
        {"computeClass": "cheap"},
        {"misspelt": True},
        {"gpu": {"version": "580"}, "image": {"name": "ubuntu"}},
        {"nodeTaints": [{"key": "a", "effect": "Never"}]},
    ],
)
def test_what_the_documentation_does_not_have_is_refused(cluster: Cluster, spec: dict[str, Any]) -> None:
    with pytest.raises(ApiException) as error:
        cluster.create(**spec)
    assert refused(error) == (422, "Invalid")


def test_a_merge_patch_scales_and_the_type_never_changes(cluster: Cluster) -> None:
    first = cluster.create()
    scaled = cluster.patch("one", {"spec": {"targetNodes": 2}})
    assert (scaled["spec"]["targetNodes"], scaled["metadata"]["generation"]) == (2, 2)
    assert scaled["metadata"]["uid"] == first["metadata"]["uid"]
    with pytest.raises(ApiException) as error:
        cluster.patch("one", {"spec": {"instanceType": "gd-8xa100-i128"}})
    assert refused(error) == (422, "Invalid")
    with pytest.raises(ApiException) as error:
        cluster.patch("one", [{"op": "remove", "path": "/spec"}], "application/json-patch+json")
    assert refused(error) == (415, "UnsupportedMediaType")
    with pytest.raises(ApiException) as error:
        cluster.patch("one", {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}})
    assert refused(error) == (409, "Conflict")


def test_nodes_come_after_their_boot_and_go_with_their_pool(cluster: Cluster) -> None:
    made = cluster.create(targetNodes=2)
    assert "conditions" in made["status"]
    cluster.market.clock.advance(CLOCK_S)
    cluster.objects.get_cluster_custom_object(*KIND, "one")
    cluster.market.clock.advance(CLOCK_S)
    status = cluster.objects.get_cluster_custom_object(*KIND, "one")["status"]
    assert (status["currentNodes"], status["inProgress"], status["queuedNodes"]) == (2, 0, 0)
    nodes = cluster.core.list_node(label_selector="compute.coreweave.com/node-pool=one").items
    assert len({node.status.addresses[0].address for node in nodes}) == 2
    cluster.objects.delete_cluster_custom_object(*KIND, "one")
    going = cluster.objects.get_cluster_custom_object(*KIND, "one")
    assert going["metadata"]["finalizers"]
    cluster.market.clock.advance(CLOCK_S)
    with pytest.raises(ApiException) as error:
        cluster.objects.get_cluster_custom_object(*KIND, "one")
    assert refused(error) == (404, "NotFound")


def test_a_delete_with_anothers_uid_deletes_nothing(cluster: Cluster) -> None:
    cluster.create()
    with pytest.raises(ApiException) as error:
        cluster.objects.delete_cluster_custom_object(
            *KIND, "one", body=V1DeleteOptions(preconditions=V1Preconditions(uid="another"))
        )
    assert refused(error) == (409, "Conflict")


def test_lists_have_pages_and_selectors(cluster: Cluster) -> None:
    for name in ("a", "b", "c"):
        cluster.create(name)
    first = cluster.objects.list_cluster_custom_object(*KIND, limit=2)
    rest = cluster.objects.list_cluster_custom_object(*KIND, limit=2, _continue=first["metadata"]["continue"])
    assert [item["metadata"]["name"] for page in (first, rest) for item in page["items"]] == ["a", "b", "c"]
    some = cluster.objects.list_cluster_custom_object(*KIND, label_selector="team in (a, c)")
    assert [item["metadata"]["name"] for item in some["items"]] == ["a", "c"]


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("a=1", True),
        ("a==2", False),
        ("a!=2", True),
        ("b", False),
        ("!b", True),
        ("a in (1, 2),!b", True),
        ("a notin (1)", False),
    ],
)
def test_a_selector_is_read_as_kubernetes_does(selector: str, holds: bool) -> None:
    assert matches({"a": "1"}, selector) is holds


def test_a_watch_tells_what_happened_since(cluster: Cluster) -> None:
    made = cluster.create()
    cluster.patch("one", {"spec": {"targetNodes": 2}})
    path = f"{cluster.clusters['items'][0]['apiServerEndpoint']}/apis/{'/'.join(KIND)}"
    with httpx.Client(trust_env=False, headers={"authorization": f"Bearer {app.TOKEN}"}) as http:
        answer = http.get(path, params={"watch": "true", "resourceVersion": made["metadata"]["resourceVersion"]})
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [(event["type"], event["object"]["spec"]["targetNodes"]) for event in events] == [("MODIFIED", 2)]


def test_clusters_are_what_the_published_stub_says(cluster: Cluster, shared_data: Path) -> None:
    path = shared_data / "specs" / "coreweave" / "coreweave-openapi.yml"
    if not path.is_file():
        pytest.skip(f"no {path}")
    stub = yaml.safe_load(path.read_text())
    assert list(stub["paths"]) == ["/v1beta1/cks/clusters", "/v1beta1/cks/clusters/{id}"]
    validator = Draft202012Validator(stub["components"]["schemas"]["Cluster"])
    assert cluster.clusters["items"]
    for item in cluster.clusters["items"]:
        validator.validate(item)
