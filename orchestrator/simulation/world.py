"""The virtual world: a market that sells, takes back and bills nothing, and machines that do work in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import floor, inf, isfinite

import numpy as np

from orchestrator.domain.errors import CapacityError, LeaseNotFound, UserError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus, Progress
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import UNKNOWN, OfferBook
from orchestrator.domain.snapshot import Snapshot
from orchestrator.runtime.gateway import Acquire, Answer, Look, Release, Request, Sighting
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.weather import Weather, ceilings

LAUNCHER = "virtual"
OWNER = "simulation"
NOTICE_S = 120.0  # as the largest clouds give; those that give 30 s are simulated too kindly
REPORTED = 0.1  # the steps in which a running program reports its progress
KILLED = -9
STOPPED = 143

Work = Callable[[str, Lease], float]
"""Hours that the whole of a run takes on a lease."""


@dataclass(slots=True)
class Held:
    """One lease and its fate."""

    lease: Lease
    row: int
    ready_at: datetime
    ends_at: datetime | None  # taken back, or at the end of its own lifetime
    warned_at: datetime | None
    gone_at: datetime | None = None


class World:
    """A market over the offers of a snapshot, and machines. It is the gateway and the launcher of a controller.

    What happens depends on the seed, the order of purchases and the weather alone. An offer that does not say how many
    nodes there are has `stock` of them where it is spot, and no end of them otherwise.
    """

    name = LAUNCHER

    def __init__(
        self, base: Snapshot, weather: Weather, clock: VirtualClock, work: Work, *, seed: int, stock: int
    ) -> None:
        self._base, self._weather, self._clock, self._work, self._seed = base, weather, clock, work, seed
        self._start = clock.now()
        self._ceiling = ceilings(base.book)
        self._zone = dict(zip(weather.rows.tolist(), weather.zone.tolist(), strict=True))
        self._row = {base.book[row].label: row for row in range(len(base.book))}
        available = base.book.available.copy()
        spot = base.book.billing.isin(frozenset({str(Billing.SPOT)}))
        available[spot & (available == UNKNOWN)] = stock
        self._stock = available
        self._names = tuple(sorted(base.book.provider.compact().vocab))
        self._held: dict[str, Held] = {}
        self._by_token: dict[str, str] = {}
        self._live: dict[str, None] = {}
        self._used = np.zeros(len(base.book), np.int64)
        self._market: tuple[int, OfferBook] | None = None
        self.jobs: dict[str, Machine] = {}
        self.done: dict[str, float] = {}  # share of a run's work that is saved

    # The market

    def snapshot(self) -> Snapshot:
        """The market at this moment; everything can be bought."""
        return replace(self._base, taken_at=self._clock.now(), book=self._book(), buyable=self._names, gaps=())

    def _book(self) -> OfferBook:
        self._settle()
        elapsed, weather, base = self._elapsed_s(), self._weather, self._base.book
        slot = weather.slot(elapsed)
        if self._market is None or self._market[0] != slot:
            usd, hazard = base.usd_per_hour.copy(), base.interruption_rate.copy()
            rows, zone = weather.rows, weather.zone
            paths = usd[rows] * weather.factor[zone, slot]
            usd[rows] = np.round(np.minimum(paths, self._ceiling[rows]), 4)
            hazard[rows] = weather.hazard(elapsed)[zone]
            self._market = (slot, replace(base, usd_per_hour=usd, interruption_rate=hazard))
        available = np.where(self._stock == UNKNOWN, UNKNOWN, np.maximum(self._stock - self._used, 0))
        # What is about to be taken back is not sold any more.
        there = weather.up[:, slot] & weather.up[:, weather.slot(elapsed + NOTICE_S)]
        available[weather.rows] = np.where(there[weather.zone], available[weather.rows], 0)
        return replace(self._market[1], available=available)

    def _elapsed_s(self) -> float:
        return (self._clock.now() - self._start) / timedelta(seconds=1)

    def names(self) -> tuple[str, ...]:
        """Every provider of the book."""
        return self._names

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:  # noqa: ARG002
        """See Gateway; the answer is there at once."""
        match request:
            case Acquire():
                return self._acquire(request.offer, request.nodes, request.token, request.boot)
            case Release():
                self._release(provider, request.lease_id)
                return None
            case Look():
                return self._sighting(provider)

    def _acquire(self, offer: Offer, nodes: int, token: str, boot: Boot) -> Lease:
        self._settle()
        if token in self._by_token and self._by_token[token] in self._live:
            return self._seen(self._held[self._by_token[token]])
        row = self._row.get(offer.label)
        if row is None:
            raise CapacityError(offer.provider, f"nobody sells {offer.label}")
        book = self._book()
        left = int(book.available[row])
        if left != UNKNOWN and left < nodes:
            raise CapacityError(offer.provider, f"{left} of {nodes} x {offer.label} are left")
        now, serial = self._clock.now(), len(self._held)
        spread = np.random.default_rng([self._seed, 2, serial]).random()
        fresh = book[row]
        lease = Lease(
            id=f"{offer.provider}-{serial}",
            provider=offer.provider,
            token=token,
            owner=OWNER,
            offer=fresh,
            nodes=nodes,
            state=LeaseState.BOOTING,
            usd_per_hour=nodes * fresh.usd_per_hour,
            acquired_at=now,
        )
        ready_at = now + timedelta(seconds=fresh.boot_s * (0.75 + 0.5 * spread))
        held = Held(lease, row, ready_at, *self._end(row, now, boot))
        self._held[lease.id], self._by_token[token] = held, lease.id
        self._live[lease.id] = None
        self._used[row] += nodes
        for moment in (held.ready_at, held.warned_at, held.ends_at):
            if moment is not None:
                self._clock.wake_at(moment)
        return lease

    def _end(self, row: int, now: datetime, boot: Boot) -> tuple[datetime | None, datetime | None]:
        """When the lease ends by itself, and when that is announced: never before the purchase."""
        own_s = boot.lifetime_s if boot.lifetime_s is not None else inf
        lost_s = inf
        if row in self._zone:
            elapsed = self._elapsed_s()
            lost_s = self._weather.lost_after(self._zone[row], elapsed) - elapsed
        if not isfinite(min(own_s, lost_s)):
            return None, None
        if own_s <= lost_s:
            return now + timedelta(seconds=max(0.0, own_s)), None
        return now + timedelta(seconds=lost_s), now + timedelta(seconds=max(0.0, lost_s - NOTICE_S))

    def _release(self, provider: str, lease_id: str) -> None:
        self._settle()
        if lease_id not in self._live:
            raise LeaseNotFound(provider, lease_id)
        self._leave(self._held[lease_id], self._clock.now())

    def _leave(self, held: Held, at: datetime) -> None:
        held.gone_at = at
        del self._live[held.lease.id]
        self._used[held.row] -= held.lease.nodes
        machine = self.jobs.get(held.lease.token)
        if machine is not None:
            self._settle_job(machine, at, lost=True)

    def _settle(self) -> None:
        """Leases whose end has come are gone."""
        now = self._clock.now()
        for lease_id in list(self._live):
            held = self._held[lease_id]
            if held.ends_at is not None and held.ends_at <= now:
                self._leave(held, held.ends_at)

    def _sighting(self, provider: str) -> Sighting:
        self._settle()
        now = self._clock.now()
        mine = [held for held in (self._held[one] for one in self._live) if held.lease.provider == provider]
        notices = tuple(
            ReclaimNotice(held.lease.id, held.ends_at)
            for held in mine
            if held.ends_at is not None and held.warned_at is not None and held.warned_at <= now
        )
        return Sighting(leases=tuple(self._seen(held) for held in mine), notices=notices)

    def _seen(self, held: Held) -> Lease:
        now = self._clock.now()
        if now < held.ready_at:
            return held.lease
        warned = held.warned_at is not None and held.warned_at <= now
        ends = tuple(Endpoint(launcher=LAUNCHER, address=f"node-{node}") for node in range(held.lease.nodes))
        return replace(held.lease, state=LeaseState.RECLAIMING if warned else LeaseState.READY, endpoints=ends)

    # The machines

    def start(self, lease: Lease, job: Job) -> Handle:
        """See Launcher. The work that earlier attempts saved is not done again."""
        machine = self.jobs.get(job.token)
        if machine is None:
            total_s = self._work(job.run_id, lease) * 3600.0
            if not 0.0 < total_s < inf:
                raise UserError(f"{job.run_id} takes {total_s:g} s on {lease.offer.label}, which cannot be simulated")
            now = self._clock.now()
            machine = Machine(job, now, total_s, self.done.get(job.run_id, 0.0))
            self.jobs[job.token] = machine
            self._clock.wake_at(machine.finish)
        return Handle(launcher=LAUNCHER, lease_id=lease.id, id=job.token, started_at=machine.since)

    def poll(self, handle: Handle) -> JobStatus:
        """See Launcher."""
        self._settle()
        machine = self.jobs.get(handle.id)
        if machine is None or machine.lost:
            return JobStatus(state=JobState.LOST)
        now = self._clock.now()
        self._settle_job(machine, now)
        share = machine.share(min(now, machine.ended_at or now))
        progress = Progress(done=share if machine.ended_at is not None else floor(share / REPORTED) * REPORTED)
        if machine.ended_at is not None:
            return JobStatus(state=JobState.EXITED, exit_code=machine.code, progress=progress)
        return JobStatus(state=JobState.RUNNING, progress=progress)

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """See Launcher: the program saves at once and ends; without any grace it cannot."""
        machine, now = self.jobs.get(handle.id), self._clock.now()
        if machine is None:
            return
        self._settle_job(machine, now)
        if machine.ended_at is None:
            machine.ended_at, machine.code = now, STOPPED if grace_s > 0.0 else KILLED
            self._save(machine, now, whole=grace_s > 0.0)

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:  # noqa: ARG002
        """Nothing is written."""
        return iter(())

    def _settle_job(self, machine: Machine, at: datetime, *, lost: bool = False) -> None:
        """Account for a job up to `at`, when its machine may be lost."""
        if machine.ended_at is None and machine.finish <= at:
            machine.ended_at, machine.code = machine.finish, 0
            self.done[machine.job.run_id] = 1.0
        elif machine.ended_at is None and lost:
            machine.ended_at, machine.lost = at, True
            self._save(machine, at, whole=False)

    def _save(self, machine: Machine, at: datetime, *, whole: bool) -> None:
        run_id = machine.job.run_id
        share = machine.share(at)
        if not whole:
            every = max(1e-9, machine.job.program.checkpoint.interval_s / machine.total_s)
            share = machine.begun + every * floor((share - machine.begun) / every + 1e-9)
        self.done[run_id] = max(self.done.get(run_id, 0.0), share)

    def held(self) -> Sequence[Held]:
        """Every lease that was ever sold, in the order of purchase."""
        self._settle()
        return tuple(self._held.values())


@dataclass(slots=True)
class Machine:
    """A job on a lease: it began with the share `begun` of its work done and would take `total_s` for all of it."""

    job: Job
    since: datetime
    total_s: float
    begun: float
    ended_at: datetime | None = None
    code: int = 0
    lost: bool = False

    @property
    def finish(self) -> datetime:
        """When its work is done, if nothing happens."""
        return self.since + timedelta(seconds=self.total_s * (1.0 - self.begun))

    def share(self, at: datetime) -> float:
        """The share of all work that is done at `at`."""
        return min(1.0, self.begun + (at - self.since) / timedelta(seconds=1) / self.total_s)
