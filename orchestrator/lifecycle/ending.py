"""Leases that end at a known time: when their jobs are stopped, and what an attempt counts that lasted so long."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain.lease import Lease
from orchestrator.domain.run import Attempt
from orchestrator.lifecycle.draft import Draft

CLOSE = timedelta(seconds=5.0)  # to its end: clocks differ, and whoever ends a lease may be early
ENDING = "the lease comes to its end"
RECLAIMED = "the provider takes the machines back"


def leaves_at(draft: Draft, lease: Lease) -> datetime | None:
    """When a job has to be stopped for the end of its lease; None where no end is known.

    Early enough for the grace, for what is saved to come home, and to give back; at most half of the lease's life, for
    a lease that is too short for that is worked in all the same.
    """
    if lease.ends_at is None:
        return None
    need = timedelta(seconds=draft.grace_s + draft.rules.stop_patience_s + draft.leave_s)
    return lease.ends_at - min(need, max(lease.ends_at - lease.acquired_at, timedelta(0)) / 2)


def taken(attempt: Attempt) -> str:
    """Why the machines of an attempt that was warned are left."""
    return ENDING if _close(attempt, attempt.reclaim_at) else RECLAIMED


def ran_out(attempt: Attempt) -> bool:
    """Whether the job ended when its lease did, and so with it: a lease may be gone that no listing has shown yet."""
    return _close(attempt, attempt.job_ended_at)


def over(draft: Draft, attempt: Attempt) -> bool:
    """Whether the time of its lease is up."""
    return _close(attempt, draft.now)


def lasted(attempt: Attempt) -> bool:
    """Whether a job ran until its lease was about to end, or did: the machines were all that they were bought as.

    Such an attempt says nothing against its offer, and is none of those that a job may fail by.
    """
    return attempt.handle is not None and _close(attempt, attempt.reclaim_at or attempt.job_ended_at or attempt.gone_at)


def _close(attempt: Attempt, at: datetime | None) -> bool:
    """Whether `at` is the end of the attempt's lease, or later."""
    ends_at = attempt.lease.ends_at if attempt.lease is not None else None
    return ends_at is not None and at is not None and at >= ends_at - CLOSE
