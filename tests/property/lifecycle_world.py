"""A world that goes wrong: providers, a launcher and rival controllers under one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ConfigError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.events import CancelAsked, Event, Recorded, Submitted
from orchestrator.domain.job import Handle, Job, JobState, JobStatus, Progress
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import Run
from orchestrator.domain.workload import Checkpointing, Limits, Workload
from orchestrator.lifecycle.fold import advance
from orchestrator.lifecycle.winddown import QUIET
from orchestrator.runtime.controller import Controller, ControllerSettings, Stamped
from orchestrator.runtime.gateway import Answer, Request, perform
from orchestrator.testing.builders import lease, offer, placement_on, plan_of, program, training
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.memory_store import MemoryStore

OWNER, OTHER = "ours", "theirs"
LISTED_WITHIN_S = 60.0
KILLED = -9


class Crash(BaseException):
    """kill -9."""


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
                ends = [moment for moment in (held.release_at, held.reclaim_at) if moment is not None and moment <= now]
                if ends:
                    held.gone_at = min(ends)
                    held.taken = held.gone_at == held.reclaim_at

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
        )
        self.books.append(Held(bought, now + timedelta(seconds=hidden_s), now + timedelta(seconds=boot_s)))
        if self._dice.fault(0.15):
            raise TransientError(self.name, "the answer was lost", draw.choice((0.0, 1.0, 30.0)))
        if self._dice.fault(0.03):
            raise KeyError("a bug of the adapter, after buying")
        return bought

    def _refuse(self) -> None:
        for error, probability in ((CapacityError, 0.2), (QuotaError, 0.04), (AuthError, 0.03), (TransientError, 0.1)):
            if self._dice.fault(probability):
                raise error(self.name, "not now")
        if self._dice.fault(0.02):
            raise ZeroDivisionError("a bug of the adapter, before buying")

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
                job.run_id, self._clock.now(), max(0.0, needs_s), code, self._dice.random.choice((143, 143, 0, -9))
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


class SlowCalls:
    """Calls that are done when the world says so, in any order."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._pending: dict[str, Callable[[], Stamped]] = {}
        self._done: list[tuple[str, Stamped]] = []

    def start(self, lane: str, key: str, work: Callable[[], Stamped]) -> bool:
        if key in self.busy():
            return False
        self._pending[key] = work
        if not self._dice.fault(0.5):
            self.work(1.0)
        return True

    def busy(self) -> frozenset[str]:
        return frozenset(self._pending) | {key for key, _ in self._done}

    def collect(self) -> tuple[Stamped, ...]:
        done, self._done = self._done, []
        return tuple(stamped for _, stamped in done)

    def work(self, share: float) -> None:
        for key in list(self._pending):
            if self._dice.random.random() < share:
                self._done.append((key, self._pending.pop(key)()))

    def crash(self) -> None:
        """Some calls had their effect and nobody heard of it; the others never were."""
        self.work(0.5)
        self._pending.clear()
        self._done.clear()


class FlakyStore(MemoryStore):
    """Crashes the process right before or right after an append, and now and then has no room."""

    dice: Dice

    def append(self, events: Sequence[Event], *, fence: int) -> None:
        if self.dice.fault(0.01):
            raise ConfigError("the disk is full")
        if self.dice.fault(0.01):
            raise Crash
        super().append(events, fence=fence)
        if self.dice.fault(0.01):
            raise Crash


@dataclass
class World:
    """Everything, under one seed."""

    seed: int
    runs: int = 3
    chaos: float = 1.0
    budget_usd: float | None = None
    tick_s: float = 1.0
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.dice = Dice(random.Random(self.seed), self.chaos)
        self.markets = [FakeMarket(name, self.clock, self.dice) for name in ("alpha", "beta")]
        self.launcher = FakeLauncher(self.clock, self.dice, self.work_s, self.fails)
        self.store = FlakyStore()
        self._folded: dict[str, Run] = {}
        self._seq = 0
        self.store.dice = self.dice
        self.gateway = FakeGateway(self.markets)
        self._needs: dict[str, float] = {}
        self._failing: set[str] = set()
        self.controllers: list[tuple[Controller, SlowCalls]] = []
        self._born = 0
        for _ in range(2):
            self.controllers.append(self.controller())
        for number in range(self.runs):
            self.submit(f"run{number}")

    def work_s(self, run_id: str) -> float:
        return self._needs[run_id]

    def fails(self, run_id: str) -> bool:
        return run_id in self._failing

    def controller(self) -> tuple[Controller, SlowCalls]:
        self._born += 1
        calls = SlowCalls(self.dice)
        controller = Controller(
            store=self.store,
            gateway=self.gateway,
            launchers={"fake": self.launcher},
            planner=self.plan,
            clock=self.clock,
            owner=OWNER,
            holder=f"controller-{self._born}",
            settings=ControllerSettings(checkpoints=Path("/nonexistent"), tick_s=self.tick_s, idle_look_every_s=5.0),
            calls=calls,
        )
        return controller, calls

    def submit(self, run_id: str) -> None:
        draw = self.dice.random
        self._needs[run_id] = draw.choice((5.0, 60.0, 400.0))
        if draw.random() < 0.15:
            self._failing.add(run_id)
        grace_s = draw.choice((0.0, 5.0, 30.0))
        command = program(
            command=("train",), max_attempts=draw.choice((2, 4, 10)), checkpoint=Checkpointing(grace_s=grace_s)
        )
        workload = training(name=run_id, program=command, limits=Limits(budget_usd=self.budget_usd))
        saved = self.market(workload) if draw.random() < 0.3 else None
        self.store.submit(Submitted(run_id=run_id, at=self.clock.now(), workload=workload, plan=saved))

    def plan(self, workload: Workload) -> Plan:
        if self.dice.fault(0.1):
            raise TransientError("market", "no answer")
        return self.market(workload)

    def market(self, workload: Workload) -> Plan:
        draw = self.dice.random
        placements = [
            placement_on(
                offer(
                    provider=draw.choice(("alpha", "beta")),
                    instance_type=f"gpu-{number}",
                    usd_per_hour=draw.choice((1.0, 10.0, 36.0)),
                    min_billing_s=draw.choice((0.0, 60.0)),
                ),
                nodes=draw.choice((1, 2)),
            )
            for number in range(draw.randint(1, 4))
        ]
        return replace(plan_of(*placements), workload=workload, made_at=self.clock.now())

    def step(self) -> None:
        """One second or so in which anything may happen."""
        self.clock.advance(self.dice.random.choice((0.3, 1.0, 1.0, 3.0)) if self.dice.chaos else self.tick_s)
        self._mischief()
        for index in range(len(self.controllers)):
            if not self.dice.fault(0.2):
                self._tick(index)
        self.check()

    def _tick(self, index: int) -> None:
        controller, calls = self.controllers[index]
        try:
            calls.work(0.6 if self.dice.chaos else 1.0)
            controller.tick()
        except ConfigError:
            pass
        except Crash:
            calls.crash()
            self.controllers[index] = self.controller()

    def _mischief(self) -> None:
        draw = self.dice.random
        for market in self.markets:
            for held in market.live():
                if held.lease.owner == OWNER and held.reclaim_at is None and self.dice.fault(0.01):
                    market.reclaim(held, notice_s=draw.choice((None, 2.0, 30.0, 120.0)))
            if self.dice.fault(0.003):
                self.plant(market, OWNER)
            if self.dice.fault(0.003):
                self.plant(market, OTHER)
        if self.dice.fault(0.01):
            self.clock.advance(draw.choice((20.0, 100.0)))  # everybody was asleep
        if self.dice.fault(0.02):
            index = draw.randrange(len(self.controllers))
            self.controllers[index][1].crash()
            self.controllers[index] = self.controller()
        if self.dice.fault(0.004):
            run_id = draw.choice(sorted(self._needs))
            self.store.request(CancelAsked(run_id=run_id, at=self.clock.now()))

    def plant(self, market: FakeMarket, owner: str) -> None:
        """A lease that no run knows."""
        now = self.clock.now()
        token = f"planted-{market.name}-{len(market.books)}"
        planted = lease(
            id=f"{market.name}-{len(market.books)}", provider=market.name, token=token, owner=owner, acquired_at=now
        )
        market.books.append(Held(planted, now, now))

    def check(self) -> None:
        """What must hold at every moment."""
        live: dict[str, list[str]] = {}
        for market in self.markets:
            assert not market.misdeeds, market.misdeeds
            for held in market.live():
                if held.lease.owner == OWNER and not held.lease.token.startswith("planted"):
                    live.setdefault(held.lease.token.rsplit("-", 1)[0], []).append(held.lease.id)
        for run_id, leases in live.items():
            assert len(leases) <= 1, f"{run_id} holds {leases}"
        assert not self.launcher.misdeeds, self.launcher.misdeeds

    def calm(self) -> None:
        """From here on everything behaves."""
        self.dice.chaos = 0.0

    def recorded(self) -> list[Recorded]:
        return list(self.store.events())

    def folded(self) -> dict[str, Run]:
        for recorded in self.store.events(since=self._seq):
            event, self._seq = recorded.event, recorded.seq
            if event.run_id:
                self._folded[event.run_id] = advance(self._folded.get(event.run_id), event)
        return self._folded

    def finish(self, steps: int = 3000) -> None:
        """Go on until every run has ended, and then a little."""
        for _ in range(steps):
            self.step()
            if all(run.state.final for run in self.folded().values()):
                break
        else:
            states = {run.id: (run.state, run.detail) for run in self.folded().values()}
            raise AssertionError(f"not at an end: {states}")
        for _ in range(90):
            self.step()
