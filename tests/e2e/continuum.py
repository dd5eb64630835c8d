"""A continuum on one machine: edge hosts behind a network, a Slurm, a simulated cloud, and one control plane over all.

Three edge sites: two near ones with a host to spare between them, and one too far for a target of 20 ms. Slurm has
A100s in name alone, at its owner's price, for allocations of a minute. The cloud sells a T4; its machine really boots.
This machine is dearest.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestrator.domain.offer import Billing
from orchestrator.interfaces.api import host, processes
from orchestrator.interfaces.api.messages import RunView
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serve import Clouds
from tests.e2e import bought, char_service, edge, slurm
from tests.e2e.commands import Shell
from tests.e2e.conftest import Plane, make
from tests.e2e.processes import having

HERE: Final = "Frankfurt"  # where the users are
SITES: Final = (
    edge.Site(name="mainz", rtt_ms=3.0, hosts=2, usd_per_hour=0.25, latitude=50.00, longitude=8.27),
    edge.Site(name="munich", rtt_ms=12.0, hosts=1, usd_per_hour=0.30, latitude=48.14, longitude=11.58),
    edge.Site(name="oslo", rtt_ms=40.0, hosts=1, usd_per_hour=0.10, latitude=59.91, longitude=10.75),
)
PARTITION, SITE = "batch", "lab"
CLOUD = Pool(
    key=Key("aws", "us-east-1", "us-east-1a", "g4dn.xlarge", Billing.ON_DEMAND),
    accelerator="T4",
    gpus=1.0,
    vcpus=4.0,
    host_memory_gib=16.0,
    usd_per_hour=0.526,
    capacity=2,
    boot_s=2.0,
)
PORT = 8000
CONFIG = """\
{clouds}
[providers.local]
usd_per_hour = 9.0

[providers.ssh]
fleet = "{folder}/fleet.yaml"
here = "{here}"
bandwidth_mib = 0.0
quiet_s = 60.0
lost_after_s = 5.0
command_timeout_s = 5.0

[[providers.slurm.sites]]
name = "{site}"
slurm_conf = "{slurm}"
folder = "{folder}/slurm"
partitions = ["{partition}"]
boot_s = 2.0
warn_s = 15.0

[[providers.slurm.sites.rates]]
gres = "a100"
accelerator = "A100-80GB"
usd_per_gpu = 15000.0
watts = 500.0
usd_per_kwh = 0.20
staff_usd_per_year = 900.0

[control]
tick_s = 0.5
"""
# The true size of what is trained and served.
MODEL = "{parameters: 30k, layers: 2, hidden: 32, heads: 2, vocabulary: 85}"
TRAIN = """\
kind: Training
name: folklore
model: {model}
tokens: 10M
precision: fp32
sequence_length: 32
run:
  command: {command}
  workdir: {workdir}
  checkpoint: {{interval: 4s, grace: 5s}}
limits: {{budget: $5, deadline: 2h, providers: [slurm, aws, local]}}
"""
CHAT = """\
kind: Inference
name: chat
model: {model}
stack: llama.cpp # the leanest of those that are known; what serves here is serve.py
users: [{{place: {here}, rate: 4/s}}]
prompt_tokens: 8
output_tokens: 16
precision: fp32
duration: 2h
run:
  command: [python3, serve.py, --heads, "2"]
  workdir: {workdir}
  port: {port}
  checkpoint: {{interval: 1h, grace: 2s}}
limits: {{budget: $50, latency: {{first_token: 20ms}}}}
"""


def needed() -> None:
    """Skip the test where one of the parts cannot be; fail it in CI."""
    edge.needed()
    slurm.needed()


class Continuum:
    """All of it, with `folder` for everything that it writes; use it in a `with`. Nothing of it stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.edge = edge.Edge(folder / "edge", SITES)
        self.market = Market([CLOUD], seed=5, clock=MarketClock(datetime.now(UTC), scale=1.0), hazards=False)
        self._open, self._following = ExitStack(), threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(os.environ.__setitem__, "PATH", os.environ["PATH"])
            self._find_python()
            stack.enter_context(self.edge)
            self.slurm = stack.enter_context(slurm.Cluster())
            self.slurm.run("scontrol", "update", f"PartitionName={PARTITION}", "MaxTime=1")  # minutes: the least
            clouds = stack.enter_context(Clouds(self.market, self.folder / "clouds", names=("aws",)))
            self._park = stack.enter_context(bought.Park(self.folder / "park", self.market))
            self.edge.write_fleet(self.folder / "fleet.yaml")
            text = CONFIG.format(
                clouds=clouds.served().configuration(),
                folder=self.folder,
                here=HERE,
                site=SITE,
                partition=PARTITION,
                slurm=self.slurm.conf,
            )
            self.plane: Plane = make(self.folder / "home", text)
            self.shell = Shell(self.plane.home)
            stack.callback(self.plane.destroy)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def jobs(self, *train: str) -> tuple[Path, Path]:
        """The files of the training job, which runs `train`, and of the service."""
        work = char_service.workdir(self.folder / "work")
        training, service = self.folder / "train.yaml", self.folder / "chat.yaml"
        training.write_text(TRAIN.format(model=MODEL, command=json.dumps(train), workdir=work))
        service.write_text(CHAT.format(model=MODEL, here=HERE, workdir=work, port=PORT))
        return training, service

    def settle(self) -> dict[str, float]:
        """Measure the round trips until the near sites are seen as near as they are: who else is busy here delays.

        The round trips in ms, by site.
        """
        found: dict[str, float] = {}
        limits = {"mainz": 4.5, "munich": 12.75}  # within which the service keeps its target, moved or not

        def near() -> bool:
            hosts = self.shell.read("hosts", "probe")["hosts"]
            for site in SITES:
                found[site.name] = min(each["rtt_ms"] or inf for each in hosts if each["site"] == site.name)
            return all(found[site] <= ms for site, ms in limits.items())

        self.until("the near sites are measured as near", near, within_s=60)
        return found

    def follow(self) -> None:
        """What the cloud has sold boots, and what is given back is switched off. To be called again and again."""
        with self._following:
            self._park.follow()

    def until(self, what: str, holds: Callable[[], bool], *, within_s: float) -> None:
        """Wait for something, and fail where it does not come."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s} s: {what}\n{self.shell.run('events')}")
            self.follow()
            time.sleep(0.2)

    def close_slurm(self) -> None:
        """Nothing is started there any more; what runs goes on."""
        self.slurm.run("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")

    def runs(self) -> tuple[RunView, ...]:
        """Every run, as the control plane tells."""
        with self.plane.client() as client:
            return client.runs()

    def cancel(self) -> None:
        """End every run that has not ended, and wait until none is left, nor anything that it held."""
        for run in self.runs():
            if not run.state.final:
                self.shell.run("cancel", run.id)
        self.until("all runs end", lambda: all(run.state.final for run in self.runs()), within_s=90)
        self.until("nothing is left", lambda: not self.left(), within_s=60)

    def left(self) -> dict[str, list[str]]:
        """What should not be there once every run has ended, by where it was found; nothing for nothing."""
        self.market.clock.advance(5.0)  # machines take their time to stop
        self.follow()
        now = self.market.clock.now()
        machines = [m.name for m in self.market.machines("aws") if m.phase(now) is not Phase.GONE]
        found = {
            "locks and leases of hosts": [str(path) for path in self.edge.leftovers()],
            "Slurm's jobs": self.slurm.run("squeue", "-h", "-a", "-o", "%i %j").splitlines(),
            "machines of the cloud": machines,
            "leases of this machine": [str(path) for path in self.plane.home.glob("providers/local/leases/*.json")],
            "processes of runs": _running(*(run.id for run in self.runs())),
        }
        return {where: names for where, names in found.items() if names}

    def processes_left(self) -> frozenset[int]:
        """Of the control plane, once it is down."""
        ray = processes.writing(host.ray_folder(self.plane.settings))
        return self.plane.family() | ray | processes.writing(self.plane.home)

    def _find_python(self) -> None:
        """`python3` has NumPy, here and on Slurm's machines, which are this one."""
        folder = self.folder / "bin"
        folder.mkdir(parents=True)
        (folder / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (folder / "python3").chmod(0o755)
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def _running(*run_ids: str) -> list[str]:
    """Processes of the runs' jobs, on whatever machine: all share our kernel."""
    return [str(pid) for run_id in run_ids for pid in having(f"ISOFLOP_RUN_ID={run_id}")]
