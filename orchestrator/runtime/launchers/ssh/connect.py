"""Shells on the machines of leases: one hub of kept connections for each provider."""

from __future__ import annotations

import logging
import threading

from orchestrator.domain.errors import ProviderError
from orchestrator.domain.lease import Endpoint
from orchestrator.kit.shell.command import Shell
from orchestrator.kit.shell.ssh import Address, Hub, SshShell

PORT = 22


class Machines:
    """Opens shells; connections are made at the first command and kept. Safe between threads."""

    def __init__(self) -> None:
        logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it tells of every command otherwise
        self._hubs: dict[str, Hub] = {}
        self._lock = threading.Lock()

    def shell(self, provider: str, endpoint: Endpoint) -> Shell:
        """Commands on the machine at `endpoint`.

        Raises: ProviderError where it is not known how it is reached or proves itself.
        """
        with self._lock:
            hub = self._hubs.get(provider) or self._hubs.setdefault(provider, Hub(provider))
        return SshShell(hub, _address(provider, endpoint))

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for hub in self._hubs.values():
                hub.close()
            self._hubs.clear()


def _address(provider: str, endpoint: Endpoint) -> Address:
    if not endpoint.address or not endpoint.user:
        raise ProviderError(provider, "a node of the lease has no address or no user to log in as")
    if not endpoint.host_key:
        detail = f"the host key of {endpoint.address} is not known, so nothing is sent there"
        raise ProviderError(provider, detail)
    return Address(
        host=endpoint.address,
        port=endpoint.port or PORT,
        user=endpoint.user,
        host_key=endpoint.host_key,
        identity=endpoint.identity,
        jump=None if endpoint.jump is None else _address(provider, endpoint.jump),
    )
