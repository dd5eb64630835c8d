"""Machines of the simulated Google Cloud bought, lost and given back through Google's unmodified SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="Google's SDK is not installed (extra gcp)")
pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")


from orchestrator.domain.errors import CapacityError, LeaseNotFound, QuotaError, Scope, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.simulation.clouds.faults import ALWAYS, Kind
from orchestrator.simulation.clouds.machines import End
from tests.wire.gcp_cloud import Cloud, key, offer, served


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with served(tmp_path) as found:
        yield found


# Buying


def test_a_gang_is_bought_whole_with_what_a_worker_needs(cloud: Cloud) -> None:
    lease = cloud.bought("n1-standard-4+t4", 3, Boot(run_id="run-1", lifetime_s=7200.0))
    machines = cloud.market.machines("gcp")
    assert [machine.key.instance_type for machine in machines] == ["n1-standard-4+t4"] * 3
    asked = machines[2].extra
    (guest,) = asked["guestAccelerators"]
    assert guest["acceleratorType"].endswith("/zones/us-central1-b/acceleratorTypes/nvidia-tesla-t4")
    assert guest["acceleratorCount"] == 1
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
    cloud.bought(boot=Boot(lifetime_s=3600.0))
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
    assert cloud.wire.counts()["compute.instances.delete"] == 2
    cloud.market.clock.advance(60.0)
    assert cloud.held == 0


def test_the_same_token_tries_anew_after_a_stock_out_though_google_remembers_the_request(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    cloud.market.set_capacity(key(cheap), 0)
    with pytest.raises(CapacityError):
        provider.acquire(cheap, 1, token="token", boot=Boot())
    cloud.market.set_capacity(key(cheap), 1)
    cloud.market.clock.advance(120.0)
    assert provider.acquire(cheap, 1, token="token", boot=Boot()).token == "token"
    assert cloud.held == 1


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
    assert cloud.held == 0


def test_a_purchase_in_doubt_is_found_again_also_after_google_forgot_the_request(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    cloud.fault(Kind.LOST_RESPONSE, "compute.instances.insert")
    cloud.fault(Kind.HIDE, seconds=90000.0)  # never in a listing: the name alone finds it
    with pytest.raises(TransientError):
        provider.acquire(cheap, 2, token="token", boot=Boot())
    cloud.market.clock.advance(4000.0)
    lease = cloud.provider().acquire(cheap, 2, token="token", boot=Boot())
    assert lease.nodes == 2
    assert cloud.held == 2


def test_a_launch_is_sent_once(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    cloud.fault(Kind.ERROR, "compute.instances.insert", times=ALWAYS)
    with pytest.raises(TransientError):
        provider.acquire(cheap, 1, token="token", boot=Boot())
    assert cloud.wire.counts()["compute.instances.insert"] == 1


def test_an_operation_that_never_ends_leaves_the_purchase_in_doubt(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.simulation.clouds.gcp.books.INSERT_S", 1e6)
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    with pytest.raises(TransientError, match="not made after 600 s"):
        provider.acquire(cheap, 1, token="token", boot=Boot())
    (lease,) = cloud.provider().leases()
    assert (lease.token, cloud.held) == ("token", 1)


def test_reads_are_tried_again_and_a_throttled_one_waits(cloud: Cloud) -> None:
    provider = cloud.provider()
    cloud.fault(Kind.THROTTLE, "compute.instances.aggregatedList", times=3)
    before = cloud.market.clock.now()
    assert provider.leases() == []
    assert (cloud.market.clock.now() - before).total_seconds() >= 15.0
    cloud.fault(Kind.THROTTLE, "compute.instances.aggregatedList", times=4)
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
    lease = cloud.bought()
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
    lease = cloud.bought(nodes=2)
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
    assert cloud.held == 0


def test_a_release_is_not_a_reclaim(cloud: Cloud) -> None:
    lease = cloud.bought()
    cloud.market.clock.advance(120.0)
    provider = cloud.provider()
    provider.release(lease.id)
    assert provider.leases()[0].state is LeaseState.RELEASING
    assert provider.reclaims() == []


def test_keys_of_a_lease_that_is_gone_are_forgotten(cloud: Cloud) -> None:
    lease = cloud.bought()
    assert list(cloud.folder.rglob("login"))
    cloud.provider().release(lease.id)
    cloud.market.clock.advance(60.0)
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)
    assert not list(cloud.folder.rglob("login"))


@pytest.mark.parametrize("lost", [1, 2])
def test_a_gang_that_lost_a_machine_is_not_bought_again_by_its_token(cloud: Cloud, lost: int) -> None:
    lease = cloud.bought(nodes=2)
    cloud.market.clock.advance(1000.0)
    cloud.market.end(lost, End.PREEMPTED)
    cloud.market.clock.advance(60.0)
    again = cloud.provider().acquire(lease.offer, 2, token="token", boot=Boot())
    assert (again.id, again.state) == (lease.id, LeaseState.RECLAIMING)
    assert cloud.held == 1


def test_a_lease_that_was_taken_back_can_be_bought_anew_within_the_hour(cloud: Cloud) -> None:
    lease = cloud.bought()
    cloud.market.clock.advance(120.0)
    cloud.market.end(1, End.PREEMPTED)
    cloud.market.clock.advance(60.0)
    again = cloud.bought()
    assert again.id != lease.id
    assert cloud.held == 1
    cloud.provider().release(again.id)
    assert cloud.bought().state is LeaseState.RELEASING
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)


def test_a_process_that_dies_between_two_orders_leaves_what_the_next_one_completes(cloud: Cloud) -> None:
    provider = cloud.provider()
    cheap = offer(provider, "g2-standard-4")
    spoilt = _Dies(provider._client, after=1)
    provider._client = spoilt  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        provider.acquire(cheap, 3, token="token", boot=Boot())
    assert cloud.held == 1
    cloud.market.clock.advance(60.0)
    lease = cloud.provider().acquire(cheap, 3, token="token", boot=Boot())
    cloud.market.clock.advance(120.0)
    (found,) = cloud.provider().leases()
    assert (found.id, found.state, found.nodes) == (lease.id, LeaseState.READY, 3)


class _Dies:
    """A client whose process is killed at an order."""

    def __init__(self, client: object, *, after: int) -> None:
        self._client, self._left = client, after

    def __getattr__(self, name: str) -> object:
        if name == "insert":
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
        return getattr(self._client, name)
