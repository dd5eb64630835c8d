"""The controller: leads, looks, lets every open run take one step, and acts; all it knows it can learn again."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias

from orchestrator.domain.contracts import Clock, Launcher, Store
from orchestrator.domain.errors import ConfigError, Fenced
from orchestrator.domain.events import ControllerNote, OrphanReleased
from orchestrator.domain.job import Handle, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.run import AttemptState, Run
from orchestrator.lifecycle.actions import (
    Action,
    Buy,
    GiveBack,
    Launch,
    MakePlan,
    Released,
    Releasing,
    Result,
    Stop,
    Stopped,
)
from orchestrator.lifecycle.blocking import BlockList
from orchestrator.lifecycle.fold import OPEN, advance
from orchestrator.lifecycle.observed import Listing, Observed, Rules, Sight, Tries, remember
from orchestrator.lifecycle.reconcile import reconcile
from orchestrator.lifecycle.strays import strays
from orchestrator.runtime.applier import Applier, Planner, Timeouts
from orchestrator.runtime.calls import Calls, ThreadCalls
from orchestrator.runtime.gateway import Gateway

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """How often the controller looks and how long it waits, in seconds."""

    checkpoints: Path  # every run gets a folder of its own in it
    tick_s: float = 0.5
    leader_ttl_s: float = 15.0
    look_every_s: float = 2.0  # at providers that we hold something from
    idle_look_every_s: float = 30.0  # at the others: for orphans
    poll_every_s: float = 0.5
    timeouts: Timeouts = Timeouts()
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True)
class Looked:
    """A provider was asked what we hold."""

    provider: str
    sight: Sight


@dataclass(frozen=True, slots=True)
class Polled:
    """A launcher was asked how a job stands."""

    token: str
    status: JobStatus | None


Outcome: TypeAlias = Result | Looked | Polled
Stamped: TypeAlias = tuple[int, Outcome | None]  # with the fencing token it was begun under; None: not done


@dataclass(slots=True)
class _Memory:
    """What the controller forgets when it no longer leads."""

    since: datetime
    seq: int = 0
    runs: dict[str, Run] = field(default_factory=dict)
    blocks: BlockList = field(default_factory=BlockList)
    sights: dict[str, Sight] = field(default_factory=dict)
    looked_at: dict[str, datetime] = field(default_factory=dict)
    polled_at: dict[str, datetime] = field(default_factory=dict)
    tries: dict[str, Tries] = field(default_factory=dict)
    stops: dict[str, datetime] = field(default_factory=dict)
    carried: dict[str, datetime] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # tokens that listings before the newest have shown
    orphans: set[str] = field(default_factory=set)  # lease ids whose release was recorded
    gone: set[str] = field(default_factory=set)  # lease ids of orphans that a release has found gone


class Controller:
    """One candidate for leadership. Any number may run over one store: the fencing token lets one act at a time.

    All truth is in the store and at the providers: a controller may be killed between any two instructions, and the
    next one goes on. `holder` must be new for every incarnation. Every public method belongs to one thread.
    """

    def __init__(
        self,
        *,
        store: Store,
        gateway: Gateway,
        launchers: Mapping[str, Launcher],
        planner: Planner,
        clock: Clock,
        owner: str,
        holder: str,
        settings: ControllerSettings,
        calls: Calls[Stamped] | None = None,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._clock = clock
        self._owner = owner
        self._holder = holder
        self._settings = settings
        self._rules = replace(settings.rules, notice_s=max(settings.rules.notice_s, 2 * settings.tick_s))
        self._calls: Calls[Stamped] = calls if calls is not None else ThreadCalls()
        self._applier = Applier(
            gateway=gateway,
            launchers=launchers,
            planner=planner,
            clock=clock,
            checkpoints=settings.checkpoints,
            timeouts=settings.timeouts,
        )
        self._strays: dict[str, Lease] = {}  # orphans by id as last listed: facts for the bill, whoever leads
        self._fence: int | None = None
        self._leads_until = clock.now()
        self._memory = self._blank()

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, then give the leader lease up.

        A store that cannot be written stops the acting, not the controller: it says so in the log and tries again.
        Raises: whatever is a bug; another incarnation then takes over.
        """
        try:
            while not stop.is_set():
                try:
                    self.tick()
                except ConfigError as error:
                    _log.error("nothing is decided while the store fails: %s", error)
                stop.wait(self._settings.tick_s)
        finally:
            with suppress(ConfigError):
                self._store.resign(self._holder)

    def tick(self) -> None:
        """One look and one step of every open run; nothing at all while another controller leads.

        Raises: ConfigError where the store fails, with nothing done that is not stored.
        """
        try:
            fence = self._lead()
            if fence is not None:
                self._step(fence)
        except Fenced as error:
            _log.warning("standing back: %s", error)
            self._forget()
        except ConfigError:
            self._forget()  # what was not stored did not happen: it is found out again, as after a crash
            raise

    def _lead(self) -> int | None:
        now, ttl = self._clock.now(), timedelta(seconds=self._settings.leader_ttl_s)
        if self._fence is not None and now < self._leads_until - ttl / 2:
            return self._fence
        fence = self._store.lead(self._holder, now=now, ttl_s=self._settings.leader_ttl_s)
        if fence is None:
            self._forget()
            return None
        self._leads_until = now + ttl
        if fence != self._fence:
            self._forget()
            self._fence = fence
            detail = f"{self._holder} leads with fencing token {fence}"
            self._store.append([ControllerNote(run_id="", at=now, detail=detail, fence=fence)], fence=fence)
        return fence

    def _forget(self) -> None:
        self._fence = None
        self._memory = self._blank()

    def _blank(self) -> _Memory:
        return _Memory(since=self._clock.now(), blocks=BlockList(self._rules.patience))

    def _step(self, fence: int) -> None:
        # In this order: what a call has brought is older than the events read after it, so every lease that a listing
        # shows has its intent among them.
        stamped = self._calls.collect()
        self._catch_up()
        results, jobs = self._take([outcome for term, outcome in stamped if term == fence and outcome is not None])
        observed = self._observed(fence, jobs)
        for run in list(self._memory.runs.values()):
            if not run.state.final:
                self._decide(fence, run, replace(observed, results=tuple(results[run.id])))
        self._record_orphans(fence, results[""])
        self._release_orphans(fence)
        self._watch(fence)

    def _catch_up(self) -> None:
        memory = self._memory
        for recorded in self._store.events(since=memory.seq):
            event = recorded.event
            if event.run_id:
                run = advance(memory.runs.get(event.run_id), event)
                # A plan is most of what a run takes, and one that has ended buys nothing any more.
                memory.runs[event.run_id] = replace(run, plan=None) if run.state.final else run
            memory.blocks.take(event)
            memory.seq = recorded.seq

    def _take(self, outcomes: list[Outcome]) -> tuple[defaultdict[str, list[Result]], dict[str, JobStatus]]:
        memory, now = self._memory, self._clock.now()
        results: defaultdict[str, list[Result]] = defaultdict(list)
        jobs: dict[str, JobStatus] = {}
        for outcome in outcomes:
            if isinstance(outcome, Looked):
                memory.sights[outcome.provider] = outcome.sight
                if isinstance(outcome.sight, Listing):
                    memory.seen.update(lease.token for lease in outcome.sight.leases)
            elif isinstance(outcome, Polled):
                if outcome.status is not None:
                    jobs[outcome.token] = outcome.status
                    if outcome.status.carrying:
                        memory.carried[outcome.token] = now
            else:
                self._remember(outcome, now)
                results[outcome.action.run_id].append(outcome)
        return results, jobs

    def _remember(self, result: Result, now: datetime) -> None:
        memory, key = self._memory, result.action.key
        tries = remember(memory.tries.pop(key, None), result, now, self._rules)
        if tries is not None:
            memory.tries[key] = tries
        if isinstance(result, Stopped):
            until = result.action.until
            memory.stops[key] = min(until, memory.stops.get(key, until))

    def _observed(self, fence: int, jobs: dict[str, JobStatus]) -> Observed:
        """What all runs see alike: what one begins in this tick is about keys of its own, and no news to the others."""
        memory = self._memory
        return Observed(
            since=memory.since,
            fence=fence,
            sights=memory.sights,
            jobs=jobs,
            tries=memory.tries,
            busy=self._calls.busy(),
            seen=frozenset(memory.seen),
            blocks=memory.blocks.standing(self._clock.now()),
            stops=memory.stops,
            carried=memory.carried,
        )

    def _decide(self, fence: int, run: Run, observed: Observed) -> None:
        decision = reconcile(run, observed, self._clock.now(), self._rules)
        if decision.events:
            self._store.append(decision.events, fence=fence)
        for action in decision.actions:
            self._begin(fence, _lane(action), action.key, partial(self._applier.carry_out, action))

    def _begin(self, fence: int, lane: str, key: str, work: Callable[[], Outcome]) -> None:
        """Have `work` done, unless the leader lease may have run out since the tick began: then nobody must act."""
        if self._lapsed():
            raise Fenced("the leader lease ran out during a tick")
        self._calls.start(lane, key, lambda: (fence, None if self._lapsed() else work()))

    def _lapsed(self) -> bool:
        """Asked again right before the act: the process may have been stopped for an hour in between."""
        return self._clock.now() >= self._leads_until

    def _record_orphans(self, fence: int, results: list[Result]) -> None:
        memory = self._memory
        for result in results:
            action = result.action
            if not isinstance(action, GiveBack):
                continue
            if isinstance(result, Released):
                memory.gone.add(action.lease_id)
            elif isinstance(result, Releasing) and action.lease_id not in memory.orphans:
                memory.orphans.add(action.lease_id)
                event = OrphanReleased(
                    run_id="",
                    at=self._clock.now(),
                    provider=action.provider,
                    lease_id=action.lease_id,
                    token=action.token,
                    lease=self._strays.get(action.lease_id),
                )
                self._store.append([event], fence=fence)

    def _release_orphans(self, fence: int) -> None:
        memory, now, busy = self._memory, self._clock.now(), self._calls.busy()
        for provider, sight in memory.sights.items():
            found = strays(sight, memory.runs.values(), owner=self._owner) if isinstance(sight, Listing) else ()
            for lease in found:
                action = GiveBack(run_id="", token=lease.token, provider=provider, lease_id=lease.id)
                tries = memory.tries.get(action.key)
                self._strays[lease.id] = lease
                due = action.key not in busy and (tries is None or now >= tries.retry_at)
                if due and lease.id not in memory.gone:
                    self._begin(fence, _lane(action), action.key, partial(self._applier.carry_out, action))

    def _watch(self, fence: int) -> None:
        memory, settings, now = self._memory, self._settings, self._clock.now()
        current = [run.attempt for run in memory.runs.values() if not run.state.final and run.attempt is not None]
        attempts = [attempt for attempt in current if attempt.state in OPEN]
        tokens = {attempt.token for attempt in attempts}
        memory.seen &= tokens
        for known in (memory.polled_at, memory.stops, memory.carried):
            for token in known.keys() - tokens:
                del known[token]
        holding = {attempt.offer.provider for attempt in attempts}
        for provider in self._gateway.names():
            every_s = settings.look_every_s if provider in holding else settings.idle_look_every_s
            if _passed(memory.looked_at.get(provider), every_s, now):
                memory.looked_at[provider] = now
                self._begin(fence, f"look:{provider}", f"look:{provider}", partial(self._look, provider))
        for attempt in attempts:
            handle = attempt.handle
            if handle is None or attempt.job_ended or attempt.state is not AttemptState.HELD:
                continue
            if _passed(memory.polled_at.get(attempt.token), settings.poll_every_s, now):
                memory.polled_at[attempt.token] = now
                work = partial(self._poll, attempt.token, handle)
                self._begin(fence, f"poll:{handle.launcher}", f"poll:{attempt.token}", work)

    def _look(self, provider: str) -> Outcome:
        return Looked(provider, self._applier.look(provider))

    def _poll(self, token: str, handle: Handle) -> Outcome:
        return Polled(token, self._applier.poll(handle))


def _passed(last: datetime | None, every_s: float, now: datetime) -> bool:
    return last is None or now >= last + timedelta(seconds=every_s)


def _lane(action: Action) -> str:
    """Actions of one lane may wait for each other; a provider or launcher that hangs is waited for by its own alone."""
    match action:
        case MakePlan():
            return "plan"
        case Buy():
            return f"provider:{action.offer.provider}"
        case GiveBack():
            return f"provider:{action.provider}"
        case Launch():
            return f"launcher:{action.launcher}"
        case Stop():
            return f"launcher:{action.handle.launcher}"
