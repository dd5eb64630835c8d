"""The slurm launcher keeps the promises of every launcher, inside allocations of a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Launcher
from orchestrator.domain.lease import Boot, Lease
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.launchers.slurm import SlurmLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import LauncherContract, Site
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import NAME, Rate, SiteSettings, SlurmSettings
from tests.e2e import slurm
from tests.e2e.machines import resolve


class Allocation(Site):
    def __init__(self, folder: Path, cluster: slurm.Cluster) -> None:
        self._folder, self._cluster = folder, cluster
        for name in ("state", "checkpoints"):
            (folder / name).mkdir()
        site = SiteSettings(
            name="here",
            folder=str(folder / "shared"),
            slurm_conf=str(cluster.conf),
            rates=(Rate(gres="a100", accelerator="A100-80GB", usd_per_gpu_hour=1.0),),
        )
        self._provider = SlurmProvider(
            owner="test",
            settings=SlurmSettings((site,)),
            clock=SystemClock(),
            state_dir=folder / "provider",
            shells={"here": LocalShell(NAME)},
        )
        self._leases: dict[int, Lease] = {}

    def launcher(self) -> Launcher:
        return SlurmLauncher(secret=resolve, clock=FakeClock(), folder=self._folder / "state")

    def lease(self, nodes: int = 1) -> Lease:
        if nodes not in self._leases:
            offers = self._provider.offers()
            offer = next(each for each in offers if each.zone == "batch" and each.gpus == 1)
            bought = self._provider.acquire(offer, nodes, token=f"lease-{nodes}", boot=Boot())
            self._leases[nodes] = next(each for each in self._provider.leases() if each.id == bought.id)
        return self._leases[nodes]

    def shared(self) -> Path:
        return self._folder / "shared" / "leases" / self.lease().id

    def checkpoints(self) -> Path:
        return self._folder / "checkpoints"

    def checkpoints_of_job(self) -> str:
        return str(self.shared() / "checkpoints" / "run-1")

    def files_of_ours(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file() and path.name != "output.log"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    slurm.needed()
    with slurm.Cluster() as running:
        yield running


class TestSlurmLauncher(LauncherContract):
    @pytest.fixture
    def site(self, cluster: slurm.Cluster, tmp_path: Path) -> Iterator[Site]:
        yield Allocation(tmp_path, cluster)
        cluster.clear()
