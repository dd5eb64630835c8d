"""A real Slurm whose answers get lost, come late or come with advice: nothing is bought twice."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.domain.contracts import survey
from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.kit.shell.command import Done, Shell
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.clock import SystemClock
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import NAME, Rate, SiteSettings, SlurmSettings
from tests.e2e import slurm

RATES = (Rate(gres="a100", accelerator="A100-80GB", usd_per_gpu_hour=1.0), Rate(gres="l4", usd_per_gpu_hour=0.3))
# What a site's wrapper of sbatch is like: advice on both outputs, a number alone on a line among it.
WRAPPER = """\
#!/bin/sh
echo "sbatch: warning: the partition will be renamed" >&2
echo "Your project has this many core-hours left:"
echo "120000"
{sbatch} "$@" || exit $?
"""


class Struck:
    """A shell here; after a command, something befalls the cluster, and the answer is lost."""

    name = "this machine"

    def __init__(self, path: str = "") -> None:
        self._shell = LocalShell(NAME)
        self._path = {"PATH": path} if path else {}
        self.after: dict[str, Callable[[], object]] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """See Shell.run."""
        words = (*("env", f"PATH={self._path['PATH']}"), *argv) if self._path else argv
        done = self._shell.run(words, stdin=stdin, timeout_s=timeout_s, env=env, folder=folder)
        struck = self.after.pop(argv[0], None)
        if struck is None:
            return done
        struck()
        raise TransientError(NAME, "the connection was lost while a command ran")


@pytest.fixture(scope="module")
def running() -> Iterator[slurm.Cluster]:
    slurm.needed()
    with slurm.Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: slurm.Cluster) -> Iterator[slurm.Cluster]:
    yield running
    running.clear()


def seller(cluster: slurm.Cluster, folder: Path, shell: Shell) -> SlurmProvider:
    site = SiteSettings(name="here", slurm_conf=str(cluster.conf), rates=RATES)
    return SlurmProvider(
        owner="test",
        settings=SlurmSettings((site,)),
        clock=SystemClock(),
        state_dir=folder / "state",
        shells={"here": shell},
    )


def bought(provider: SlurmProvider, wanted: Offer, token: str, seconds: float = 60.0) -> Lease:
    """As a control plane buys: the same token again for as long as it is not known what happened."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return provider.acquire(wanted, 1, token=token, boot=Boot())
        except TransientError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def submissions(cluster: slurm.Cluster, name: str) -> int:
    """Jobs that Slurm ever took under a name, of those that it remembers."""
    return cluster.run("scontrol", "-o", "show", "job").count(f"JobName={name} ")


def test_a_controller_that_restarts_between_submission_and_answer_has_sold_once(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    shell = Struck()
    provider = seller(cluster, tmp_path, shell)
    wanted = slurm.offer(provider, "batch", 1)
    shell.after["sbatch"] = lambda: cluster.stop("slurmctld")
    with pytest.raises(TransientError):
        provider.acquire(wanted, 1, token="once", boot=Boot())
    with pytest.raises(TransientError):  # still down: it is not known, and nothing is bought on suspicion
        provider.acquire(wanted, 1, token="once", boot=Boot())
    cluster.start_controller()
    lease = bought(provider, wanted, "once")
    assert [held.id for held in provider.leases()] == [lease.id]
    assert submissions(cluster, cluster.run("squeue", "-h", "-o", "%j").strip()) == 1


def test_a_controller_that_comes_and_goes_while_we_buy_sells_once(cluster: slurm.Cluster, tmp_path: Path) -> None:
    provider = seller(cluster, tmp_path, Struck())
    wanted = slurm.offer(provider, "batch", 1)
    over = threading.Event()

    def strike() -> None:
        for _ in range(3):
            time.sleep(0.3)
            cluster.stop("slurmctld")
            cluster.start_controller()
        over.set()

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        lease = bought(provider, wanted, "storm")
        while not over.is_set():
            assert bought(provider, wanted, "storm").id == lease.id
    finally:
        striker.join(60)
    assert bought(provider, wanted, "storm").id == lease.id
    (name,) = cluster.run("squeue", "-h", "-o", "%j").split()
    assert submissions(cluster, name) == 1


def test_a_site_whose_sbatch_gives_advice_before_the_number_sells_that_number(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER.format(sbatch=real))
    wrapper.chmod(0o755)
    provider = seller(cluster, tmp_path, Struck(f"{wrapper.parent}:{os.environ['PATH']}"))
    lease = bought(provider, slurm.offer(provider, "small", 1), "advised")
    assert [held.id for held in provider.leases()] == [lease.id]
    assert len(cluster.run("squeue", "-h", "-o", "%i").split()) == 1


def test_a_gres_that_nobody_knows_is_told_and_hides_nothing_else(cluster: slurm.Cluster, tmp_path: Path) -> None:
    found = survey(seller(cluster, tmp_path, Struck()))
    assert {each.accelerator for each in found.book} == {"A100-80GB", "L4"}
    assert any("'wafer9' have no rate" in gap for gap in found.gaps)
