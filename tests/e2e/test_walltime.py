"""Pilots of a real Slurm at their walltime: warned of, the job goes on in a new one; unwarned, it has not failed.

A minute is the least walltime that Slurm has, so both wait for theirs at the same time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.domain.events import Moved, Purchased, ReclaimNoticed, StopAsked
from orchestrator.domain.job import Handle, Job, JobState
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.domain.workload import Checkpointing, Limits, Program
from orchestrator.kit.shell.local import LocalShell
from orchestrator.lifecycle.actions import Bought, Started
from orchestrator.lifecycle.ending import ENDING
from orchestrator.lifecycle.observed import Listing
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.launchers.slurm import SlurmLauncher
from orchestrator.testing import builders
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import NAME, Rate, SiteSettings, SlurmSettings
from tests.e2e import slurm
from tests.e2e.conftest import make
from tests.e2e.machines import resolve
from tests.unit.lifecycle.scene import Scene, market

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

MINUTE_H = 1.0 / 60.0
STEPS = 600  # of a tenth of a second: more than two pilots hold that are left half a minute before their end
# Saves its steps every five seconds and when it is asked to stop, and says how it began and was ended.
TRAIN = """
import json, os, pathlib, signal, sys, time
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
saved = home / "saved"
steps = json.loads(saved.read_text()) if saved.exists() else []

def save():
    (home / ".draft").write_text(json.dumps(steps))
    os.replace(home / ".draft", saved)

def asked(number, frame):
    save()
    (home / ("stopped-" + os.environ["ISOFLOP_ATTEMPT"])).write_text(str(len(steps)))
    sys.exit(143)

signal.signal(signal.SIGTERM, asked)
(home / ("begun-" + os.environ["ISOFLOP_ATTEMPT"])).write_text(str(len(steps)))
while len(steps) < int(sys.argv[1]):
    time.sleep(0.1)
    steps.append(len(steps) + 1)
    if len(steps) % 50 == 0:
        save()
save()
"""
CONFIG = """
[control]
tick_s = 0.5

[[providers.slurm.sites]]
name = "here"
slurm_conf = "{conf}"
folder = "{folder}"
partitions = ["batch"]
walltime_h = {walltime_h}
boot_s = 1.0

[[providers.slurm.sites.rates]]
gres = "a100"
accelerator = "A100-80GB"
usd_per_gpu_hour = 1.0
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    slurm.needed()
    with slurm.Cluster() as running:
        yield running


class Doomed(NamedTuple):
    """A job on a pilot that nobody asks for its warnings."""

    provider: SlurmProvider
    launcher: SlurmLauncher
    lease: Lease
    handle: Handle


@pytest.fixture(scope="module")
def doomed(cluster: slurm.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Doomed:
    """Bought before the others wait, so that its minute is theirs."""
    folder = tmp_path_factory.mktemp("doomed")
    site = SiteSettings(
        name="here",
        slurm_conf=str(cluster.conf),
        folder=str(folder / "shared"),
        walltime_h=MINUTE_H,
        partitions=("small",),
        rates=(Rate(gres="l4", usd_per_gpu_hour=0.3),),
    )
    provider = SlurmProvider(
        owner="careless",
        settings=SlurmSettings((site,)),
        clock=SystemClock(),
        state_dir=folder / "provider",
        shells={"here": LocalShell(NAME)},
    )
    sold = next(offer for offer in provider.offers() if offer.gpus == 1)
    assert sold.max_lease_s == 45.0
    provider.acquire(sold, 1, token="r-1", boot=Boot())
    (lease,) = provider.leases()
    program = Program(command=(sys.executable, "-c", "import time; time.sleep(600)"))
    job = Job(run_id="r", attempt=1, token="r-1", program=program, checkpoint_dir=str(folder / "saved"))
    launcher = SlurmLauncher(secret=resolve, clock=SystemClock(), folder=folder / "launcher")
    return Doomed(provider, launcher, lease, launcher.start(lease, job))


def test_a_job_is_stopped_before_its_walltime_and_goes_on_in_a_new_pilot_from_its_checkpoint(
    cluster: slurm.Cluster, doomed: Doomed, tmp_path: Path
) -> None:
    assert doomed.lease.ends_at is not None
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(TRAIN)
    with ExitStack() as stack:
        text = CONFIG.format(conf=cluster.conf, folder=tmp_path / "shared", walltime_h=MINUTE_H)
        plane = make(tmp_path / "home", text)
        stack.callback(plane.destroy)
        plane.up()
        program = Program(
            command=(sys.executable, "train.py", str(STEPS)),
            workdir=str(work),
            checkpoint=Checkpointing(interval_s=5.0, grace_s=8.0),
            max_attempts=2,  # pilots that lasted are none of them
        )
        tiny = builders.model(
            name="tiny", parameters=1e5, active_parameters=1e5, layers=2, hidden=64, heads=4, kv_heads=4, head_dim=16
        )
        limits = Limits(providers=("slurm",))
        workload = builders.training(name="long", model=tiny, tokens=1e5, program=program, limits=limits)
        with plane.client() as client:
            run_id = client.submit(workload).run_id

        def ends_told() -> bool:
            with plane.client() as client:
                return any(one.ends_at is not None for one in client.run(run_id).attempts)

        plane.until("the end of the lease is known", ends_told, within_s=60.0)

        def ended() -> bool:
            with plane.client() as client:
                return client.run(run_id).state.final

        plane.until("the run ends", ended, within_s=280.0)
        events = plane.events(run_id)
        with plane.client() as client:
            run = client.run(run_id)
        assert run.state is RunState.SUCCEEDED, events
        assert len(run.attempts) > 2  # more than the job may fail by
        assert {(one.provider, one.state) for one in run.attempts} == {(NAME, AttemptState.GONE)}
        home = plane.home / "checkpoints" / run_id
        assert json.loads((home / "saved").read_text()) == list(range(1, STEPS + 1))
        for before in range(1, len(run.attempts)):
            stopped, begun = (
                int((home / f"{name}").read_text()) for name in (f"stopped-{before}", f"begun-{before + 1}")
            )
            assert 0 < stopped == begun < STEPS  # nothing was lost between the two
        leases = [event.lease for event in events if isinstance(event, Purchased)]
        assert len({lease.offer.label for lease in leases}) == 1
        notices = [event for event in events if isinstance(event, ReclaimNoticed)]
        asked = [event for event in events if isinstance(event, StopAsked)]
        assert len(notices) == len(asked) == len(leases) - 1
        assert {event.cause for event in asked} == {ENDING}
        for attempt in run.attempts[:-1]:
            assert attempt.ends_at is not None
            assert attempt.gone_at is not None
            assert attempt.gone_at < attempt.ends_at  # given back before Slurm took it


def test_a_pilot_that_slurm_ends_unread_is_a_lease_lost_and_no_job_that_failed(doomed: Doomed) -> None:
    ends_at = doomed.lease.ends_at
    assert ends_at is not None
    deadline = time.monotonic() + 150.0
    while doomed.launcher.poll(doomed.handle).state is JobState.RUNNING or doomed.provider.leases():
        assert time.monotonic() < deadline, "Slurm does not end the pilot"
        time.sleep(0.5)
    clock = SystemClock()
    assert clock.now() >= ends_at - timedelta(seconds=1)
    status = doomed.launcher.poll(doomed.handle)
    assert status.exit_code != 0
    scene = Scene(plan=market(doomed.lease.offer))
    buy = scene.to_acquiring()
    scene.now = clock.now() - timedelta(seconds=2)
    scene.step(Bought(action=buy, lease=replace(doomed.lease, acquired_at=scene.now)), wait_s=0.0)
    launch = next(iter(scene.flying.values()))
    scene.step(Started(action=launch, handle=doomed.handle), wait_s=0.0)  # type: ignore[arg-type]
    assert scene.state is RunState.RUNNING
    scene.step(job=status)
    scene.step(sights={NAME: Listing(asked_at=clock.now(), leases=tuple(doomed.provider.leases()))})
    moves = [event for event in scene.history if isinstance(event, Moved)]
    assert RunState.FAILED not in {end for move in moves for end in (move.to, move.outcome)}
    assert RunState.RECOVERING in {move.to for move in moves}
    assert scene.attempt.state is not AttemptState.HELD
