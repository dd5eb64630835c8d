"""The engine: the real controller over a virtual world, from event to event, faster than time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import exp, log
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.events import ControllerNote, Event, Progressed, Submitted
from orchestrator.domain.lease import Lease
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import Run, RunState
from orchestrator.domain.sizing import Band
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Program, Workload
from orchestrator.lifecycle.fold import advance
from orchestrator.lifecycle.holdings import holdings
from orchestrator.lifecycle.punctual import share_of
from orchestrator.runtime.controller import Controller, ControllerSettings, Stamped
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.ledger import Tally, tally
from orchestrator.simulation.weather import Weather
from orchestrator.simulation.world import LAUNCHER, OWNER, World
from orchestrator.testing.memory_store import MemoryStore

TICK_S = 1.0  # after something happened
SLOWER = 4.0  # after every tick in which nothing happened
WATCH_S = 64.0  # at most, while a run waits for something that no machine announces
BEAT_S = 600.0  # at most, while runs run
NOTHING = Program(command=("simulated",))  # for job files that say nothing to run
LOOKS = ("look:", "poll:")  # lanes of calls that ask and change nothing
BAND_SIGMAS = 2.563  # from the 10th to the 90th percentile of a normal law
SETTLED = frozenset({RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

Decide: TypeAlias = Callable[[Workload, Snapshot], Plan]
"""The planner: a plan for a workload over the market of the moment. Raises: UserError, which fails the run."""


class Arrival(NamedTuple):
    """A job that is handed in so many seconds after the start."""

    at_s: float
    workload: Workload


class Scenario(NamedTuple):
    """What happens: jobs, market and weather, from the market's moment on for `days`; the seed decides all else.

    `stock` is how many nodes a spot offer has that does not say so.
    """

    arrivals: tuple[Arrival, ...]
    market: Snapshot
    weather: Weather
    days: float
    seed: int
    stock: int = 8


class Ran(NamedTuple):
    """What a simulation left: every event, the sums, and how many ticks the controller took."""

    events: tuple[Event, ...]
    tally: Tally
    ticks: int


class InstantCalls:
    """Calls whose work is done as soon as it is begun; its outcome is there at the next tick."""

    def __init__(self) -> None:
        self._done: dict[str, Stamped] = {}
        self.acted = False  # whether anything but a look was begun since this was last set

    def start(self, lane: str, key: str, work: Callable[[], Stamped]) -> bool:
        """See Calls."""
        if key in self._done:
            return False
        self._done[key] = work()
        self.acted = self.acted or not lane.startswith(LOOKS)
        return True

    def busy(self) -> frozenset[str]:
        """See Calls."""
        return frozenset(self._done)

    def collect(self) -> tuple[Stamped, ...]:
        """See Calls."""
        done, self._done = self._done, {}
        return tuple(done.values())


def simulate(scenario: Scenario, decide: Decide, *, jump: bool = True) -> Ran:
    """Run the scenario with `decide` as the planner; the same arguments give the same events, byte for byte.

    Time jumps to what is due next; without `jump` the controller looks every second, as in production.

    A run's true hours are the plan's median for the offer it is on, times a factor of the run's own, drawn from the
    plan's band: the same factor whatever plans. Raises: UserError for a scenario without jobs or time.
    """
    if not scenario.arrivals or not scenario.days > 0.0:
        raise UserError("a simulation needs a job and more than 0 days")
    return _Engine(scenario, decide, jump=jump).run()


class _Engine:
    def __init__(self, scenario: Scenario, decide: Decide, *, jump: bool) -> None:
        self._decide, self._jump = decide, jump
        self._clock = VirtualClock(scenario.market.taken_at)
        self._until = scenario.market.taken_at + timedelta(days=scenario.days)
        self._hours: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}
        self._luck: dict[str, float] = {}
        self._queue: list[tuple[datetime, Submitted]] = []
        for number, (arrival, run_id) in enumerate(named(scenario.arrivals)):
            at = scenario.market.taken_at + timedelta(seconds=arrival.at_s)
            workload = replace(arrival.workload, name=run_id, program=arrival.workload.program or NOTHING)
            self._queue.append((at, Submitted(run_id=run_id, at=at, workload=workload)))
            self._luck[run_id] = luck_of(scenario.seed, number)
            self._clock.wake_at(at)
        self._queue.reverse()
        self._store = MemoryStore()
        self._world = World(
            scenario.market, scenario.weather, self._clock, self._work_h, seed=scenario.seed, stock=scenario.stock
        )
        self._runs: dict[str, Run] = {}
        self._open: dict[str, None] = {}
        self._seq = 0
        self._calls = InstantCalls()
        self._controller = Controller(
            store=self._store,
            gateway=self._world,
            launchers={LAUNCHER: self._world},
            planner=self._plan,
            clock=self._clock,
            owner=OWNER,
            holder="simulation",
            settings=ControllerSettings(checkpoints=Path("virtual"), tick_s=TICK_S, idle_look_every_s=86_400.0),
            calls=self._calls,
        )

    def run(self) -> Ran:
        ticks, stride = 0, TICK_S
        while self._clock.now() < self._until and (self._queue or self._open):
            self._submit()
            news = self._catch_up()  # a plan that the tick asks for looks at what is held
            self._calls.acted = False
            self._controller.tick()
            ticks += 1
            news = self._catch_up() or news or self._calls.acted
            stride = TICK_S if news else SLOWER * stride
            woken = self._advance(stride)
            stride = TICK_S / SLOWER if woken else stride
        events = tuple(recorded.event for recorded in self._store.events())
        return Ran(events, tally(events, self._clock.now()), ticks)

    def _submit(self) -> None:
        while self._queue and self._queue[-1][0] <= self._clock.now():
            _, event = self._queue.pop()
            self._store.submit(event)
            self._open[event.run_id] = None

    def _catch_up(self) -> bool:
        """Fold what is new; whether anything but progress is. Raises: ConfigError where a policy broke its contract."""
        news = False
        for recorded in self._store.events(since=self._seq):
            event, self._seq = recorded.event, recorded.seq
            news = news or not isinstance(event, Progressed)
            if event.run_id and isinstance(event, ControllerNote):
                raise ConfigError(event.detail)  # a controller in production would try again, and say no more than this
            if event.run_id:
                run = advance(self._runs.get(event.run_id), event)
                self._runs[event.run_id] = run
                if run.state.final:
                    self._open.pop(event.run_id, None)
        return news

    def _advance(self, stride_s: float) -> bool:
        """On to the next moment of interest; whether something is due there."""
        now, due = self._clock.now(), self._clock.next_due()
        if not self._jump:
            self._clock.move_to(now + timedelta(seconds=TICK_S))
            return False
        if not self._open:
            self._clock.move_to(min(due or self._until, self._until))
            return True
        settled = all(self._runs[run_id].state in SETTLED for run_id in self._open)
        budgets = any(self._runs[run_id].workload.limits.budget_usd is not None for run_id in self._open)
        most_s = BEAT_S if settled and not budgets else WATCH_S
        beat = now + timedelta(seconds=min(stride_s, most_s))
        woken = due is not None and due <= beat
        self._clock.move_to(min(due if due is not None and woken else beat, self._until))
        return woken

    def _plan(self, workload: Workload) -> Plan:
        market = replace(self._world.snapshot(), holdings=holdings(self._runs[one] for one in self._open))
        plan = self._decide(workload, market)
        known = self._hours.setdefault(workload.name, {})
        share = share_of(workload, self._runs[workload.name].workload)  # a later plan is of what is left
        for placement in plan.ranked:
            for part in placement.parts if len(placement.parts) == 1 else ():  # several are not bought
                boot_h = min(part.offer.boot_s / 3600.0, placement.hours.p50)
                whole_h = boot_h + (placement.hours.p50 - boot_h) / share
                known[part.offer.label, part.nodes] = (whole_h, deviation(placement.hours))
        return plan

    def _work_h(self, run_id: str, lease: Lease) -> float:
        workload = self._runs[run_id].workload
        if isinstance(workload, Inference):
            return workload.duration_s / 3600.0
        hours, sigma = self._hours[run_id][lease.offer.label, lease.nodes]
        return hours * exp(sigma * self._luck[run_id])


def luck_of(seed: int, number: int) -> float:
    """How far the job of that number is from its median hours, in standard deviations."""
    return float(np.random.default_rng([seed, 3, number]).normal())


def deviation(hours: Band) -> float:
    """The standard deviation of the logarithm of the hours, from the 10th to 90th percentile."""
    return log(max(hours.p90 / hours.p10, 1.0)) / BAND_SIGMAS if hours.p10 > 0.0 else 0.0


def named(arrivals: Sequence[Arrival]) -> list[tuple[Arrival, str]]:
    """Arrivals by time and name, with a name of its own for each."""
    ordered = sorted(arrivals, key=lambda arrival: (arrival.at_s, arrival.workload.name))
    taken: dict[str, int] = {}
    named = []
    for arrival in ordered:
        name = arrival.workload.name
        taken[name] = taken.get(name, 0) + 1
        named.append((arrival, name if taken[name] == 1 else f"{name}-{taken[name]}"))
    return named
