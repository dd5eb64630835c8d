"""What the controller is to do, and what came of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from orchestrator.domain.errors import Scope
from orchestrator.domain.job import Handle
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Program, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class MakePlan:
    """Look at the market and plan."""

    run_id: str
    workload: Workload

    @property
    def key(self) -> str:
        """What it is about; two actions with one key are never in flight together."""
        return self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Buy:
    """Acquire under `token`; the same again where it is in doubt whether an earlier call went through."""

    run_id: str
    token: str
    offer: Offer
    nodes: int
    boot: Boot

    @property
    def key(self) -> str:
        """The token."""
        return self.token


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Start `program` on `lease`; the same again where it is in doubt."""

    run_id: str
    token: str
    attempt: int
    lease: Lease
    program: Program

    @property
    def launcher(self) -> str:
        """Who starts it: the launcher of the framework that the program asks for, else the one of the machines."""
        framework = self.program.framework
        return self.lease.endpoints[0].launcher if framework is None else framework.value

    @property
    def key(self) -> str:
        """The token."""
        return self.token


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the job: gently until `until`, then firmly."""

    run_id: str
    token: str
    handle: Handle
    until: datetime

    @property
    def key(self) -> str:
        """The token."""
        return self.token


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Release the lease, or ask whether it is gone by now: the provider's call is the same."""

    run_id: str  # "" for an orphan
    token: str
    provider: str
    lease_id: str

    @property
    def key(self) -> str:
        """The token; an orphan's own name, so that it never stands in the way of a run."""
        return self.token if self.run_id else f"orphan:{self.lease_id}"


Action: TypeAlias = MakePlan | Buy | Launch | Stop | GiveBack


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """`plan.ranked` may be empty."""

    action: MakePlan
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """The provider sold it, now or at an earlier call with the token."""

    action: Buy
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The job runs."""

    action: Launch
    handle: Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The request to stop was delivered; the job ends by `action.until`."""

    action: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasing:
    """The provider takes the machines back; it is not done yet."""

    action: GiveBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The provider knows the lease no more."""

    action: GiveBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No, and nothing happened; the same again would be refused again. `error` is the error's class name.

    `scope` is what else would be refused alike, where a purchase's error says so.
    """

    action: MakePlan | Buy | Launch
    error: str
    detail: str
    final: bool = False  # no other machine would do either
    scope: Scope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """It may have happened or not. `note` where people should read of it: an adapter broke its contract, say."""

    action: Action
    detail: str
    retry_after_s: float
    note: bool = False
    turned_away: bool = False  # it is known that nothing happened


Result: TypeAlias = PlanMade | Bought | Started | Stopped | Releasing | Released | Refused | Doubtful
