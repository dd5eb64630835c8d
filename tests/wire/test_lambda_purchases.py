"""Buying at Lambda without idempotency keys: lost answers, crashes in the middle of a gang, listings that lag."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.kit.machine import USER
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.machines import End
from tests.wire.lambda_account import H100, POOL, LambdaScene, buy, h100, scene


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LambdaScene]:
    with scene(tmp_path) as made:
        yield made


def test_a_refresh_asks_twice(cloud: LambdaScene) -> None:
    book = cloud.provider().offers()
    assert dict(cloud.counts()) == {"listInstanceTypes": 1, "listImages": 1}
    assert len(book) == 17  # a type that is sold out everywhere else is listed there all the same
    assert [offer.region for offer in book if offer.available is None] == [H100.region]


def test_launches_of_two_processes_are_twelve_seconds_apart(cloud: LambdaScene) -> None:
    for number in range(3):
        buy(cloud.provider(), run=number)
    moments = [call.at for call in cloud.wire.calls() if call.operation == "launchInstance" and call.status == 200]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    assert len(gaps) == 2
    assert min(gaps) >= 12.0


def test_a_launch_that_came_too_early_is_sent_again(cloud: LambdaScene) -> None:
    cloud.fault(Kind.THROTTLE, "launchInstance")
    buy(cloud.provider())
    assert cloud.counts()["launchInstance"] == 2
    assert len(cloud.live()) == 1


def test_a_lost_launch_that_shows_late_is_waited_for(cloud: LambdaScene) -> None:
    cloud.fault(Kind.LOST_RESPONSE, "launchInstance")
    cloud.fault(Kind.HIDE, seconds=50.0)
    with pytest.raises(TransientError):
        buy(cloud.provider())
    lease = buy(cloud.provider())
    assert len(cloud.live()) == 1
    assert [each.id for each in cloud.provider().leases()] == [lease.id]


def test_a_lost_launch_that_never_happened_is_sent_again_once_nothing_has_shown(cloud: LambdaScene) -> None:
    cloud.fault(Kind.ERROR, "launchInstance")
    with pytest.raises(TransientError):
        buy(cloud.provider())
    before = cloud.market.clock.now()
    buy(cloud.provider())
    assert len(cloud.live()) == 1
    assert (cloud.market.clock.now() - before).total_seconds() > 60.0


def test_a_launch_that_shows_after_the_wait_is_ended_in_favour_of_the_second(cloud: LambdaScene) -> None:
    """The window that the documentation tells of: longer than `settle_s` nobody waits."""
    cloud.fault(Kind.LOST_RESPONSE, "launchInstance")
    cloud.fault(Kind.HIDE, seconds=600.0)
    with pytest.raises(TransientError):
        buy(cloud.provider())
    lease = buy(cloud.provider())
    assert len(cloud.live()) == 2
    cloud.market.clock.advance(600.0)
    assert buy(cloud.provider()).id == lease.id
    cloud.market.clock.advance(60.0)
    assert len(cloud.live()) == 1


def test_a_crash_in_a_gang_is_made_good_by_the_same_token(cloud: LambdaScene) -> None:
    """The answer to the first launch is lost, as if the process had been killed there."""
    offer = h100(cloud.provider())
    cloud.fault(Kind.LOST_RESPONSE, "launchInstance")
    with pytest.raises(TransientError):
        cloud.provider().acquire(offer, 3, token="run-1-1", boot=Boot())
    assert len(cloud.live()) == 1
    (half,) = cloud.provider().leases()
    assert (half.state, half.usd_per_hour) == (LeaseState.RECLAIMING, 31.92)
    lease = cloud.provider().acquire(offer, 3, token="run-1-1", boot=Boot())
    assert len(cloud.live()) == 3
    assert {machine.name for machine in cloud.live()} == {
        cloud.live()[0].name.replace("-0of3", f"-{n}of3") for n in range(3)
    }
    assert [(each.id, each.nodes) for each in cloud.provider().leases()] == [(half.id, 3)]
    assert lease.id == half.id


def test_a_gang_that_is_being_bought_is_no_lease_yet(cloud: LambdaScene) -> None:
    offer = h100(cloud.provider())
    cloud.market.script(Fault(provider="lambda", kind=Kind.SLOW, operation="launchInstance", times=2, seconds=1.5))
    with ThreadPoolExecutor(1) as pool:
        buying = pool.submit(cloud.provider().acquire, offer, 2, token="run-1-1", boot=Boot())
        while not cloud.live():
            assert not buying.done()
        assert cloud.provider("home", request_spacing_s=0.0).leases() == []
        assert not buying.done()
        lease = buying.result()
    assert [each.id for each in cloud.provider().leases()] == [lease.id]


def test_half_a_gang_that_nobody_completes_is_released_like_any_lease(cloud: LambdaScene) -> None:
    provider = cloud.provider()
    offer = h100(provider)
    cloud.fault(Kind.LOST_RESPONSE, "launchInstance")
    with pytest.raises(TransientError):
        provider.acquire(offer, 3, token="run-1-1", boot=Boot())
    (lease,) = cloud.provider("another").leases()
    assert (lease.token, lease.state, lease.usd_per_hour) == ("run-1-1", LeaseState.RECLAIMING, 31.92)
    cloud.provider("another").release(lease.id)
    cloud.market.clock.advance(60.0)
    assert cloud.live() == []


def test_nodes_that_are_new_may_be_missing_without_a_reclaim(cloud: LambdaScene) -> None:
    provider = cloud.provider()
    offer = h100(provider)
    cloud.fault(Kind.HIDE, seconds=55.0)
    lease = provider.acquire(offer, 2, token="run-1-1", boot=Boot())
    (seen,) = provider.leases()
    assert (seen.id, seen.state, seen.nodes) == (lease.id, LeaseState.BOOTING, 2)


def test_what_is_given_back_is_gone_before_its_token_buys_again(cloud: LambdaScene) -> None:
    offer = h100(cloud.provider())
    cloud.market.set_capacity(H100, 1)
    with pytest.raises(CapacityError):
        cloud.provider().acquire(offer, 2, token="run-1-1", boot=Boot())
    cloud.market.set_capacity(H100, 4)
    with pytest.raises(TransientError, match="given back"):
        cloud.provider().acquire(offer, 2, token="run-1-1", boot=Boot())
    cloud.market.clock.advance(60.0)
    assert cloud.provider().acquire(offer, 2, token="run-1-1", boot=Boot()).nodes == 2


def test_a_gang_that_cannot_be_completed_is_given_back_with_its_key(cloud: LambdaScene) -> None:
    provider = cloud.provider()
    offer = h100(provider)
    cloud.market.set_capacity(H100, 2)
    with pytest.raises(CapacityError):
        provider.acquire(offer, 3, token="run-1-1", boot=Boot())
    cloud.market.clock.advance(60.0)
    assert cloud.live() == []
    assert cloud.key_calls() == ["addSSHKey", "deleteSSHKey"]
    assert not list((cloud.folder / "home" / "keys").rglob("login"))


def test_what_lost_its_tags_is_found_by_its_name(cloud: LambdaScene) -> None:
    lease = buy(cloud.provider())
    (machine,) = cloud.live()
    cloud.market.change(machine.serial, tags={})
    assert buy(cloud.provider()).id == lease.id
    assert buy(cloud.provider("another")).id == lease.id  # with nothing to go by but the name
    assert len(cloud.live()) == 1
    (seen,) = cloud.provider().leases()
    assert (seen.id, seen.token, seen.acquired_at) == (lease.id, "run-1-1", lease.acquired_at)


def test_a_release_before_the_machine_shows_ends_it(cloud: LambdaScene) -> None:
    cloud.fault(Kind.HIDE, seconds=30.0)
    lease = buy(cloud.provider())
    assert cloud.provider().leases() == []
    with pytest.raises(TransientError):
        cloud.provider().release(lease.id)  # it is there, whatever the listing says
    cloud.market.clock.advance(30.0)
    cloud.provider().release(lease.id)
    cloud.market.clock.advance(60.0)
    assert cloud.live() == []
    with pytest.raises(LeaseNotFound):
        cloud.provider().release(lease.id)


def test_a_lease_that_is_being_given_back_is_not_handed_out(cloud: LambdaScene) -> None:
    lease = buy(cloud.provider())
    cloud.provider().release(lease.id)
    with pytest.raises(TransientError, match="given back"):
        buy(cloud.provider())
    cloud.market.clock.advance(60.0)
    assert buy(cloud.provider()).id != lease.id


def test_a_node_that_lambda_takes_back_is_a_reclaim(cloud: LambdaScene) -> None:
    buy(cloud.provider(), 2)
    cloud.market.clock.advance(60.0)
    cloud.market.end(cloud.live()[0].serial, End.PREEMPTED, stops_s=300.0)
    (lease,) = cloud.provider().leases()
    assert lease.state is LeaseState.RECLAIMING
    cloud.market.clock.advance(600.0)
    (lease,) = cloud.provider().leases()
    assert (lease.state, lease.usd_per_hour) == (LeaseState.RECLAIMING, 31.92)


def test_a_ready_node_is_reached_by_ssh_with_keys_of_its_lease(cloud: LambdaScene) -> None:
    buy(cloud.provider())
    cloud.market.clock.advance(60.0)
    (lease,) = cloud.provider().leases()
    (point,) = lease.endpoints
    assert (point.launcher, point.address, point.port, point.user) == ("ssh", cloud.live()[0].address, 22, USER)
    assert Path(point.identity).stat().st_mode & 0o077 == 0
    assert point.host_key.startswith("ssh-ed25519 ")
    (elsewhere,) = cloud.provider("another").leases()
    assert (elsewhere.endpoints[0].identity, elsewhere.endpoints[0].host_key) == ("", "")


def test_every_node_of_a_gang_has_its_own_endpoint(cloud: LambdaScene) -> None:
    buy(cloud.provider(), 2)
    cloud.market.clock.advance(60.0)
    (lease,) = cloud.provider().leases()
    assert lease.state is LeaseState.READY
    assert {point.address for point in lease.endpoints} == {machine.address for machine in cloud.live()}
    assert lease.usd_per_hour == pytest.approx(2 * 31.92)


def test_the_port_is_open_to_the_control_plane_alone(cloud: LambdaScene) -> None:
    buy(cloud.provider(control_cidr="203.0.113.7/32"))
    buy(cloud.provider(control_cidr="203.0.113.7/32"), run=2)
    assert cloud.counts()["createFirewallRuleset"] == 1
    assert all(len(machine.extra["firewall_rulesets"]) == 1 for machine in cloud.live())  # type: ignore[arg-type]
    buy(cloud.provider(control_cidr="198.51.100.0/24"), run=3)
    assert cloud.counts()["updateFirewallRuleset"] == 1


def test_switching_itself_off_ends_no_bill_and_is_seen(cloud: LambdaScene) -> None:
    buy(cloud.provider(), boot=Boot(lifetime_s=3600.0))
    cloud.market.clock.advance(3 * 3600.0)
    (lease,) = cloud.provider().leases()
    assert lease.state is LeaseState.RECLAIMING
    assert cloud.market.billed_usd("lambda") == pytest.approx(3 * 31.92, rel=0.01)


def test_a_machine_that_is_trusted_with_a_key_ends_its_own_bill(cloud: LambdaScene) -> None:
    buy(cloud.provider(self_destruct_key="file:key"), boot=Boot(lifetime_s=3600.0))
    cloud.market.clock.advance(3 * 3600.0)
    assert cloud.live() == []
    assert cloud.market.billed_usd("lambda") == pytest.approx(31.92, rel=0.05)


def test_prices_of_nothing_and_devices_without_facts_are_told(tmp_path: Path) -> None:
    free = replace(POOL, key=H100._replace(instance_type="gpu_1x_free"), usd_per_hour=0.0)
    strange = replace(POOL, key=H100._replace(instance_type="gpu_8x_x900"), accelerator="X900 (512 GB SXM9)")
    with scene(tmp_path, POOL, free, strange) as cloud:
        survey = cloud.provider().survey()
    assert set(survey.book.accelerator.vocab) == {"H100-SXM", "X900 (512 GB SXM9)"}
    assert len(survey.gaps) == 2
    assert "gpu_1x_free: 0 cents" in survey.gaps[0]


def test_images_that_do_not_answer_leave_a_gap(cloud: LambdaScene) -> None:
    cloud.fault(Kind.HTML, "listImages", times=-1)
    survey = cloud.provider().survey()
    assert len(survey.book) == 17
    assert "web page" in survey.gaps[0]
