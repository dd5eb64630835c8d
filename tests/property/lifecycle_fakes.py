"""A provider and a launcher that keep every promise of theirs, and otherwise behave as badly as they may."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain.errors import (
    AuthError,
    Blocking,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
)
from orchestrator.domain.job import Handle, Job, JobState, JobStatus, Progress
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.lifecycle.winddown import QUIET
from orchestrator.runtime.gateway import Answer, Request, perform
from orchestrator.testing.builders import lease, offer
from orchestrator.testing.clock import FakeClock

OWNER, OTHER = "ours", "theirs"
LISTED_WITHIN_S = 60.0
KILLED = -9


@dataclass
class Dice:
    """Random draws; `chaos` scales every fault, and 0 makes the world behave."""

    random: random.Random
    chaos: float = 1.0

    def fault(self, probability: float) -> bool:
        return self.random.random() < probability * self.chaos


@dataclass
class Held:
    """The truth about one lease."""

    lease: Lease
    listed_at: datetime  # hidden from listings until then
    ready_at: datetime
    reclaim_at: datetime | None = None
    noticed: bool = False
    release_at: datetime | None = None
    gone_at: datetime | None = None
    shown: bool = False
    taken: bool = False  # went by the provider's doing


class FakeMarket:
    """A provider whose every promise holds, and whose every other behaviour is as bad as the contract allows."""

    def __init__(self, name: str, clock: FakeClock, dice: Dice) -> None:
        self.name = name
        self.books: list[Held] = []
        self.misdeeds: list[str] = []
        self.release_s = (0.0, 1.0, 15.0)
        self.refusals: list[type[ProviderError]] = []  # of the next purchases, whatever the dice say
        self._clock = clock
        self._dice = dice

    def offers(self) -> OfferBook:
        return OfferBook.of([offer(provider=self.name)])

    def live(self) -> list[Held]:
        self.settle()
        return [held for held in self.books if held.gone_at is None]

    def settle(self) -> None:
        now = self._clock.now()
        for held in self.books:
            if held.gone_at is None:
                known = (held.release_at, held.reclaim_at, held.lease.ends_at)
                ends = [moment for moment in known if moment is not None and moment <= now]
                if ends:
                    held.gone_at = min(ends)
                    held.taken = held.gone_at in {held.reclaim_at, held.lease.ends_at}

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        for held in self.live():
            if held.lease.token == token:
                if self._dice.fault(0.1):
                    raise TransientError(self.name, "no answer", 1.0)
                return held.lease
        self._refuse()
        now, draw = self._clock.now(), self._dice.random
        hidden_s = draw.uniform(0, LISTED_WITHIN_S) if self._dice.fault(0.4) else 0.0
        boot_s = draw.choice((0.0, 2.0, 20.0))
        bought = lease(
            id=f"{self.name}-{len(self.books)}",
            provider=self.name,
            token=token,
            owner=OWNER,
            offer=offer,
            nodes=nodes,
            state=LeaseState.BOOTING,
            usd_per_hour=nodes * offer.usd_per_hour,
            acquired_at=now,
            endpoints=(),
            ends_at=now + timedelta(seconds=draw.choice((40.0, 150.0, 300.0))) if self._dice.fault(0.2) else None,
        )
        self.books.append(Held(bought, now + timedelta(seconds=hidden_s), now + timedelta(seconds=boot_s)))
        if self._dice.fault(0.15):
            raise TransientError(self.name, "the answer was lost", draw.choice((0.0, 1.0, 30.0)))
        if self._dice.fault(0.03):
            raise KeyError("a bug of the adapter, after buying")
        return bought

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)(self.name, "not yet")
        chances: tuple[tuple[type[ProviderError], float], ...] = (
            (CapacityError, 0.2),
            (QuotaError, 0.04),
            (AuthError, 0.03),
            (ThrottledError, 0.1),
            (TransientError, 0.1),
        )
        for error, probability in chances:
            if self._dice.fault(probability):
                raise error(self.name, "not now", *self._scope(error))
        if self._dice.fault(0.02):
            raise ZeroDivisionError("a bug of the adapter, before buying")

    def _scope(self, error: type[ProviderError]) -> tuple[Scope, ...]:
        """Some refusals say how far they reach."""
        said = issubclass(error, Blocking) and self._dice.random.random() < 0.5
        return (self._dice.random.choice(list(Scope)),) if said else ()

    def release(self, lease_id: str) -> None:
        held = next((held for held in self.live() if held.lease.id == lease_id), None)
        if self._dice.fault(0.1):
            raise TransientError(self.name, "no answer")
        if held is None:
            raise LeaseNotFound(self.name, lease_id)
        if held.lease.owner != OWNER:
            self.misdeeds.append(f"released {lease_id} of {held.lease.owner}")
        if held.release_at is None:
            held.release_at = self._clock.now() + timedelta(seconds=self._dice.random.choice(self.release_s))
        if self._dice.fault(0.1):
            raise TransientError(self.name, "the answer was lost")

    def leases(self) -> Sequence[Lease]:
        if self._dice.fault(0.1):
            raise TransientError(self.name, "no answer")
        if self._dice.fault(0.01):
            raise ValueError("a bug of the adapter's listing")
        now, listing = self._clock.now(), []
        for held in self.live():
            if held.listed_at <= now:
                listing.append(self._as_seen(held, now))
        return listing

    def _as_seen(self, held: Held, now: datetime) -> Lease:
        if held.release_at is not None:
            return replace(held.lease, state=LeaseState.RELEASING)
        if now < held.ready_at:
            return held.lease
        state = LeaseState.RECLAIMING if held.noticed else LeaseState.READY
        endpoints = (Endpoint(launcher="fake", address=held.lease.id),) * held.lease.nodes
        return replace(held.lease, state=state, endpoints=endpoints)

    def reclaims(self) -> Sequence[ReclaimNotice]:
        return [
            ReclaimNotice(held.lease.id, held.reclaim_at)
            for held in self.live()
            if held.noticed and held.reclaim_at is not None
        ]

    def reclaim(self, held: Held, *, notice_s: float | None) -> None:
        held.noticed = notice_s is not None
        held.reclaim_at = self._clock.now() + timedelta(seconds=notice_s or 0.0)


@dataclass
class FakeJob:
    run_id: str
    started_at: datetime
    needs_s: float
    code: int  # at its own end
    manners: int  # what it exits with when it is asked to stop: 143, 0, or -9 where it does not listen
    carries_s: float  # from its end until what it saved is home
    stop_at: datetime | None = None  # made to end then
    asked_at: datetime | None = None


class FakeLauncher:
    """Jobs as intervals of time: what they have done is saved for the next attempt, and they go on until stopped."""

    name = "fake"

    def __init__(
        self, clock: FakeClock, dice: Dice, work_s: Callable[[str], float], fails: Callable[[str], bool]
    ) -> None:
        self._clock = clock
        self._dice = dice
        self._work_s = work_s
        self._fails = fails
        self.carries_s: tuple[float, ...] = ()  # one of these
        self.jobs: dict[str, FakeJob] = {}
        self.done_s: dict[str, float] = {}
        self.misdeeds: list[str] = []

    def start(self, lease: Lease, job: Job) -> Handle:
        if self._dice.fault(0.08):
            raise TransientError(lease.provider, "no way in")
        if job.token not in self.jobs:
            if self._dice.fault(0.04):
                raise ProviderError(lease.provider, "this machine is broken")
            quiet = job.program.command == QUIET
            others = [
                token for token, other in self.jobs.items() if other.run_id == job.run_id and self._code(other) is None
            ]
            if others and not quiet:
                self.misdeeds.append(f"{job.token} was started while {others} ran")
            needs_s = 0.0 if quiet else self._work_s(job.run_id) - self.done_s.get(job.run_id, 0.0)
            code = 0 if quiet or not self._fails(job.run_id) else 3
            self.jobs[job.token] = FakeJob(
                job.run_id,
                self._clock.now(),
                max(0.0, needs_s),
                code,
                self._dice.random.choice((143, 143, 0, -9)),
                self._dice.random.choice(self.carries_s) if self.carries_s else 0.0,
            )
        if self._dice.fault(0.08):
            raise TransientError(lease.provider, "the answer was lost")
        return Handle(launcher=self.name, lease_id=lease.id, id=job.token, started_at=self.jobs[job.token].started_at)

    def _end(self, job: FakeJob) -> tuple[datetime, int]:
        """When it ends, as things are, and with which code."""
        own_end = job.started_at + timedelta(seconds=job.needs_s)
        forced = job.stop_at if job.manners == KILLED else job.asked_at
        return (own_end, job.code) if forced is None or own_end <= forced else (forced, job.manners)

    def _code(self, job: FakeJob) -> int | None:
        end, code = self._end(job)
        if self._clock.now() < end:
            return None
        if code != KILLED:
            self._save(job, (end - job.started_at) / timedelta(seconds=1))
        return code

    def _save(self, job: FakeJob, ran_s: float) -> None:
        total = self._work_s(job.run_id) - job.needs_s + ran_s
        self.done_s[job.run_id] = max(self.done_s.get(job.run_id, 0.0), total)

    def poll(self, handle: Handle) -> JobStatus:
        if self._dice.fault(0.1):
            raise TransientError("fake", "no answer")
        job = self.jobs.get(handle.id)
        if job is None:
            return JobStatus(state=JobState.LOST)
        code = self._code(job)
        ran_s = (min(self._clock.now(), self._end(job)[0]) - job.started_at) / timedelta(seconds=1)
        whole_s = self._work_s(job.run_id)
        progress = Progress(done=min(1.0, (whole_s - job.needs_s + ran_s) / whole_s)) if job.needs_s else None
        if code is not None and self._clock.now() < self._end(job)[0] + timedelta(seconds=job.carries_s):
            return JobStatus(state=JobState.RUNNING, progress=progress, carrying=True)
        if code is not None:
            return JobStatus(state=JobState.EXITED, exit_code=code, progress=progress)
        return JobStatus(state=JobState.RUNNING, progress=progress)

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        if self._dice.fault(0.1):
            raise TransientError("fake", "no answer")
        job, now = self.jobs.get(handle.id), self._clock.now()
        if job is not None and self._code(job) is None:
            ends = now + timedelta(seconds=grace_s)
            job.asked_at = job.asked_at or now
            job.stop_at = min(job.stop_at or ends, ends)
        if self._dice.fault(0.05):
            raise TransientError("fake", "the answer was lost")

    def logs(self, handle: Handle, *, since: int) -> object:
        return iter(())

    def running(self, run_id: str) -> list[str]:
        return [token for token, job in self.jobs.items() if job.run_id == run_id and self._code(job) is None]


class FakeGateway:
    """Calls the markets here and now."""

    def __init__(self, markets: Sequence[FakeMarket]) -> None:
        self._markets = {market.name: market for market in markets}

    def names(self) -> tuple[str, ...]:
        return tuple(self._markets)

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        return perform(self._markets[provider], request)
