"""A job runs on a machine bought from a cloud, which fails, goes on on another, and every machine is given back."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.events import Purchased
from orchestrator.domain.offer import Billing
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Checkpointing, Limits, Program
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.machines import End
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serve import CONTROL, Clouds
from orchestrator.testing import builders
from tests.e2e import bought
from tests.e2e.conftest import make

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]

DEVICE = "A100-80GB"
STEPS = 240  # of a tenth of a second
# Saves its steps every three seconds; says who it is at its start, so that a second start would show.
TRAIN = """
import json, os, pathlib, sys, time
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
(home / f"start-{os.environ['ISOFLOP_ATTEMPT']}-{os.getpid()}").touch()
saved = home / "saved"
steps = json.loads(saved.read_text()) if saved.exists() else []
while len(steps) < int(sys.argv[1]):
    time.sleep(0.1)
    steps.append(len(steps) + 1)
    print("step", steps[-1], flush=True)
    if len(steps) % 30 == 0 or len(steps) == int(sys.argv[1]):
        (home / ".draft").write_text(json.dumps(steps))
        os.replace(home / ".draft", saved)
"""
CONFIG = """
[control]
tick_s = 0.2

"""


def test_a_job_runs_on_a_machine_of_a_cloud_is_moved_and_ends_and_no_machine_is_left(tmp_path: Path) -> None:
    bought.needed()
    pool = Pool(
        key=Key("aws", "us-east-1", "us-east-1a", "p4de.24xlarge", Billing.ON_DEMAND),
        accelerator=DEVICE,
        gpus=8.0,
        vcpus=96.0,
        host_memory_gib=1152.0,
        usd_per_hour=18.0,
        capacity=4,
        boot_s=2.0,
    )
    market = Market([pool], seed=5, clock=MarketClock(datetime.now(UTC), scale=1.0), hazards=False)
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(TRAIN)
    with ExitStack() as stack:
        clouds = stack.enter_context(Clouds(market, tmp_path / "clouds", names=("aws",)))
        park = stack.enter_context(bought.Park(tmp_path / "park", market))
        served = clouds.served()
        plane = make(tmp_path / "home", CONFIG + served.configuration())
        stack.callback(plane.destroy)
        plane.up()
        program = Program(
            command=("python3", "train.py", str(STEPS)),
            workdir=str(work),
            checkpoint=Checkpointing(interval_s=4.0, grace_s=10.0),
        )
        limits = Limits(billing=(Billing.ON_DEMAND,), accelerators=(DEVICE,))
        workload = builders.training(name="real", program=program, limits=limits)
        with plane.client() as client:
            run_id = client.submit(workload).run_id

        def saved() -> bool:
            park.follow()
            return (plane.home / "checkpoints" / run_id / "saved").exists()

        plane.until("the first machine's checkpoints come home", saved, within_s=200)
        market.end(1, End.FAILED, stops_s=0.0)
        park.power_off(1)

        def ended() -> bool:
            park.follow()
            with plane.client() as client:
                return client.run(run_id).state.final

        plane.until("the run ends", ended, within_s=250)
        with plane.client() as client:
            assert client.run(run_id).state is RunState.SUCCEEDED, plane.events(run_id)
            output = client.logs(run_id).data
        home = plane.home / "checkpoints" / run_id
        assert json.loads((home / "saved").read_text()) == list(range(1, STEPS + 1))
        assert sorted(path.name.split("-")[1] for path in home.glob("start-*")) == ["1", "2"]
        assert f"step {STEPS}\n".encode() in output
        second = output.partition(b"--- attempt 2")[2]
        assert b"step 1\n" not in second  # it went on from where the first machine's checkpoints stood
        assert b"welcome" not in output
        assert sum(isinstance(event, Purchased) for event in plane.events(run_id)) == 2

        def returned() -> bool:
            market.clock.advance(5.0)
            park.follow()
            machines = httpx.get(served.urls[CONTROL], timeout=30).json()["machines"]
            return machines == []

        plane.until("no machine is left", returned, within_s=60)
