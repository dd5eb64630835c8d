"""The seeded market behind every simulated cloud: stock, prices, quotas, machines and what goes wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf, log
from typing import NamedTuple

from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Faults, Kind
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.pools import Key, Pool, chance
from orchestrator.simulation.clouds.prices import Prices

STOPS_S = 30.0  # from the order to end a machine until it is gone


class Refusal(StrEnum):
    """Why a purchase fails."""

    STOCKOUT = "stockout"
    QUOTA = "quota"
    UNKNOWN = "unknown"  # nobody sells that there


class Refused(Exception):
    """A purchase that failed; nothing was bought."""

    def __init__(self, why: Refusal, detail: str, quota: str = "") -> None:
        self.why, self.detail, self.quota = why, detail, quota
        super().__init__(detail)


class Happened(NamedTuple):
    """One line of the market's own log."""

    at: datetime
    provider: str
    what: str
    detail: str


class QuotaState(NamedTuple):
    """A limit of an account and what is used of it; `region` "" is every region that has no limit of its own."""

    name: str
    region: str
    limit: float
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a customer asks for: `count` nodes, or at least `least` of them."""

    key: Key
    account: str
    count: int = 1
    least: int = 1
    names: tuple[str, ...] = ()  # one per node, "" without
    token: str = ""  # the vendor's idempotency token
    tags: Mapping[str, str] = field(default_factory=dict)
    charges: tuple[tuple[str, str, float], ...] = ()  # (quota, region, units) of one node
    lifetime_s: float | None = None  # the machine ends after so much running, and with it the bill
    notice_s: float = 120.0  # of a reclaim
    user_data: str = ""  # what the machine is told at its start
    extra: Mapping[str, object] = field(default_factory=dict)


def loopback(serial: int) -> tuple[str, int]:
    """An address and port of this machine alone, another for every machine."""
    return f"127.{64 + (serial >> 16) % 64}.{(serial >> 8) % 256}.{serial % 256}", 22


class Market:
    """One market for all clouds. Every call is safe between threads; the same seed and calls give the same answers.

    `address` gives the address and SSH port of the machine with a serial number. `hazards` False leaves out reclaims
    that nobody ordered.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        *,
        seed: int,
        clock: MarketClock,
        address: Callable[[int], tuple[str, int]] = loopback,
        hazards: bool = True,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.clock, self.seed = clock, seed
        self.pools: Mapping[Key, Pool] = {pool.key: pool for pool in pools}
        self._prices = Prices(tuple(self.pools.values()), seed)
        self._address, self._hazards = address, hazards
        self._faults = Faults(faults)
        self._machines: dict[int, Machine] = {}
        self._quotas: dict[tuple[str, str, str], float] = {}  # (provider, quota, region)
        self._capacity: dict[Key, int] = {}  # set by hand
        self._moved: list[tuple[Callable[[Key], bool], float, datetime]] = []
        self._log: list[Happened] = []
        self.lock = threading.RLock()  # held by an app over look and purchase, where its vendor does both at once

    # What is on sale

    def sold_by(self, provider: str) -> tuple[Pool, ...]:
        """The pools of one cloud in a stable order."""
        return tuple(self.pools[key] for key in sorted(self.pools) if key.provider == provider)

    def price(self, key: Key, at: datetime | None = None) -> float:
        """USD per hour of a node at `at`, default now. Raises: KeyError where nobody sells that there."""
        moment = at or self.clock.now()
        with self.lock:
            price = self._prices.at(key, moment)
            for concerns, factor, since in self._moved:
                if moment >= since and concerns(key):
                    price = round(price * factor, 4)
            return price

    def available(self, key: Key) -> int:
        """Nodes left."""
        with self.lock:
            now = self.clock.now()
            held = sum(machine.key == key and machine.phase(now) is not Phase.GONE for machine in self._live(now))
            return max(0, self._stock(key) - held)

    def quotas(self, provider: str) -> tuple[QuotaState, ...]:
        """The limits that were set, with what is used."""
        with self.lock:
            used = self._used(provider)
            return tuple(
                QuotaState(name, region, limit, used[name, region])
                for (sold_by, name, region), limit in sorted(self._quotas.items())
                if sold_by == provider
            )

    def limit(self, provider: str, quota: str, region: str) -> float:
        """Units that the account may use in a region: the region's own limit, else the one of all; inf without."""
        with self.lock:
            everywhere = self._quotas.get((provider, quota, ""), inf)
            return self._quotas.get((provider, quota, region), everywhere)

    def used(self, provider: str, quota: str, region: str) -> float:
        """Units of a quota in use, whether it has a limit or not."""
        with self.lock:
            return self._used(provider)[quota, region]

    # Buying, and what is held

    def buy(self, purchase: Purchase) -> tuple[Machine, ...]:
        """Sell up to `count` nodes and at least `least`. Raises: Refused, with nothing sold."""
        with self.lock:
            pool = self.pools.get(purchase.key)
            place = "/".join(purchase.key[1:])
            if pool is None:
                raise self._refused(purchase, Refusal.UNKNOWN, f"nobody sells {place}")
            self._within_quota(purchase)
            left = self.available(purchase.key)
            if self.struck(purchase.key.provider, Kind.STOCKOUT, "", place):
                left = 0
            count = min(purchase.count, left)
            if count > 0 and self.struck(purchase.key.provider, Kind.PARTIAL, "", place):
                count = min(count, purchase.count - 1)
            if count < max(1, purchase.least):
                raise self._refused(purchase, Refusal.STOCKOUT, f"{left} of {purchase.count} x {place} are left")
            hidden = self.struck(purchase.key.provider, Kind.HIDE, "", place)
            sold = tuple(self._sell(purchase, pool, number, hidden) for number in range(count))
            self._say(purchase.key.provider, "sold", f"{count} x {place} as {', '.join(str(m.serial) for m in sold)}")
            return sold

    def machines(self, provider: str, account: str = "") -> tuple[Machine, ...]:
        """Every machine ever sold by `provider` (to `account`), those that are gone too, in the order of purchase."""
        with self.lock:
            return tuple(
                machine
                for machine in self._machines.values()
                if machine.key.provider == provider and account in {"", machine.account}
            )

    def machine(self, serial: int) -> Machine | None:
        """The machine of that number."""
        return self._machines.get(serial)

    def change(self, serial: int, **fields: object) -> Machine:
        """Replace fields of a machine: its tags, its name. Raises: KeyError."""
        with self.lock:
            changed: Machine = replace(self._machines[serial], **fields)  # type: ignore[arg-type]
            self._machines[serial] = changed
            return changed

    def end(self, serial: int, why: End = End.USER, *, notice_s: float = 0.0, stops_s: float = STOPS_S) -> Machine:
        """End a machine after `notice_s`; it is gone `stops_s` later. One that ends sooner already stays as it is.

        Raises: KeyError.
        """
        with self.lock:
            machine, now = self._machines[serial], self.clock.now()
            ends_at = now + timedelta(seconds=notice_s)
            if machine.ends_at is not None and machine.ends_at <= ends_at:
                return machine
            self._say(machine.key.provider, "ends", f"{serial}: {why.value}")
            return self.change(
                serial,
                ends_at=ends_at,
                gone_at=ends_at + timedelta(seconds=stops_s),
                end=why,
                warned_at=now if why is End.PREEMPTED else machine.warned_at,
            )

    def billed_usd(self, provider: str = "") -> float:
        """What was run up until now, by the price each machine was bought at; every second counts."""
        with self.lock:
            now = self.clock.now()
            return sum(
                machine.usd_per_hour * (min(machine.gone_at or now, now) - machine.bought_at).total_seconds() / 3600
                for machine in self._machines.values()
                if provider in {"", machine.key.provider}
            )

    # Levers

    def set_quota(self, provider: str, quota: str, limit: float, region: str = "") -> None:
        """Limit an account in one region, or in every region that has no limit of its own."""
        with self.lock:
            self._quotas[provider, quota, region] = limit

    def set_capacity(self, key: Key, nodes: int) -> None:
        """Make a pool hold so many nodes, those sold included. Raises: KeyError."""
        with self.lock:
            self._capacity[self.pools[key].key] = nodes

    def move_prices(self, factor: float, concerns: Callable[[Key], bool]) -> None:
        """Multiply the prices of the pools that `concerns` names, from now on."""
        with self.lock:
            self._moved.append((concerns, factor, self.clock.now()))

    def script(self, fault: Fault) -> None:
        """Let a fault strike."""
        with self.lock:
            self._faults.add(fault)

    def unscript(self, provider: str = "") -> None:
        """Forget the faults of a cloud, or all."""
        with self.lock:
            self._faults.clear(provider)

    def struck(self, provider: str, kind: Kind, operation: str, where: str = "") -> Fault | None:
        """The fault of that kind that strikes this call, counted."""
        with self.lock:
            fault = self._faults.strike(provider, kind, operation, where)
            if fault is not None:
                self._say(provider, f"fault {kind.value}", f"{operation} {where}".strip())
            return fault

    def log(self) -> tuple[Happened, ...]:
        """Everything that happened, in order."""
        with self.lock:
            return tuple(self._log)

    # Inside

    def _live(self, now: datetime) -> list[Machine]:
        return [machine for machine in self._machines.values() if machine.phase(now) is not Phase.GONE]

    def _stock(self, key: Key) -> int:
        return self._capacity.get(key, self.pools[key].capacity if key in self.pools else 0)

    def _used(self, provider: str) -> Counter[tuple[str, str]]:
        used: Counter[tuple[str, str]] = Counter()
        for machine in self._live(self.clock.now()):
            if machine.key.provider == provider:
                for quota, region, units in machine.charges:
                    used[quota, region] += units  # type: ignore[assignment]
        return used

    def _within_quota(self, purchase: Purchase) -> None:
        used = self._used(purchase.key.provider)
        for quota, region, units in purchase.charges:
            limit = self.limit(purchase.key.provider, quota, region)
            wanted = used[quota, region] + units * max(1, purchase.least)
            if wanted > limit:
                detail = f"{quota}: limit {limit:g}, in use {used[quota, region]:g}, asked {units * purchase.count:g}"
                raise self._refused(purchase, Refusal.QUOTA, detail, quota)

    def _refused(self, purchase: Purchase, why: Refusal, detail: str, quota: str = "") -> Refused:
        self._say(purchase.key.provider, f"refused {why.value}", detail)
        return Refused(why, detail, quota)

    def _sell(self, purchase: Purchase, pool: Pool, number: int, hidden: Fault | None) -> Machine:
        now, serial = self.clock.now(), len(self._machines) + 1
        ready_at = now + timedelta(seconds=pool.boot_s * (0.7 + 0.6 * chance(self.seed, "boot", serial)))
        address, port = self._address(serial)
        machine = Machine(
            serial=serial,
            account=purchase.account,
            key=purchase.key,
            name=purchase.names[number] if number < len(purchase.names) else "",
            token=purchase.token,
            tags=dict(purchase.tags),
            charges=purchase.charges,
            usd_per_hour=self.price(purchase.key),
            bought_at=now,
            visible_at=now + timedelta(seconds=hidden.seconds if hidden else 0.0),
            ready_at=ready_at,
            address=address,
            port=port,
            user_data=purchase.user_data,
            extra=dict(purchase.extra),
        )
        self._machines[serial] = self._with_fate(machine, purchase, pool)
        return self._machines[serial]

    def _with_fate(self, machine: Machine, purchase: Purchase, pool: Pool) -> Machine:
        """The machine with its end, where one is decided already: its own limit or a reclaim, whichever is first."""
        own_s = inf if purchase.lifetime_s is None else purchase.lifetime_s
        reclaim_s = inf
        if self._hazards and pool.hazard_per_hour > 0:
            luck = chance(self.seed, "reclaim", machine.serial)
            reclaim_s = -log(1.0 - luck) / pool.hazard_per_hour * 3600.0
        lasts_s = min(own_s, reclaim_s)
        if lasts_s == inf:
            return machine
        ends_at = machine.ready_at + timedelta(seconds=lasts_s)
        gone_at = ends_at + timedelta(seconds=STOPS_S)
        if own_s <= reclaim_s:
            return replace(machine, ends_at=ends_at, gone_at=gone_at, end=End.LIFETIME)
        warned_at = max(machine.bought_at, ends_at - timedelta(seconds=purchase.notice_s))
        return replace(machine, warned_at=warned_at, ends_at=ends_at, gone_at=gone_at, end=End.PREEMPTED)

    def _say(self, provider: str, what: str, detail: str) -> None:
        self._log.append(Happened(self.clock.now(), provider, what, detail))
