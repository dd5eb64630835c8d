"""The talk with hosts: one command each, to all at once; every failure is that of one host."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.domain.lease import Endpoint
from orchestrator.kit.shell.ssh import Address, Hub, Path, SshShell
from providers.ssh import scripts
from providers.ssh.fleet import Fleet, FleetHost
from providers.ssh.journal import Journal
from providers.ssh.settings import NAME

KEYS = "keys"
RELEASE_S = 60.0  # twice five seconds for signals, and a folder to put aside
RETRY_AFTER_S = 10.0
WHY: Mapping[int, str] = {
    scripts.FULL: "its folder cannot be written: the disk is full or read-only",
    scripts.NO_LINKS: "no lock can be made in its folder: is it on a file system without hard links?",
    scripts.STILL_RUNNING: "what runs under the lease cannot be ended",
}


class Unusable(ProviderError):
    """The host did what we asked up to a point, and holds no lock of this call: another host may serve."""


class Answer(NamedTuple):
    """What a host said. `lock` is the text of its lock, None where it has none."""

    folder: str
    lock: str | None
    sections: Mapping[str, str]
    asked_s: float  # our clock, seconds since 1970
    answered_s: float


class Client:
    """Commands on the hosts of a fleet, over connections that are kept. Safe between threads."""

    def __init__(
        self, hub: Hub, fleet: Fleet, journal: Journal, *, timeout_s: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._hub, self._fleet, self._journal = hub, fleet, journal
        self._timeout_s, self._wall = timeout_s, wall

    def look(self, name: str, *, probe: bool) -> Answer:
        """The lock of a host and, with `probe`, its hardware: one command. Raises: ProviderError."""
        return self._ask(name, scripts.PROBE if probe else scripts.LOOK)

    def take(self, name: str, lease_id: str, record: str) -> Answer:
        """Lock the host if nobody has; the answer shows whose lock it is now.

        Raises: Unusable where it certainly is not ours; TransientError where that is in doubt; AuthError.
        """
        data = record.encode()
        return self._ask(name, scripts.TAKE, lease_id, str(len(data)), stdin=data)

    def release(self, name: str, lease_id: str) -> Answer:
        """End what runs under the lease, put its folder away and unlock the host, if its lock is that lease's.

        Raises: ProviderError.
        """
        return self._ask(name, scripts.RELEASE, lease_id, timeout_s=RELEASE_S)

    def break_lock(self, name: str) -> Answer:
        """Remove the lock, whatever it says. Raises: ProviderError."""
        return self._ask(name, scripts.BREAK)

    def path(self, name: str, *, each_way: int) -> Path:
        """The path to a host: round trip, and the bandwidth of `each_way` bytes, 0 for none. Raises: ProviderError."""
        return self._hub.path(self.address(name), each_way=each_way, timeout_s=4 * self._timeout_s)

    def reference(self, name: str, targets: Mapping[str, tuple[str, int]]) -> dict[str, float]:
        """Round trips in ms from a host to the targets that answer it. Raises: ProviderError."""
        words = [f"{place} {host} {port}" for place, (host, port) in targets.items()]
        timeout_s = 20.0 * len(words) + self._timeout_s
        done = self._shell(name).run(["python3", "-I", "-S", "-c", scripts.REFERENCE, *words], timeout_s=timeout_s)
        found = {}
        for line in done.text.splitlines():
            ms, _, place = line.partition(" ")
            if place in targets and ms.replace(".", "", 1).isdigit():
                found[place] = float(ms)
        return found

    def shown_key(self, name: str) -> str:
        """The key that whoever answers shows. Raises: TransientError; AuthError where a host on the way is unknown."""
        host = self._host(name)
        return self._hub.host_key(self._address(host, ""))

    def pinned_key(self, host: FleetHost) -> tuple[str, str]:
        """The key by which a host is known, and where it stands; two empty texts where there is none."""
        if host.host_key:
            return host.host_key, "the fleet file"
        known = self._journal.recall(KEYS, host.name)
        if known is not None and (known.get("address"), known.get("port")) == (host.address, host.port):
            return str(known.get("key", "")), "isoflop hosts trust"
        return "", ""

    def address(self, name: str) -> Address:
        """How a host is reached. Raises: AuthError where its key, or that of a host on the way, is not known."""
        host = self._host(name)
        return self._address(host, self._key(host))

    def endpoint(self, name: str, folder: str, lease_id: str) -> Endpoint:
        """A node of a lease. Raises: AuthError as `address`."""
        point = _endpoint(self.address(name))
        env = (("ISOFLOP_LEASE", lease_id),)
        return Endpoint(
            launcher=point.launcher,
            address=point.address,
            port=point.port,
            user=point.user,
            path=f"{folder}/leases/{lease_id}",
            env=env,
            identity=point.identity,
            host_key=point.host_key,
            jump=point.jump,
        )

    def close(self) -> None:
        """Close every connection."""
        self._hub.close()

    def _host(self, name: str) -> FleetHost:
        host = self._fleet.hosts.get(name)
        if host is None:
            raise TransientError(NAME, "it is no longer in the fleet file", RETRY_AFTER_S)
        return host

    def _key(self, host: FleetHost) -> str:
        key, _ = self.pinned_key(host)
        if not key:
            raise AuthError(NAME, f"its host key is not known yet: isoflop hosts trust {host.name}")
        return key

    def _address(self, host: FleetHost, key: str) -> Address:
        jump = None
        if host.jump:
            gate = self._host(host.jump)
            jump = self._address(gate, self._key(gate))
        return Address(
            host=host.address,
            port=host.port,
            user=host.user,
            host_key=key,
            identity=host.identity,
            jump=jump,
        )

    def _shell(self, name: str) -> SshShell:
        return SshShell(self._hub, self.address(name))

    def _ask(self, name: str, script: str, *arguments: str, stdin: bytes = b"", timeout_s: float = 0.0) -> Answer:
        mark, host = f"@{secrets.token_hex(8)}", self._host(name)
        command: Sequence[str] = scripts.command(script, mark, host.folder, *arguments)
        asked_s = self._wall()
        done = self._shell(name).run(command, stdin=stdin, timeout_s=timeout_s or self._timeout_s)
        answered_s = self._wall()
        if done.code in WHY:
            kind = TransientError if done.code == scripts.STILL_RUNNING else Unusable
            said = f" ({done.trouble})" if done.stderr.strip() else ""
            raise kind(NAME, WHY[done.code] + said)
        found = scripts.sections(done.text, mark)
        if found is None or "folder" not in found:
            raise TransientError(NAME, f"its answer is cut off: {done.trouble}", RETRY_AFTER_S)
        return Answer(found["folder"], found.get("lock"), found, asked_s, answered_s)


def _endpoint(address: Address) -> Endpoint:
    return Endpoint(
        launcher=NAME,
        address=address.host,
        port=address.port,
        user=address.user,
        identity=address.identity,
        host_key=address.host_key,
        jump=None if address.jump is None else _endpoint(address.jump),
    )
