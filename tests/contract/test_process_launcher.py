"""The process launcher keeps the promises of every launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.contracts import Launcher, LauncherContext
from orchestrator.domain.errors import MissingCredentials
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.runtime.launchers import process
from orchestrator.testing.builders import lease
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import CANARY, LauncherContract, Site


def resolve(reference: str) -> Secret:
    if reference != "env:CANARY":
        raise MissingCredentials(f"{reference} is not set")
    return Secret(CANARY)


class ThisMachine(Site):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("state", "lease", "checkpoints"):
            (folder / name).mkdir()

    def launcher(self) -> Launcher:
        return process.create(LauncherContext(secret=resolve, clock=FakeClock(), state_dir=self._folder / "state"))

    def lease(self, nodes: int = 1) -> Lease:
        endpoint = Endpoint(launcher="process", path=str(self._folder / "lease"))
        return lease(nodes=nodes, endpoints=(endpoint,) * nodes)

    def checkpoints(self) -> Path:
        return self._folder / "checkpoints"

    def files_of_ours(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file() and path.name != "output.log"]


class TestProcessLauncher(LauncherContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        return ThisMachine(tmp_path)
