"""A real Slurm on its bad days: no controller, a dead node, a queue, pre-emption, walltimes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.job import Job, JobState
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.workload import Program
from orchestrator.kit.shell.local import LocalShell
from orchestrator.kit.shell.ssh import Hub, SshShell
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.launchers.slurm import SlurmLauncher
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from providers.slurm import reach
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import NAME, Rate, SiteSettings, SlurmSettings
from tests.e2e import slurm, sshd
from tests.e2e.machines import Machines, resolve

RATES = (Rate(gres="a100", accelerator="A100-80GB", usd_per_gpu_hour=1.0), Rate(gres="l4", usd_per_gpu_hour=0.3))


@pytest.fixture
def cluster() -> Iterator[slurm.Cluster]:
    slurm.needed()
    with slurm.Cluster() as running:
        yield running


def provider(cluster: slurm.Cluster, state: Path, **changes: object) -> SlurmProvider:
    settings: dict[str, object] = {"name": "here", "slurm_conf": str(cluster.conf), "rates": RATES, **changes}
    return SlurmProvider(
        owner="test",
        settings=SlurmSettings((SiteSettings(**settings),)),  # type: ignore[arg-type]
        clock=SystemClock(),
        state_dir=state,
        shells={"here": LocalShell(NAME)},
    )


def offer(seller: SlurmProvider, zone: str, gpus: int) -> Offer:
    return next(each for each in seller.offers() if (each.zone, each.gpus) == (zone, gpus))


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_controller_that_is_down_is_transient_and_its_leases_are_there_again_with_it(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    seller = provider(cluster, tmp_path)
    lease = seller.acquire(offer(seller, "small", 2), 1, token="kept", boot=Boot())
    cluster.stop("slurmctld")
    for call in (seller.offers, seller.leases, lambda: seller.release(lease.id)):
        with pytest.raises(TransientError):
            call()
    cluster.start_controller()
    until(lambda: [held.id for held in seller.leases()] == [lease.id])
    assert seller.acquire(lease.offer, 1, token="kept", boot=Boot()).id == lease.id


def test_a_full_site_sells_a_place_in_its_queue_where_that_is_put_up_with(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    here, patient = provider(cluster, tmp_path / "a"), provider(cluster, tmp_path / "b", queue_up_to_s=7200.0)
    whole = offer(here, "small", 2)
    first = here.acquire(whole, 1, token="first", boot=Boot(lifetime_s=3600.0))
    with pytest.raises(CapacityError):
        here.acquire(whole, 1, token="second", boot=Boot(lifetime_s=1800.0))
    assert offer(here, "small", 2).available == 0
    waiting = offer(patient, "small", 2)
    assert waiting.available is None
    assert 0 < waiting.boot_s <= 7200.0
    assert "expected by sbatch --test-only" in waiting.source
    second = patient.acquire(waiting, 1, token="second", boot=Boot(lifetime_s=1800.0))
    states = {held.token: held.state for held in here.leases()}
    assert states == {"first": LeaseState.READY, "second": LeaseState.BOOTING}
    here.release(first.id)
    until(lambda: {held.id: held.state for held in here.leases()} == {second.id: LeaseState.READY})


def test_a_lease_of_a_preemptible_partition_is_announced_and_taken_by_a_job_that_comes_before(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    seller = provider(cluster, tmp_path, warn_s=60.0)
    cheap = offer(seller, "spot", 2)
    assert cheap.billing is Billing.SPOT
    lease = seller.acquire(offer(seller, "spot", 4), 2, token="spot", boot=Boot())
    assert not seller.reclaims()
    cluster.run(
        "sbatch", "-p", "batch", "-N2", "--gres=gpu:a100:4", "-t", "10", "-o", "/dev/null", "--wrap", "sleep 99"
    )
    until(lambda: lease.id in {note.lease_id for note in seller.reclaims()})
    until(lambda: not seller.leases())
    with pytest.raises(LeaseNotFound):
        seller.release(lease.id)


def test_a_lease_says_when_its_walltime_ends_and_is_not_asked_back_from_its_start(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    seller, clock = provider(cluster, tmp_path, warn_s=120.0), SystemClock()
    assert offer(seller, "small", 1).max_lease_s == 86400.0 - 120.0
    assert offer(seller, "spot", 1).max_lease_s == 4 * 3600.0 - 120.0
    seller.acquire(offer(seller, "small", 1), 1, token="short", boot=Boot(lifetime_s=60.0))
    (lease,) = seller.leases()
    assert lease.ends_at is not None
    assert timedelta(seconds=30) < lease.ends_at - clock.now() <= timedelta(seconds=61)
    assert lease.offer.max_lease_s == 45.0  # a minute is what was asked for
    assert (lease.state, seller.reclaims()) == (LeaseState.READY, [])


def test_a_node_that_dies_takes_its_lease_with_it(cluster: slurm.Cluster, tmp_path: Path) -> None:
    seller = provider(cluster, tmp_path)
    lease = seller.acquire(offer(seller, "small", 2), 1, token="doomed", boot=Boot())
    assert lease.nodes == 1
    cluster.stop("l4-0")
    until(lambda: not seller.leases(), seconds=90.0)
    assert offer(seller, "small", 2).available == 0


def test_a_site_behind_ssh_sells_runs_and_takes_back(cluster: slurm.Cluster, tmp_path: Path) -> None:
    sshd.needed()
    with Machines(tmp_path) as machines, closing(Hub(NAME)) as hub, closing(Shells()) as shells:
        login = machines.lease(1).endpoints[0]
        site = SiteSettings(
            name="far",
            login=f"{login.user}@{login.address}:{login.port}",
            identity=login.identity,
            host_key=login.host_key,
            folder=f"{tmp_path}/shared folder's",
            slurm_conf=str(cluster.conf),
            rates=RATES,
        )
        seller = SlurmProvider(
            owner='it\'s "me"\n$(reboot)',
            settings=SlurmSettings((site,)),
            clock=SystemClock(),
            state_dir=tmp_path / "provider",
            shells={"far": SshShell(hub, reach.address(site))},
        )
        token = "a token; with 'quotes'\nand lines"
        bought = seller.acquire(offer(seller, "batch", 4), 2, token=token, boot=Boot())
        (lease,) = seller.leases()
        assert (lease.id, lease.token, lease.state) == (bought.id, token, LeaseState.READY)
        checkpoints = tmp_path / "checkpoints"
        code = "import os, sys; print(*sys.argv[1:], os.environ['RANK'], os.environ['WORLD_SIZE'])"
        program = Program(command=(sys.executable, "-c", code, "a 'b'\n$(c)"))
        job = Job(run_id="run-1", attempt=1, token="job-1", program=program, checkpoint_dir=str(checkpoints))
        launcher = SlurmLauncher(secret=resolve, clock=SystemClock(), folder=tmp_path / "launcher", reach=shells)
        handle = launcher.start(lease, job)
        until(lambda: launcher.poll(handle).state is JobState.EXITED)
        assert launcher.poll(handle).exit_code == 0
        said = b"".join(launcher.logs(handle, since=0))
        assert sorted(said.split(b"\n")) == [b"", b"$(c) 0 2", b"$(c) 1 2", b"a 'b'", b"a 'b'"]
        seller.release(lease.id)
        until(lambda: not seller.leases())


def test_a_job_whose_allocation_is_taken_ends_and_never_well(cluster: slurm.Cluster, tmp_path: Path) -> None:
    seller = provider(cluster, tmp_path / "provider", folder=str(tmp_path / "shared"))
    seller.acquire(offer(seller, "small", 1), 1, token="taken", boot=Boot())
    (lease,) = seller.leases()
    program = Program(command=(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"))
    job = Job(run_id="run-1", attempt=1, token="job-1", program=program, checkpoint_dir=str(tmp_path / "saved"))
    launcher = SlurmLauncher(secret=resolve, clock=SystemClock(), folder=tmp_path / "launcher")
    handle = launcher.start(lease, job)
    until(lambda: b"up" in b"".join(launcher.logs(handle, since=0)))
    seller.release(lease.id)
    until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
    assert launcher.poll(handle).exit_code != 0
    until(lambda: not seller.leases())
