"""Machines on loopback, as a lease names them: each a real SSH server with its own port, keys and folder."""

from __future__ import annotations

import getpass
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.domain.errors import MissingCredentials
from orchestrator.domain.lease import Boot, Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.machine import Identity, user_data
from orchestrator.testing.builders import lease
from orchestrator.testing.launcher_contract import CANARY
from tests.e2e import sshd


def resolve(reference: str) -> Secret:
    """The credentials of these tests."""
    if reference != "env:CANARY":
        raise MissingCredentials(f"{reference} is not set")
    return Secret(CANARY)


class Machines:
    """Some machines; use it in a `with`. Their folders have a space and a quote in their names.

    `extra` are lines of the servers' configuration, by machine.
    """

    def __init__(self, folder: Path, extra: Mapping[int, str] | None = None) -> None:
        self._extra = extra or {}
        self._folder, self._ring, self._open = folder, KeyRing(folder / "keys"), ExitStack()
        self._servers: dict[int, sshd.Host] = {}
        self._endpoints: list[Endpoint] = []

    def __enter__(self) -> Self:
        return self

    def endpoint(self, number: int) -> Endpoint:
        """Machine `number`, which is started if it is the next."""
        if number == len(self._endpoints):
            self._endpoints.append(self._begin(number))
        return self._endpoints[number]

    def lease(self, nodes: int = 1) -> Lease:
        """The first machines as one lease."""
        return lease(nodes=nodes, endpoints=tuple(self.endpoint(number) for number in range(nodes)))

    def root(self, number: int) -> Path:
        """The folder of a machine that belongs to the lease."""
        return self._folder / f"machine {number}'s"

    def kill(self, number: int) -> None:
        """The machine's SSH server and every connection to it are gone; its jobs run on."""
        sessions = sshd.sessions(self._servers[number].pid)
        self._servers[number].__exit__(None, None, None)
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self, number: int, *, thaw: bool = False) -> None:
        """The machine's SSH server and every connection to it stop where they are, or go on."""
        pid = self._servers[number].pid
        for each in (pid, *sshd.sessions(pid)):
            os.kill(each, signal.SIGCONT if thaw else signal.SIGSTOP)

    def revive(self, number: int) -> None:
        """It is back, under the same address and key."""
        self._servers[number].__enter__()

    def _begin(self, number: int) -> Endpoint:
        keys, port = self._ring.of(f"machine-{number}"), sshd.free_port()
        text = user_data(Boot(), Identity((keys.login_public,), keys.host_public, keys.host_private))
        server = sshd.Host(self._folder / f"sshd-{number}", text, port, extra=self._extra.get(number, ""))
        self._servers[number] = self._open.enter_context(server)
        return Endpoint(
            launcher="ssh",
            address="127.0.0.1",
            port=port,
            user=getpass.getuser(),
            path=str(self.root(number)),
            identity=str(keys.login_file),
            host_key=keys.host_public,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
