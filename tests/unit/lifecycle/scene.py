"""One run led through its life by hand: what was seen goes in, events and actions come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from orchestrator.domain.events import CancelAsked, Event, Submitted
from orchestrator.domain.job import Handle, JobState, JobStatus, Progress
from orchestrator.domain.lease import Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import Attempt, Run, RunState
from orchestrator.domain.workload import Checkpointing, Limits
from orchestrator.lifecycle.actions import (
    Action,
    Bought,
    Buy,
    Doubtful,
    GiveBack,
    Launch,
    MakePlan,
    PlanMade,
    Refused,
    Released,
    Releasing,
    Result,
    Started,
    Stop,
    Stopped,
)
from orchestrator.lifecycle.blocking import BlockList
from orchestrator.lifecycle.fold import advance
from orchestrator.lifecycle.observed import Listing, Observed, Rules, Sight, Tries, remember
from orchestrator.lifecycle.reconcile import reconcile
from orchestrator.testing.builders import lease, offer, placement_on, plan_of, program, training
from orchestrator.testing.clock import EPOCH

E = TypeVar("E")
A = TypeVar("A")

GRACE_S = 30.0
NO_LIMITS = Limits()
ALPHA, BETA = offer(provider="alpha"), offer(provider="beta")


class Scene:
    """Holds the run, the clock and what a controller would remember."""

    def __init__(
        self, *, plan: Plan | None = None, limits: Limits = NO_LIMITS, attempts: int = 5, saved: bool = False
    ) -> None:
        self.rules = Rules()
        self.now = EPOCH
        self.since = EPOCH
        command = program(command=("train",), max_attempts=attempts, checkpoint=Checkpointing(grace_s=GRACE_S))
        self.workload = training(name="job", program=command, limits=limits)
        self.plan = plan if plan is not None else market(ALPHA, BETA)
        self.history: list[Event] = []
        self.run: Run | None = None
        self.blocks = BlockList(self.rules.patience)
        self.forget()
        self.write(Submitted(run_id="r", at=EPOCH, workload=self.workload, plan=self.plan if saved else None))

    def forget(self) -> None:
        """Another controller takes over."""
        self.since = self.now
        self.tries: dict[str, Tries] = {}
        self.stops: dict[str, datetime] = {}
        self.carried: dict[str, datetime] = {}
        self.seen: set[str] = set()
        self.flying: dict[str, Action] = {}
        self.sights: dict[str, Sight] = {}

    def write(self, event: Event) -> None:
        self.run = advance(self.run, event)
        self.history.append(event)
        self.blocks.take(event)

    def step(
        self,
        *results: Result,
        wait_s: float = 1.0,
        sights: dict[str, Sight] | None = None,
        job: JobStatus | None = None,
    ) -> list[Action]:
        """Let `wait_s` pass, hand over what came, and return what is to be done."""
        self.now += timedelta(seconds=wait_s)
        for result in results:
            key = result.action.key
            self.flying.pop(key, None)
            tries = remember(self.tries.pop(key, None), result, self.now, self.rules)
            if tries is not None:
                self.tries[key] = tries
            if isinstance(result, Stopped):
                self.stops[key] = result.action.until
        self.sights |= sights or {}
        for sight in (sights or {}).values():
            if isinstance(sight, Listing):
                self.seen |= {one.token for one in sight.leases}
        assert self.run is not None
        if job is not None and job.carrying:
            self.carried[self.attempt.token] = self.now
        observed = Observed(
            since=self.since,
            fence=7,
            sights=self.sights,
            jobs={self.attempt.token: job} if job is not None else {},
            results=results,
            tries=self.tries,
            busy=frozenset(self.flying),
            seen=frozenset(self.seen),
            blocks=self.blocks.standing(self.now),
            stops=self.stops,
            carried=self.carried,
        )
        decision = reconcile(self.run, observed, self.now, self.rules)
        for event in decision.events:
            self.write(event)
        for action in decision.actions:
            assert action.key not in self.flying, "two calls about one key"
            self.flying[action.key] = action
        return list(decision.actions)

    # What stands

    @property
    def state(self) -> RunState:
        assert self.run is not None
        return self.run.state

    @property
    def detail(self) -> str:
        assert self.run is not None
        return self.run.detail

    @property
    def attempt(self) -> Attempt:
        assert self.run is not None
        return self.run.attempts[-1]

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.history if isinstance(event, kind)]

    def action(self, kind: type[A]) -> A:
        (found,) = [action for action in self.flying.values() if isinstance(action, kind)]
        return found

    # Ways through

    def to_acquiring(self) -> Buy:
        self.step()
        self.step(PlanMade(action=self.action(MakePlan), plan=self.plan))
        return self.action(Buy)

    def to_starting(self) -> Launch:
        buy = self.to_acquiring()
        self.step(Bought(action=buy, lease=ready(buy, self.now)))
        return self.action(Launch)

    def to_running(self) -> None:
        launch = self.to_starting()
        self.step(Started(action=launch, handle=self.handle(launch)))
        assert self.state is RunState.RUNNING

    def to_releasing(self, code: int) -> GiveBack:
        self.to_running()
        self.step(job=exited(code), sights=self.shown())
        self.step(sights=self.shown())
        return self.action(GiveBack)

    def handle(self, launch: Launch) -> Handle:
        return Handle(launcher="fake", lease_id=launch.lease.id, id=launch.token, started_at=self.now)

    def shown(self, *notices: ReclaimNotice) -> dict[str, Sight]:
        """The provider lists the lease held."""
        assert self.attempt.lease is not None
        listing = Listing(asked_at=self.now + timedelta(seconds=1), leases=(self.attempt.lease,), notices=notices)
        return {self.attempt.lease.provider: listing}

    def empty(self, *, in_s: float = 1.0) -> dict[str, Sight]:
        """The provider lists nothing."""
        listing = Listing(asked_at=self.now + timedelta(seconds=in_s), leases=())
        return {self.attempt.offer.provider: listing}

    def given_back(self) -> None:
        """Let the release that is under way come to its end."""
        give_back = self.action(GiveBack)
        self.step(Releasing(action=give_back))
        self.step(wait_s=2.0)
        self.step(Released(action=self.action(GiveBack)))

    def cancel(self) -> None:
        self.write(CancelAsked(run_id="r", at=self.now))


def market(*offers: Offer) -> Plan:
    return plan_of(*(placement_on(one) for one in offers))


def ready(buy: Buy, at: datetime, **changes: object) -> Lease:
    """What the provider sells for `buy`."""
    bought = lease(
        id=f"lease-{buy.token}",
        provider=buy.offer.provider,
        token=buy.token,
        offer=buy.offer,
        nodes=buy.nodes,
        usd_per_hour=buy.nodes * buy.offer.usd_per_hour,
        acquired_at=at,
        endpoints=(Endpoint(launcher="fake"),),
    )
    return replace(bought, **changes) if changes else bought  # type: ignore[arg-type]


def booting(buy: Buy, at: datetime) -> Lease:
    return ready(buy, at, state=LeaseState.BOOTING, endpoints=())


def exited(code: int | None, done: float | None = None) -> JobStatus:
    progress = Progress(done=done) if done is not None else None
    return JobStatus(state=JobState.EXITED, exit_code=code, progress=progress)


def doubtful(action: Action, *, note: bool = False, turned_away: bool = False, retry_after_s: float = 1.0) -> Doubtful:
    return Doubtful(action=action, detail="no answer", retry_after_s=retry_after_s, note=note, turned_away=turned_away)


def refused(action: MakePlan | Buy | Launch, error: str, *, final: bool = False) -> Refused:
    return Refused(action=action, error=error, detail=f"{error} said no", final=final)


def kinds(actions: Sequence[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def grace_s(scene: Scene, stop: Stop) -> float:
    return (stop.until - scene.now) / timedelta(seconds=1)
