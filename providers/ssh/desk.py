"""What people do about hosts by name: look, trust a key, forget, break a lock."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, TransientError, UserError
from orchestrator.domain.hosts import HostKey, HostLock, HostReport, HostState
from orchestrator.domain.spelling import hint
from providers.ssh.client import KEYS, Client
from providers.ssh.fleet import Fleet, FleetHost
from providers.ssh.journal import Journal
from providers.ssh.links import Links
from providers.ssh.settings import NAME
from providers.ssh.watch import View, Watch


class Desk:
    """See KeepsHosts, whose methods these are."""

    def __init__(
        self, owner: str, fleet: Fleet, *, client: Client, watch: Watch, links: Links, journal: Journal, clock: Clock
    ) -> None:
        self._owner, self._fleet, self._client = owner, fleet, client
        self._watch, self._links, self._journal, self._clock = watch, links, journal, clock

    def hosts(self, names: Sequence[str], *, probe: bool) -> list[HostReport]:
        """Raises: UserError."""
        wanted = [self._host(name) for name in names] or list(self._fleet.hosts.values())
        view = self._watch.look([host.name for host in wanted], hardware=True, again=probe)
        if probe:
            self._links.measure({name: view.hardware[name].python for name in view.answers}, again=True)
        return [self._report(host, view) for host in sorted(wanted, key=lambda host: host.name)]

    def host_key(self, name: str) -> HostKey:
        """Raises: UserError, TransientError, AuthError."""
        host = self._host(name)
        key = self._client.shown_key(name)
        pinned, by = self._client.pinned_key(host)
        return HostKey(
            name=name,
            address=host.label,
            kind=key.split()[0],
            fingerprint=fingerprint(key),
            key=" ".join(key.split()[:2]),
            pinned=fingerprint(pinned) if pinned else "",
            pinned_by=by,
        )

    def trust(self, key: HostKey) -> None:
        """Raises: UserError, TransientError."""
        host = self._host(key.name)
        if host.host_key and fingerprint(host.host_key) != key.fingerprint:
            raise UserError(
                f"the fleet file says that {host.name} has the key {fingerprint(host.host_key)}; correct it there "
                f"(line {host.line}) if the host was set up anew"
            )
        fields = {"address": host.address, "port": host.port, "key": key.key, "at": self._clock.now().isoformat()}
        self._journal.remember(KEYS, host.name, fields)

    def forget(self, name: str, *, force: bool) -> list[str]:
        """Raises: UserError, TransientError."""
        with self._journal.exclusive():
            known = [record for record in self._journal.records().values() if name in record.hosts]
            if name not in self._fleet.hosts and not known:
                self._host(name)
            leases = [record.lease.id for record in known]
            if leases and not force:
                raise UserError(f"{name} is leased to us ({', '.join(leases)}); --force gives these leases up for lost")
            if leases and name in self._watch.look([name], again=True).answers:
                raise UserError(f"{name} answers, so its lease can be released: isoflop cancel, or hosts unlock {name}")
            for lease_id in leases:
                self._journal.strike(lease_id)
        self._watch.forget(name)
        self._links.forget(name)
        self._journal.forget(KEYS, name)
        return leases

    def unlock(self, name: str) -> HostLock | None:
        """Raises: UserError, TransientError, AuthError."""
        self._host(name)
        view = self._watch.look([name], again=True)
        if name not in view.answers:
            raise view.silent[name].error
        lock = self._lock(view, name)
        if lock is None:
            return None
        after = self._client.release(name, lock.lease_id) if lock.lease_id else view.answers[name]
        if after.lock is not None and after.lock == view.answers[name].lock:
            after = self._client.break_lock(name)
        if after.lock is not None:
            raise TransientError(NAME, f"{name} was locked anew meanwhile")
        return lock

    def _host(self, name: str) -> FleetHost:
        host = self._fleet.hosts.get(name)
        if host is None:
            raise UserError(f"no host is called {name!r} ({hint(name, self._fleet.hosts)})")
        return host

    def _lock(self, view: View, name: str) -> HostLock | None:
        if name not in view.answers or view.answers[name].lock is None:
            return None
        record = view.record(name)
        if record is None:
            return HostLock(lease_id="", owner="", since=None)
        return HostLock(lease_id=record.lease.id, owner=record.lease.owner, since=record.lease.acquired_at)

    def _report(self, host: FleetHost, view: View) -> HostReport:
        name, seen, link = host.name, view.hardware.get(host.name), self._links.known(host.name)
        lock = self._lock(view, name)
        state, detail = self._state(host, view, lock)
        return HostReport(
            name=name,
            site=host.site,
            address=host.label,
            state=state,
            detail=detail,
            usd_per_hour=host.usd_per_hour,
            lock=lock,
            accelerator=seen.accelerator if seen else "",
            gpus=seen.gpus if seen else 0,
            cpus=seen.cpus if seen else None,
            memory_gib=seen.memory_gib if seen else None,
            disk_free_gib=seen.disk_free_gib if seen else None,
            python=seen.python if seen else "",
            containers=seen.containers if seen else (),
            clock_ahead_s=seen.clock_ahead_s if seen else None,
            rtt_ms=link.rtt_ms if link else None,
            gbit_s=link.gbit_s if link else None,
            probed_at=view.probed_at.get(name),
            labels=dict(host.labels),
        )

    def _state(self, host: FleetHost, view: View, lock: HostLock | None) -> tuple[HostState, str]:
        if host.name not in view.answers:
            error = view.silent[host.name].error
            unknown = isinstance(error, AuthError) and not self._client.pinned_key(host)[0]
            return (HostState.UNTRUSTED if unknown else HostState.SILENT), error.detail
        seen = view.hardware[host.name]
        notes = "; ".join((*seen.faults, *seen.notes))
        if host.gateway:
            return HostState.GATEWAY, notes
        if lock is not None:
            state = HostState.OURS if lock.owner == self._owner else HostState.TAKEN
            return state, notes if lock.lease_id else "its lock cannot be read; isoflop hosts unlock --force removes it"
        if seen.faults:
            return HostState.UNFIT, notes
        if seen.busy:
            return HostState.BUSY, f"its GPUs run {seen.busy} programs of somebody without a lease"
        return HostState.FREE, notes


def fingerprint(key: str) -> str:
    """`SHA256:...` of a public key in OpenSSH's form, as `ssh-keygen -l` shows it; "" where it is no such key."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
