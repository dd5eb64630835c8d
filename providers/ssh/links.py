"""The network as hosts see it: round trips and bandwidth to the control plane, round trips to reference points."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import NamedTuple

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.network import CONTROL_PLANE, Link, Place
from orchestrator.kit.fanout import ask
from orchestrator.kit.shell.ssh import Path
from providers.ssh.client import Client
from providers.ssh.fleet import Fleet
from providers.ssh.journal import Journal
from providers.ssh.settings import NAME, SshSettings
from providers.ssh.watch import MOST_AT_ONCE

LINK = "links"
MOST_HEAVY = 4  # bandwidth measurements of one call; they are made one after another, not to disturb each other
BYTES_PER_MIB = 1 << 20
BIT_PER_BYTE = 8


class Measured(NamedTuple):
    """What is known of the path to a host. Moments are when it was measured; gbit_s is the lesser of both ways."""

    address: str
    rtt_ms: float
    rtt_at: datetime
    gbit_s: float | None = None
    gbit_at: datetime | None = None
    reference_ms: tuple[tuple[str, float], ...] = ()


class Links:
    """Measures what was not measured lately, and keeps it between calls and processes."""

    def __init__(self, client: Client, fleet: Fleet, journal: Journal, *, settings: SshSettings, clock: Clock) -> None:
        self._client, self._fleet, self._journal = client, fleet, journal
        self._settings, self._clock = settings, clock

    def places(self) -> tuple[Place, ...]:
        """The sites whose coordinates the fleet file gives."""
        return tuple(
            Place(
                key=f"{NAME}/{site.name}",
                latitude=site.latitude,
                longitude=site.longitude,
                country=site.country,
                jurisdictions=site.jurisdictions or ((site.country,) if site.country else ()),
            )
            for _, site in sorted(self._fleet.sites.items())
            if site.latitude is not None and site.longitude is not None
        )

    def links(self, pythons: Mapping[str, str]) -> tuple[Link, ...]:
        """Of every site, by its quickest host. `pythons` are the hosts that answer now, with their Python's version."""
        self.measure(pythons)
        best: dict[str, tuple[str, Measured]] = {}
        for name, host in sorted(self._fleet.hosts.items()):
            found = None if host.gateway else self.known(name)
            if found is not None and (host.site not in best or found.rtt_ms < best[host.site][1].rtt_ms):
                best[host.site] = (name, found)
        here, made = self._settings.here or CONTROL_PLANE, []
        for site, (name, found) in sorted(best.items()):
            a, at = f"{NAME}/{site}", f"{found.rtt_at:%Y-%m-%d %H:%M} UTC"
            origin = f"measured over SSH to {name}, {at}"
            made.append(Link(a=a, b=here, rtt_ms=found.rtt_ms, gbit_s=found.gbit_s or 0.0, origin=origin))
            for place, ms in found.reference_ms:
                if place != here:
                    origin = f"measured by TCP from {name}, {at}"
                    made.append(Link(a=a, b=place, rtt_ms=ms, gbit_s=0.0, origin=origin))
        return tuple(made)

    def measure(self, pythons: Mapping[str, str], *, again: bool = False) -> None:
        """Measure the paths to hosts whose last measurement is old, or with `again` all; failures leave the old one."""
        settings, now = self._settings, self._clock.now()
        known = {name: self.known(name) for name in pythons}
        due = [name for name, found in known.items() if again or _old(found and found.rtt_at, settings.link_age_s, now)]
        paths, _ = ask(due, lambda name: self._client.path(name, each_way=0), workers=MOST_AT_ONCE)
        reference, _ = ask(
            [name for name in paths if pythons[name] and self._fleet.reference],
            lambda name: self._client.reference(name, self._fleet.reference),
            workers=MOST_AT_ONCE,
        )
        for name, path in paths.items():
            before = known[name]
            known[name] = Measured(
                address=self._fleet.hosts[name].label,
                rtt_ms=round(1000 * path.rtt_s, 3),
                rtt_at=now,
                gbit_s=before.gbit_s if before else None,
                gbit_at=before.gbit_at if before else None,
                reference_ms=tuple(sorted(reference.get(name, {}).items())),
            )
        self._weigh(known, paths, now)
        for name in paths:
            found = known[name]
            if found is not None:
                self._keep(name, found)

    def known(self, name: str) -> Measured | None:
        """The last measurement of a host at the address that it has now."""
        fields, host = self._journal.recall(LINK, name), self._fleet.hosts.get(name)
        if fields is None or host is None or fields.get("address") != host.label:
            return None
        try:
            pairs = fields["reference_ms"]
            gbit_at = fields["gbit_at"]
            found = Measured(
                address=host.label,
                rtt_ms=float(str(fields["rtt_ms"])),
                rtt_at=datetime.fromisoformat(str(fields["rtt_at"])),
                gbit_s=None if fields["gbit_s"] is None else float(str(fields["gbit_s"])),
                gbit_at=None if gbit_at is None else datetime.fromisoformat(str(gbit_at)),
                reference_ms=tuple((str(place), float(ms)) for place, ms in pairs),  # type: ignore[attr-defined]
            )
        except (KeyError, TypeError, ValueError):
            return None
        return found if isfinite(found.rtt_ms) else None

    def forget(self, name: str) -> bool:
        """Forget the path to a host; whether one was known."""
        return self._journal.forget(LINK, name)

    def _weigh(self, known: dict[str, Measured | None], paths: Mapping[str, Path], now: datetime) -> None:
        """Measure the bandwidth of a few paths that were never, or not lately: the longest ago first."""
        each_way = int(self._settings.bandwidth_mib * BYTES_PER_MIB)
        if not each_way:
            return
        due = [
            (found.gbit_at.isoformat() if found.gbit_at else "", name)
            for name in paths
            if (found := known[name]) is not None and _old(found.gbit_at, self._settings.bandwidth_age_s, now)
        ]
        for _, name in sorted(due)[:MOST_HEAVY]:
            found = known[name]
            try:
                path = self._client.path(name, each_way=each_way)
            except ProviderError:
                continue  # it has a round trip, and its bandwidth stays unknown
            slower = min(path.up_bytes_s or 0.0, path.down_bytes_s or 0.0)
            if found is not None and slower > 0:
                known[name] = found._replace(gbit_s=round(BIT_PER_BYTE * slower / 1e9, 6), gbit_at=now)

    def _keep(self, name: str, found: Measured) -> None:
        fields = found._asdict()
        fields["rtt_at"] = found.rtt_at.isoformat()
        fields["gbit_at"] = found.gbit_at.isoformat() if found.gbit_at else None
        self._journal.remember(LINK, name, fields)


def _old(at: datetime | None, age_s: float, now: datetime) -> bool:
    return at is None or not timedelta(0) <= now - at < timedelta(seconds=age_s)
