"""CoreWeave over the wire: pools that queue, quotas, racks, reclaims, and clusters of which one does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.errors import AuthError, CapacityError, LeaseNotFound, QuotaError, Scope, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.coreweave import app
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server, make_tls
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.clock import EPOCH
from providers.coreweave.kube import Kube
from providers.coreweave.provider import CoreWeaveProvider, create

SPOT = Pool(
    key=Key("coreweave", "US-EAST-04", "US-EAST-04A", "gd-8xh100ib-i128", Billing.SPOT),
    accelerator="H100-SXM",
    gpus=8,
    vcpus=128,
    host_memory_gib=2048,
    usd_per_hour=19.71,
    capacity=3,
    boot_s=60.0,
)
DEMAND = replace(SPOT, key=SPOT.key._replace(billing=Billing.ON_DEMAND), usd_per_hour=49.24)
WEST = replace(DEMAND, key=DEMAND.key._replace(region="US-WEST-01", zone="US-WEST-01A"))
RACKS = replace(DEMAND, key=DEMAND.key._replace(instance_type="gb200-4x"), accelerator="GB200", gpus=4, capacity=40)
POOLS = (SPOT, DEMAND, WEST, RACKS)


@dataclass
class Scene:
    wire: Wire
    url: str
    folder: Path

    @property
    def market(self) -> Market:
        return self.wire.market

    def provider(self, **settings: object) -> CoreWeaveProvider:
        context = ProviderContext(
            owner="isoflop-test",
            settings={"endpoint_url": self.url, "access_token": "file:token", **settings},
            secret=lambda _: Secret(app.TOKEN),
            clock=self.market.clock,
            state_dir=self.folder,
        )
        made = create(context)
        assert isinstance(made, CoreWeaveProvider)
        return made

    def offer(self, pool: Pool) -> Offer:
        return next(
            each
            for each in self.provider().offers()
            if (each.zone, each.instance_type, each.billing) == (pool.key.zone, *pool.key[3:])
        )

    def buy(self, pool: Pool, nodes: int = 1, run: int = 1) -> Lease:
        return self.provider().acquire(self.offer(pool), nodes, token=f"run-{run}-1", boot=Boot())

    def live(self) -> list[Machine]:
        now = self.market.clock.now()
        return [machine for machine in self.market.machines("coreweave") if machine.phase(now) is not Phase.GONE]

    def fault(self, kind: Kind, operation: str = "*", *, times: int = 1) -> None:
        self.market.script(Fault(provider="coreweave", kind=kind, operation=operation, times=times))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Scene]:
    market = Market(POOLS, seed=3, clock=MarketClock(EPOCH), hazards=False)
    wire = app.create(market)
    with Server(wire) as server:
        yield Scene(wire, server.url, tmp_path)
    assert wire.nonconforming == []


def test_a_refresh_asks_once_however_many_clusters_there_are(cloud: Scene) -> None:
    survey = cloud.provider().survey()
    assert dict(cloud.wire.counts()) == {"listClusters": 1}
    assert {offer.zone for offer in survey.book} == {"US-EAST-04A", "US-WEST-01A"}
    assert any("gb200-4x" in gap and "racks of 18" in gap for gap in survey.gaps)


def test_clusters_can_be_chosen_by_name(cloud: Scene) -> None:
    survey = cloud.provider(clusters=["sim-us-west-01a"]).survey()
    assert {offer.zone for offer in survey.book} == {"US-WEST-01A"}
    nothing = cloud.provider(clusters=["no-such-cluster"]).survey()
    assert (len(nothing.book), len(nothing.gaps)) == (0, 1)


def test_a_type_without_a_price_is_told_and_never_sold_at_a_guess(cloud: Scene) -> None:
    survey = cloud.provider(list_prices=False, rates=[{"instance_type": "b300-9x", "usd_per_hour": 70.0}]).survey()
    assert len(survey.book) == 0
    assert "b300-9x" in survey.gaps[0]


def test_many_buyers_with_one_token_get_one_pool_without_any_memory_of_ours(cloud: Scene) -> None:
    offer = cloud.offer(DEMAND)
    buyers = [cloud.provider() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        leases = list(pool.map(lambda each: each.acquire(offer, 2, token="run-1-1", boot=Boot()), buyers))
    assert len({lease.id for lease in leases}) == 1
    assert len(cloud.live()) == 2


def test_a_pool_that_would_wait_is_given_back_whole(cloud: Scene) -> None:
    offer = cloud.offer(DEMAND)
    with pytest.raises(CapacityError, match="QueuedAwaitingCapacity") as refused:
        cloud.provider().acquire(offer, 4, token="run-1-1", boot=Boot())
    assert refused.value.scope is Scope.ZONE
    cloud.market.clock.advance(60.0)
    assert cloud.live() == []
    assert cloud.provider().leases() == []


def test_a_quota_that_is_too_small_refuses_the_pool(cloud: Scene) -> None:
    cloud.market.set_quota("coreweave", "gpus", 8.0)
    with pytest.raises(QuotaError, match="403"):
        cloud.buy(DEMAND, 2)
    assert cloud.live() == []


def test_a_type_that_its_zone_does_not_have_is_a_matter_of_the_zone_and_known_for_a_day(cloud: Scene) -> None:
    there = replace(cloud.offer(RACKS), zone=WEST.key.zone, region=WEST.key.region)
    assert cloud.offer(replace(RACKS, key=RACKS.key._replace(zone=WEST.key.zone))).available is None
    with pytest.raises(CapacityError, match="not available in US-WEST-01A"):
        cloud.provider().acquire(there, 18, token="run-1-1", boot=Boot())
    assert cloud.offer(replace(RACKS, key=RACKS.key._replace(zone=WEST.key.zone))).available == 0
    cloud.market.clock.advance(25 * 3600.0)
    assert cloud.offer(replace(RACKS, key=RACKS.key._replace(zone=WEST.key.zone))).available is None


def test_racks_are_sold_whole(cloud: Scene) -> None:
    with pytest.raises(CapacityError, match="racks of 18"):
        cloud.buy(RACKS, 17)
    lease = cloud.buy(RACKS, 18)
    assert (lease.nodes, lease.usd_per_hour, len(cloud.live())) == (18, pytest.approx(18 * 42.0), 18)


def test_every_node_of_a_gang_has_its_own_endpoint(cloud: Scene) -> None:
    cloud.buy(DEMAND, 3)
    cloud.market.clock.advance(120.0)
    (lease,) = cloud.provider().leases()
    assert lease.state is LeaseState.READY
    assert {point.address for point in lease.endpoints} == {machine.address for machine in cloud.live()}
    assert len({dict(point.env)["ISOFLOP_NODE"] for point in lease.endpoints}) == 3


def test_a_lost_answer_is_found_by_the_pools_name(cloud: Scene) -> None:
    cloud.fault(Kind.LOST_RESPONSE, "createNodePool")
    with pytest.raises(TransientError):
        cloud.buy(DEMAND)
    lease = cloud.buy(DEMAND)
    assert [each.id for each in cloud.provider().leases()] == [lease.id]
    assert len(cloud.live()) == 1


def test_a_reclaim_is_told_when_the_node_is_cordoned_and_the_pool_does_not_come_back(cloud: Scene) -> None:
    lease = cloud.buy(SPOT, 2)
    cloud.market.clock.advance(120.0)
    cordoned_at = cloud.market.clock.now()
    cloud.market.end(cloud.live()[0].serial, End.PREEMPTED, notice_s=420.0)
    (notice,) = cloud.provider().reclaims()
    assert (notice.lease_id, notice.at) == (lease.id, cordoned_at + timedelta(minutes=2))
    assert [each.state for each in cloud.provider().leases()] == [LeaseState.RECLAIMING]
    cloud.market.clock.advance(600.0)
    cloud.provider().leases()
    cloud.market.clock.advance(60.0)
    assert cloud.provider().leases() == []
    assert cloud.live() == []
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)


def test_a_reclaim_that_nobody_saw_leaves_a_pool_that_filled_up_again(cloud: Scene) -> None:
    lease = cloud.buy(SPOT)
    cloud.market.clock.advance(120.0)
    cloud.market.end(cloud.live()[0].serial, End.PREEMPTED, notice_s=420.0)
    cloud.market.clock.advance(3600.0)
    cloud.provider().leases()
    cloud.market.clock.advance(120.0)
    (found,) = cloud.provider().leases()
    assert (found.id, found.state) == (lease.id, LeaseState.READY)


def test_an_on_demand_node_under_maintenance_is_no_reclaim(cloud: Scene) -> None:
    cloud.buy(DEMAND)
    cloud.market.clock.advance(120.0)
    cloud.market.change(cloud.live()[0].serial, warned_at=cloud.market.clock.now())
    assert cloud.provider().reclaims() == []
    assert [each.state for each in cloud.provider().leases()] == [LeaseState.READY]


def test_a_release_is_confirmed_when_the_nodes_are_gone(cloud: Scene) -> None:
    lease = cloud.buy(DEMAND)
    cloud.provider().release(lease.id)
    cloud.provider().release(lease.id)  # still there: its nodes are being removed
    assert [each.state for each in cloud.provider().leases()] == [LeaseState.RELEASING]
    cloud.market.clock.advance(60.0)
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)


def test_a_pool_that_is_being_given_back_is_no_lease_to_hand_out(cloud: Scene) -> None:
    lease = cloud.buy(DEMAND)
    cloud.provider().release(lease.id)
    with pytest.raises(TransientError, match="given back"):
        cloud.buy(DEMAND)
    cloud.market.clock.advance(60.0)
    assert cloud.buy(DEMAND).id != lease.id


def test_over_tls_a_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    tls = make_tls(tmp_path / "tls")
    market = Market(POOLS, seed=3, clock=MarketClock(EPOCH), hazards=False)
    with Server(app.create(market), tls=tls) as server:
        scene = Scene(app.create(market), server.url, tmp_path)
        provider = scene.provider(ca_file=str(tls.authority))
        assert len(provider.offers()) > 0
        assert provider.leases() == []
        with pytest.raises(TransientError, match="TLS"):
            scene.provider().offers()
        stranger = Kube(f"{server.url}/clusters/c1", Secret(app.TOKEN), ca_file="", clock=market.clock)
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.pools("a=b")


def test_an_id_whose_pool_was_made_anew_releases_nothing(cloud: Scene) -> None:
    first = cloud.buy(DEMAND)
    cloud.provider().release(first.id)
    cloud.market.clock.advance(60.0)
    second = cloud.buy(DEMAND)
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(first.id)
    assert [each.id for each in cloud.provider().leases()] == [second.id]


def test_a_cluster_that_does_not_answer_makes_no_shorter_list(cloud: Scene) -> None:
    cloud.buy(DEMAND)
    cloud.fault(Kind.ERROR, "listNodePools", times=-1)
    with pytest.raises(TransientError, match="leader changed"):
        cloud.provider().leases()


def test_a_refused_token_is_an_auth_error_without_the_token(cloud: Scene) -> None:
    cloud.fault(Kind.EXPIRED, "listNodePools", times=-1)
    with pytest.raises(AuthError) as refused:
        cloud.provider().leases()
    assert app.TOKEN not in f"{refused.value!r} {refused.value.__cause__!r} {refused.value.__context__!r}"


def test_a_cluster_api_that_is_not_there_is_transient(tmp_path: Path, cloud: Scene) -> None:
    provider = Scene(cloud.wire, "http://127.0.0.1:9", tmp_path).provider()
    with pytest.raises(TransientError, match="GET /v1beta1/cks/clusters"):
        provider.offers()


def test_a_pool_about_which_nothing_is_said_is_asked_about_again(cloud: Scene) -> None:
    offer = cloud.offer(DEMAND)
    with pytest.raises(TransientError, match="nothing was said"):
        cloud.provider(decide_s=1.0).acquire(offer, 1, token="run-1-1", boot=Boot())
    lease = cloud.provider().acquire(offer, 1, token="run-1-1", boot=Boot())
    assert [each.id for each in cloud.provider().leases()] == [lease.id]
    assert len(cloud.live()) == 1
