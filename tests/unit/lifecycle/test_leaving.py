"""How a run leaves its machines: reclaims, losses, cancelling, budgets, releases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.events import (
    JobEnded,
    LaunchIntended,
    Moved,
    PurchaseIntended,
    ReclaimNoticed,
    ReleaseIntended,
    StopAsked,
)
from orchestrator.domain.job import JobState, JobStatus
from orchestrator.domain.lease import LeaseState, ReclaimNotice
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.domain.workload import Limits
from orchestrator.lifecycle.actions import Bought, Buy, GiveBack, Launch, Released, Releasing, Started, Stop, Stopped
from orchestrator.lifecycle.observed import Blind, Listing
from orchestrator.lifecycle.winddown import QUIET
from tests.unit.lifecycle.scene import GRACE_S, Scene, booting, doubtful, exited, grace_s, kinds, ready, refused


def reclaimed(in_s: float) -> Scene:
    """A running job whose provider has just announced that it takes the machines back."""
    scene = Scene()
    scene.to_running()
    at = scene.now + timedelta(seconds=1 + in_s)
    scene.step(sights=scene.shown(ReclaimNotice("lease-r-1", at)))
    return scene


def test_a_reclaim_stops_the_job_gently_then_gives_back_then_goes_on_at_the_next_candidate() -> None:
    scene = reclaimed(in_s=120.0)
    assert scene.state is RunState.STOPPING
    stop = scene.action(Stop)
    assert grace_s(scene, stop) == GRACE_S
    scene.step(Stopped(action=stop))
    assert scene.step(job=exited(143)) == [scene.action(GiveBack)]
    scene.given_back()
    assert scene.action(Buy).token == "r-2"
    assert scene.action(Buy).offer.provider == "beta"


def test_a_job_gets_no_more_time_than_the_provider_leaves() -> None:
    for left_s, expected_s in ((10.0, 9.0), (0.0, 0.0)):
        scene = reclaimed(in_s=left_s)
        assert grace_s(scene, scene.action(Stop)) == pytest.approx(expected_s)


def test_a_reclaim_without_a_date_gives_the_job_its_grace() -> None:
    scene = Scene()
    scene.to_running()
    assert scene.attempt.lease is not None
    taken = replace(scene.attempt.lease, state=LeaseState.RECLAIMING)
    scene.step(sights={"alpha": Listing(asked_at=scene.now, leases=(taken,))})
    assert scene.told(ReclaimNoticed)[0].reclaim_at == scene.now + timedelta(seconds=GRACE_S)
    assert scene.state is RunState.STOPPING


def test_the_request_to_stop_is_stored_once_and_delivered_again_after_a_crash() -> None:
    scene = reclaimed(in_s=120.0)
    stop = scene.action(Stop)
    scene.step(Stopped(action=stop))
    scene.step()
    scene.forget()
    (again,) = scene.step()
    assert isinstance(again, Stop)
    assert again.until == stop.until
    assert len(scene.told(StopAsked)) == 1


def test_a_stop_that_was_not_delivered_is_tried_again() -> None:
    scene = reclaimed(in_s=120.0)
    scene.step(doubtful(scene.action(Stop)))
    assert kinds(scene.step()) == ["Stop"]


@pytest.mark.parametrize(
    ("code", "done", "state"),
    [
        (0, None, RunState.SUCCEEDED),
        (0, 1.0, RunState.SUCCEEDED),
        (0, 0.5, RunState.ACQUIRING),  # it saved its work and left politely: that is not the end of it
        (143, 0.5, RunState.ACQUIRING),
        (-9, None, RunState.ACQUIRING),
    ],
)
def test_a_job_stopped_for_a_reclaim_has_finished_only_if_its_work_is_done(
    code: int, done: float | None, state: RunState
) -> None:
    scene = reclaimed(in_s=120.0)
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(code, done))
    scene.given_back()
    assert scene.state is state


def test_a_lost_lease_is_noticed_at_once_where_it_had_been_seen() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(sights=scene.empty())
    assert scene.state is RunState.RECOVERING


def test_a_lease_may_be_missing_from_listings_for_its_first_minute() -> None:
    scene = Scene()
    scene.to_running()
    held_at = scene.attempt.held_at
    assert held_at is not None
    scene.step(sights={"alpha": Listing(asked_at=held_at + timedelta(seconds=59), leases=())}, wait_s=60.0)
    assert scene.state is RunState.RUNNING
    scene.step(sights={"alpha": Listing(asked_at=held_at + timedelta(seconds=60), leases=())})
    assert scene.state is RunState.RECOVERING


def test_what_runs_on_a_lost_lease_is_killed_before_anything_else_is_bought() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    (stop,) = scene.step(sights=scene.empty())
    assert isinstance(stop, Stop)
    assert grace_s(scene, stop) == 0.0
    assert scene.step(Stopped(action=stop)) == []
    scene.step(job=exited(-9))
    assert scene.told(PurchaseIntended)[-1].token == "r-1"
    scene.given_back()
    assert scene.told(PurchaseIntended)[-1].token == "r-2"


def test_a_job_that_nobody_can_reach_holds_nobody_up_for_ever() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(sights=scene.empty())
    for call in range(1, scene.rules.calls + 1):
        scene.step(doubtful(scene.action(Stop), retry_after_s=60.0))
        scene.step()  # a second later
        assert len(scene.told(JobEnded)) == (call == scene.rules.calls)
    assert scene.told(JobEnded)[-1].exit_code is None
    assert scene.state is RunState.RECOVERING


def test_a_machine_that_is_still_leased_is_asked_at_leisure_to_end_its_job() -> None:
    scene = reclaimed(in_s=3600.0)
    for call in range(1, scene.rules.calls + 1):
        scene.step(doubtful(scene.action(Stop), retry_after_s=60.0))
        assert len(scene.told(JobEnded)) == (call == scene.rules.calls)
        assert "Stop" not in kinds(scene.step())
        scene.step(wait_s=60.0)


def test_patience_with_a_job_counts_from_the_delivery_of_the_request() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(sights=scene.empty())
    scene.now += timedelta(hours=1)  # the controller was away
    scene.forget()
    scene.seen.add("r-1")
    (stop,) = scene.step(sights=scene.empty())
    assert isinstance(stop, Stop)
    scene.step(Stopped(action=stop))
    assert scene.told(JobEnded) == []
    scene.step(wait_s=scene.rules.stop_patience_s + 1)
    assert len(scene.told(JobEnded)) == 1


CARRYING = JobStatus(state=JobState.RUNNING, carrying=True)


def test_what_a_job_saved_is_waited_for_while_it_is_on_its_way_and_not_without_end() -> None:
    scene = reclaimed(in_s=36_000.0)
    scene.step(Stopped(action=scene.action(Stop)))
    waited_s = 0.0
    while not scene.told(JobEnded):
        scene.step(wait_s=10.0, job=CARRYING, sights=scene.shown())
        waited_s += 10.0
        assert waited_s < 2000.0
    assert waited_s == pytest.approx(GRACE_S + scene.rules.carry_s + scene.rules.stop_patience_s, abs=11.0)
    assert "on its way" in scene.told(JobEnded)[-1].cause


def test_what_is_on_its_way_is_given_up_when_nothing_more_is_heard_of_it() -> None:
    scene = reclaimed(in_s=36_000.0)
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(wait_s=GRACE_S + 100.0, job=CARRYING)
    scene.step(wait_s=scene.rules.stop_patience_s)
    assert not scene.told(JobEnded)
    scene.step(wait_s=1.0)
    assert len(scene.told(JobEnded)) == 1


@pytest.mark.parametrize("lost", [True, False])
def test_what_is_on_its_way_waits_for_neither_a_reclaim_nor_a_lease_that_is_gone(lost: bool) -> None:
    scene = reclaimed(in_s=60.0)
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(wait_s=61.0, job=CARRYING, sights=scene.empty() if lost else scene.shown())
    scene.step(wait_s=scene.rules.stop_patience_s, job=CARRYING)
    assert len(scene.told(JobEnded)) == 1


def test_what_is_on_its_way_is_released_when_the_money_ends() -> None:
    scene = Scene(limits=Limits(budget_usd=32.0))  # an hour of it
    scene.to_running()
    left_s = 3600.0 - (scene.now - scene.attempt.lease.acquired_at) / timedelta(seconds=1)  # type: ignore[union-attr]
    reserve_s = scene.rules.notice_s + scene.rules.release_s
    scene.step(wait_s=left_s - reserve_s - GRACE_S, job=CARRYING)
    scene.step(Stopped(action=scene.action(Stop)), wait_s=0.5, job=CARRYING)
    assert kinds(scene.step(wait_s=GRACE_S - 1.0, job=CARRYING)) == []
    assert kinds(scene.step(wait_s=1.0, job=CARRYING)) == ["GiveBack"]


def test_a_release_is_confirmed_by_the_provider_or_asked_for_again() -> None:
    scene = Scene()
    give_back = scene.to_releasing(0)
    scene.step(Releasing(action=give_back))
    for _ in range(3):
        assert scene.step(wait_s=2.0, sights=scene.empty()) == [give_back]
        scene.step(doubtful(give_back))
    assert scene.state is RunState.RELEASING
    scene.step(wait_s=2.0)
    scene.step(Released(action=give_back))
    assert scene.state is RunState.SUCCEEDED
    assert len(scene.told(ReleaseIntended)) == 1


def test_a_release_goes_on_after_a_crash() -> None:
    scene = Scene()
    give_back = scene.to_releasing(0)
    scene.forget()
    assert scene.step() == [give_back]


# Cancelling


def test_cancelling_before_anything_was_bought_ends_at_once() -> None:
    for steps in (0, 1):
        scene = Scene()
        for _ in range(steps):
            scene.step()
        scene.cancel()
        scene.step()
        assert scene.state is RunState.CANCELLED


def test_cancelling_while_a_purchase_is_in_flight_waits_for_it_and_gives_it_back() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.cancel()
    assert scene.step() == []
    assert scene.state is RunState.RELEASING
    assert kinds(scene.step(Bought(action=buy, lease=ready(buy, scene.now)))) == ["GiveBack"]
    scene.given_back()
    assert scene.state is RunState.CANCELLED


def test_cancelling_while_a_purchase_is_refused_ends_at_once() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.cancel()
    scene.step(refused(buy, "CapacityError"))
    assert scene.state is RunState.CANCELLED


def test_cancelling_with_a_purchase_in_doubt_never_buys_to_find_out() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.cancel()
    assert scene.step(doubtful(buy)) == []
    called = scene.now
    assert scene.step(wait_s=30.0, sights=scene.empty()) == []
    assert scene.state is RunState.RELEASING
    late = Listing(asked_at=called + timedelta(seconds=60), leases=())
    assert scene.step(wait_s=40.0, sights={"alpha": late}) == []
    assert scene.state is RunState.CANCELLED
    assert scene.attempt.state is AttemptState.REFUSED


def test_cancelling_a_launch_in_flight_stops_the_job_that_came_of_it() -> None:
    scene = Scene()
    launch = scene.to_starting()
    scene.cancel()
    assert scene.step() == []
    assert scene.state is RunState.RELEASING
    assert kinds(scene.step(Started(action=launch, handle=scene.handle(launch)))) == ["Stop"]
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(143))
    scene.given_back()
    assert scene.state is RunState.CANCELLED


def test_a_launch_that_a_crash_left_open_is_looked_for_without_starting_the_work() -> None:
    scene = Scene()
    scene.to_starting()
    scene.cancel()
    scene.forget()
    (probe,) = scene.step()
    assert isinstance(probe, Launch)
    assert (probe.program.command, probe.program.secrets, probe.token) == (QUIET, (), "r-1")


def test_cancelling_a_running_job_stops_it_first() -> None:
    scene = Scene()
    scene.to_running()
    scene.cancel()
    assert kinds(scene.step()) == ["Stop"]
    assert scene.state is RunState.STOPPING
    scene.step(Stopped(action=scene.action(Stop)))
    assert kinds(scene.step(job=exited(0))) == ["GiveBack"]
    scene.given_back()
    assert scene.state is RunState.CANCELLED


def test_cancelling_while_recovering_buys_nothing_more() -> None:
    scene = reclaimed(in_s=120.0)
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(143))
    scene.cancel()
    scene.step(Released(action=scene.action(GiveBack)))
    assert scene.state is RunState.CANCELLED
    assert len(scene.told(PurchaseIntended)) == 1


def test_cancelling_what_has_finished_changes_nothing() -> None:
    scene = Scene()
    scene.to_releasing(0)
    scene.cancel()
    scene.given_back()
    assert scene.state is RunState.SUCCEEDED


# Budgets


def test_a_job_is_stopped_early_enough_for_its_grace_to_fit_in_the_budget() -> None:
    scene = Scene(limits=Limits(budget_usd=32.0))  # an hour of it
    scene.to_running()
    left_s = 3600.0 - (scene.now - scene.attempt.lease.acquired_at) / timedelta(seconds=1)  # type: ignore[union-attr]
    reserve_s = GRACE_S + scene.rules.notice_s + scene.rules.release_s
    assert scene.step(wait_s=left_s - reserve_s - 1.0) == []
    assert kinds(scene.step(wait_s=1.0)) == ["Stop"]
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(143))
    scene.given_back()
    assert scene.state is RunState.FAILED
    assert scene.detail == "over budget"


def test_a_job_that_finishes_while_it_is_stopped_for_the_budget_has_succeeded() -> None:
    scene = Scene(limits=Limits(budget_usd=32.0))
    scene.to_running()
    scene.step(wait_s=3590.0)
    scene.step(Stopped(action=scene.action(Stop)))
    scene.step(job=exited(0, done=1.0))
    scene.given_back()
    assert scene.state is RunState.SUCCEEDED


def test_machines_that_boot_the_budget_away_are_given_back() -> None:
    scene = Scene(limits=Limits(budget_usd=32.0))
    buy = scene.to_acquiring()
    scene.step(Bought(action=buy, lease=ready(buy, scene.now, state=LeaseState.BOOTING)))
    assert kinds(scene.step(wait_s=3600.0, sights={"alpha": Blind(detail="")})) == ["GiveBack"]
    assert scene.told(Moved)[-1].outcome is RunState.FAILED


def test_no_job_begins_on_machines_that_booted_until_its_grace_is_not_paid_for() -> None:
    """It would be stopped at once, and might take its grace on top of the budget."""
    scene = Scene(limits=Limits(budget_usd=32.0))
    buy = scene.to_acquiring()
    bought = ready(buy, scene.now)
    scene.step(Bought(action=buy, lease=booting(buy, scene.now)))
    almost_s = 3600.0 - GRACE_S
    up = Listing(asked_at=scene.now + timedelta(seconds=almost_s), leases=(bought,))
    assert kinds(scene.step(wait_s=almost_s, sights={"alpha": up})) == ["GiveBack"]
    assert scene.told(LaunchIntended) == []
    assert scene.detail == "over budget"
