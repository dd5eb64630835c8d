"""The passive half of reconcile: mirrors what was seen and what came of earlier actions into events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from orchestrator.domain.events import (
    Blinded,
    ControllerNote,
    JobEnded,
    Launched,
    LaunchFailed,
    LeaseChanged,
    LeaseGone,
    Planned,
    Progressed,
    Purchased,
    PurchaseRefused,
    ReclaimNoticed,
    Sighted,
)
from orchestrator.domain.job import JobState, JobStatus
from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.run import Attempt, AttemptState, RunState
from orchestrator.lifecycle.actions import (
    Bought,
    Buy,
    Doubtful,
    Launch,
    MakePlan,
    PlanMade,
    Refused,
    Released,
    Releasing,
    Result,
    Started,
    Stopped,
)
from orchestrator.lifecycle.draft import Draft
from orchestrator.lifecycle.ending import leaves_at
from orchestrator.lifecycle.fold import OPEN
from orchestrator.lifecycle.observed import Blind, Listing

PROGRESS_STEP = 0.01


def absorb(draft: Draft) -> None:
    """Write down everything new. A fact that came too late to matter is dropped."""
    for result in draft.observed.results:
        _result(draft, result)
    _sights(draft)
    attempt = draft.run.attempt
    if attempt is not None:
        _job(draft, attempt)


def _result(draft: Draft, result: Result) -> None:
    match result:
        case PlanMade():
            if draft.run.state is RunState.PLANNING:
                draft.emit(Planned(run_id=draft.run.id, at=draft.now, plan=result.plan))
        case Bought():
            _bought(draft, result.action.token, result.lease)
        case Started():
            _started(draft, result)
        case Released():
            attempt = _attempt(draft, result.action.token, AttemptState.RELEASING)
            if attempt is not None:
                cause = attempt.cause or "released"
                draft.emit(LeaseGone(run_id=draft.run.id, at=draft.now, token=attempt.token, cause=cause))
        case Refused():
            _refused(draft, result)
        case Doubtful():
            _doubtful(draft, result)
        case Stopped() | Releasing():
            pass  # remembered by the controller; the job's and the lease's own end are what counts
        case _:
            assert_never(result)


def _attempt(draft: Draft, token: str, state: AttemptState = AttemptState.HELD) -> Attempt | None:
    attempt = draft.run.attempt
    return attempt if attempt is not None and attempt.token == token and attempt.state is state else None


def _bought(draft: Draft, token: str, lease: Lease) -> None:
    if _attempt(draft, token, AttemptState.INTENDED) is not None:
        draft.emit(Purchased(run_id=draft.run.id, at=draft.now, token=token, lease=lease))


def _started(draft: Draft, result: Started) -> None:
    attempt = _attempt(draft, result.action.token)
    if attempt is not None and attempt.handle is None and not attempt.job_ended:
        draft.emit(Launched(run_id=draft.run.id, at=draft.now, token=attempt.token, handle=result.handle))


def _refused(draft: Draft, result: Refused) -> None:
    action, run, at = result.action, draft.run, draft.now
    match action:
        case Buy():
            if _attempt(draft, action.token, AttemptState.INTENDED) is not None:
                refused = PurchaseRefused(
                    run_id=run.id,
                    at=at,
                    token=action.token,
                    error=result.error,
                    detail=result.detail,
                    scope=result.scope,
                )
                draft.emit(refused)
        case Launch():
            attempt = _attempt(draft, action.token)
            if attempt is None or attempt.job_ended:
                return
            draft.emit(LaunchFailed(run_id=run.id, at=at, token=action.token, detail=result.detail))
            if result.final and run.state is RunState.STARTING:
                draft.end(RunState.FAILED, f"the program cannot be started: {result.detail}")
        case MakePlan():
            if run.state is RunState.PLANNING:
                draft.move(RunState.FAILED, f"planning failed: {result.detail}")


def _doubtful(draft: Draft, result: Doubtful) -> None:
    tries = draft.tries(result.action.key)
    if result.note and (tries is None or tries.calls <= 1):  # once per row of failures, not per failure
        draft.emit(ControllerNote(run_id=draft.run.id, at=draft.now, detail=result.detail))


def _sights(draft: Draft) -> None:
    attempt = draft.run.attempt
    provider = attempt.offer.provider if attempt is not None and attempt.state in OPEN else ""
    for name, sight in sorted(draft.observed.sights.items()):
        blind = name in draft.run.blind
        if isinstance(sight, Listing) and blind:
            draft.emit(Sighted(run_id=draft.run.id, at=draft.now, provider=name))
        elif isinstance(sight, Blind) and name == provider and not blind:
            draft.emit(Blinded(run_id=draft.run.id, at=draft.now, provider=name, detail=sight.detail))
    listing = draft.listing(provider)
    if attempt is not None and provider and listing is not None:
        _listed(draft, attempt, listing)


def _listed(draft: Draft, attempt: Attempt, listing: Listing) -> None:
    if attempt.state is AttemptState.INTENDED:
        found = listing.by_token(attempt.token)
        if found is not None:  # even while the call that bought it has not come back
            _bought(draft, attempt.token, found)
        return
    if attempt.lease is None or attempt.state is not AttemptState.HELD:
        return
    found = listing.by_id(attempt.lease.id)
    if found is None:
        return
    if found.ends_at is None:  # what was known of its end stays so while it is given back
        found = replace(found, ends_at=attempt.lease.ends_at)
    known = attempt.lease
    if (found.state, found.endpoints, found.ends_at) != (known.state, known.endpoints, known.ends_at):
        draft.emit(LeaseChanged(run_id=draft.run.id, at=draft.now, token=attempt.token, lease=found))
    if attempt.reclaim_at is None:
        _reclaim(draft, attempt, found, listing)


def _reclaim(draft: Draft, attempt: Attempt, lease: Lease, listing: Listing) -> None:
    moments = [notice.at for notice in listing.notices if notice.lease_id == lease.id]
    if not moments and lease.state is LeaseState.RECLAIMING:
        moments = [draft.now + timedelta(seconds=draft.grace_s)]  # announced without a date: as soon as is gentle
    leaves = leaves_at(draft, lease)
    if not moments and leaves is not None and lease.ends_at is not None and draft.now >= leaves:
        moments = [lease.ends_at]  # not every provider warns of an end that it has told
    if moments:
        at = min(moments)
        draft.emit(ReclaimNoticed(run_id=draft.run.id, at=draft.now, token=attempt.token, reclaim_at=at))


def _job(draft: Draft, attempt: Attempt) -> None:
    status = draft.observed.jobs.get(attempt.token)
    if status is None or attempt.handle is None or attempt.job_ended or attempt.state is not AttemptState.HELD:
        return
    _progress(draft, attempt, status)
    if status.state is JobState.EXITED:
        cause = _exit(status.exit_code)
        ended = JobEnded(
            run_id=draft.run.id, at=draft.now, token=attempt.token, exit_code=status.exit_code, cause=cause
        )
        draft.emit(ended)
    elif status.state is JobState.LOST:
        cause = "the job disappeared without an exit code"
        draft.emit(JobEnded(run_id=draft.run.id, at=draft.now, token=attempt.token, exit_code=None, cause=cause))


def _progress(draft: Draft, attempt: Attempt, status: JobStatus) -> None:
    new, old = status.progress, attempt.progress
    if new is None or new == old:
        return
    ended = status.state is not JobState.RUNNING
    stepped = old is None or abs(new.done - old.done) >= PROGRESS_STEP or new.done >= 1.0 > old.done
    last = attempt.progress_at
    waited = last is not None and draft.now >= last + timedelta(seconds=draft.rules.progress_s)
    if ended or stepped or waited:
        draft.emit(Progressed(run_id=draft.run.id, at=draft.now, token=attempt.token, done=new.done, detail=new.detail))


def _exit(code: int | None) -> str:
    if code is None:
        return "ended without an exit code"
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"
