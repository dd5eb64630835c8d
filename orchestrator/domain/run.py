"""Runs: the life of one submitted workload as a table of legal moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.approval import Approval
from orchestrator.domain.job import Handle, Progress
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Workload


class RunState(StrEnum):
    """Where a run is."""

    SUBMITTED = "submitted"
    PLANNING = "planning"
    ACQUIRING = "acquiring"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    RELEASING = "releasing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """No move leads out."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.SUBMITTED: frozenset(
        {
            RunState.PLANNING,  # the controller takes it up without a plan of the user's
            RunState.ACQUIRING,  # the user applied a saved plan: walk its candidates
            RunState.CANCELLED,  # cancelled before anything was bought
            RunState.FAILED,  # the workload has no program to run
        }
    ),
    RunState.PLANNING: frozenset(
        {
            RunState.ACQUIRING,  # a plan with candidates
            RunState.FAILED,  # infeasible, or no candidate left after many plans
            RunState.CANCELLED,  # cancelled; nothing is held
        }
    ),
    RunState.ACQUIRING: frozenset(
        {
            RunState.STARTING,  # a lease is held
            RunState.WAITING,  # the next candidate costs more than it may without an approval; nothing is held
            RunState.PLANNING,  # every candidate refused: look at the market again
            RunState.RELEASING,  # cancelled or over budget with a purchase in doubt: settle it first
            RunState.CANCELLED,  # cancelled with nothing in doubt
            RunState.FAILED,  # out of attempts or budget, nothing in doubt
        }
    ),
    RunState.WAITING: frozenset(
        {
            RunState.ACQUIRING,  # approved: buy
            RunState.PLANNING,  # approved, but the plan is old by now: look at the market again
            RunState.CANCELLED,  # the approver, or the user, does not want it; nothing is held
        }
    ),
    RunState.STARTING: frozenset(
        {
            RunState.RUNNING,  # the job started
            RunState.RECOVERING,  # the lease was lost or the launch failed
            RunState.RELEASING,  # cancelled, over budget, or a program that can never start
        }
    ),
    RunState.RUNNING: frozenset(
        {
            RunState.STOPPING,  # reclaim announced, no time to stay on spot, cancelled or over budget: gently first
            RunState.RECOVERING,  # the lease was lost under the job
            RunState.RELEASING,  # the job ended by itself
        }
    ),
    RunState.STOPPING: frozenset(
        {
            RunState.RECOVERING,  # stopped for a reclaim or to be in time: go on elsewhere
            RunState.RELEASING,  # stopped for good, or it ended by itself in the meantime
        }
    ),
    RunState.RECOVERING: frozenset(
        {
            RunState.ACQUIRING,  # the old lease is gone: next candidate
            RunState.PLANNING,  # the old lease is gone and the list is used up
            RunState.RELEASING,  # cancelled meanwhile
            RunState.FAILED,  # out of attempts, nothing held
        }
    ),
    RunState.RELEASING: frozenset(
        {
            RunState.SUCCEEDED,  # exit code 0 and every lease confirmed gone
            RunState.FAILED,  # non-zero exit code, or over budget; every lease confirmed gone
            RunState.CANCELLED,  # by the user; every lease confirmed gone
        }
    ),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}


class AttemptState(StrEnum):
    """Where one purchase is."""

    INTENDED = "intended"  # stored; the provider may or may not have it
    REFUSED = "refused"  # the provider said no: nothing is held
    HELD = "held"
    RELEASING = "releasing"
    GONE = "gone"  # confirmed by the provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One purchase and what ran on it."""

    number: int  # from 1 over the whole run
    candidate: int  # index into the plan's `ranked`
    token: str
    offer: Offer
    nodes: int
    usd_per_hour: float  # quoted, for all nodes
    state: AttemptState
    intended_at: datetime
    plan: int = 0  # Run.plans when it was intended: 0 is the user's own plan
    error: str = ""  # class name of the ProviderError that refused it
    lease: Lease | None = None
    held_at: datetime | None = None  # when we learnt that the lease is ours
    launch_intended: bool = False
    handle: Handle | None = None
    progress: Progress | None = None
    progress_at: datetime | None = None
    exit_code: int | None = None
    job_ended: bool = False
    job_ended_at: datetime | None = None
    stop_asked_at: datetime | None = None
    reclaim_at: datetime | None = None
    gone_at: datetime | None = None
    cause: str = ""  # why it ended, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The fold of a run's events."""

    id: str
    name: str
    workload: Workload
    state: RunState
    submitted_at: datetime
    entered_at: datetime  # when `state` was entered
    plan: Plan | None = None
    plans: int = 0  # how many plans were made for it
    next_candidate: int = 0  # index into plan.ranked
    attempts: tuple[Attempt, ...] = ()
    cancel_asked_at: datetime | None = None
    asked: Approval | None = None  # the approval that was asked for last
    approved_usd: float = 0.0  # the most that those who were asked agreed to
    postponed_until: datetime | None = None  # the market is not looked at before: all was refused
    postponed_since: datetime | None = None  # of the first of the postponements since anything was bought
    postponed_plans: int = 0  # how many plans were made before the last of them
    blind: frozenset[str] = field(default_factory=frozenset)  # providers that do not answer at present
    outcome: RunState | None = None  # the end that RELEASING leads to
    detail: str = ""  # the last cause, in words

    @property
    def attempt(self) -> Attempt | None:
        """The current attempt."""
        return self.attempts[-1] if self.attempts else None
