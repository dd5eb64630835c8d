"""Leases that end at a known time: the job is stopped before, goes on where it was, and nobody is blamed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.domain.errors import CapacityError
from orchestrator.domain.events import LeaseChanged, ReclaimNoticed
from orchestrator.domain.lease import LeaseState, ReclaimNotice
from orchestrator.domain.run import RunState
from orchestrator.lifecycle.actions import Bought, Buy, GiveBack, Launch, Started, Stop, Stopped
from orchestrator.lifecycle.ending import ENDING, RECLAIMED
from orchestrator.lifecycle.observed import Listing
from orchestrator.lifecycle.scores import scores
from tests.unit.lifecycle.scene import ALPHA, BETA, GRACE_S, Scene, exited, grace_s, market, ready, refused

LIFE_S = 1000.0
LEAD_S = GRACE_S + 20.0 + 5.0  # the grace, what comes home after it, and giving back


def begun(scene: Scene, *, life_s: float = LIFE_S) -> datetime:
    """The next purchase goes through and its job runs; the end of the lease."""
    buy = scene.action(Buy)
    ends_at = scene.now + timedelta(seconds=life_s)
    scene.step(Bought(action=buy, lease=ready(buy, scene.now, ends_at=ends_at)))
    launch = scene.action(Launch)
    scene.step(Started(action=launch, handle=scene.handle(launch)))
    assert scene.state is RunState.RUNNING
    return ends_at


def first(*, attempts: int = 5, life_s: float = LIFE_S) -> tuple[Scene, datetime]:
    scene = Scene(attempts=attempts)
    scene.to_acquiring()
    return scene, begun(scene, life_s=life_s)


def wait_until(scene: Scene, at: datetime) -> None:
    scene.step(wait_s=(at - scene.now).total_seconds(), sights=scene.shown())


def worked_through(scene: Scene, ends_at: datetime) -> None:
    """The job is stopped for the end of its lease, and the lease is given back."""
    wait_until(scene, ends_at - timedelta(seconds=LEAD_S))
    scene.step(Stopped(action=scene.action(Stop)))
    assert scene.step(job=exited(143)) == [scene.action(GiveBack)]
    scene.given_back()


def test_a_job_is_stopped_gently_before_the_known_end_of_its_lease_though_nobody_warns() -> None:
    scene, ends_at = first()
    wait_until(scene, ends_at - timedelta(seconds=LEAD_S + 1))
    assert scene.state is RunState.RUNNING
    scene.step(sights=scene.shown())
    assert scene.state is RunState.STOPPING
    assert scene.detail == ENDING
    assert grace_s(scene, scene.action(Stop)) == GRACE_S
    assert [told.reclaim_at for told in scene.told(ReclaimNoticed)] == [ends_at]


def test_it_goes_on_where_it_was_if_that_can_be_bought() -> None:
    scene, ends_at = first()
    worked_through(scene, ends_at)
    assert scene.action(Buy).offer.provider == "alpha"
    assert scene.action(Buy).token == "r-2"
    ends_at = begun(scene)
    worked_through(scene, ends_at)
    assert scene.action(Buy).offer.provider == "alpha"


def test_it_goes_on_at_the_next_candidate_if_it_cannot_be_bought_again() -> None:
    scene, ends_at = first()
    worked_through(scene, ends_at)
    scene.step(refused(scene.action(Buy), CapacityError.__name__))
    assert scene.action(Buy).offer.provider == "beta"


def test_what_is_taken_before_its_end_is_left_for_the_next_candidate() -> None:
    scene, ends_at = first()
    sooner = scene.now + timedelta(seconds=120)
    assert sooner < ends_at
    scene.step(sights=scene.shown(ReclaimNotice("lease-r-1", sooner)))
    assert scene.detail == RECLAIMED
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(143))
    scene.given_back()
    assert scene.action(Buy).offer.provider == "beta"


def test_leases_that_lasted_are_none_of_those_that_a_job_may_fail_by() -> None:
    scene, ends_at = first(attempts=2, life_s=200.0)
    for _ in range(4):
        worked_through(scene, ends_at)
        ends_at = begun(scene, life_s=200.0)
    assert scene.attempt.number == 5


def test_leases_in_which_a_job_gets_no_further_are() -> None:
    scene, ends_at = first(attempts=3, life_s=200.0)
    for done, state in (
        (0.2, RunState.RUNNING),
        (0.2, RunState.RUNNING),
        (0.2, RunState.RUNNING),
        (0.2, RunState.FAILED),
    ):
        wait_until(scene, ends_at - timedelta(seconds=LEAD_S))
        scene.step(Stopped(action=scene.action(Stop)))
        scene.step(job=exited(143, done))
        scene.given_back()
        if state is RunState.RUNNING:
            ends_at = begun(scene, life_s=200.0)
        assert scene.state is state


def test_a_job_that_may_be_tried_once_is_not_begun_again() -> None:
    scene, ends_at = first(attempts=1)
    worked_through(scene, ends_at)
    assert scene.state is RunState.FAILED


def test_a_job_is_not_begun_on_a_lease_that_is_about_to_end() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    ends_at = scene.now + timedelta(seconds=LIFE_S)
    coming = ready(buy, scene.now, state=LeaseState.BOOTING, endpoints=(), ends_at=ends_at)
    scene.step(Bought(action=buy, lease=coming))
    up = replace(coming, state=LeaseState.READY, endpoints=ready(buy, scene.now).endpoints)
    listing = Listing(asked_at=ends_at, leases=(up,))
    scene.step(wait_s=LIFE_S - LEAD_S, sights={"alpha": listing})
    assert scene.state is RunState.RECOVERING
    assert not [action for action in scene.flying.values() if isinstance(action, Launch)]


@pytest.mark.parametrize("life_s", [40.0, 60.0])
def test_a_lease_that_is_too_short_for_the_grace_is_worked_in_for_half_of_it(life_s: float) -> None:
    scene, ends_at = first(life_s=life_s)
    wait_until(scene, ends_at - timedelta(seconds=life_s / 2 + 1))
    assert scene.state is RunState.RUNNING
    scene.step(sights=scene.shown())
    assert scene.state is RunState.STOPPING


def test_a_job_that_its_lease_took_with_it_is_not_a_job_that_failed() -> None:
    scene, ends_at = first()
    scene.step(wait_s=(ends_at - scene.now).total_seconds(), job=exited(143))
    listing = Listing(asked_at=scene.now, leases=(scene.attempt.lease,) if scene.attempt.lease else ())
    scene.step(sights={"alpha": listing})  # the provider still lists what it is about to end
    assert scene.state is not RunState.FAILED
    assert scene.state is RunState.RECOVERING
    scene.given_back()
    assert scene.action(Buy).offer.provider == "alpha"
    assert not sum(score.failures_per_node_hour or 0 for score in scores(scene.history, scene.now)) > 1e-3


def test_nor_is_one_whose_lease_no_listing_has_ever_shown() -> None:
    scene, ends_at = first(life_s=40.0)
    scene.step(wait_s=(ends_at - scene.now).total_seconds(), job=exited(143))
    scene.step(sights=scene.empty())  # in its first minute a lease may be missing there
    assert scene.state is RunState.RECOVERING


def test_an_end_that_became_known_is_written_down_and_stays_known() -> None:
    scene = Scene()
    scene.to_running()
    assert scene.attempt.lease is not None
    ends_at = scene.now + timedelta(seconds=LIFE_S)
    seen = replace(scene.attempt.lease, ends_at=ends_at)
    scene.step(sights={"alpha": Listing(asked_at=scene.now, leases=(seen,))})
    assert scene.attempt.lease == seen
    going = replace(seen, state=LeaseState.RELEASING, ends_at=None)
    scene.step(sights={"alpha": Listing(asked_at=scene.now, leases=(going,))})
    assert scene.told(LeaseChanged)[-1].lease.ends_at == ends_at


def test_the_end_of_a_lease_counts_for_no_score() -> None:
    def rate(*, early: bool) -> float:
        scene = Scene(plan=market(ALPHA, BETA))
        scene.to_acquiring()
        ends_at = begun(scene)
        scene.step(sights=scene.shown())
        gone = ends_at - timedelta(seconds=500.0 if early else 0.0)
        scene.step(
            wait_s=(gone - scene.now).total_seconds(), sights=scene.empty(in_s=(gone - scene.now).total_seconds())
        )
        assert scene.state is RunState.RECOVERING
        (found,) = [score for score in scores(scene.history, scene.now) if score.provider == "alpha"]
        assert found.failures_per_node_hour is not None
        return found.failures_per_node_hour

    assert rate(early=True) > 1.5 * rate(early=False)
