"""Folds events into runs, and refuses every event that the run's history does not allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias, assert_never

from orchestrator.domain.events import (
    ApprovalAsked,
    Approved,
    Blinded,
    CancelAsked,
    ControllerNote,
    Event,
    JobEnded,
    Launched,
    LaunchFailed,
    LaunchIntended,
    LeaseChanged,
    LeaseGone,
    Moved,
    OrphanReleased,
    Planned,
    Postponed,
    Progressed,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
    ReclaimNoticed,
    ReleaseIntended,
    Sighted,
    StopAsked,
    Submitted,
)
from orchestrator.domain.job import Progress
from orchestrator.domain.run import TRANSITIONS, Attempt, AttemptState, Run, RunState

OfRun: TypeAlias = (
    CancelAsked
    | ApprovalAsked
    | Approved
    | Moved
    | Planned
    | Postponed
    | Blinded
    | Sighted
    | ControllerNote
    | PurchaseIntended
)
OfLease: TypeAlias = Purchased | PurchaseRefused | LeaseChanged | ReclaimNoticed | ReleaseIntended | LeaseGone
OfJob: TypeAlias = LaunchIntended | Launched | LaunchFailed | Progressed | StopAsked | JobEnded

OPEN = frozenset({AttemptState.INTENDED, AttemptState.HELD, AttemptState.RELEASING})
"""An attempt in one of these holds a lease, or may hold one."""


class IllegalMove(ValueError):
    """An event that the run's history does not allow: a bug, or a store written by something else."""


def fold(events: Iterable[Event]) -> dict[str, Run]:
    """Every run by id, in the order of submission. Events about no run are passed over.

    Raises: IllegalMove.
    """
    runs: dict[str, Run] = {}
    for event in events:
        if event.run_id:
            runs[event.run_id] = advance(runs.get(event.run_id), event)
    return runs


def advance(run: Run | None, event: Event) -> Run:
    """The run after `event`; `run` is None before its submission.

    Raises: IllegalMove where the event is about another run, an unknown token, or comes out of its order.
    """
    if isinstance(event, Submitted):
        if run is not None:
            raise IllegalMove(f"run {run.id} was submitted twice")
        return _submitted(event)
    if run is None:
        raise IllegalMove(f"{event.kind} about run {event.run_id!r}, which was never submitted")
    if isinstance(event, OrphanReleased) or event.run_id != run.id:
        raise IllegalMove(f"{event.kind} about run {event.run_id!r} was given to run {run.id}")
    if isinstance(event, OfRun):
        return _of_run(run, event)
    index = _index(run, event)
    attempt = run.attempts[index]
    changed = _of_job(attempt, event) if isinstance(event, OfJob) else _of_lease(attempt, event)
    if isinstance(event, Purchased):
        run = replace(run, postponed_since=None)
    return replace(run, attempts=(*run.attempts[:index], changed, *run.attempts[index + 1 :]))


def _submitted(event: Submitted) -> Run:
    return Run(
        id=event.run_id,
        name=event.workload.name,
        workload=event.workload,
        state=RunState.SUBMITTED,
        submitted_at=event.at,
        entered_at=event.at,
        plan=event.plan,
    )


def _of_run(run: Run, event: OfRun) -> Run:
    match event:
        case CancelAsked():
            return replace(run, cancel_asked_at=run.cancel_asked_at or event.at)
        case ApprovalAsked() | Approved() | Moved():
            return _approval(run, event) if not isinstance(event, Moved) else _moved(run, event)
        case Planned() | Postponed():
            return _planned(run, event)
        case PurchaseIntended():
            return _intended(run, event)
        case Blinded() | Sighted():
            here = frozenset({event.provider})
            return replace(run, blind=run.blind | here if isinstance(event, Blinded) else run.blind - here)
        case ControllerNote():
            return run
    assert_never(event)


def _approval(run: Run, event: ApprovalAsked | Approved) -> Run:
    if isinstance(event, ApprovalAsked):
        if run.state is not RunState.ACQUIRING:
            raise IllegalMove(f"run {run.id}: an approval is asked for while {run.state}")
        return replace(run, asked=event.approval)
    if run.asked is None or event.by != run.asked.by:  # users speak at any time, and the log keeps all of it
        return run
    return replace(run, approved_usd=max(run.approved_usd, event.usd))


def _moved(run: Run, event: Moved) -> Run:
    if event.to not in TRANSITIONS[run.state]:
        raise IllegalMove(f"run {run.id}: {run.state} to {event.to} is not in TRANSITIONS")
    if (event.outcome is not None and event.outcome.final) is not (event.to is RunState.RELEASING):
        raise IllegalMove(f"run {run.id}: an outcome is set on entering releasing, and only then")
    if run.state is RunState.RELEASING and event.to is not run.outcome:
        raise IllegalMove(f"run {run.id}: releasing leads to {run.outcome}, not to {event.to}")
    if event.to is RunState.WAITING and run.asked is None:
        raise IllegalMove(f"run {run.id}: waiting for an approval that was never asked for")
    if (event.to.final or event.to is RunState.WAITING) and run.attempt is not None and run.attempt.state in OPEN:
        raise IllegalMove(f"run {run.id}: {event.to} while {run.attempt.token} is {run.attempt.state}")
    outcome = event.outcome if event.to is RunState.RELEASING else run.outcome
    return replace(run, state=event.to, entered_at=event.at, outcome=outcome, detail=event.cause)


def _planned(run: Run, event: Planned | Postponed) -> Run:
    if isinstance(event, Planned):
        return replace(run, plan=event.plan, plans=run.plans + 1, next_candidate=0, postponed_until=None)
    if run.state is not RunState.PLANNING:
        raise IllegalMove(f"run {run.id}: postponed while {run.state}")
    since = run.postponed_since or event.at
    return replace(
        run, postponed_until=event.until, postponed_since=since, postponed_plans=run.plans, detail=event.cause
    )


def _intended(run: Run, event: PurchaseIntended) -> Run:
    if run.state is not RunState.ACQUIRING:
        raise IllegalMove(f"run {run.id}: a purchase is intended while {run.state}")
    if run.attempt is not None and run.attempt.state in OPEN:
        raise IllegalMove(f"run {run.id}: a purchase is intended while {run.attempt.token} is {run.attempt.state}")
    if any(attempt.token == event.token for attempt in run.attempts):
        raise IllegalMove(f"run {run.id}: token {event.token} is used twice")
    attempt = Attempt(
        number=len(run.attempts) + 1,
        candidate=event.candidate,
        token=event.token,
        offer=event.offer,
        nodes=event.nodes,
        usd_per_hour=event.usd_per_hour,
        state=AttemptState.INTENDED,
        intended_at=event.at,
        plan=run.plans,
    )
    return replace(run, attempts=(*run.attempts, attempt), next_candidate=event.candidate + 1)


def _index(run: Run, event: OfLease | OfJob) -> int:
    for index, attempt in enumerate(run.attempts):
        if attempt.token == event.token:
            return index
    raise IllegalMove(f"run {run.id}: {event.kind} about the unknown token {event.token!r}")


def _of_lease(attempt: Attempt, event: OfLease) -> Attempt:
    match event:
        case Purchased():
            _expect(attempt, event, AttemptState.INTENDED)
            return replace(attempt, state=AttemptState.HELD, lease=event.lease, held_at=event.at)
        case PurchaseRefused():
            _expect(attempt, event, AttemptState.INTENDED)
            return replace(attempt, state=AttemptState.REFUSED, error=event.error, cause=event.detail)
        case LeaseChanged():
            _expect(attempt, event, AttemptState.HELD, AttemptState.RELEASING)
            return replace(attempt, lease=event.lease)
        case ReclaimNoticed():
            _expect(attempt, event, AttemptState.HELD)
            return replace(attempt, reclaim_at=event.reclaim_at)
        case ReleaseIntended():
            _expect(attempt, event, AttemptState.HELD)
            return replace(attempt, state=AttemptState.RELEASING, cause=attempt.cause or event.cause)
        case LeaseGone():
            _expect(attempt, event, AttemptState.HELD, AttemptState.RELEASING)
            cause = attempt.cause or event.cause
            return replace(attempt, state=AttemptState.GONE, gone_at=event.at, cause=cause)
    assert_never(event)


def _of_job(attempt: Attempt, event: OfJob) -> Attempt:
    _expect(attempt, event, AttemptState.HELD)
    if attempt.job_ended:
        raise IllegalMove(f"{event.kind} about {attempt.token}, whose job has ended")
    match event:
        case LaunchIntended():
            return replace(attempt, launch_intended=True)
        case Launched():
            return replace(attempt, handle=event.handle)
        case LaunchFailed():
            return replace(attempt, job_ended=True, job_ended_at=event.at, cause=event.detail)
        case Progressed():
            return replace(attempt, progress=Progress(done=event.done, detail=event.detail), progress_at=event.at)
        case StopAsked():
            return replace(attempt, stop_asked_at=attempt.stop_asked_at or event.at, cause=event.cause)
        case JobEnded():
            cause = attempt.cause or event.cause
            return replace(attempt, job_ended=True, job_ended_at=event.at, exit_code=event.exit_code, cause=cause)
    assert_never(event)


def _expect(attempt: Attempt, event: OfLease | OfJob, *allowed: AttemptState) -> None:
    if attempt.state not in allowed:
        raise IllegalMove(f"{event.kind} about {attempt.token}, which is {attempt.state}")
