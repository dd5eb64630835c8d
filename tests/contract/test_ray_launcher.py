"""The ray launcher keeps the promises of every launcher, over real SSH servers.

Each test forms a cluster. Ray itself is played (`tests/e2e/stand_in_ray.py`), or with ISOFLOP_REAL_RAY=1 real, which
takes minutes; `tests/wire/test_ray_cluster.py` runs a real one always.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Launcher
from orchestrator.domain.job import Handle, Job
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Framework
from orchestrator.runtime.launchers.ray_jobs import RayLauncher
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.testing import launcher_contract
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import LauncherContract, Site, a_job, ended, python
from tests.contract.test_ssh_launcher import OtherMachines
from tests.e2e import ray_machines, sshd, stand_in_ray
from tests.e2e.machines import Machines, resolve

REAL = bool(os.environ.get("ISOFLOP_REAL_RAY"))


class WithRay(RayLauncher):
    """Machines whose programs find Ray, as their owner has it in their environment."""

    path = ""

    def start(self, lease: Lease, job: Job) -> Handle:
        program = replace(job.program, framework=Framework.RAY, env=(*job.program.env, ("PATH", self.path)))
        return super().start(lease, replace(job, program=program))


class Clusters(OtherMachines):
    def __init__(self, folder: Path, machines: Machines, shells: Shells) -> None:
        super().__init__(folder, machines, shells)
        self._path = ray_machines.PATH if REAL else stand_in_ray.installed(folder / "bin")

    def launcher(self) -> Launcher:
        folder = self._folder / "state"
        made = WithRay(secret=resolve, clock=FakeClock(), folder=folder, reach=self._shells, look_every_s=0.0)
        made.path = self._path
        return made

    def lease(self, nodes: int = 1) -> Lease:
        return ray_machines.small(super().lease(nodes))


class TestRayLauncher(LauncherContract):
    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
        sshd.needed()
        if REAL:
            monkeypatch.setattr(launcher_contract, "PATIENCE_S", ray_machines.PATIENCE_S)
        with Machines(tmp_path) as machines, closing(Shells()) as shells:
            yield Clusters(tmp_path, machines, shells)

    def test_every_node_gets_its_rank(self, site: Site) -> None:
        """Nodes of a cluster have no ranks: the program runs once, and is not told to be a part of anything."""
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "PET_NNODES", "ISOFLOP_NODES")
        launcher, lease = site.launcher(), site.lease(nodes=2)
        program = python(f"import os; print(*[os.environ.get(n, '-') for n in {names!r}])")
        handle = launcher.start(lease, a_job(site, program))
        assert ended(launcher, handle).exit_code == 0
        assert b"".join(launcher.logs(handle, since=0)) == b"0 1 - - 2\n"

    def test_a_gang_that_loses_a_member_ends_with_its_exit_code(self, site: Site) -> None:
        """The program is on the first node; the others end with it."""
        launcher, lease = site.launcher(), site.lease(nodes=2)
        handle = launcher.start(lease, a_job(site, python("raise SystemExit(9)")))
        assert ended(launcher, handle).exit_code == 9
