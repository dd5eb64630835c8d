"""The Google Cloud provider over HTTP, through Google's unmodified SDK, against a cloud that checks every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="Google's SDK is not installed (extra gcp)")
pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

import yaml

from orchestrator.domain.errors import AuthError, CapacityError, LeaseNotFound, QuotaError, Scope, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.gcp.app import create
from orchestrator.simulation.clouds.machines import End, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key
from orchestrator.simulation.clouds.serving import Server, make_tls
from providers.gcp.provider import GcpProvider
from tests.wire.gcp_cloud import Cloud, key_file, pools, public_keys, served

ROLE = Path("docs/providers/gcp-role.yaml")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with served(tmp_path) as found:
        yield found


def offer(provider: GcpProvider, instance_type: str, billing: Billing = Billing.SPOT) -> Offer:
    return next(o for o in provider.offers() if (o.instance_type, o.billing) == (instance_type, billing))


def key(of: Offer) -> Key:
    return Key("gcp", of.region, of.zone, of.instance_type, of.billing)


def held(cloud: Cloud) -> int:
    now = cloud.market.clock.now()
    return sum(machine.phase(now) is not Phase.GONE for machine in cloud.market.machines("gcp"))


def fault(cloud: Cloud, kind: Kind, operation: str = "*", *, times: int = 1, seconds: float = 0.0) -> None:
    cloud.market.script(Fault(provider="gcp", kind=kind, operation=operation, times=times, seconds=seconds))


def bought(cloud: Cloud, instance_type: str = "g2-standard-4", nodes: int = 1, boot: Boot | None = None) -> Lease:
    provider = cloud.provider()
    return provider.acquire(offer(provider, instance_type), nodes, token="token", boot=boot or Boot())


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


def test_long_lists_come_in_pages_and_no_row_is_lost(tmp_path: Path) -> None:
    zones = [f"us-central{number // 4 + 1}-{'abcd'[number % 4]}" for number in range(240)]
    (spot,) = (pool for pool in pools() if pool.key.instance_type == "g2-standard-4" and "spot" in pool.key)
    sold = [
        replace(spot, key=spot.key._replace(region=zone[:-2], zone=zone, instance_type=name), vcpus=cpus)
        for zone in zones
        for name, cpus in (("g2-standard-4", 4.0), ("g2-standard-8", 8.0), ("g2-standard-12", 12.0))
    ]
    with served(tmp_path, sold=tuple(sold)) as cloud:
        book = cloud.provider().offers()
        assert len(book) == 720
        assert cloud.wire.counts()["compute.machineTypes.aggregatedList"] == 2


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


def test_regions_can_be_narrowed_and_an_unknown_one_is_a_gap(cloud: Cloud) -> None:
    survey = cloud.provider(regions=["europe-west4", "mars-north1"]).survey()
    assert set(survey.book.region.vocab) == {"europe-west4"}
    assert survey.gaps == ("mars-north1: no machines there; is there such a region?",)


def test_quotas_that_do_not_answer_are_a_gap_and_no_reason_to_sell_nothing(cloud: Cloud) -> None:
    fault(cloud, Kind.ERROR, "compute.regions.list", times=ALWAYS)
    survey = cloud.provider().survey()
    assert len(survey.book) == len(cloud.market.pools)
    assert [gap for gap in survey.gaps if gap.startswith("quotas: ")]


# Buying


def test_a_gang_is_bought_whole_with_what_a_worker_needs(cloud: Cloud) -> None:
    lease = bought(cloud, "n1-standard-4+t4", 3, Boot(run_id="run-1", lifetime_s=7200.0))
    machines = cloud.market.machines("gcp")
    assert [machine.key.instance_type for machine in machines] == ["n1-standard-4+t4"] * 3
    asked = machines[2].extra
    assert asked["guestAccelerators"] == [
        {"acceleratorType": "zones/us-central1-b/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 1}
    ]
    assert asked["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert asked["scheduling"]["maxRunDuration"] == {"seconds": "7200"}
    metadata = {item["key"]: item["value"] for item in asked["metadata"]["items"]}
    assert metadata["block-project-ssh-keys"] == "TRUE"
    assert machines[2].tags["isoflop-token"] == "token"
    cloud.market.clock.advance(120.0)
    (ready,) = cloud.provider().leases()
    assert ready.state is LeaseState.READY
    assert ready.id == lease.id
    assert [point.address for point in ready.endpoints] == [machine.address for machine in machines]
    assert all(Path(point.identity).exists() and point.host_key for point in ready.endpoints)


def test_google_ends_the_machine_at_its_lifetime_even_if_we_never_do(cloud: Cloud) -> None:
    bought(cloud, boot=Boot(lifetime_s=3600.0))
    cloud.market.clock.advance(3600.0 + 300.0)
    assert cloud.provider().leases() == []
    assert cloud.market.machines("gcp")[0].end is End.LIFETIME


def test_a_stock_out_inside_the_operation_is_a_capacity_error_and_the_rest_of_the_gang_is_deleted(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    cloud.market.set_capacity(key(cheap), 2)
    with pytest.raises(CapacityError, match="ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS") as refused:
        provider.acquire(cheap, 3, token="token", boot=Boot())
    assert refused.value.scope is Scope.ZONE
    assert cloud.wire.counts()["compute.instances.delete"] == 3
    cloud.market.clock.advance(60.0)
    assert held(cloud) == 0


def test_the_same_token_tries_anew_after_a_stock_out_though_google_remembers_the_request(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    cloud.market.set_capacity(key(cheap), 0)
    with pytest.raises(CapacityError):
        provider.acquire(cheap, 1, token="token", boot=Boot())
    cloud.market.set_capacity(key(cheap), 1)
    assert provider.acquire(cheap, 1, token="token", boot=Boot()).token == "token"
    assert held(cloud) == 1


@pytest.mark.parametrize(
    ("quota", "region", "scope"),
    [("NVIDIA_L4_GPUS", "us-central1", Scope.REGION), ("GPUS_ALL_REGIONS", "", Scope.PROVIDER)],
)
def test_a_used_up_quota_says_how_far_it_reaches(cloud: Cloud, quota: str, region: str, scope: Scope) -> None:
    cloud.market.set_quota("gcp", quota, 1.0, region)
    provider = cloud.provider()
    with pytest.raises(QuotaError, match=quota) as refused:
        provider.acquire(offer(provider, "g2-standard-4"), 2, token="token", boot=Boot())
    assert refused.value.scope is scope
    cloud.market.clock.advance(60.0)
    assert held(cloud) == 0


def test_a_purchase_in_doubt_is_found_again_also_after_google_forgot_the_request(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    fault(cloud, Kind.LOST_RESPONSE, "compute.instances.insert")
    fault(cloud, Kind.HIDE, seconds=90000.0)  # never in a listing: the name alone finds it
    with pytest.raises(TransientError):
        provider.acquire(cheap, 2, token="token", boot=Boot())
    cloud.market.clock.advance(4000.0)
    lease = cloud.provider().acquire(cheap, 2, token="token", boot=Boot())
    assert lease.nodes == 2
    assert held(cloud) == 2


def test_a_launch_is_sent_once(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    fault(cloud, Kind.ERROR, "compute.instances.insert", times=ALWAYS)
    with pytest.raises(TransientError):
        provider.acquire(cheap, 1, token="token", boot=Boot())
    assert cloud.wire.counts()["compute.instances.insert"] == 1


def test_reads_are_tried_again_and_a_throttled_one_waits(cloud: Cloud) -> None:
    provider = cloud.provider()
    fault(cloud, Kind.THROTTLE, "compute.instances.aggregatedList", times=3)
    before = cloud.market.clock.now()
    assert provider.leases() == []
    assert (cloud.market.clock.now() - before).total_seconds() >= 15.0
    fault(cloud, Kind.THROTTLE, "compute.instances.aggregatedList", times=4)
    with pytest.raises(TransientError, match="Rate Limit Exceeded"):
        provider.leases()


def test_the_firewall_is_opened_once_to_the_control_plane_alone_and_follows_it(cloud: Cloud) -> None:
    provider = cloud.provider(control_cidr="203.0.113.7/32")
    cheap = offer(provider, "g2-standard-4")
    provider.acquire(cheap, 1, token="one", boot=Boot())
    provider.acquire(cheap, 1, token="two", boot=Boot())
    assert cloud.wire.counts()["compute.firewalls.insert"] == 1
    assert cloud.wire.counts()["compute.firewalls.get"] == 1
    tags = {tag for machine in cloud.market.machines("gcp") for tag in machine.extra["tags"]["items"]}
    moved = cloud.provider(control_cidr="198.51.100.0/24")
    moved.acquire(cheap, 1, token="three", boot=Boot())
    assert cloud.wire.counts()["compute.firewalls.patch"] == 1
    rule = moved._client.rule(tags.pop())
    assert rule is not None
    assert (rule.sources, rule.ports) == (("198.51.100.0/24",), ("22",))


def test_labels_hold_what_google_allows_and_the_lease_says_the_token_as_it_was(cloud: Cloud) -> None:
    provider = cloud.provider(owner="Team A/prod")
    lease = provider.acquire(offer(provider, "g2-standard-4"), 1, token="Run 7: Ünïcode!", boot=Boot())
    assert (lease.owner, lease.token) == ("Team A/prod", "Run 7: Ünïcode!")
    assert [found.id for found in provider.leases()] == [lease.id]


# Losing and giving back


def test_a_preemption_is_announced_and_then_the_machine_is_gone(cloud: Cloud) -> None:
    lease = bought(cloud)
    cloud.market.clock.advance(120.0)
    cloud.market.end(1, End.PREEMPTED, notice_s=30.0)
    provider = cloud.provider()
    (notice,) = provider.reclaims()
    assert notice.lease_id == lease.id
    assert (notice.at - cloud.market.clock.now()).total_seconds() == 30.0
    assert provider.leases()[0].state is LeaseState.RECLAIMING
    cloud.market.clock.advance(120.0)
    assert provider.reclaims() == []
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)


def test_a_gang_that_lost_a_machine_is_no_use_and_keeps_its_id(cloud: Cloud) -> None:
    lease = bought(cloud, nodes=2)
    cloud.market.clock.advance(1000.0)
    cloud.market.end(1, End.PREEMPTED)  # the first machine, whose number the id holds
    cloud.market.clock.advance(60.0)
    provider = cloud.provider()
    (left,) = provider.leases()
    assert (left.id, left.state) == (lease.id, LeaseState.RECLAIMING)
    assert [notice.lease_id for notice in provider.reclaims()] == [lease.id]
    provider.release(lease.id)
    cloud.market.clock.advance(60.0)
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)
    assert held(cloud) == 0


def test_a_release_is_not_a_reclaim(cloud: Cloud) -> None:
    lease = bought(cloud)
    cloud.market.clock.advance(120.0)
    provider = cloud.provider()
    provider.release(lease.id)
    assert provider.leases()[0].state is LeaseState.RELEASING
    assert provider.reclaims() == []


def test_keys_of_a_lease_that_is_gone_are_forgotten(cloud: Cloud) -> None:
    lease = bought(cloud)
    assert list(cloud.folder.rglob("login"))
    cloud.provider().release(lease.id)
    cloud.market.clock.advance(60.0)
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)
    assert not list(cloud.folder.rglob("login"))


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
    fault(cloud, kind, what, times=ALWAYS)
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
