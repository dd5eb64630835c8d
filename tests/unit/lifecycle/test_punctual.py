"""Jobs with a deadline on machines that may be taken back: they fall back in time, and are planned as they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import PurchaseIntended
from orchestrator.domain.job import JobState, JobStatus, Progress
from orchestrator.domain.offer import Billing
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import RunState
from orchestrator.domain.sizing import Band
from orchestrator.domain.workload import Limits, Training
from orchestrator.lifecycle.actions import Buy, MakePlan, PlanMade, Stop, Stopped
from orchestrator.lifecycle.punctual import FALL_BACK, due_at, remaining
from orchestrator.testing.builders import offer, placement_on, plan_of, program
from orchestrator.testing.clock import EPOCH
from tests.unit.lifecycle.scene import Scene, exited

WORK_H = 10.0
SPOT = offer(provider="alpha", billing=Billing.SPOT, boot_s=360.0)
OTHER_SPOT = offer(provider="beta", billing=Billing.SPOT, boot_s=360.0)
FIRM = offer(provider="gamma", boot_s=720.0)
CHECKPOINT_H = 0.25  # what a job that says nothing saves
NEEDED_H = 0.2 + CHECKPOINT_H  # boot again and work again, before what is left of the work


def plan() -> Plan:
    """Ten hours of work on any of three offers; the last is not taken back."""
    offers = (SPOT, OTHER_SPOT, FIRM)
    hours = [WORK_H + one.boot_s / 3600.0 for one in offers]
    ranked = [placement_on(one, hours=Band(h, h, h), buyable=True) for one, h in zip(offers, hours, strict=True)]
    made = plan_of(*ranked)
    return replace(made, workload=replace(made.workload, limits=Limits()))


def running(deadline_h: float) -> Scene:
    scene = Scene(plan=plan(), limits=Limits(deadline_s=deadline_h * 3600.0))
    scene.to_running()
    return scene


def at(scene: Scene, hours: float, done: float | None) -> None:
    """Let the run be `hours` old, with `done` of its work reported."""
    progress = Progress(done=done) if done is not None else None
    wait_s = hours * 3600.0 - (scene.now - EPOCH).total_seconds()
    scene.step(wait_s=wait_s, sights=scene.shown(), job=JobStatus(state=JobState.RUNNING, progress=progress))


def test_a_job_on_spot_that_is_behind_falls_back_while_there_is_still_time() -> None:
    scene = running(deadline_h=20.0)
    at(scene, 1.9, done=0.2)
    # It hangs. 8 hours of work are left; to fall back takes 8 h and what is needed before.
    at(scene, 20.0 - 8.0 - NEEDED_H - 0.1, done=0.2)
    assert scene.state is RunState.RUNNING
    at(scene, 20.0 - 8.0 - NEEDED_H + 0.01, done=0.2)
    assert scene.state is RunState.STOPPING
    assert scene.detail == FALL_BACK
    assert isinstance(scene.action(Stop), Stop)
    scene.step(Stopped(action=scene.action(Stop)), job=exited(0, done=0.2), sights=scene.shown())
    assert scene.detail == FALL_BACK
    scene.given_back()
    scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(plan(), made_at=scene.now)))
    assert scene.action(Buy).offer == FIRM  # another spot machine would leave no time to fall back


def test_a_job_that_is_slower_than_planned_falls_back_earlier() -> None:
    planned, slow = running(deadline_h=20.0), running(deadline_h=20.0)
    at(planned, 4.0, done=0.4)
    at(slow, 4.0, done=0.2)  # 20 hours of work, not 10: 16 of them are left
    assert planned.state is RunState.RUNNING
    assert slow.state is RunState.STOPPING


def test_a_job_on_spot_that_is_on_its_way_stays_there() -> None:
    scene = running(deadline_h=20.0)
    at(scene, 10.5, done=0.99)
    assert scene.state is RunState.RUNNING


@pytest.mark.parametrize("deadline_h", [None, 10.1])
def test_without_a_deadline_or_any_slack_there_is_no_net(deadline_h: float | None) -> None:
    limits = Limits(deadline_s=deadline_h * 3600.0) if deadline_h else Limits()
    scene = Scene(plan=plan(), limits=limits)
    scene.to_running()
    at(scene, 9.0, done=0.1)
    assert scene.state is RunState.RUNNING


def test_a_program_that_reports_nothing_is_left_where_it_is() -> None:
    scene = running(deadline_h=20.0)
    at(scene, 19.0, done=None)
    assert scene.state is RunState.RUNNING


def test_a_job_on_demand_has_nowhere_better_to_go() -> None:
    scene = Scene(plan=plan_of(placement_on(FIRM, buyable=True)), limits=Limits(deadline_s=20 * 3600.0))
    scene.to_running()
    at(scene, 19.0, done=0.1)
    assert scene.state is RunState.RUNNING


def test_a_loss_is_made_good_on_spot_only_while_there_is_time() -> None:
    early, late = running(deadline_h=14.0), running(deadline_h=14.0)
    for scene, hours, expected in ((early, 1.0, Billing.SPOT), (late, 4.0, Billing.ON_DEMAND)):
        at(scene, hours - 0.3, done=0.05)
        scene.step(sights=scene.empty(), wait_s=0.3 * 3600.0)
        scene.step(
            Stopped(action=scene.action(Stop)), job=JobStatus(state=JobState.LOST), sights=scene.empty(), wait_s=1.0
        )
        scene.given_back()
        if scene.state is RunState.PLANNING:
            scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(plan(), made_at=scene.now)))
        assert len(scene.told(PurchaseIntended)) == 2
        assert scene.attempt.offer.billing is expected


def test_what_is_planned_again_is_what_is_left_until_the_same_moment_with_the_same_purse() -> None:
    scene = Scene(plan=plan(), limits=Limits(deadline_s=20 * 3600.0, budget_usd=5000.0))
    scene.to_running()
    at(scene, 2.0, done=0.25)
    run = scene.run
    assert run is not None
    left = remaining(run, scene.now)
    assert isinstance(left, Training)
    assert isinstance(run.workload, Training)
    assert left.tokens == pytest.approx(0.75 * run.workload.tokens)
    assert left.limits.finish_by == EPOCH + timedelta(hours=20)
    assert left.limits.deadline_s is None
    spent = 5000.0 - (left.limits.budget_usd or 0.0)
    assert spent == pytest.approx(2.0 * SPOT.usd_per_hour, rel=0.01)


def test_a_run_that_has_not_begun_is_planned_as_it_was_submitted() -> None:
    scene = Scene(plan=plan(), limits=Limits(deadline_s=20 * 3600.0))
    scene.step()
    assert scene.action(MakePlan).workload == scene.workload


@given(done=st.floats(0.0, 1.0), hours=st.floats(0.6, 19.9), deadline_h=st.floats(11.0, 20.0))
def test_while_it_stays_on_spot_what_is_left_could_still_be_done_in_time_elsewhere(
    done: float, hours: float, deadline_h: float
) -> None:
    scene = running(deadline_h)
    at(scene, hours, done)
    run = scene.run
    assert run is not None
    due = due_at(run)
    assert due is not None
    if scene.state is RunState.RUNNING and done < 1.0:
        work_h = WORK_H * (1.0 - done)
        assert scene.now + timedelta(hours=work_h + 0.2 + min(CHECKPOINT_H, work_h)) <= due


def test_the_command_of_the_scene_saves_as_often_as_the_figures_here_say() -> None:
    assert program().checkpoint.interval_s == CHECKPOINT_H * 3600.0
