"""A seeded market served in real time: machines that are this machine, with stock, prices, reclaims and faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext
from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from providers.simulated.client import Books, Entry, Page, held
from providers.simulated.market import NAME, ORIGIN, Pool, boots_s, key_of, lasts_s, offer_of
from providers.simulated.pools import pools
from providers.simulated.settings import Fault, FaultKind, SimulatedSettings, Verb

RECLAIMED = "reclaimed"  # a file of this name in a machine's folder says that the machine is no longer ours


class SimulatedProvider:
    """Sells the pools of one market.

    Its machines are folders of this machine, whatever GPU they are said to have: a job on them is a process here. Its
    books are a file in the state folder, so any process with the same folder is at the same market, and a lease
    outlives the process that bought it.
    """

    name = NAME

    def __init__(self, *, owner: str, settings: SimulatedSettings, clock: Clock, state_dir: Path) -> None:
        self._owner = owner
        self._settings = settings
        self._clock = clock
        self._machines = state_dir / "machines"
        self._books = Books(state_dir / "market.db")
        self._pools = {pool.key: pool for pool in pools(settings.market)}

    def offers(self) -> OfferBook:
        """Every pool, with what others and we leave of it. Raises: TransientError."""
        with self._call(Verb.OFFERS), self._books.page() as page:
            now = self._clock.now()
            return OfferBook.of(self._on_sale(page, self._pools.values(), now))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Buy at the price of this moment, which is the lease's until it ends.

        Raises: CapacityError, TransientError; ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        with self._call(Verb.ACQUIRE, offer):
            with self._books.page() as page:
                bought = self._bought(page, token)
            if bought is not None:
                return bought
            if self._refuses(offer):
                raise CapacityError(NAME, f"{offer.label} has just been sold out")
            with self._books.page() as page:
                # Somebody with the same token may have bought between the two pages.
                return self._bought(page, token) or self._sell(page, offer, nodes, token, boot)

    def release(self, lease_id: str) -> None:
        """Give the lease back: it is gone after `release_s`. Raises: LeaseNotFound, TransientError."""
        with self._books.page() as page:
            entry = self._find(page, lease_id)
        with self._call(Verb.RELEASE, entry.lease.offer), self._books.page() as page:
            entry = self._find(page, lease_id)
            if entry.released_at is None:
                page.release(entry.serial, self._after(self._clock.now(), self._settings.release_s))

    def leases(self) -> Sequence[Lease]:
        """Our leases in the order of purchase. Raises: TransientError."""
        with self._call(Verb.LEASES), self._books.page() as page:
            now = self._clock.now()
            return [entry.seen(now) for entry in self._ours(page, now) if entry.listed_at <= now]

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """Announcements for our leases that are due. Raises: TransientError."""
        with self._books.page() as page:
            now = self._clock.now()
            return [
                ReclaimNotice(entry.lease.id, entry.ends_at)
                for entry in self._ours(page, now)
                if entry.ends_at is not None and entry.warned(now) and entry.released_at is None
            ]

    # What is on sale, and what is held

    def _on_sale(self, page: Page, asked: Iterable[Pool], now: datetime) -> list[Offer]:
        """What the pools asked about sell now, in their order."""
        at_s = (now - ORIGIN).total_seconds() * self._settings.time_scale
        nodes = held(self._live(page, now))
        out = [fault for _, fault in self._scripted(FaultKind.STOCKOUT) if not fault.times]
        elapsed_s = self._elapsed_s(page, now)
        seed, sold = self._settings.seed, []
        for pool in asked:
            offer = offer_of(pool, seed=seed, at_s=at_s, held=nodes[pool.key], now=now)
            if any(fault.concerns(offer) and fault.is_on(elapsed_s) for fault in out):
                offer = replace(offer, available=0)
            sold.append(offer)
        return sold

    def _live(self, page: Page, now: datetime) -> list[Entry]:
        """Every lease of every owner that is not gone; those that are gone are struck off."""
        live = []
        for entry in page.entries():
            if not entry.gone(now):
                live.append(entry)
                continue
            if entry.ends_at is not None and entry.ends_at <= now:
                _mark(entry.lease)  # before the books forget it: a crash in between marks it again
            page.strike_off(entry.serial)
        return live

    def _ours(self, page: Page, now: datetime) -> list[Entry]:
        return [entry for entry in self._live(page, now) if entry.lease.owner == self._owner]

    def _bought(self, page: Page, token: str) -> Lease | None:
        now = self._clock.now()
        return next((entry.seen(now) for entry in self._ours(page, now) if entry.lease.token == token), None)

    def _find(self, page: Page, lease_id: str) -> Entry:
        for entry in self._ours(page, self._clock.now()):
            if entry.lease.id == lease_id:
                return entry
        raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")

    # Selling

    def _sell(self, page: Page, offer: Offer, nodes: int, token: str, boot: Boot) -> Lease:
        now = self._clock.now()
        pool = self._pools.get(key_of(offer))
        if pool is None:
            raise CapacityError(NAME, f"nobody sells {offer.label}")
        (fresh,) = self._on_sale(page, (pool,), now)
        if nodes > (fresh.available or 0):
            raise CapacityError(NAME, f"{fresh.available} of {nodes} x {offer.label} are left")
        books_id, _ = page.opened(now)
        serial = page.next_serial()
        lease_id = f"sim-{books_id}-{serial}"
        lease = Lease(
            id=lease_id,
            provider=NAME,
            token=token,
            owner=self._owner,
            offer=fresh,
            nodes=nodes,
            state=LeaseState.BOOTING,
            usd_per_hour=nodes * fresh.usd_per_hour,
            acquired_at=now,
            endpoints=tuple(_machine(self._machines / lease_id / str(node)) for node in range(nodes)),
        )
        entry = self._fate(page, serial, lease, boot)
        page.add(entry)
        return entry.seen(now)

    def _fate(self, page: Page, serial: int, lease: Lease, boot: Boot) -> Entry:
        """The lease's entry, with all that is going to happen to it decided."""
        pool, seed = self._pools[key_of(lease.offer)], self._settings.seed
        delay = self._strike(page, FaultKind.SLOW_BOOT, lease)
        boot_s = boots_s(pool, seed=seed, serial=serial) + (delay.delay_s if delay else 0.0)
        ready_at = self._after(lease.acquired_at, boot_s)
        hidden = self._strike(page, FaultKind.HIDE, lease)
        warned_at, ends_at = self._reclaim(page, pool, serial, lease, ready_at)
        if boot.lifetime_s is not None:
            own_end = lease.acquired_at + timedelta(seconds=boot.lifetime_s)
            if ends_at is None or own_end < ends_at:
                warned_at, ends_at = None, own_end
        return Entry(
            serial=serial,
            lease=lease,
            ready_at=ready_at,
            listed_at=self._after(lease.acquired_at, hidden.for_s if hidden else 0.0),
            warned_at=warned_at,
            ends_at=ends_at,
        )

    def _reclaim(
        self, page: Page, pool: Pool, serial: int, lease: Lease, ready_at: datetime
    ) -> tuple[datetime | None, datetime | None]:
        """When the lease's reclaim is announced and when it comes: scripted, or of the market's own, or never."""
        scripted = self._strike(page, FaultKind.RECLAIM, lease)
        if scripted:
            lasts, notice_s = scripted.after_s, scripted.notice_s
        else:
            lasts = lasts_s(pool, seed=self._settings.seed, serial=serial, nodes=lease.nodes)
            notice_s = self._settings.notice_s
        if lasts == inf:
            return None, None
        ends_at = self._after(ready_at, lasts)
        return self._after(ends_at, -notice_s), ends_at

    def _after(self, moment: datetime, market_s: float) -> datetime:
        return moment + timedelta(seconds=market_s / self._settings.time_scale)

    # Faults

    @contextmanager
    def _call(self, verb: Verb, offer: Offer | None = None) -> Iterator[None]:
        """Delay, refuse or lose a call as the settings script it; what the body raises passes."""
        self._clock.sleep(self._settings.delays.of(verb))
        if slow := self._struck(FaultKind.SLOW, verb, offer):
            self._clock.sleep(slow.delay_s)
        if throttle := self._struck(FaultKind.THROTTLE, verb, offer):
            raise TransientError(NAME, f"too many {verb} calls, by script", throttle.delay_s)
        yield
        if slow := self._struck(FaultKind.SLOW_ANSWER, verb, offer):
            self._clock.sleep(slow.delay_s)
        if self._struck(FaultKind.LOST_RESPONSE, verb, offer):
            raise TransientError(NAME, f"the answer to {verb} was lost, by script")

    def _struck(self, kind: FaultKind, verb: Verb, offer: Offer | None) -> Fault | None:
        """The fault of `kind` that strikes this call, if one does; counts it."""
        able = [
            (name, fault)
            for name, fault in self._scripted(kind)
            if fault.strikes_on(verb) and (offer is None or fault.concerns(offer))
        ]
        if not able:
            return None
        with self._books.page() as page:
            return self._first(page, able)

    def _refuses(self, offer: Offer) -> bool:
        """Whether a stock-out that listings do not show strikes this purchase."""
        able = [
            (name, fault) for name, fault in self._scripted(FaultKind.STOCKOUT) if fault.times and fault.concerns(offer)
        ]
        if not able:
            return False
        with self._books.page() as page:
            return self._first(page, able) is not None

    def _strike(self, page: Page, kind: FaultKind, lease: Lease) -> Fault | None:
        """The fault of `kind` that strikes this purchase, if one does; counts it.

        A reclaim's and a hiding's own times are about the lease, so their window is always open.
        """
        able = [(name, fault) for name, fault in self._scripted(kind) if fault.concerns(lease.offer)]
        return self._first(page, able, always=kind in {FaultKind.RECLAIM, FaultKind.HIDE})

    def _scripted(self, kind: FaultKind) -> list[tuple[str, Fault]]:
        """The faults of `kind`, each with the name that its strikes are counted under."""
        return [(f"{place}: {fault}", fault) for place, fault in enumerate(self._settings.faults) if fault.kind is kind]

    def _first(self, page: Page, able: list[tuple[str, Fault]], *, always: bool = False) -> Fault | None:
        elapsed_s = self._elapsed_s(page, self._clock.now())
        for name, fault in able:
            if (always or fault.is_on(elapsed_s)) and page.strike(name, fault.strikes):
                return fault
        return None

    def _elapsed_s(self, page: Page, now: datetime) -> float:
        """The market's seconds since its books were opened."""
        _, opened_at = page.opened(now)
        return (now - opened_at).total_seconds() * self._settings.time_scale


def _machine(folder: Path) -> Endpoint:
    folder.mkdir(parents=True, exist_ok=True)
    return Endpoint(launcher="process", path=str(folder))


def _mark(lease: Lease) -> None:
    """Leave RECLAIMED in the folder of each of the lease's machines."""
    for endpoint in lease.endpoints:
        folder = Path(endpoint.path)
        if folder.is_dir():
            (folder / RECLAIMED).touch()


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError."""
    return SimulatedProvider(
        owner=context.owner,
        settings=read(SimulatedSettings, context.settings, where=f"providers.{NAME}"),
        clock=context.clock,
        state_dir=context.state_dir,
    )
