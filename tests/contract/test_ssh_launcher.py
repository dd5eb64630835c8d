"""The launcher for machines keeps the promises of every launcher, over real SSH servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Launcher
from orchestrator.domain.lease import Lease
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import LauncherContract, Site
from tests.e2e import sshd
from tests.e2e.machines import Machines, resolve


class OtherMachines(Site):
    def __init__(self, folder: Path, machines: Machines, shells: Shells) -> None:
        self._folder, self._machines, self._shells = folder, machines, shells
        for name in ("state", "checkpoints"):
            (folder / name).mkdir()

    def launcher(self) -> Launcher:
        return SshLauncher(
            secret=resolve, clock=FakeClock(), folder=self._folder / "state", reach=self._shells, look_every_s=0.0
        )

    def lease(self, nodes: int = 1) -> Lease:
        return self._machines.lease(nodes)

    def checkpoints(self) -> Path:
        return self._folder / "checkpoints"

    def checkpoints_of_job(self) -> str:
        return str(self._machines.root(0) / "checkpoints" / "run-1")

    def files_of_ours(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file() and path.name != "output.log"]


class TestSshLauncher(LauncherContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Iterator[Site]:
        sshd.needed()
        with Machines(tmp_path) as machines, closing(Shells()) as shells:
            yield OtherMachines(tmp_path, machines, shells)
