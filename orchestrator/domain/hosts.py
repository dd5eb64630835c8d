"""Hosts: machines of one's own by name, how they are, whom they serve, and what may be done about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable


class HostState(StrEnum):
    """How a host stands, as far as is known."""

    FREE = "free"
    OURS = "ours"  # under a lease of this control plane
    TAKEN = "taken"  # under somebody else's lock
    BUSY = "busy"  # its devices work for somebody who took no lock
    UNFIT = "unfit"  # it answers, and cannot take a job
    SILENT = "silent"  # it does not answer, or is not the machine that we know
    UNTRUSTED = "untrusted"  # nobody has said yet by which key it proves itself
    GATEWAY = "gateway"  # others are reached through it; it takes no jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLock:
    """Who holds a host. `owner` is the id of a control plane; "" where the lock cannot be read."""

    lease_id: str
    owner: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """One host. What is not known is empty or None; `detail` says what is wrong, or why something is not known."""

    name: str
    site: str
    address: str  # user@host:port
    state: HostState
    usd_per_hour: float
    detail: str = ""
    lock: HostLock | None = None
    accelerator: str = ""
    gpus: int = 0
    cpus: int | None = None
    memory_gib: float | None = None
    disk_free_gib: float | None = None
    python: str = ""
    containers: tuple[str, ...] = ()  # runtimes: "podman", "docker", "apptainer"
    clock_ahead_s: float | None = None  # of ours
    rtt_ms: float | None = None  # from the control plane
    gbit_s: float | None = None
    probed_at: datetime | None = None  # when its hardware was looked at
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The key that a host shows now, beside the one that is pinned; a fingerprint is what `ssh-keygen -l` shows."""

    name: str
    address: str
    kind: str  # ssh-ed25519
    fingerprint: str
    key: str
    pinned: str = ""  # fingerprint of the key known so far; "" where none is
    pinned_by: str = ""  # where it stands


@runtime_checkable
class KeepsHosts(Protocol):
    """The provider has hosts that people look after by name. A name that is none raises UserError."""

    def hosts(self, names: Sequence[str] = (), *, probe: bool = False) -> Sequence[HostReport]:
        """The hosts called `names`, by default all, in the order of their names: from memory and a look at locks.

        With `probe` hardware and network are looked at again, also of hosts that did not answer a moment ago.
        """
        ...

    def host_key(self, name: str) -> HostKey:
        """The key that whoever answers at the host's address shows now. Raises: TransientError."""
        ...

    def trust(self, key: HostKey) -> None:
        """Take `key` for the host's from now on. Raises: UserError where the fleet file pins another."""
        ...

    def forget(self, name: str, *, force: bool = False) -> Sequence[str]:
        """Strike out what is remembered of a host: its key, hardware, and with `force` our leases on it, if silent.

        Returns the ids of those leases. Raises: UserError where there are leases and not `force`, or it answers.
        """
        ...

    def unlock(self, name: str) -> HostLock | None:
        """End what runs under the lock of a host, whoever holds it, and break the lock; None where there was none.

        Raises: TransientError, AuthError where the host does not answer.
        """
        ...

    def close(self) -> None:
        """Close connections; the object is of no use any more."""
        ...
