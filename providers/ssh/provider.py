"""Hosts of one's own over SSH: whole machines, leased by a lock that each host keeps itself."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    TransientError,
)
from orchestrator.domain.hosts import HostKey, HostLock, HostReport
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.network import Link, Place
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit.fanout import ask
from orchestrator.kit.shell.ssh import Hub
from providers.ssh import fleet as fleets
from providers.ssh import holdings
from providers.ssh.client import Client, Unusable
from providers.ssh.desk import Desk
from providers.ssh.fleet import Fleet
from providers.ssh.journal import Journal, Phase, Record
from providers.ssh.links import Links
from providers.ssh.settings import NAME, SshSettings
from providers.ssh.translate import Member, offers, shape
from providers.ssh.watch import MOST_AT_ONCE, View, Watch, nobody

TRIES = 3  # to take a gang whose hosts others want too


class _Parted(Exception):
    """Another was quicker at a host of a gang; everything was given back."""


class SshProvider:
    """The four verbs over a fleet; keeps hosts (KeepsHosts) and measures links (MeasuresLinks).

    A lock is a file on the host that appears whole or not at all. Our journal says which locks may be ours where a host
    does not answer, so such a lease stays listed as it was, until the host has been silent for `lost_after_s`.
    """

    name = NAME

    def __init__(
        self, *, owner: str, settings: SshSettings, fleet: Fleet, clock: Clock, state_dir: Path, hub: Hub
    ) -> None:
        self._owner, self._fleet, self._clock = owner, fleet, clock
        self._journal = Journal(state_dir)
        self._client = Client(hub, fleet, self._journal, timeout_s=settings.command_timeout_s)
        self._watch = Watch(self._client, fleet, self._journal, settings=settings, clock=clock)
        self._links = Links(self._client, fleet, self._journal, settings=settings, clock=clock)
        self._desk = Desk(
            owner,
            fleet,
            client=self._client,
            watch=self._watch,
            links=self._links,
            journal=self._journal,
            clock=clock,
        )
        self._names = tuple(sorted(name for name, host in fleet.hosts.items() if not host.gateway))

    # The four verbs

    def offers(self) -> OfferBook:
        """See Provider.offers. Raises: AuthError, TransientError where no host answers."""
        return self.survey().book

    def survey(self) -> Survey:
        """Hosts that are alike, site by site; each host that is silent or cannot take a job is a gap.

        Raises: AuthError, TransientError where no host answers.
        """
        view = self._look(hardware=True)
        members = [
            Member(self._fleet.hosts[name], view.hardware[name], self._is_free(view, name))
            for name in self._names
            if name in view.hardware and (view.hardware[name].gpus or not view.hardware[name].faults)
        ]
        gaps = [f"{name}: {each.error.detail}" for name, each in sorted(view.silent.items())]
        for name in sorted(view.answers):
            seen = view.hardware[name]
            gaps += [f"{name}: {fault}: it is not on sale" for fault in seen.faults]
            gaps += [f"{name}: {note}" for note in seen.notes]
            if seen.busy and view.answers[name].lock is None:
                gaps.append(f"{name}: its GPUs run {seen.busy} programs of somebody without a lease: it is not on sale")
            if view.answers[name].lock is not None and view.record(name) is None:
                gaps.append(f"{name}: its lock cannot be read; see isoflop hosts list")
        return Survey(OfferBook.of(offers(self._fleet, members, self._clock.now())).sort(), tuple(gaps))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:  # noqa: ARG002 - it runs already
        """Lock `nodes` hosts of the offer, in the order of their names, all or none.

        Raises: CapacityError; AuthError, TransientError where no host answers; TransientError where a lock is in doubt;
        ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        with self._journal.exclusive():
            view = self._look(hardware=True)
            resumed = self._resume(view, token)
            if resumed is not None:
                return resumed
            unusable: dict[str, str] = {}
            for _ in range(TRIES):
                free = [name for name in self._on_sale(view, offer) if name not in unusable]
                if len(free) < nodes:
                    why = "".join(f"; {name}: {detail}" for name, detail in unusable.items())
                    raise CapacityError(NAME, f"{len(free)} of {nodes} x {offer.instance_type} are free{why}")
                try:
                    return self._take(view, self._new(offer, tuple(free[:nodes]), token), unusable)
                except _Parted:
                    view = self._look(hardware=True)
            raise CapacityError(NAME, f"others were quicker at {nodes} x {offer.instance_type}, {TRIES} times")

    def release(self, lease_id: str) -> None:
        """End what runs under the lease on every host of it, and unlock them.

        A host that has been given up counts as released: should it come back, the lock it still has is listed again.
        Raises: LeaseNotFound; TransientError, AuthError where a host does not answer.
        """
        with self._journal.exclusive():
            view = self._look()
            known = self._journal.records()
            found = holdings.held(view, known, self._owner).get(lease_id)
            if found is None:
                self._journal.strike(lease_id)
                raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
            self._give_back(view, known.get(lease_id, found))

    def leases(self) -> Sequence[Lease]:
        """Our leases in the order of purchase.

        Of a host that does not answer, as last known; RECLAIMING where one of several hosts is lost.
        Raises: AuthError, TransientError where no host answers.
        """
        known = self._journal.records()  # before the look: what it says is held had its locks by then
        view = self._look()
        found = holdings.held(view, known, self._owner)
        made = [
            holdings.listed(view, record, known.get(lease_id), self._client.endpoint)
            for lease_id, record in found.items()
        ]
        return sorted(made, key=lambda lease: (lease.acquired_at, lease.id))

    # Links and hosts

    def places(self) -> Sequence[Place]:
        """See MeasuresLinks.places."""
        return self._links.places()

    def links(self) -> Sequence[Link]:
        """See MeasuresLinks.links. A site's link is that of its quickest host."""
        view = self._look(hardware=True)
        return self._links.links({name: view.hardware[name].python for name in view.answers})

    def hosts(self, names: Sequence[str] = (), *, probe: bool = False) -> Sequence[HostReport]:
        """See KeepsHosts.hosts."""
        return self._desk.hosts(names, probe=probe)

    def host_key(self, name: str) -> HostKey:
        """See KeepsHosts.host_key."""
        return self._desk.host_key(name)

    def trust(self, key: HostKey) -> None:
        """See KeepsHosts.trust."""
        self._desk.trust(key)

    def forget(self, name: str, *, force: bool = False) -> Sequence[str]:
        """See KeepsHosts.forget."""
        return self._desk.forget(name, force=force)

    def unlock(self, name: str) -> HostLock | None:
        """See KeepsHosts.unlock."""
        return self._desk.unlock(name)

    def close(self) -> None:
        """Close every connection; the object is of no use any more."""
        self._client.close()

    # How

    def _look(self, *, hardware: bool = False) -> View:
        leased = {name for record in self._journal.records().values() for name in record.hosts}
        view = self._watch.look(sorted({*self._names, *leased}), hardware=hardware)
        if not view.answers:
            raise nobody(view.silent)
        return view

    def _is_free(self, view: View, name: str) -> bool:
        answer, seen = view.answers.get(name), view.hardware.get(name)
        return answer is not None and answer.lock is None and seen is not None and not seen.faults and not seen.busy

    def _on_sale(self, view: View, offer: Offer) -> list[str]:
        """Free hosts that `offer` stands for."""
        return [
            name
            for name in self._names
            if self._is_free(view, name)
            and self._fleet.hosts[name].site == offer.region
            and shape(self._fleet, self._fleet.hosts[name], view.hardware[name]) == offer.instance_type
        ]

    def _new(self, offer: Offer, hosts: tuple[str, ...], token: str) -> Record:
        usd_per_hour = self._fleet.hosts[hosts[0]].usd_per_hour  # alike on all, and as it is now
        lease = Lease(
            id=f"{NAME}-{uuid.uuid4().hex[:16]}",
            provider=NAME,
            token=token,
            owner=self._owner,
            offer=replace(offer, usd_per_hour=usd_per_hour),
            nodes=len(hosts),
            state=LeaseState.READY,
            usd_per_hour=len(hosts) * usd_per_hour,
            acquired_at=self._clock.now(),
        )
        return Record(lease, hosts, Phase.TAKING)

    def _resume(self, view: View, token: str) -> Lease | None:
        """The lease that this token bought before, made whole; None where there is none.

        Raises: TransientError while that cannot be known.
        """
        known = self._journal.records()
        for record in holdings.held(view, known, self._owner).values():
            if record.lease.token != token:
                continue
            base = known.get(record.lease.id, record)
            if base.phase is Phase.RELEASING:
                raise TransientError(NAME, f"lease {base.lease.id} of this token is being released", 5.0)
            here = {name: view.holds(name, base.lease.id) for name in base.hosts}
            if base.phase is Phase.HELD and (base.lease.id in known or all(here.values())):
                return holdings.listed(view, base, known.get(base.lease.id), self._client.endpoint)
            silent = [name for name, found in here.items() if found is None and name not in view.lost]
            if silent:
                detail = f"whether {', '.join(silent)} is locked for lease {base.lease.id} is not known"
                raise TransientError(NAME, detail, 10.0)
            try:
                return self._take(view, base._replace(phase=Phase.TAKING), {})
            except _Parted:
                return None
        return None

    def _take(self, view: View, record: Record, unusable: dict[str, str]) -> Lease:
        """Lock every host of `record` that is not locked for it yet.

        The first is locked alone: of two that want the same hosts, one has them all.
        Raises: _Parted where not all can be had, and none is held; TransientError where that is in doubt.
        """
        record = self._journal.write(record._replace(phase=Phase.TAKING))
        lease_id, text = record.lease.id, record.dump(for_host=True)
        folders = {name: view.answers[name].folder for name in record.hosts if view.holds(name, lease_id)}
        left = [name for name in record.hosts if name not in folders]
        for wave in (left[:1], left[1:]):
            answers, failed = ask(
                wave, partial(self._client.take, lease_id=lease_id, record=text), workers=MOST_AT_ONCE
            )
            for name, error in failed.items():
                unusable[name] = error.detail
                if not isinstance(error, Unusable):
                    self._watch.missed(name, error)
            folders |= {name: answer.folder for name, answer in answers.items() if f'"{lease_id}"' in str(answer.lock)}
            if not all(name in folders for name in wave):
                self._undo(record, {name for name, error in failed.items() if isinstance(error, TransientError)})
                raise _Parted
        points = tuple(self._client.endpoint(name, folders[name], lease_id) for name in record.hosts)
        lease = replace(record.lease, state=LeaseState.READY, endpoints=points)
        self._journal.write(record._replace(lease=lease, phase=Phase.HELD))
        return lease

    def _undo(self, record: Record, doubtful: set[str]) -> None:
        """Unlock what was locked of a gang. Raises: TransientError where a host may still be locked."""
        lease_id = record.lease.id
        _, failed = ask(record.hosts, partial(self._client.release, lease_id=lease_id), workers=MOST_AT_ONCE)
        open_ = [name for name, error in failed.items() if name in doubtful or not isinstance(error, AuthError)]
        if open_:
            shown = "; ".join(f"{name}: {failed[name].detail}" for name in open_)
            raise TransientError(NAME, f"lease {lease_id} is in doubt: {shown}", 5.0)
        self._journal.strike(lease_id)

    def _give_back(self, view: View, record: Record) -> None:
        lease_id = record.lease.id
        self._journal.write(record._replace(phase=Phase.RELEASING))
        there = [name for name in record.hosts if name not in view.lost]
        _, failed = ask(there, partial(self._client.release, lease_id=lease_id), workers=MOST_AT_ONCE)
        if failed:
            for name, error in failed.items():
                self._watch.missed(name, error)
            raise _joined(failed, lease_id)
        self._journal.strike(lease_id)


def _joined(failed: dict[str, ProviderError], lease_id: str) -> ProviderError:
    shown = "; ".join(f"{name}: {error.detail}" for name, error in failed.items())
    kind = AuthError if all(isinstance(error, AuthError) for error in failed.values()) else TransientError
    return kind(NAME, f"lease {lease_id} is not released everywhere: {shown}")


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError."""
    where = f"providers.{NAME}"
    settings = read(SshSettings, context.settings, where=where)
    fleet = fleets.load(Path(settings.fleet).expanduser())
    return SshProvider(
        owner=context.owner,
        settings=settings,
        fleet=fleet,
        clock=context.clock,
        state_dir=context.state_dir,
        hub=Hub(NAME),
    )
