"""Edge hosts behind a wide-area network: each a real SSH server in namespaces of its own, with a line of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest
import yaml

from orchestrator.kit.keys import KeyRing
from tests.e2e import bought, interpreter, sshd
from tests.e2e.wan import Wan

USER, UID = "edge", 7412
HOME = "/var/lib/edge"
PORT = 22
OWN_MS = 0.4  # what carrying packets there and back takes by itself, on a machine with nothing else to do
SPACES = ("--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
BOOT = """\
set -e
hostname {name}
mount -t tmpfs tmpfs /var/lib
mount --bind {folder}/passwd /etc/passwd
mkdir -p {home} /run/sshd
mount --bind {folder}/home {home}
chown -R {uid}:{uid} {home}
{python}
exec {sshd} -D -e -f {folder}/sshd_config
"""


def needed() -> None:
    """Skip the test, loudly, where there can be no such network; fail it in CI, which is root and installs `ip`."""
    bought.needed()
    reason = ""
    if shutil.which("ip") is None:
        reason = "the network is made with `ip`: apt-get install iproute2"
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        reason = "the network is made of TUN devices, and there is no /dev/net/tun that opens"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


class Site(NamedTuple):
    """Hosts that are alike, in one place."""

    name: str
    rtt_ms: float  # to this machine
    hosts: int
    usd_per_hour: float
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Host:
    """One that is on. Its user's home is `home`, seen from here."""

    name: str
    site: Site
    address: str
    home: Path
    process: subprocess.Popen[bytes]


class Edge:
    """Hosts `SITE-1`, `SITE-2`, ... of every site; use it in a `with`."""

    def __init__(self, folder: Path, sites: Sequence[Site]) -> None:
        self._folder, self._sites = folder, tuple(sites)
        self._ring = KeyRing(folder / "keys")
        self.wan = Wan()
        self.hosts: dict[str, Host] = {}
        self._addresses: dict[str, str] = {}  # also of those that are off
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.wan)
            stack.callback(self._all_off)
            booting = [
                self._boot(f"{site.name}-{number + 1}", site) for site in self._sites for number in range(site.hosts)
            ]
            for host in booting:
                self._wait_for(host)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def power_off(self, name: str) -> None:
        """The host, all that runs on it and its line are gone at once."""
        host = self.hosts.pop(name)
        self.wan.detach(name)
        _end(host.process)

    def host_of(self, address: str) -> str:
        """The host that has, or had, the address; "" where none has."""
        return next((name for name, each in self._addresses.items() if each == address), "")

    def leftovers(self) -> list[Path]:
        """Locks, leases and folders that wait for removal, on the hosts that are on."""
        found: list[Path] = []
        for host in self.hosts.values():
            folder = host.home / ".isoflop-host"
            found += [path for path in (folder / "lock", *folder.glob("leases/*")) if path.exists()]
        return found

    def write_fleet(self, path: Path) -> None:
        """The fleet file of the provider `ssh`."""
        hosts = {
            name: {
                "address": host.address,
                "site": host.site.name,
                "host_key": self._ring.of(name).host_public,
                "usd_per_hour": host.site.usd_per_hour,
            }
            for name, host in self.hosts.items()
        }
        sites = {each.name: {"latitude": each.latitude, "longitude": each.longitude} for each in self._sites}
        defaults = {"user": USER, "identity": str(self._ring.of("login").login_file)}
        path.write_text(yaml.safe_dump({"defaults": defaults, "sites": sites, "hosts": hosts}))

    def _boot(self, name: str, site: Site) -> Host:
        folder, keys = self._folder / name, self._ring.of(name)
        (folder / "home").mkdir(parents=True)
        (folder / "host_key").write_text(keys.host_private)
        (folder / "host_key").chmod(0o600)
        (folder / "home" / "logins").write_text(f"{self._ring.of('login').login_public}\n")
        passwd = Path("/etc/passwd").read_text()
        (folder / "passwd").write_text(f"{passwd}{USER}:*:{UID}:{UID}::{HOME}:{shutil.which('bash')}\n")
        config = bought.CONFIG.format(
            port=PORT,
            address="0.0.0.0",  # noqa: S104 - of its own network
            folder=folder,
            home=HOME,
            path=bought.SEARCH,
        )
        (folder / "sshd_config").write_text(f"{config}MaxStartups 100\nMaxSessions 64\n")
        quoted = shlex.quote(str(folder))
        script = BOOT.format(name=name, folder=quoted, home=HOME, uid=UID, python=interpreter.lay(), sshd=sshd.SSHD)
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *SPACES, "sh", "-c", script]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        try:
            _wait_for_namespace(process)
            address = self.wan.attach(name, process.pid)
        except BaseException:
            _end(process)
            raise
        host = self.hosts[name] = Host(name, site, address, folder / "home", process)
        self._addresses[name] = address
        self.wan.shape(name, rtt_ms=max(0.0, site.rtt_ms - OWN_MS))
        return host

    def _wait_for(self, host: Host) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((host.address, PORT)) == 0:
                    return
            if host.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{host.name} does not come up: {(self._folder / host.name / 'log').read_text()}")

    def _all_off(self) -> None:
        for host in self.hosts.values():
            _end(host.process)
        self.hosts.clear()


def _wait_for_namespace(process: subprocess.Popen[bytes]) -> None:
    """Until the process has left our network, which is the moment from which it can be attached to another."""
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
