"""The Google Cloud provider over HTTP, through Google's unmodified SDK, against a cloud that checks every call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="Google's SDK is not installed (extra gcp)")
pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

import yaml

from orchestrator.domain.errors import AuthError, TransientError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.faults import ALWAYS, Kind
from orchestrator.simulation.clouds.gcp.app import create
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key
from orchestrator.simulation.clouds.serving import Server, make_tls
from orchestrator.simulation.clouds.wire import Reply, Request
from tests.wire.gcp_cloud import Cloud, key, key_file, offer, pools, public_keys, served

ROLE = Path("docs/providers/gcp-role.yaml")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with served(tmp_path) as found:
        yield found


# Prices and what else is read


def test_every_price_is_the_markets_to_the_last_digit(cloud: Cloud) -> None:
    survey = cloud.provider().survey()
    assert {(o.label, o.usd_per_hour) for o in survey.book} == {
        (o.label, cloud.market.price(key(o))) for o in survey.book
    }
    assert len(survey.book) == len(cloud.market.pools)
    assert survey.gaps == ()


def test_devices_are_told_apart_exactly_and_a_share_is_a_share(cloud: Cloud) -> None:
    found = {o.instance_type: (o.accelerator, o.gpus) for o in cloud.provider().offers()}
    assert found["a2-highgpu-1g"] == ("A100-40GB", 1.0)
    assert found["a2-ultragpu-8g"] == ("A100-80GB", 8.0)
    assert found["a3-megagpu-8g"] == ("H100-SXM", 8.0)
    assert found["g4-standard-6"] == ("RTX-PRO-6000", 0.125)
    assert found["n1-standard-4+t4"] == ("T4", 1.0)


def test_what_google_sells_as_spot_alone_is_offered_as_spot_alone(cloud: Cloud) -> None:
    sold = {(o.instance_type, o.billing) for o in cloud.provider().offers()}
    for name in ("a3-highgpu-1g", "a4-highgpu-8g"):
        assert (name, Billing.SPOT) in sold
        assert (name, Billing.ON_DEMAND) not in sold


def test_a_refresh_takes_five_calls_and_the_prices_are_kept(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.offers()
    assert sum(cloud.wire.counts().values()) == 5
    provider.offers()
    assert cloud.wire.counts()["cloudbilling.services.skus.list"] == 1
    cloud.market.clock.advance(3601.0)
    provider.offers()
    assert cloud.wire.counts()["cloudbilling.services.skus.list"] == 2


def test_a_price_that_moves_is_seen_when_the_kept_ones_are_old(cloud: Cloud) -> None:
    provider = cloud.provider()
    before = offer(provider, "g2-standard-4").usd_per_hour
    cloud.market.move_prices(1.5, lambda moved: moved.instance_type == "g2-standard-4")
    assert offer(provider, "g2-standard-4").usd_per_hour == before
    cloud.market.clock.advance(3601.0)
    assert offer(provider, "g2-standard-4").usd_per_hour == pytest.approx(1.5 * before, rel=1e-9)


def test_ten_thousand_offers_come_in_pages_and_none_is_lost(tmp_path: Path) -> None:
    zones = [f"us-central{number // 4 + 1}-{'abcd'[number % 4]}" for number in range(320)]
    both = [pool for pool in pools() if pool.key.instance_type == "g2-standard-4"]
    sold = [
        replace(pool, key=pool.key._replace(region=zone[:-2], zone=zone, instance_type=name), vcpus=float(cpus))
        for zone in zones
        for pool in both
        for name, cpus in ((f"g2-standard-{cpus}", cpus) for cpus in range(4, 20))
    ]
    with served(tmp_path, sold=tuple(sold)) as cloud:
        book = cloud.provider().offers()
        assert len(book) == 10240
        assert cloud.wire.counts()["compute.machineTypes.aggregatedList"] == 11


def test_quotas_are_nodes_and_devices_without_a_metric_have_none(cloud: Cloud) -> None:
    cloud.market.set_quota("gcp", "NVIDIA_A100_80GB_GPUS", 20.0, "us-central1")
    cloud.market.set_quota("gcp", "PREEMPTIBLE_NVIDIA_H100_GPUS", 16.0, "us-central1")
    cloud.market.set_quota("gcp", "GPUS_ALL_REGIONS", 3.0)
    found = {(o.instance_type, o.billing, o.region): o.quota_nodes for o in cloud.provider().offers()}
    assert found["a2-ultragpu-8g", Billing.ON_DEMAND, "us-central1"] == 0  # three GPUs everywhere
    assert found["a2-highgpu-1g", Billing.ON_DEMAND, "europe-west4"] == 3
    assert found["a3-highgpu-8g", Billing.SPOT, "us-central1"] == 2
    assert found["a3-highgpu-8g", Billing.ON_DEMAND, "us-central1"] is None


def test_advice_is_asked_for_the_types_that_the_settings_name(cloud: Cloud) -> None:
    sold_out = Key("gcp", "us-central1", "us-central1-a", "a2-highgpu-1g", Billing.SPOT)
    cloud.market.set_capacity(sold_out, 0)
    survey = cloud.provider(advise=["a2-highgpu-1g", "a9-highgpu-1g"]).survey()
    found = {(o.region, o.instance_type, o.billing): o.obtainability for o in survey.book}
    assert found["europe-west4", "a2-highgpu-1g", Billing.SPOT] == 0.9
    assert found["us-central1", "a2-highgpu-1g", Billing.SPOT] == 0.1
    assert found["us-central1", "a2-highgpu-1g", Billing.ON_DEMAND] is None
    assert survey.gaps == ("a9-highgpu-1g: no such machine type to ask advice on",)
    assert cloud.wire.counts()["compute.advice.capacity"] == 2


def test_an_sdk_that_cannot_ask_for_advice_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("google.cloud.compute_v1.AdviceClient")
    survey = cloud.provider(advise=["a2-highgpu-1g"]).survey()
    assert survey.gaps == ("advice on capacity: the installed google-cloud-compute is too old to ask for it",)
    assert len(survey.book) == len(cloud.market.pools)


def test_regions_can_be_narrowed_and_an_unknown_one_is_a_gap(cloud: Cloud) -> None:
    survey = cloud.provider(regions=["europe-west4", "mars-north1"]).survey()
    assert set(survey.book.region.vocab) == {"europe-west4"}
    assert survey.gaps == ("mars-north1: no machines there; is there such a region?",)


def test_quotas_that_do_not_answer_are_a_gap_and_no_reason_to_sell_nothing(cloud: Cloud) -> None:
    cloud.fault(Kind.ERROR, "compute.regions.list", times=ALWAYS)
    survey = cloud.provider().survey()
    assert len(survey.book) == len(cloud.market.pools)
    assert [gap for gap in survey.gaps if gap.startswith("quotas: ")]


# Bad days


def test_a_key_that_google_does_not_know_is_an_auth_error_that_shows_nothing_of_it(tmp_path: Path) -> None:
    (account,) = public_keys()
    with served(tmp_path, accounts={account.replace("isoflop@", "other@"): "?"}, secret=key_file()) as cloud:
        with pytest.raises(AuthError, match="is the key right") as refused:
            cloud.provider().leases()
        assert "PRIVATE" not in str(refused.value)
        cloud.secret = json.dumps({"type": "service_account", "private_key": "canary"})
        with pytest.raises(AuthError, match="env:GCP_KEY") as refused:
            cloud.provider().leases()
        assert "canary" not in repr(refused.value) + repr(refused.value.__cause__)


def test_a_connection_that_cannot_be_trusted_is_named_and_a_trusted_one_works(tmp_path: Path, cloud: Cloud) -> None:
    tls = make_tls(tmp_path / "tls")
    with Server(create(cloud.market), tls=tls) as server:
        where = {"compute_endpoint": server.url, "billing_endpoint": server.url}
        with pytest.raises(TransientError, match="TLS"):
            cloud.provider(**where).leases()
        assert cloud.provider(**where, ca_file=str(tls.authority)).leases() == []


def test_nobody_there_is_transient(cloud: Cloud) -> None:
    with pytest.raises(TransientError):
        cloud.provider(compute_endpoint="http://127.0.0.1:9").leases()


@pytest.mark.parametrize("kind", [Kind.HTML, Kind.TRUNCATED, Kind.EMPTY_SUCCESS, Kind.ENDLESS, Kind.ERROR])
@pytest.mark.parametrize("what", ["compute.machineTypes.aggregatedList", "cloudbilling.services.skus.list"])
def test_a_list_that_cannot_be_read_is_transient_and_never_taken_for_an_empty_one(
    cloud: Cloud, kind: Kind, what: str
) -> None:
    cloud.fault(kind, what, times=ALWAYS)
    with pytest.raises(TransientError):
        cloud.provider().offers()


def test_another_project_is_an_auth_error(cloud: Cloud) -> None:
    with pytest.raises(AuthError):
        cloud.provider(project="somebody-elses").leases()


def test_the_role_of_the_docs_allows_the_calls_made_and_no_others(cloud: Cloud) -> None:
    provider = cloud.provider(control_cidr="203.0.113.7/32", advise=["g2-standard-4"])
    provider.acquire(offer(provider, "g2-standard-4"), 2, token="token", boot=Boot())
    moved = cloud.provider(control_cidr="198.51.100.0/24")
    lease = moved.acquire(offer(moved, "g2-standard-4"), 1, token="other", boot=Boot())
    cloud.market.clock.advance(120.0)
    moved.release(lease.id)
    moved.leases()
    needed = {permission for call in cloud.wire.counts() for permission in PERMISSIONS[call]}
    role = yaml.safe_load(ROLE.read_text())
    assert set(role["includedPermissions"]) == needed
    assert set(PERMISSIONS) == set(cloud.wire.counts())


# By Google's reference of Compute Engine's methods and what they need (from memory); the price list needs none.
PERMISSIONS = {
    "cloudbilling.services.skus.list": (),
    "compute.acceleratorTypes.aggregatedList": ("compute.acceleratorTypes.list",),
    "compute.machineTypes.aggregatedList": ("compute.machineTypes.list",),
    "compute.regions.list": ("compute.regions.list",),
    "compute.projects.get": ("compute.projects.get",),
    "compute.advice.capacity": ("compute.advice.capacity",),
    "compute.instances.insert": (
        "compute.instances.create",
        "compute.instances.setMetadata",
        "compute.instances.setTags",
        "compute.instances.setLabels",
        "compute.disks.create",
        "compute.subnetworks.use",
        "compute.subnetworks.useExternalIp",
    ),
    "compute.instances.delete": ("compute.instances.delete",),
    "compute.instances.get": ("compute.instances.get",),
    "compute.instances.aggregatedList": ("compute.instances.list",),
    "compute.zoneOperations.wait": ("compute.zoneOperations.get",),
    "compute.globalOperations.wait": ("compute.globalOperations.get",),
    "compute.globalOperations.aggregatedList": ("compute.globalOperations.list",),
    "compute.firewalls.get": ("compute.firewalls.get",),
    "compute.firewalls.insert": ("compute.firewalls.create", "compute.networks.updatePolicy"),
    "compute.firewalls.patch": ("compute.firewalls.update", "compute.networks.updatePolicy"),
}


def test_spot_is_never_said_to_last(cloud: Cloud) -> None:
    market: Market = cloud.market
    assert {o.interruption_rate for o in cloud.provider().offers() if o.billing is Billing.SPOT} == {None}
    assert {pool.volatility for pool in market.sold_by("gcp")} == {0.0}


def spoiled(cloud: Cloud, operation: str, spoil: Callable[[dict[str, Any]], None], status: int = 200) -> None:
    """Change the answers to an operation, within Google's description."""
    whole, own = cloud.wire.cloud.handle, cloud.wire.cloud

    def handle(request: Request) -> Reply:
        reply = whole(request)
        if own.operation(request) != operation:
            return reply
        body = json.loads(reply.body)
        spoil(body)
        return reply._replace(status=status, body=json.dumps(body).encode())

    cloud.wire.cloud.handle = handle  # type: ignore[method-assign]


def unreachable(body: dict[str, Any]) -> None:
    body["items"]["zones/us-central1-a"] = {"warning": {"code": "UNREACHABLE", "message": "no answer"}}
    body["unreachables"] = ["zones/europe-west4-b"]


def test_a_zone_that_does_not_answer_is_never_an_empty_one(cloud: Cloud) -> None:
    lease = cloud.bought()
    spoiled(cloud, "compute.instances.aggregatedList", unreachable)
    with pytest.raises(TransientError, match="us-central1-a, europe-west4-b"):
        cloud.provider().leases()
    cloud.provider().release(lease.id)  # asks for the machine itself


def test_a_zone_that_does_not_answer_about_machine_types_is_a_gap(cloud: Cloud) -> None:
    spoiled(cloud, "compute.machineTypes.aggregatedList", unreachable)
    survey = cloud.provider().survey()
    assert "us-central1-a" not in survey.book.zone.vocab
    assert {"us-central1-a: no answer", "europe-west4-b: no answer"} <= set(survey.gaps)


def test_a_project_that_is_not_found_is_no_proof_that_a_machine_is_gone(cloud: Cloud) -> None:
    lease = cloud.bought()

    def lost(body: dict[str, Any]) -> None:
        message = "Failed to find project isoflop-simulated"
        body.clear()
        body["error"] = {"code": 404, "message": message, "errors": [{"message": message, "reason": "notFound"}]}

    spoiled(cloud, "compute.instances.get", lost, status=404)
    with pytest.raises(AuthError, match="is there a project"):
        cloud.provider().release(lease.id)


def test_rows_of_the_price_list_that_cannot_be_prices_leave_machines_out_and_are_told(cloud: Cloud) -> None:
    def spoil(body: dict[str, Any]) -> None:
        for sku in body["skus"]:
            if "L4" in sku["description"]:
                sku["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]["unitPrice"].update(units="0", nanos=0)

    spoiled(cloud, "cloudbilling.services.skus.list", spoil)
    survey = cloud.provider().survey()
    assert not [o for o in survey.book if o.accelerator == "L4"]
    assert len(survey.book) == len(cloud.market.pools) - 2
    assert "2 prices of parts left out: not above 0" in survey.gaps


def test_a_machine_made_at_no_time_is_a_listing_that_cannot_be_read(cloud: Cloud) -> None:
    cloud.bought()

    def spoil(body: dict[str, Any]) -> None:
        for listed in body["items"].values():
            for instance in listed.get("instances", ()):
                instance["creationTimestamp"] = "yesterday"

    spoiled(cloud, "compute.instances.aggregatedList", spoil)
    with pytest.raises(TransientError, match="yesterday"):
        cloud.provider().leases()
