"""A yard of hosts: real SSH servers on loopback, each with a home, GPUs and programs of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from orchestrator.domain.contracts import Clock
from orchestrator.domain.lease import Boot
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.machine import Identity, user_data
from orchestrator.kit.shell.ssh import Hub
from providers.ssh import fleet as fleets
from providers.ssh.provider import SshProvider
from providers.ssh.settings import SshSettings
from tests.e2e import processes, sshd

TOOLS = ("sh", "mkdir", "rmdir", "cat", "wc", "ln", "rm", "mv", "cmp", "head", "tail", "sed", "grep", "date", "nproc")
MORE_TOOLS = ("df", "dirname", "uname", "timeout", "sleep", "kill", "env", "printf", "id", "python3", "cd")
SMI = """\
#!/bin/sh
case "$1" in
  --query-gpu=*) cat "$HOME/gpus" ;;
  --query-compute-apps=*) cat "$HOME/apps" ;;
esac
"""


class YardHost:
    """One host: `home` is its user's home folder, `bin` what is on its PATH."""

    def __init__(self, yard: Path, ring: KeyRing, number: int, gpus: int) -> None:
        self.name, self.port = f"host-{number}", sshd.free_port()
        self.home, self.bin = yard / self.name / "home", yard / self.name / "bin"
        self.keys = ring.of(self.name)
        login = ring.of("login")
        self.identity = login.login_file
        text = user_data(Boot(), Identity((login.login_public,), self.keys.host_public, self.keys.host_private))
        extra = f'SetEnv "PATH={self.bin}" "HOME={self.home}"\nMaxStartups 100\n'
        self._text, self._extra, self._folder, self._starts = text, extra, yard / self.name, 0
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        self.mend()
        self.gpus([f"GPU-{self.name}-{each}, NVIDIA L4, 23034" for each in range(gpus)])
        (self.home / "apps").write_text("")
        self._server: sshd.Host | None = None

    def mend(self) -> None:
        """Put the programs in order that a host has."""
        for tool in (*TOOLS, *MORE_TOOLS):
            found = sys.executable if tool == "python3" else shutil.which(tool)
            if found:
                (self.bin / tool).unlink(missing_ok=True)
                (self.bin / tool).symlink_to(found)
        self.install("nvidia-smi", SMI)

    @property
    def is_up(self) -> bool:
        """Whether its SSH server runs."""
        return self._server is not None

    def install(self, program: str, text: str) -> None:
        """Put a program on the host's PATH, in place of the one of that name."""
        path = self.bin / program
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IEXEC | stat.S_IXGRP | stat.S_IXOTH)

    def gpus(self, lines: list[str]) -> None:
        """What its nvidia-smi lists."""
        (self.home / "gpus").write_text("".join(f"{line}\n" for line in lines))

    @property
    def folder(self) -> Path:
        """Where the lock lies."""
        return self.home / fleets.FOLDER

    @property
    def locked(self) -> bool:
        """Whether somebody has it."""
        return (self.folder / "lock").exists()

    def up(self) -> None:
        """Start its SSH server, the same as before if it was down."""
        self._starts += 1
        folder = self._folder / f"sshd-{self._starts}"
        self._server = sshd.Host(folder, self._text, self.port, extra=self._extra).__enter__()

    def down(self) -> None:
        """Cut the host off: its server and every session end."""
        if self._server is not None:
            sessions = _offspring(self._server.pid)
            self._server.__exit__(None, None, None)
            for pid in sessions:  # each of its own group
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._server = None

    def die(self) -> None:
        """Everything on the host ends at once, its jobs too."""
        self.down()
        left = self.running()
        while left:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            left = self.running()

    def running(self) -> list[int]:
        """Every process that somebody logged in has started there: they have the host's home."""
        return processes.having(f"HOME={self.home}")


def _offspring(pid: int) -> list[int]:
    """Every process that descends from `pid`."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = list(children.get(pid, ()))
    for each in found:
        found += children.get(each, ())
    return found


class Yard:
    """Hosts with `gpus` GPUs each, on one or more sites; use it in a `with`."""

    def __init__(self, folder: Path, *, hosts: int = 3, gpus: int = 1, sites: int = 1) -> None:
        sshd.needed()
        self.folder = folder
        ring = KeyRing(folder / "keys")
        self.stranger = ring.of("stranger").login_file  # a key that opens no host
        self.hosts = [YardHost(folder, ring, number, gpus) for number in range(hosts)]
        self.sites = {host.name: f"site-{number % sites}" for number, host in enumerate(self.hosts)}
        self.fields: dict[str, dict[str, object]] = {host.name: {} for host in self.hosts}  # beyond the usual ones
        self.reference: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._all_down)
            for host in self.hosts:
                host.up()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _all_down(self) -> None:
        for host in self.hosts:
            host.down()

    def document(self) -> dict[str, object]:
        """The fleet file."""
        hosts: dict[str, Mapping[str, object]] = {}
        for host in self.hosts:
            fields: dict[str, object] = {
                "address": "127.0.0.1",
                "port": host.port,
                "site": self.sites[host.name],
                "host_key": host.keys.host_public,
                **self.fields[host.name],
            }
            hosts[host.name] = {name: value for name, value in fields.items() if value is not None}
        defaults = {"user": getpass.getuser(), "identity": str(self.hosts[0].identity), "usd_per_hour": 0.5}
        sites = {"site-0": {"latitude": 50.1, "longitude": 8.7}}
        return {"defaults": defaults, "hosts": hosts, "sites": sites, "reference": self.reference}

    def fleet(self) -> fleets.Fleet:
        """The same, read."""
        return fleets.parse(yaml.safe_dump(self.document()), "fleet.yaml")

    def provider(self, owner: str, hub: Hub, clock: Clock, **settings: object) -> SshProvider:
        """The provider of the control plane `owner`, whose state folder is the same each time."""
        state = self.folder / "state" / owner
        state.mkdir(parents=True, exist_ok=True)
        given = {"fleet": "fleet.yaml", "bandwidth_mib": 0.0, **settings}
        return SshProvider(
            owner=owner,
            settings=SshSettings(**given),  # type: ignore[arg-type]  # a test's own
            fleet=self.fleet(),
            clock=clock,
            state_dir=state,
            hub=hub,
        )


def is_root() -> bool:
    """Whether permissions stop nobody here."""
    return os.geteuid() == 0
