"""Events: append-only facts; run state, status and bill are folds over them.

Every event carries `run_id` ("" where it is about no run) and `at`. Those about a purchase carry its `token`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from orchestrator.domain.approval import Approval
from orchestrator.domain.errors import Scope
from orchestrator.domain.job import Handle
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The user handed in a workload, with a saved plan or without."""

    kind: Literal["submitted"] = "submitted"
    run_id: str
    at: datetime
    workload: Workload
    plan: Plan | None = None
    key: str = ""  # idempotency key of the submission


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """The user wants the run to end."""

    kind: Literal["cancel-asked"] = "cancel-asked"
    run_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """What the run would buy next costs more than it may without the approval of somebody."""

    kind: Literal["approval-asked"] = "approval-asked"
    run_id: str
    at: datetime
    approval: Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """`by` agrees that the run costs up to `usd`; of anybody but the one who was asked it changes nothing."""

    kind: Literal["approved"] = "approved"
    run_id: str
    at: datetime
    by: str
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The run entered `to`; the fold refuses a move that TRANSITIONS does not list.

    `outcome` is set on entering RELEASING: the end that it leads to.
    """

    kind: Literal["moved"] = "moved"
    run_id: str
    at: datetime
    to: RunState
    cause: str
    outcome: RunState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The controller made a plan."""

    kind: Literal["planned"] = "planned"
    run_id: str
    at: datetime
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """All that suits the run was refused a short while ago: the market is not looked at before `until`."""

    kind: Literal["postponed"] = "postponed"
    run_id: str
    at: datetime
    until: datetime
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseIntended:
    """Stored *before* the provider is called: a crash after this finds the lease again by its token."""

    kind: Literal["purchase-intended"] = "purchase-intended"
    run_id: str
    at: datetime
    token: str
    candidate: int
    offer: Offer
    nodes: int
    usd_per_hour: float
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchased:
    """The provider sold the lease, or a listing showed it under our token."""

    kind: Literal["purchased"] = "purchased"
    run_id: str
    at: datetime
    token: str
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRefused:
    """The provider refused, and nothing is held: `error` is the class name of the ProviderError.

    `scope` is what else would be refused alike; None where the error does not say, or in records of the first release.
    """

    kind: Literal["purchase-refused"] = "purchase-refused"
    run_id: str
    at: datetime
    token: str
    error: str
    detail: str
    scope: Scope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseChanged:
    """A listing showed the lease in a new state or with endpoints."""

    kind: Literal["lease-changed"] = "lease-changed"
    run_id: str
    at: datetime
    token: str
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchIntended:
    """Stored before the launcher is called; starts are idempotent in the token."""

    kind: Literal["launch-intended"] = "launch-intended"
    run_id: str
    at: datetime
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The job runs."""

    kind: Literal["launched"] = "launched"
    run_id: str
    at: datetime
    token: str
    handle: Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailed:
    """The job could not be started on the lease."""

    kind: Literal["launch-failed"] = "launch-failed"
    run_id: str
    at: datetime
    token: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """The job reported progress; stored now and then, not every line."""

    kind: Literal["progressed"] = "progressed"
    run_id: str
    at: datetime
    token: str
    done: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimNoticed:
    """The provider takes the machines back at `reclaim_at`."""

    kind: Literal["reclaim-noticed"] = "reclaim-noticed"
    run_id: str
    at: datetime
    token: str
    reclaim_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """The job was asked to stop (gently; the launcher makes it stop after the grace)."""

    kind: Literal["stop-asked"] = "stop-asked"
    run_id: str
    at: datetime
    token: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """The job is over: with an exit code, or None where it was lost with its machine."""

    kind: Literal["job-ended"] = "job-ended"
    run_id: str
    at: datetime
    token: str
    exit_code: int | None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIntended:
    """Stored before the provider is asked to take the machines back."""

    kind: Literal["release-intended"] = "release-intended"
    run_id: str
    at: datetime
    token: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGone:
    """The provider confirms that the lease is no more: released, or reclaimed and lost. Billing ends at `at`."""

    kind: Literal["lease-gone"] = "lease-gone"
    run_id: str
    at: datetime
    token: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinded:
    """A provider with leases of this run does not answer: the run keeps its state."""

    kind: Literal["blinded"] = "blinded"
    run_id: str
    at: datetime
    provider: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighted:
    """The provider answers again."""

    kind: Literal["sighted"] = "sighted"
    run_id: str
    at: datetime
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanReleased:
    """A lease under our owner tag that no run knows was released: `lease` as it was listed, for the bill."""

    kind: Literal["orphan-released"] = "orphan-released"
    run_id: str  # ""
    at: datetime
    provider: str
    lease_id: str
    token: str
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerNote:
    """Something worth reading in `events`: a provider switched off, a controller taking over."""

    kind: Literal["note"] = "note"
    run_id: str
    at: datetime
    detail: str
    fence: int = 0  # the fencing token of a controller that takes over


Event: TypeAlias = (
    Submitted
    | CancelAsked
    | ApprovalAsked
    | Approved
    | Moved
    | Planned
    | Postponed
    | PurchaseIntended
    | Purchased
    | PurchaseRefused
    | LeaseChanged
    | LaunchIntended
    | Launched
    | LaunchFailed
    | Progressed
    | ReclaimNoticed
    | StopAsked
    | JobEnded
    | ReleaseIntended
    | LeaseGone
    | Blinded
    | Sighted
    | OrphanReleased
    | ControllerNote
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the store: `seq` rises by at least one from event to event."""

    seq: int
    event: Event
