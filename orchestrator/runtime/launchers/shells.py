"""Opens shells on machines of leases, of which this one may be one."""

from __future__ import annotations

import importlib
import threading

from orchestrator.domain.errors import UserError
from orchestrator.domain.lease import Endpoint
from orchestrator.kit.shell.command import Shell
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.launchers.ssh.launcher import CONNECT, Reach


class Shells:
    """See Reach; an endpoint without an address is this machine. The SSH library is loaded at the first other one."""

    def __init__(self, machines: Reach | None = None) -> None:
        self._machines = machines
        self._lock = threading.Lock()

    def shell(self, provider: str, endpoint: Endpoint) -> Shell:
        """See Reach. Raises: UserError where the SSH library is not installed."""
        if not endpoint.address:
            return LocalShell(provider)
        with self._lock:
            if self._machines is None:
                try:
                    self._machines = importlib.import_module(CONNECT).Machines()
                except ModuleNotFoundError as error:
                    needed = f"machines are reached with {error.name}: pip install 'isoflop[ssh]'"
                    raise UserError(needed) from error
            reach: Reach = self._machines
        return reach.shell(provider, endpoint)
