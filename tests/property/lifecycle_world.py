"""A world that goes wrong: providers, a launcher and rival controllers under one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.errors import (
    ConfigError,
    TransientError,
)
from orchestrator.domain.events import Approved, CancelAsked, Event, Recorded, Submitted
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import Run, RunState
from orchestrator.domain.workload import Checkpointing, Limits, Workload
from orchestrator.lifecycle.blocking import Patience
from orchestrator.lifecycle.fold import advance
from orchestrator.lifecycle.observed import Rules
from orchestrator.runtime.controller import Controller, ControllerSettings, Stamped
from orchestrator.testing.builders import lease, offer, placement_on, plan_of, program, training
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.memory_store import MemoryStore
from tests.property.lifecycle_fakes import OTHER, OWNER, Dice, FakeGateway, FakeLauncher, FakeMarket, Held

PATIENCE = Patience(
    sold_out_s=30.0, quota_s=90.0, auth_s=60.0, throttled_s=20.0
)  # short, so that many begin and end in one history
POSTPONE_S = 600.0


class Crash(BaseException):
    """kill -9."""


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
    approval: ApprovalRule | None = None
    tick_s: float = 1.0
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.dice = Dice(random.Random(self.seed), self.chaos)
        self.markets = [FakeMarket(name, self.clock, self.dice) for name in ("alpha", "beta")]
        self.launcher = FakeLauncher(self.clock, self.dice, self.work_s, self.fails)
        self.launcher.carries_s = (0.0, 0.0, 0.0, 8.0, 120.0)
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
            settings=ControllerSettings(
                checkpoints=Path("/nonexistent"),
                tick_s=self.tick_s,
                idle_look_every_s=5.0,
                rules=Rules(approval=self.approval, patience=PATIENCE, postpone_s=POSTPONE_S),
            ),
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
        if self.approval is not None:
            self._approve(self.approval)
        for index in range(len(self.controllers)):
            if not self.dice.fault(0.2):
                self._tick(index)
        self.check()

    def _approve(self, rule: ApprovalRule) -> None:
        """The approver looks in now and then, and others say yes where nobody asked them."""
        draw, now = self.dice.random, self.clock.now()
        for run in list(self.folded().values()):
            if run.state is RunState.WAITING and run.asked is not None and draw.random() < 0.1:
                self.store.request(Approved(run_id=run.id, at=now, by=rule.by, usd=run.asked.usd))
            elif self.dice.fault(0.05):
                by, usd = draw.choice((("nobody", 1e9), (rule.by, 0.01)))
                self.store.request(Approved(run_id=run.id, at=now, by=by, usd=usd))

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
