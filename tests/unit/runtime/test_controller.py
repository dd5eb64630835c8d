"""The controller: leading, standing back, and what a broken part of the world does to the rest."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError, IsoflopError, UserError
from orchestrator.domain.events import CancelAsked, ControllerNote, Event, OrphanReleased, Submitted
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import Run, RunState
from orchestrator.domain.workload import Framework, Workload
from orchestrator.lifecycle import billing
from orchestrator.lifecycle.fold import fold
from orchestrator.runtime.calls import Calls
from orchestrator.runtime.controller import Controller, ControllerSettings, Stamped
from orchestrator.testing.builders import lease, offer, placement_on, plan_of, program, training
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.memory_store import MemoryStore, Shelf
from tests.property.lifecycle_fakes import OTHER, OWNER, Dice, FakeGateway, FakeLauncher, FakeMarket, Held

TICK_S = 0.5


class Prompt:
    """Calls that are made at once, or when they are let go."""

    def __init__(self) -> None:
        self.hold = False
        self._held: list[tuple[str, Callable[[], Stamped]]] = []
        self._done: list[tuple[str, Stamped]] = []

    def start(self, lane: str, key: str, work: Callable[[], Stamped]) -> bool:
        if key in self.busy():
            return False
        self._held.append((key, work))
        if not self.hold:
            self.let_go()
        return True

    def busy(self) -> frozenset[str]:
        return frozenset(key for key, _ in [*self._held, *self._done])

    def collect(self) -> tuple[Stamped, ...]:
        done, self._done = self._done, []
        return tuple(stamped for _, stamped in done)

    def let_go(self) -> None:
        held, self._held = self._held, []
        self._done += [(key, work()) for key, work in held]


class Stage:
    """One provider that behaves, one launcher, and as many controllers as a test makes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.shelf = Shelf()
        self.store = MemoryStore(self.shelf)
        dice = Dice(random.Random(0), chaos=0.0)
        self.market = FakeMarket("alpha", self.clock, dice)
        self.market.release_s = (0.0,)
        self.launcher = FakeLauncher(self.clock, dice, lambda _: 100.0, lambda _: False)
        self.planned = 0

    def planner(self, workload: Workload) -> Plan:
        self.planned += 1
        if workload.name == "broken":
            raise ZeroDivisionError("a bug of the planner")
        if workload.name == "unreadable":
            raise UserError("no such place: Atlantis")
        return plan_of(placement_on(offer(provider="alpha", boot_s=0.0)), made_at=self.clock.now())

    def controller(
        self, name: str, calls: Calls[Stamped] | None = None, store: MemoryStore | None = None
    ) -> Controller:
        return Controller(
            store=store or self.store,
            gateway=FakeGateway([self.market]),
            launchers={"fake": self.launcher},
            planner=self.planner,
            clock=self.clock,
            owner=OWNER,
            holder=name,
            settings=ControllerSettings(checkpoints=Path("/nonexistent"), tick_s=TICK_S, leader_ttl_s=10.0),
            calls=calls if calls is not None else Prompt(),
        )

    def submit(self, name: str) -> None:
        workload = training(name=name, program=program(command=("train",)))
        self.store.submit(Submitted(run_id=name, at=self.clock.now(), workload=workload))

    def tick(self, controller: Controller, times: int = 1, *, advance_s: float = 1.0) -> None:
        for _ in range(times):
            self.clock.advance(advance_s)
            controller.tick()

    def run(self, name: str) -> Run:
        return fold(self.events())[name]

    def events(self) -> list[Event]:
        return [recorded.event for recorded in self.store.events()]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_run_goes_from_its_submission_to_its_end(stage: Stage) -> None:
    stage.submit("run")
    stage.tick(stage.controller("a"), 140)
    assert stage.run("run").state is RunState.SUCCEEDED
    assert stage.market.live() == []


def test_one_controller_acts_and_the_other_stands_by(stage: Stage) -> None:
    first, second = stage.controller("a"), stage.controller("b")
    stage.tick(first)
    stage.submit("run")
    stage.tick(second, 5)
    assert stage.planned == 0
    stage.tick(first, 2)
    assert stage.planned == 1


def test_a_controller_whose_lease_ran_out_is_followed_and_changes_nothing_more(stage: Stage) -> None:
    first, second = stage.controller("a"), stage.controller("b")
    stage.submit("run")
    stage.tick(first)
    stage.tick(second, advance_s=11.0)
    before = stage.events()
    stage.tick(first, 3)
    assert stage.events() == before
    assert [event.detail for event in before if isinstance(event, ControllerNote)] == [
        "a leads with fencing token 1",
        "b leads with fencing token 2",
    ]


def test_a_controller_that_was_overtaken_without_noticing_writes_and_buys_nothing(stage: Stage) -> None:
    """Its clock says that it leads; the store knows better."""
    first, second = stage.controller("a"), stage.controller("b")
    stage.submit("run")
    stage.tick(first, 2)
    stage.store.resign("a")
    stage.tick(second, advance_s=0.0)
    bought = len(stage.market.books)
    stage.submit("another")
    first.tick()
    assert [event.run_id for event in stage.events() if event.run_id == "another"] == ["another"]
    assert len(stage.market.books) == bought


def test_a_purchase_that_was_begun_is_not_made_once_the_leader_lease_has_run_out(stage: Stage) -> None:
    calls = Prompt()
    controller = stage.controller("a", calls)
    stage.submit("run")
    stage.tick(controller)
    calls.hold = True
    stage.tick(controller)
    assert stage.run("run").state is RunState.ACQUIRING
    stage.clock.advance(60.0)  # the process was stopped here, and wakes up
    calls.let_go()
    assert stage.market.books == []
    calls.hold = False
    stage.tick(controller, 40)
    assert stage.run("run").state is RunState.RUNNING
    assert len(stage.market.books) == 1


def test_what_an_earlier_term_has_brought_is_not_believed(stage: Stage) -> None:
    calls = Prompt()
    first, second = stage.controller("a", calls), stage.controller("b")
    stage.submit("run")
    stage.tick(first)
    calls.hold = True
    stage.tick(first)
    calls.let_go()  # the lease is bought, and nobody has heard of it yet
    stage.tick(second, advance_s=11.0)
    stage.store.resign("b")
    stage.tick(first)
    assert stage.run("run").attempts[0].lease is None
    calls.hold = False
    calls.let_go()
    stage.tick(first, 40)
    assert stage.run("run").state is RunState.RUNNING
    assert len(stage.market.books) == 1


def test_a_new_controller_goes_on_where_the_last_one_died(stage: Stage) -> None:
    stage.submit("run")
    for generation in range(40):
        controller = stage.controller(f"generation {generation}")
        stage.tick(controller, advance_s=11.0)
        stage.tick(controller, 3)
    assert stage.run("run").state is RunState.SUCCEEDED
    assert len(stage.market.books) == 1


def test_cancelling_is_heard(stage: Stage) -> None:
    controller = stage.controller("a")
    stage.submit("run")
    stage.tick(controller, 40)
    assert stage.run("run").state is RunState.RUNNING
    stage.store.request(CancelAsked(run_id="run", at=stage.clock.now()))
    stage.tick(controller, 45)  # it may take its grace
    assert stage.run("run").state is RunState.CANCELLED
    assert stage.market.live() == []


def test_a_run_that_has_ended_takes_no_plan_and_no_memory_of_its_job(stage: Stage) -> None:
    controller = stage.controller("a")
    stage.submit("run")
    stage.tick(controller, 40)
    assert controller._memory.runs["run"].plan is not None
    assert set(controller._memory.polled_at) == {"run-1"}
    stage.store.request(CancelAsked(run_id="run", at=stage.clock.now()))
    stage.tick(controller, 45)
    assert controller._memory.runs["run"].plan is None
    assert not controller._memory.polled_at
    assert not controller._memory.stops


def test_a_bug_of_the_planner_fails_its_run_and_no_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("broken", "well"):
        stage.submit(name)
    stage.tick(stage.controller("a"), 140)
    assert stage.run("well").state is RunState.SUCCEEDED
    assert stage.run("broken").state is RunState.FAILED
    assert "ZeroDivisionError: a bug of the planner" in stage.run("broken").detail
    assert any(isinstance(event, ControllerNote) and "bug" in event.detail for event in stage.events())
    assert "ZeroDivisionError" in caplog.text


def test_what_the_user_must_mend_is_told_in_the_runs_own_words(stage: Stage) -> None:
    stage.submit("unreadable")
    stage.tick(stage.controller("a"), 4)
    assert stage.run("unreadable").detail == "planning failed: no such place: Atlantis"


def test_a_launcher_that_is_not_installed_is_named(stage: Stage) -> None:
    controller = stage.controller("a")
    controller._applier._launchers.clear()
    stage.submit("run")
    stage.tick(controller, 40)  # the machines may take 20 s to boot
    assert stage.run("run").state is RunState.FAILED
    assert "no launcher called 'fake' is installed" in stage.run("run").detail
    assert stage.market.live() == []


def test_a_program_that_asks_for_a_framework_is_started_and_followed_by_the_launcher_of_that_name(stage: Stage) -> None:
    ray = FakeLauncher(stage.clock, Dice(random.Random(0), chaos=0.0), lambda _: 1.0, lambda _: False)
    ray.name = Framework.RAY.value
    controller = stage.controller("a")
    controller._applier._launchers["ray"] = ray
    asking = program(command=("train",), framework=Framework.RAY)
    stage.store.submit(Submitted(run_id="run", at=stage.clock.now(), workload=training(name="run", program=asking)))
    stage.tick(controller, 40)
    assert stage.run("run").state is RunState.SUCCEEDED
    assert list(ray.jobs)
    assert not stage.launcher.jobs


def test_orphans_of_ours_are_released_and_told_of_once_and_others_are_left(stage: Stage) -> None:
    started = stage.clock.now()
    plant(stage, OWNER)
    plant(stage, OTHER)
    stage.market.release_s = (20.0,)
    stage.tick(stage.controller("a"), 120)
    assert [held.lease.owner for held in stage.market.live()] == [OTHER]
    (told,) = (event for event in stage.events() if isinstance(event, OrphanReleased))
    assert told.lease_id == "alpha-0"
    (line,) = billing.fold(stage.events(), now=stage.clock.now()).lines  # what it cost is ours to pay
    assert (line.run_id, line.since, line.until, line.open) == ("", started, told.at, False)
    assert line.usd > 0


def plant(stage: Stage, owner: str) -> None:
    number, now = len(stage.market.books), stage.clock.now()
    planted = lease(id=f"alpha-{number}", provider="alpha", token=f"planted-{number}", owner=owner, acquired_at=now)
    stage.market.books.append(Held(planted, now, now))


class FullStore(MemoryStore):
    """Has no room for a while."""

    full = False

    def append(self, events: Sequence[Event], *, fence: int) -> None:
        if self.full:
            raise ConfigError("the disk is full")
        super().append(events, fence=fence)


def test_a_store_that_cannot_be_written_stops_the_acting_and_nothing_is_bought_twice(stage: Stage) -> None:
    store = FullStore(stage.shelf)
    controller = stage.controller("a", store=store)
    stage.submit("run")
    stage.tick(controller, 2)
    assert len(stage.market.books) == 1  # bought, and the store has no room to say so
    store.full = True
    for _ in range(3):
        with pytest.raises(ConfigError):
            stage.tick(controller)
    store.full = False
    stage.tick(controller, 140)
    assert stage.run("run").state is RunState.SUCCEEDED
    assert len(stage.market.books) == 1


def test_run_ticks_until_it_is_told_to_stop_and_gives_the_lead_up(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    store = FullStore(stage.shelf)
    store.full = True
    controller = stage.controller("a", store=store)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        store.full = ticks < 2
        if ticks == 3:
            stop.set()
        Controller.tick(controller)

    controller.tick = tick  # type: ignore[method-assign]
    controller._settings = ControllerSettings(checkpoints=Path("/nonexistent"), tick_s=0.0)
    with caplog.at_level(logging.ERROR):
        controller.run(stop)
    assert ticks == 3
    assert "nothing is decided while the store fails: the disk is full" in caplog.text
    assert stage.store.lead("b", now=stage.clock.now(), ttl_s=1.0) is not None


def test_a_bug_ends_the_controller_loudly_and_frees_the_lead(stage: Stage) -> None:
    controller = stage.controller("a")
    stage.tick(controller)
    stage.store.append([CancelAsked(run_id="never submitted", at=stage.clock.now())], fence=1)
    with pytest.raises(ValueError, match="never submitted") as caught:
        controller.run(threading.Event())
    assert not isinstance(caught.value, IsoflopError)
    assert stage.store.lead("b", now=stage.clock.now(), ttl_s=1.0) == 2
