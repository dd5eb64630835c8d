"""The fold of a run's events, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest

from orchestrator.domain import events as e
from orchestrator.domain.approval import Approval
from orchestrator.domain.job import Handle, Progress
from orchestrator.domain.run import TRANSITIONS, AttemptState, Run, RunState
from orchestrator.lifecycle.fold import IllegalMove, OfJob, OfLease, OfRun, advance, fold
from orchestrator.testing.builders import lease, offer, plan_of, program, training
from orchestrator.testing.clock import EPOCH

LEASE = lease(token="r-1")
HANDLE = Handle(launcher="fake", lease_id=LEASE.id, id="r-1", started_at=EPOCH)
LATER = EPOCH + timedelta(seconds=5)


def about(kind: type, **values: object) -> e.Event:
    """An event of `kind` about run r."""
    return kind(run_id="r", at=LATER, **values)  # type: ignore[no-any-return]


def of_token(kind: type, **values: object) -> e.Event:
    return about(kind, token="r-1", **values)


SUBMITTED = e.Submitted(run_id="r", at=EPOCH, workload=training(name="job", program=program()), plan=plan_of())
ACQUIRING = about(e.Moved, to=RunState.ACQUIRING, cause="")
INTENDED = of_token(e.PurchaseIntended, candidate=2, offer=offer(), nodes=1, usd_per_hour=32.0, fence=1)
PURCHASED = of_token(e.Purchased, lease=LEASE)
REFUSED = of_token(e.PurchaseRefused, error="QuotaError", detail="no quota")
LAUNCH = of_token(e.LaunchIntended)
LAUNCHED = of_token(e.Launched, handle=HANDLE)
ENDED = of_token(e.JobEnded, exit_code=3, cause="exit code 3")
RELEASE = of_token(e.ReleaseIntended, cause="over")
GONE = of_token(e.LeaseGone, cause="released")


def after(*history: e.Event) -> Run:
    return fold((SUBMITTED, *history))["r"]


def test_a_submission_makes_a_run() -> None:
    run = after()
    assert (run.id, run.name, run.state, run.plans, run.plan) == ("r", "job", RunState.SUBMITTED, 0, plan_of())


def test_a_whole_life_adds_up() -> None:
    progressed = of_token(e.Progressed, done=0.5, detail="half")
    stop = of_token(e.StopAsked, cause="reclaimed")
    reclaim = of_token(e.ReclaimNoticed, reclaim_at=LATER)
    run = after(ACQUIRING, INTENDED, PURCHASED, LAUNCH, LAUNCHED, progressed, reclaim, stop, ENDED, RELEASE, GONE)
    attempt = run.attempts[0]
    assert run.next_candidate == 3
    assert (attempt.number, attempt.candidate, attempt.plan, attempt.state) == (1, 2, 0, AttemptState.GONE)
    assert (attempt.lease, attempt.held_at, attempt.handle) == (LEASE, LATER, HANDLE)
    assert (attempt.progress, attempt.progress_at) == (Progress(done=0.5, detail="half"), LATER)
    assert (attempt.exit_code, attempt.job_ended, attempt.gone_at) == (3, True, LATER)
    assert (attempt.reclaim_at, attempt.stop_asked_at, attempt.cause) == (LATER, LATER, "reclaimed")


def test_a_plan_begins_its_candidates_anew() -> None:
    run = after(ACQUIRING, INTENDED, REFUSED, about(e.Planned, plan=plan_of()))
    assert (run.plans, run.next_candidate) == (1, 0)
    assert (run.attempts[0].error, run.attempts[0].cause) == ("QuotaError", "no quota")


def test_the_first_wish_to_cancel_counts() -> None:
    second = e.CancelAsked(run_id="r", at=LATER + timedelta(seconds=1))
    assert after(about(e.CancelAsked), second).cancel_asked_at == LATER


def test_blindness_comes_and_goes() -> None:
    blinded = about(e.Blinded, provider="acme", detail="")
    assert after(blinded).blind == {"acme"}
    assert after(blinded, about(e.Sighted, provider="acme")).blind == frozenset()


def test_releasing_keeps_the_end_it_leads_to() -> None:
    leaving = about(e.Moved, to=RunState.RELEASING, cause="done", outcome=RunState.SUCCEEDED)
    running = [about(e.Moved, to=state, cause="") for state in (RunState.STARTING, RunState.RUNNING)]
    run = after(ACQUIRING, INTENDED, PURCHASED, *running, leaving)
    assert (run.state, run.outcome, run.entered_at, run.detail) == (
        RunState.RELEASING,
        RunState.SUCCEEDED,
        LATER,
        "done",
    )


def test_only_the_one_who_was_asked_approves_and_the_most_counts() -> None:
    asked = about(e.ApprovalAsked, approval=ASKED)
    early = about(e.Approved, by="cfo", usd=50.0)
    assert after(ACQUIRING, early, asked).approved_usd == 0.0
    assert after(ACQUIRING, asked, about(e.Approved, by="me", usd=50.0)).approved_usd == 0.0
    run = after(ACQUIRING, asked, about(e.Approved, by="cfo", usd=50.0), about(e.Approved, by="cfo", usd=30.0))
    assert (run.approved_usd, run.asked) == (50.0, ASKED)


def test_events_about_no_run_are_passed_over() -> None:
    orphan = e.OrphanReleased(run_id="", at=EPOCH, provider="acme", lease_id="x", token="y")
    note = e.ControllerNote(run_id="", at=EPOCH, detail="")
    assert fold((note, SUBMITTED, orphan)) == fold((SUBMITTED,))


ASKED = Approval(by="cfo", above_usd=10.0, expected_usd=20.0, usd=30.0)


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("to", list(RunState))
def test_a_move_is_legal_if_and_only_if_the_table_lists_it(state: RunState, to: RunState) -> None:
    outcome = to if state is RunState.RELEASING and to.final else RunState.FAILED
    run = Run(
        id="r",
        name="job",
        workload=SUBMITTED.workload,
        state=state,
        submitted_at=EPOCH,
        entered_at=EPOCH,
        outcome=outcome,
        asked=ASKED,
    )
    move = about(e.Moved, to=to, cause="", outcome=RunState.FAILED if to is RunState.RELEASING else None)
    if to in TRANSITIONS[state]:
        assert advance(run, move).state is to
    else:
        with pytest.raises(IllegalMove, match="TRANSITIONS"):
            advance(run, move)


@pytest.mark.parametrize(
    ("history", "event", "said"),
    [
        ((), SUBMITTED, "twice"),
        ((), INTENDED, "intended while submitted"),
        ((), PURCHASED, "unknown token"),
        ((ACQUIRING, INTENDED), INTENDED, "intended while r-1 is intended"),
        ((ACQUIRING, INTENDED, REFUSED), INTENDED, "used twice"),
        ((ACQUIRING, INTENDED, REFUSED), PURCHASED, "which is refused"),
        ((ACQUIRING, INTENDED, PURCHASED), PURCHASED, "which is held"),
        ((ACQUIRING, INTENDED), RELEASE, "which is intended"),
        ((ACQUIRING, INTENDED), GONE, "which is intended"),
        ((ACQUIRING, INTENDED, PURCHASED, GONE), GONE, "which is gone"),
        ((ACQUIRING, INTENDED, PURCHASED, GONE), LAUNCH, "which is gone"),
        ((ACQUIRING, INTENDED, PURCHASED, LAUNCH, ENDED), ENDED, "whose job has ended"),
        ((), about(e.ApprovalAsked, approval=ASKED), "asked for while submitted"),
        ((ACQUIRING,), about(e.Moved, to=RunState.WAITING, cause=""), "never asked for"),
        (
            (ACQUIRING, about(e.ApprovalAsked, approval=ASKED), INTENDED),
            about(e.Moved, to=RunState.WAITING, cause=""),
            "while r-1 is intended",
        ),
        ((ACQUIRING,), about(e.Moved, to=RunState.RELEASING, cause=""), "outcome"),
        ((), about(e.Moved, to=RunState.ACQUIRING, cause="", outcome=RunState.FAILED), "outcome"),
        ((ACQUIRING, INTENDED), about(e.Moved, to=RunState.FAILED, cause=""), "while r-1 is intended"),
        ((ACQUIRING, INTENDED, PURCHASED), about(e.Moved, to=RunState.CANCELLED, cause=""), "while r-1 is held"),
        (
            (ACQUIRING, about(e.Moved, to=RunState.RELEASING, cause="", outcome=RunState.CANCELLED)),
            about(e.Moved, to=RunState.SUCCEEDED, cause=""),
            "leads to cancelled",
        ),
        ((), e.ControllerNote(run_id="other", at=EPOCH, detail=""), "was given to run r"),
        ((), e.OrphanReleased(run_id="", at=EPOCH, provider="", lease_id="", token=""), "was given to run r"),
    ],
)
def test_what_the_history_does_not_allow_is_refused(history: tuple[e.Event, ...], event: e.Event, said: str) -> None:
    with pytest.raises(IllegalMove, match=said):
        advance(after(*history), event)


def test_nothing_can_be_said_of_a_run_that_was_never_submitted() -> None:
    with pytest.raises(IllegalMove, match="never submitted"):
        fold((about(e.CancelAsked),))


def test_the_fold_knows_every_kind_of_event() -> None:
    known = {*get_args(OfRun), *get_args(OfLease), *get_args(OfJob), e.Submitted, e.OrphanReleased}
    assert known == set(get_args(e.Event))
