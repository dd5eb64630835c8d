"""What a run does next: launching, watching, ending."""

from __future__ import annotations

from orchestrator.domain.events import (
    Blinded,
    ControllerNote,
    LaunchIntended,
    Progressed,
    Sighted,
)
from orchestrator.domain.job import JobState, JobStatus, Progress
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.lifecycle.actions import Bought, Buy, Launch, Started
from orchestrator.lifecycle.observed import Blind, Listing
from orchestrator.lifecycle.winddown import QUIET
from tests.unit.lifecycle.scene import (
    BETA,
    Scene,
    booting,
    doubtful,
    exited,
    kinds,
    ready,
    refused,
)


def test_the_launch_waits_for_the_machines_and_is_intended_before_it_is_made() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    assert scene.step(Bought(action=buy, lease=booting(buy, scene.now))) == []
    up = ready(buy, scene.now)
    (launch,) = scene.step(sights={"alpha": Listing(asked_at=scene.now, leases=(up,))})
    assert isinstance(launch, Launch)
    assert launch.lease == up
    assert len(scene.told(LaunchIntended)) == 1


def test_machines_that_never_come_up_are_given_back_and_the_next_are_tried() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(Bought(action=buy, lease=booting(buy, scene.now)))
    assert kinds(scene.step(wait_s=scene.rules.boot_timeout_s + 1)) == ["GiveBack"]
    scene.given_back()
    assert scene.action(Buy).offer == BETA


def test_a_launch_after_a_crash_is_repeated_with_its_token() -> None:
    scene = Scene()
    launch = scene.to_starting()
    scene.forget()
    assert scene.step() == [launch]
    assert len(scene.told(LaunchIntended)) == 1


def test_a_launch_that_these_machines_refuse_goes_to_the_next_candidate() -> None:
    scene = Scene()
    scene.step(refused(scene.to_starting(), "ProviderError"))
    assert scene.state is RunState.RECOVERING
    scene.given_back()
    assert scene.action(Buy).offer == BETA


def test_a_program_that_can_never_start_ends_the_run_and_the_lease() -> None:
    scene = Scene()
    scene.step(refused(scene.to_starting(), "UserError", final=True))
    assert scene.state is RunState.RELEASING
    scene.given_back()
    assert scene.state is RunState.FAILED
    assert "cannot be started" in scene.detail


def test_a_launch_that_stays_in_doubt_is_looked_for_and_stopped_before_the_lease_goes() -> None:
    scene = Scene()
    launch = scene.to_starting()
    for _ in range(scene.rules.calls):
        scene.step(doubtful(launch))
        scene.step()
    assert scene.state is RunState.RECOVERING
    probe = scene.action(Launch)
    assert probe.program.command == QUIET
    assert kinds(scene.step(Started(action=probe, handle=scene.handle(probe)))) == ["Stop"]


def test_a_launch_that_nobody_can_learn_of_holds_the_lease_for_a_limited_time() -> None:
    scene = Scene()
    scene.to_starting()
    for _ in range(2 * scene.rules.calls):
        scene.step(doubtful(scene.action(Launch)))
        scene.step()
    assert kinds(list(scene.flying.values())) == ["GiveBack"]


def test_a_failure_is_the_jobs_own_only_once_a_later_look_shows_the_machines() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(job=exited(3))
    assert scene.state is RunState.RUNNING
    scene.step(sights=scene.shown())
    assert scene.state is RunState.RELEASING
    assert scene.detail == "the job failed: exit code 3"


def test_a_failure_on_machines_that_were_taken_is_not_the_jobs_own() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(job=exited(-9))
    scene.step(sights=scene.empty())
    assert scene.state is RunState.RECOVERING


def test_a_failed_job_fails_the_run_once_its_lease_is_gone() -> None:
    scene = Scene()
    scene.to_releasing(3)
    assert scene.state is RunState.RELEASING
    scene.given_back()
    assert scene.state is RunState.FAILED
    assert scene.attempt.state is AttemptState.GONE


def test_a_job_that_disappears_is_run_again_elsewhere() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(job=JobStatus(state=JobState.LOST))
    assert scene.state is RunState.RECOVERING
    scene.given_back()
    assert scene.action(Buy).offer == BETA


def test_as_many_leases_are_tried_as_the_job_allows() -> None:
    scene = Scene(attempts=1)
    scene.to_running()
    scene.step(job=JobStatus(state=JobState.LOST))
    scene.given_back()
    assert scene.state is RunState.FAILED
    assert "1 leases were tried" in scene.detail


def test_a_provider_that_does_not_answer_blinds_the_run_once_and_changes_nothing_else() -> None:
    scene = Scene()
    scene.to_running()
    for _ in range(3):
        assert scene.step(wait_s=100.0, sights={"alpha": Blind(detail="no answer")}) == []
    assert scene.state is RunState.RUNNING
    assert len(scene.told(Blinded)) == 1
    scene.step(sights=scene.shown())
    assert len(scene.told(Sighted)) == 1
    assert scene.run is not None
    assert scene.run.blind == frozenset()


def test_progress_is_stored_by_the_percent_or_now_and_then() -> None:
    scene = Scene()
    scene.to_running()
    for done in (0.1, 0.1, 0.101, 0.105, 0.12):
        scene.step(job=JobStatus(state=JobState.RUNNING, progress=Progress(done=done)))
    assert [event.done for event in scene.told(Progressed)] == [0.1, 0.12]
    scene.step(wait_s=60.0, job=JobStatus(state=JobState.RUNNING, progress=Progress(done=0.121)))
    assert scene.told(Progressed)[-1].done == 0.121
    scene.step(job=exited(0, done=0.122))
    assert scene.told(Progressed)[-1].done == 0.122


def test_a_bug_of_an_adapter_is_noted_once_per_row() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    for _ in range(3):
        scene.step(doubtful(buy, note=True))
        scene.step()
    assert len(scene.told(ControllerNote)) == 1


def test_a_result_that_comes_too_late_is_dropped() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(refused(buy, "CapacityError"))
    written = len(scene.history)
    scene.step(refused(buy, "CapacityError"), Bought(action=buy, lease=ready(buy, scene.now)))
    assert len(scene.history) == written


def test_a_run_that_has_ended_does_nothing() -> None:
    scene = Scene()
    scene.cancel()
    scene.step()
    assert scene.state is RunState.CANCELLED
    assert scene.step() == []


def test_the_launch_that_came_back_names_the_job() -> None:
    scene = Scene()
    launch = scene.to_starting()
    handle = scene.handle(launch)
    scene.step(Started(action=launch, handle=handle))
    assert scene.attempt.handle == handle
