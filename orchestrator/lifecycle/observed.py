"""What reconcile is told of the world, and the rules it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.job import JobStatus
from orchestrator.domain.lease import Lease, ReclaimNotice
from orchestrator.domain.standing import Block
from orchestrator.lifecycle.actions import Doubtful, Releasing, Result
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE, Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A provider's answer; it tells of no moment before `asked_at`, when the question was put."""

    asked_at: datetime
    leases: tuple[Lease, ...]
    notices: tuple[ReclaimNotice, ...] = ()

    def by_id(self, lease_id: str) -> Lease | None:
        """The lease called `lease_id`."""
        return next((lease for lease in self.leases if lease.id == lease_id), None)

    def by_token(self, token: str) -> Lease | None:
        """The oldest lease under `token`."""
        found = [lease for lease in self.leases if lease.token == token]
        return min(found, key=lambda lease: (lease.acquired_at, lease.id), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """The provider did not answer: nothing is known, and nothing may be concluded."""

    detail: str


Sight: TypeAlias = Listing | Blind


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What this controller remembers of calls about one key that came to no definite end."""

    calls: int  # in a row
    ended_at: datetime
    retry_at: datetime
    detail: str
    turned_away: bool = False  # every one of them, before anything was done


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How patient the lifecycle is."""

    notice_s: float = 1.0  # how long the controller may take to notice something: two ticks
    release_s: float = 4.0  # from a job's end to its lease's, where the provider is prompt: kept back from the budget
    listing_lag_s: float = 60.0  # a new lease is in its provider's listing within this: the Provider contract
    calls: int = 5  # calls with one token before its purchase or launch is settled otherwise
    release_poll_s: float = 1.0  # between a release and the question whether it is done
    boot_timeout_s: float = 900.0  # at least; or five times what the offer promised
    stop_patience_s: float = 20.0  # beyond the grace: then the machines are released under the job
    carry_s: float = 900.0  # beyond the grace, while a launcher says that it carries home what the job saved
    plans: int = 5  # plans in a row that led to no lease
    plan_backoff_s: float = 5.0  # doubles from plan to plan
    plan_backoff_cap_s: float = 300.0
    plan_age_s: float = 3600.0  # an older plan is not walked on after a loss: the market is looked at again
    progress_s: float = 30.0  # progress is stored at each percent, or this often where it moved
    patience: Patience = DEFAULT_PATIENCE  # how long refusals stand
    postponed_look_s: float = 900.0  # between looks at the market while all that suits is blocked
    postpone_s: float = 86_400.0  # a run that could buy nothing for so long ends: by then somebody should look at it
    approval: ApprovalRule | None = None  # what costs more waits for somebody's approval


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One run's view of the world at one tick. Keys are tokens, or a run's id for its planning."""

    since: datetime  # when this controller took over: it remembers nothing older
    fence: int = 0  # its fencing token
    sights: Mapping[str, Sight] = field(default_factory=dict)  # by provider; absent: not looked yet
    jobs: Mapping[str, JobStatus] = field(default_factory=dict)  # by token, where a look succeeded
    results: tuple[Result, ...] = ()  # of this run, new since the last tick
    tries: Mapping[str, Tries] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()  # keys with a call in flight
    seen: frozenset[str] = frozenset()  # tokens of leases that an earlier listing showed
    blocks: tuple[Block, ...] = ()  # what providers refused to any run, and has not run out
    stops: Mapping[str, datetime] = field(default_factory=dict)  # token: when the stop that was delivered turns firm
    carried: Mapping[str, datetime] = field(default_factory=dict)  # token: when a launcher last said that it carries


def remember(tries: Tries | None, result: Result, now: datetime, rules: Rules) -> Tries | None:
    """What is remembered under the action's key after `result`; None where nothing is in doubt."""
    if isinstance(result, Doubtful):
        calls = tries.calls + 1 if tries is not None else 1
        retry_at = now + timedelta(seconds=result.retry_after_s)
        away = result.turned_away and (tries is None or tries.turned_away)
        return Tries(calls=calls, ended_at=now, retry_at=retry_at, detail=result.detail, turned_away=away)
    if isinstance(result, Releasing):
        retry_at = now + timedelta(seconds=rules.release_poll_s)
        return Tries(calls=0, ended_at=now, retry_at=retry_at, detail="")
    return None
