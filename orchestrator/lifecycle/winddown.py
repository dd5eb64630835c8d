"""Leaving a lease: settle a purchase in doubt, end the job, give the machines back, and see it confirmed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.errors import ThrottledError, TransientError
from orchestrator.domain.events import JobEnded, PurchaseRefused, ReleaseIntended, StopAsked
from orchestrator.domain.lease import Lease
from orchestrator.domain.run import Attempt, AttemptState
from orchestrator.lifecycle.actions import GiveBack, Launch, Stop
from orchestrator.lifecycle.choice import buy
from orchestrator.lifecycle.draft import NOTHING_HELD, Draft
from orchestrator.lifecycle.fold import OPEN

QUIET = ("true",)  # started in place of a job that may or may not be running: see `_find`


def settle_by_buying(draft: Draft, attempt: Attempt) -> None:
    """Resolve a purchase that may have gone through by calling again with its token, which buys nothing twice."""
    tries = draft.tries(attempt.token)
    if draft.busy(attempt.token):
        return
    if tries is None:
        # Another controller intended it: first a listing that is not older than our taking over, which `absorb` read.
        if draft.absent(attempt, draft.observed.since):
            draft.act(buy(draft, attempt))
    elif tries.calls < draft.rules.calls:
        if draft.due(attempt.token):
            draft.act(buy(draft, attempt))
    elif _nothing_done(draft, attempt):
        detail = f"{tries.calls} calls were turned away: {tries.detail}"
        _refuse(draft, attempt, ThrottledError.__name__, detail)
    elif draft.absent(attempt, tries.ended_at + _lag(draft)):
        detail = f"{tries.calls} calls came to nothing and nothing is listed: {tries.detail}"
        _refuse(draft, attempt, TransientError.__name__, detail)


def wind_down(draft: Draft) -> bool:
    """One step towards holding nothing; True once nothing is held.

    The order is what keeps two attempts from ever writing the same checkpoints: the job ends, then the lease goes, and
    only then may the run go on elsewhere.
    """
    attempt = draft.run.attempt
    if attempt is None or attempt.state not in OPEN:
        return True
    if attempt.state is AttemptState.INTENDED or attempt.lease is None:
        return _settle_by_listing(draft, attempt)
    if attempt.state is AttemptState.HELD:
        if not _job_over(draft, attempt):
            return False
        cause = attempt.cause or draft.run.detail
        draft.emit(ReleaseIntended(run_id=draft.run.id, at=draft.now, token=attempt.token, cause=cause))
    give_back(draft, attempt.token, attempt.lease)
    return False


def give_back(draft: Draft, token: str, lease: Lease) -> None:
    """Ask for the release, again and again: LeaseNotFound is what confirms it."""
    if draft.due(token):
        draft.act(GiveBack(run_id=draft.run.id, token=token, provider=lease.provider, lease_id=lease.id))


def ask_to_stop(draft: Draft, attempt: Attempt, cause: str) -> None:
    """Have the job stopped: gently, and at the end of its grace or of the provider's patience firmly."""
    if attempt.handle is None or attempt.job_ended:
        return
    if attempt.stop_asked_at is None:
        draft.emit(StopAsked(run_id=draft.run.id, at=draft.now, token=attempt.token, cause=cause))
    deadline = stop_deadline(draft, attempt)
    delivered = draft.observed.stops.get(attempt.token)
    if (delivered is None or delivered > max(deadline, draft.now)) and _due(draft, attempt):
        until = max(deadline, draft.now)
        draft.act(Stop(run_id=draft.run.id, token=attempt.token, handle=attempt.handle, until=until))


def _due(draft: Draft, attempt: Attempt) -> bool:
    """Whether to ask now: what runs on a machine whose lease is lost is asked in quick succession, for others wait."""
    tries = draft.tries(attempt.token)
    soon = tries is not None and draft.now >= tries.ended_at + timedelta(seconds=draft.rules.notice_s)
    return draft.due(attempt.token) or bool(soon and draft.lost(attempt) and not draft.busy(attempt.token))


def out_of_patience(draft: Draft, attempt: Attempt) -> bool:
    """True where the job should long have ended, or nobody can be reached who would end it.

    The time counts from the moment at which the request was delivered, never from the one at which it was meant to be:
    a controller that was away in between has not asked yet. Where the launcher said since that the job has ended and
    that it carries home what was saved, it counts from then, and ends with the budget.
    """
    ends, patience = draft.observed.stops.get(attempt.token), timedelta(seconds=draft.rules.stop_patience_s)
    carried = draft.observed.carried.get(attempt.token)
    if ends is not None and carried is not None and not draft.lost(attempt):
        limit = ends + timedelta(seconds=draft.rules.carry_s)
        carried = min(carried, limit if attempt.reclaim_at is None else min(limit, attempt.reclaim_at))
        return draft.over_budget(0.0) or draft.now > max(ends, carried) + patience
    if ends is not None:
        return draft.now > ends + patience
    tries = draft.tries(attempt.token)
    return tries is not None and tries.calls >= draft.rules.calls


def stop_deadline(draft: Draft, attempt: Attempt) -> datetime:
    """When a job that was asked to stop is made to: at once where its lease is lost."""
    asked = attempt.stop_asked_at or draft.now
    if draft.lost(attempt):
        return asked
    deadline = asked + timedelta(seconds=draft.grace_s)
    if attempt.reclaim_at is not None:
        deadline = min(deadline, attempt.reclaim_at - timedelta(seconds=draft.rules.notice_s))
    return deadline


def _settle_by_listing(draft: Draft, attempt: Attempt) -> bool:
    """Resolve a purchase in doubt that nobody wants any more: buying it to learn of it would cost money."""
    if draft.busy(attempt.token):
        return False
    tries = draft.tries(attempt.token)
    if _nothing_done(draft, attempt):
        _refuse(draft, attempt, ThrottledError.__name__, "given up after it was turned away")
        return True
    called = tries.ended_at if tries is not None else max(draft.observed.since, attempt.intended_at)
    if not draft.absent(attempt, called + _lag(draft)):
        return False
    _refuse(draft, attempt, NOTHING_HELD, "given up while in doubt; the provider lists nothing under its token")
    return True


def _nothing_done(draft: Draft, attempt: Attempt) -> bool:
    """Whether it is known that no call with the attempt's token bought anything: all were ours, and turned away."""
    tries = draft.tries(attempt.token)
    return tries is not None and tries.turned_away and attempt.intended_at >= draft.observed.since


def _refuse(draft: Draft, attempt: Attempt, error: str, detail: str) -> None:
    refused = PurchaseRefused(run_id=draft.run.id, at=draft.now, token=attempt.token, error=error, detail=detail)
    draft.emit(refused)


def _lag(draft: Draft) -> timedelta:
    return timedelta(seconds=draft.rules.listing_lag_s)


def _job_over(draft: Draft, attempt: Attempt) -> bool:
    """One step towards the job's end; True once it is over or was never begun."""
    if attempt.job_ended or not attempt.launch_intended:
        return not draft.busy(attempt.token)
    if attempt.handle is None:
        return _find(draft, attempt)
    cause = draft.lost(attempt) or draft.run.detail
    ask_to_stop(draft, attempt, cause)
    if draft.busy(attempt.token) or not out_of_patience(draft, attempt):
        return False
    seen = "what it saved is still on its way" if attempt.token in draft.observed.carried else "it was not seen to end"
    _over(draft, attempt, f"{seen}: the machines are released under it")
    return True


def _find(draft: Draft, attempt: Attempt) -> bool:
    """Learn whether a launch that was intended took place.

    A start with the same token gives the handle of the job that runs, if one does; if none does, what it starts is a
    program that does nothing, so that no work begins that is about to be stopped. The calls that a launch in doubt has
    cost already are counted, so this is tried at least as often again.
    """
    program = draft.run.workload.program
    tries = draft.tries(attempt.token)
    if program is None or attempt.lease is None or (tries is not None and tries.calls >= 2 * draft.rules.calls):
        _over(draft, attempt, "it could not be learnt whether it had started")
        return True
    if draft.due(attempt.token):
        quiet = replace(program, command=QUIET, workdir="", secrets=())
        launch = Launch(
            run_id=draft.run.id, token=attempt.token, attempt=attempt.number, lease=attempt.lease, program=quiet
        )
        draft.act(launch)
    return False


def _over(draft: Draft, attempt: Attempt, cause: str) -> None:
    draft.emit(JobEnded(run_id=draft.run.id, at=draft.now, token=attempt.token, exit_code=None, cause=cause))
