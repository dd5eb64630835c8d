"""Slurm clusters: a lease is a pilot job that holds machines, and Slurm's own queue is the book of leases."""

from __future__ import annotations

import fcntl
import importlib
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import (
    CapacityError,
    ConfigError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.lease import Boot, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit import fanout
from orchestrator.kit.shell.command import Shell
from orchestrator.kit.shell.local import LocalShell
from providers.slurm import pilots, systems
from providers.slurm.batch import Batch, Order
from providers.slurm.client import Client
from providers.slurm.complaints import QUOTA
from providers.slurm.pilots import Pilot
from providers.slurm.settings import NAME, SiteSettings, SlurmSettings
from providers.slurm.translate import Sale, gres_flag, queued, sales, usable_s

REACH = "providers.slurm.reach"
SETTLE_S = 45.0  # the longest that Slurm may take to say whether a job starts
PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
UNDECIDED = frozenset({"", "Prolog", "Cleaning"})  # reasons of a job that has not been looked at yet


class SlurmProvider:
    """The four verbs over one or more sites."""

    name = NAME

    def __init__(
        self,
        *,
        owner: str,
        settings: SlurmSettings,
        clock: Clock,
        state_dir: Path,
        shells: Mapping[str, Shell],
        connect: Callable[[SiteSettings, Shell], Batch] = Client,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._owner, self._clock, self._state_dir, self._pause = owner, clock, state_dir, pause
        self._sites = {site.name: site for site in settings.sites}
        self._clients = {site.name: connect(site, shells[site.name]) for site in settings.sites}

    def offers(self) -> OfferBook:
        """See Provider.offers. Raises: AuthError, TransientError where no site answers."""
        return self.survey().book

    def survey(self) -> Survey:
        """What is free, site by site; a site that does not answer is a gap, as is what has no rate.

        Raises: AuthError, TransientError where no site answers.
        """
        found, failed = fanout.ask(self._sites, self._on_sale)
        if not found:
            raise next(iter(failed.values()))
        offers = [sale.offer for sold, _ in found.values() for sale in sold]
        gaps = [f"{site}: {gap}" for site, (_, told) in found.items() for gap in told]
        return Survey(OfferBook.of(offers), (*fanout.told(failed), *gaps))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Submit a pilot job for `nodes` nodes and see it start, or wait as long as the site's settings allow.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which the name of the job settles whether it
        was submitted; ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        if offer.region not in self._sites:
            raise CapacityError(NAME, f"there is no site {offer.region!r}", Scope.REGION)
        site, client = self._sites[offer.region], self._clients[offer.region]
        with self._alone(site.name):
            pilot = self._find(site, token)
            if pilot is None:
                sale = self._sold(site, offer, nodes)
                client.submit(self._order(site, sale, nodes, token=token, boot=boot))
                pilot = self._settled(site, token)
            return self._started(site, pilot).lease

    def release(self, lease_id: str) -> None:
        """Cancel the pilot.

        Raises: LeaseNotFound once no job of that lease is in the queue; AuthError, TransientError.
        """
        site = next((name for name in self._sites if lease_id.startswith(f"{name}/")), None)
        if site is None:
            raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
        mine = [pilot for pilot in self._pilots(site) if pilot.lease.id == lease_id]
        if not mine:
            raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
        for pilot in mine:
            self._clients[site].cancel(pilot.job.id)

    def leases(self) -> Sequence[Lease]:
        """Our pilots of all sites. Raises: AuthError, TransientError where one of them does not answer."""
        return [pilot.lease for held in self._everywhere().values() for pilot in held]

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """See WarnsOfReclaim: walltimes that are near, pre-emptions, pilots put back into the queue."""
        now = self._clock.now()
        found = self._everywhere()
        return [note for site, held in found.items() for note in pilots.notices(held, self._sites[site], now)]

    def _on_sale(self, name: str) -> tuple[list[Sale], list[str]]:
        site, client = self._sites[name], self._clients[name]
        cluster = client.cluster()
        found, gaps = sales(site, cluster.nodes, cluster.partitions, self._clock.now())
        if site.queue_up_to_s > 0:
            found = [self._with_wait(site, sale) if sale.offer.available == 0 else sale for sale in found]
        return found, [*gaps, *cluster.gaps]

    def _with_wait(self, site: SiteSettings, sale: Sale) -> Sale:
        """The sale with the wait that Slurm expects, if that is put up with."""
        order = self._order(site, sale, 1, token="expected", boot=Boot())  # noqa: S106 - the name of a job
        try:
            at = self._clients[site.name].expected(order)
        except (CapacityError, QuotaError):
            return sale
        wait_s = float("inf") if at is None else max(0.0, (at - self._clock.now()).total_seconds())
        return queued(sale, wait_s, site) if wait_s <= site.queue_up_to_s else sale

    def _sold(self, site: SiteSettings, offer: Offer, nodes: int) -> Sale:
        """What is bought, as it is sold now. Raises: CapacityError."""
        found, _ = self._on_sale(site.name)
        sale = next((each for each in found if each.offer.label == offer.label), None)
        if sale is None:
            raise CapacityError(NAME, f"{site.name} does not sell {offer.label}")
        waits = sale.offer.available is None and sale.most_nodes == 0
        if nodes > sale.most_nodes and not waits:
            detail = f"{sale.most_nodes} of {nodes} x {offer.instance_type} are free in {offer.place}"
            raise CapacityError(NAME, detail)
        return sale

    def _order(self, site: SiteSettings, sale: Sale, nodes: int, *, token: str, boot: Boot) -> Order:
        minutes = round(sale.walltime_s / 60.0)
        if boot.lifetime_s is not None:
            minutes = min(minutes, max(1, math.ceil(boot.lifetime_s / 60.0)))
        lease = Lease(
            id=f"{site.name}/{secrets.token_hex(8)}",
            provider=NAME,
            token=token,
            owner=self._owner,
            offer=replace(sale.offer, max_lease_s=usable_s(site, 60.0 * minutes)),
            nodes=nodes,
            state=LeaseState.BOOTING,
            usd_per_hour=nodes * sale.offer.usd_per_hour,
            acquired_at=self._clock.now(),
        )
        return Order(
            name=pilots.job_name(self._owner, token),
            comment=pilots.comment(lease),
            partition=sale.shape.partition,
            nodes=nodes,
            gres=gres_flag(sale.shape),
            cpus=sale.shape.cpus,
            memory_mb=sale.shape.memory_mb,
            minutes=minutes,
        )

    def _pilots(self, site: str) -> list[Pilot]:
        return pilots.ours(self._clients[site].jobs(), self._owner, self._sites[site], self._clock.now())

    def _everywhere(self) -> dict[str, list[Pilot]]:
        found, failed = fanout.ask(self._sites, self._pilots)
        for error in failed.values():
            raise error
        return found

    def _find(self, site: SiteSettings, token: str) -> Pilot | None:
        """The pilot of a token. Where two control planes were at it at once, the older job stays."""
        held = [pilot for pilot in self._pilots(site.name) if pilot.lease.token == token]
        live = [pilot for pilot in held if pilot.lease.state is not LeaseState.RELEASING]
        for pilot in live[1:]:
            self._clients[site.name].cancel(pilot.job.id)
        return live[0] if live else None

    def _settled(self, site: SiteSettings, token: str) -> Pilot:
        pilot = self._find(site, token)
        if pilot is None:
            raise CapacityError(NAME, f"{site.name}: the allocation was refused right after its submission")
        return pilot

    def _started(self, site: SiteSettings, pilot: Pilot) -> Pilot:
        """The pilot once Slurm has decided; one that is not to wait is taken back.

        Raises: CapacityError, QuotaError; as `Client.jobs`.
        """
        token, waited, pause_s = pilot.lease.token, 0.0, PAUSE_S
        while pilot.job.state == "PENDING":
            reason = pilot.job.reason
            decided = reason not in UNDECIDED
            if decided and site.queue_up_to_s > 0 and not _hopeless(reason):
                return pilot
            if decided or waited >= SETTLE_S:
                self._clients[site.name].cancel(pilot.job.id)
                raise _refusal(site, reason)
            self._pause(pause_s)
            waited, pause_s = waited + pause_s, min(LONGEST_PAUSE_S, 1.5 * pause_s)
            pilot = self._settled(site, token)
        return pilot

    @contextmanager
    def _alone(self, site: str) -> Iterator[None]:
        """One purchase at a time of all processes that share our state folder."""
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            with open(self._state_dir / f"{site}.lock", "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise TransientError(NAME, f"{self._state_dir}: {error.strerror or error}") from error


def _hopeless(reason: str) -> bool:
    """Whether a job that waits for this would wait for ever."""
    return reason.startswith(("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "Invalid")) or bool(
        QUOTA.search(reason)
    )


def _refusal(site: SiteSettings, reason: str) -> ProviderError:
    detail = f"{site.name}: the allocation does not start at once: {reason or 'Slurm does not say why'}"
    return QuotaError(NAME, detail, Scope.REGION) if QUOTA.search(reason) else CapacityError(NAME, detail)


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError."""
    settings = read(SlurmSettings, context.settings, where=f"providers.{NAME}")
    return SlurmProvider(
        owner=context.owner,
        settings=settings,
        clock=context.clock,
        state_dir=context.state_dir,
        shells={site.name: _shell(site) for site in settings.sites},
        connect=partial(systems.connect, secret=context.secret, clock=context.clock),
    )


def _shell(site: SiteSettings) -> Shell:
    if not site.login:
        return LocalShell(NAME)
    try:
        reach = importlib.import_module(REACH)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{site.login} is reached with {error.name}: pip install 'isoflop[ssh]'") from error
    shell: Shell = reach.shell(site)
    return shell
