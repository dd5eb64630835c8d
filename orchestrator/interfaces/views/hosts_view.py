"""Hosts of one's own: how they are, and the keys by which they are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.hosts import HostKey, HostReport, HostState
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    bad,
    code,
    dim,
    good,
    left,
    line,
    right,
    strong,
    trimmed,
    warn,
)

COLUMNS = (
    left("host"),
    left("site"),
    left("state"),
    left("GPUs"),
    right("cores"),
    right("memory"),
    right("$/h"),
    right("RTT"),
    left("seen"),
)
MORE = (right("disk free"), left("Python"), left("containers"), right("Gbit/s"), right("clock"))


@dataclass(frozen=True, slots=True)
class HostsReport:
    """Every host asked for. `owner` is the id of this control plane."""

    hosts: tuple[HostReport, ...]
    now: datetime
    owner: str
    details: bool = False

    def page(self) -> Page:
        """A row per host, then what is wrong and who holds what."""
        columns = (*COLUMNS, *MORE) if self.details else COLUMNS
        blocks: list[Block] = [Table(columns, tuple(self._row(host) for host in self.hosts)), Line()]
        for host in self.hosts:
            if host.lock is not None:
                since = f" since {fmt.moment(host.lock.since)}" if host.lock.since else ""
                whose = (
                    "this control plane" if host.lock.owner == self.owner else host.lock.owner or "nobody knows whom"
                )
                held = f"lease {host.lock.lease_id or '?'} of {whose}{since}"
                blocks.append(line(strong(f"{host.name}: "), held))
            if host.detail:
                blocks.append(line(warn(f"{host.name}: "), host.detail))
        counts = Counter(host.state for host in self.hosts)
        said = ", ".join(f"{counts[state]} {state}" for state in HostState if counts[state])
        blocks.append(line(f"{fmt.plural(len(self.hosts), 'host')}: {said}"))
        if any(host.state is HostState.UNTRUSTED for host in self.hosts):
            blocks.append(line("a host is talked to once its key is pinned: ", code("isoflop hosts trust HOST")))
        return trimmed(blocks)

    def _row(self, host: HostReport) -> tuple[Text, ...]:
        gpus = f"{host.gpus} x {host.accelerator}" if host.gpus else dim(host.accelerator)
        row: tuple[Text, ...] = (
            strong(host.name),
            host.site,
            _state(host.state),
            gpus,
            "" if host.cpus is None else fmt.count(host.cpus),
            "" if host.memory_gib is None else fmt.gib(host.memory_gib),
            fmt.usd(host.usd_per_hour) if host.usd_per_hour else "",
            "" if host.rtt_ms is None else f"{host.rtt_ms:.3g} ms",
            dim("never" if host.probed_at is None else fmt.age(host.probed_at, self.now)),
        )
        if not self.details:
            return row
        ahead = host.clock_ahead_s
        return (
            *row,
            "" if host.disk_free_gib is None else fmt.gib(host.disk_free_gib),
            host.python,
            ", ".join(host.containers),
            "" if not host.gbit_s else f"{host.gbit_s:.2g}",
            "" if ahead is None else f"{ahead:+.0f} s" if ahead else "right",
        )

    def document(self) -> object:
        """Every field of every host."""
        return {"hosts": [_fields(host) for host in self.hosts]}


def _state(state: HostState) -> Text:
    if state is HostState.FREE:
        return good(state)
    return bad(state) if state in {HostState.SILENT, HostState.UNFIT} else warn(state)


def _fields(host: HostReport) -> dict[str, object]:
    lock = host.lock
    since = None if lock is None or lock.since is None else lock.since.isoformat()
    return {
        "name": host.name,
        "site": host.site,
        "address": host.address,
        "state": host.state.value,
        "detail": host.detail,
        "usd_per_hour": host.usd_per_hour,
        "lock": None if lock is None else {"lease_id": lock.lease_id, "owner": lock.owner, "since": since},
        "accelerator": host.accelerator,
        "gpus": host.gpus,
        "cpus": host.cpus,
        "memory_gib": host.memory_gib,
        "disk_free_gib": host.disk_free_gib,
        "python": host.python,
        "containers": list(host.containers),
        "clock_ahead_s": host.clock_ahead_s,
        "rtt_ms": host.rtt_ms,
        "gbit_s": host.gbit_s,
        "probed_at": host.probed_at.isoformat() if host.probed_at else None,
        "labels": dict(host.labels or {}),
    }


@dataclass(frozen=True, slots=True)
class KeyReport:
    """The key that a host shows, and whether it is pinned now."""

    key: HostKey
    pinned: bool

    def page(self) -> Page:
        """Fingerprints, what was done or is to be done."""
        key = self.key
        facts: list[tuple[str, Text]] = [("host", strong(key.name)), ("address", key.address)]
        facts.append(("shows", f"{key.kind} {key.fingerprint}"))
        if key.pinned:
            facts.append(("pinned", f"{key.pinned}, by {key.pinned_by}"))
        blocks: list[Block] = [Facts(tuple(facts)), Line()]
        if key.pinned and key.pinned != key.fingerprint:
            blocks.append(line(bad("the host shows another key than the one that was pinned")))
        if self.pinned:
            blocks.append(line(good(f"{key.name} is known by this key from now on")))
        elif key.pinned == key.fingerprint:
            blocks.append(line(good("this is the key that is pinned")))
        else:
            blocks.append(line("compare it with what the host itself says, then pin it:"))
            blocks.append(line(code(f"isoflop hosts trust {key.name} --fingerprint {key.fingerprint}"), indent=2))
        return trimmed(blocks)

    def document(self) -> object:
        """The same."""
        key = self.key
        return {
            "name": key.name,
            "address": key.address,
            "kind": key.kind,
            "fingerprint": key.fingerprint,
            "key": key.key,
            "pinned_before": key.pinned,
            "pinned_by": key.pinned_by,
            "pinned": self.pinned,
        }
