"""How long from a start to the job's first output on a machine over SSH, against `ssh HOST COMMAND`, measured in turns.

    python benchmarks/bench_launch.py [--rounds 10] [--ray-rounds 3] [--json]

The machine is an OpenSSH server on loopback. *First* is the first job of a new control plane on a new machine: a
connection is made, the agent is brought along, work and checkpoint folders are made. *Next* is another job on it. The
baseline opens a connection and prints a line, which is what anybody can do by hand and nothing of what a launcher
promises. *Ray* is a job on a Ray cluster of that machine, which is formed for it, against the *next* without: what Ray
itself takes to start. Times are from the call of `start` until the line is read here, looks at the output included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.domain.contracts import Launcher
from orchestrator.domain.job import Job, JobState
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Program
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.launchers.ray_jobs import RayLauncher
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher

ROOT = Path(__file__).resolve().parents[1]
FILES, FILE_BYTES = 50, 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One way to the first output; the median of all rounds in seconds."""

    what: str
    against: str
    seconds: float
    baseline_s: float
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        """Whether the ratio is below its target."""
        return self.ratio <= self.target


def first_output_s(launcher: Launcher, lease: Lease, job: Job) -> float:
    """Seconds from the start until its output is here."""
    began = time.perf_counter()
    handle = launcher.start(lease, job)
    while b"up" not in b"".join(launcher.logs(handle, since=0)):
        time.sleep(0.005)
    took = time.perf_counter() - began
    while launcher.poll(handle).state is JobState.RUNNING:  # or its end would weigh on what is measured next
        time.sleep(0.005)
    return took


def a_job(folder: Path, token: str) -> Job:
    """A job with a work directory of a megabyte."""
    program = Program(command=("echo", "up"), workdir=str(folder / "work"))
    return Job(run_id=token, attempt=1, token=token, program=program, checkpoint_dir=str(folder / "saved" / token))


def measured(rounds: int, ray_rounds: int, sshd: Any) -> list[Row]:
    """Every way in turns, so that a busy machine slows all of them."""
    machines: Any = importlib.import_module("tests.e2e.machines")
    ray_machines: Any = importlib.import_module("tests.e2e.ray_machines")
    times: dict[str, list[float]] = {"first": [], "next": [], "ssh": [], "ray": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            (folder / "work").mkdir()
            for each in range(FILES):
                (folder / "work" / f"{each}.py").write_bytes(b"#" * FILE_BYTES + str((number, each)).encode())
            lease = stack.enter_context(machines.Machines(folder)).lease()
            shells = stack.enter_context(closing(Shells()))
            launcher = SshLauncher(
                secret=machines.resolve, clock=SystemClock(), folder=folder / "state", reach=shells, look_every_s=0.0
            )
            times["first"].append(first_output_s(launcher, lease, a_job(folder, "first")))
            times["next"].append(first_output_s(launcher, lease, a_job(folder, "next")))
            if number < ray_rounds:
                on_ray = RayLauncher(
                    secret=machines.resolve, clock=SystemClock(), folder=folder / "ray", reach=shells, look_every_s=0.0
                )
                job = a_job(folder, "ray")
                job = replace(job, program=replace(job.program, env=(("PATH", ray_machines.PATH),)))
                times["ray"].append(first_output_s(on_ray, ray_machines.small(lease), job))
            began = time.perf_counter()
            sshd.run(lease.endpoints[0], ["echo", "up"], folder)
            times["ssh"].append(time.perf_counter() - began)
    median = {what: statistics.median(all_s) for what, all_s in times.items() if all_s}
    targets = {("first", "ssh"): 8.0, ("next", "ssh"): 5.0, ("ray", "next"): 60.0}
    return [
        Row(what, against, median[what], median[against], median[what] / median[against], most)
        for (what, against), most in targets.items()
        if what in median
    ]


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ray-rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # the server that the tests start
    sshd: Any = importlib.import_module("tests.e2e.sshd")
    if sshd.SSHD is None or sshd.SSH is None:
        print("left out: OpenSSH is not installed (apt-get install openssh-server openssh-client)")
        return 0
    lacking = importlib.import_module("tests.e2e.ray_machines").lacking()
    if lacking:
        print(f"without Ray: {lacking}", file=sys.stderr)
    rows = measured(arguments.rounds, 0 if lacking else arguments.ray_rounds, sshd)
    if arguments.json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=2))
    else:
        print(f"{'job':8}{'first output':>14}{'against':>10}{'':>10}{'ratio':>8}{'target':>9}")
        for row in rows:
            baseline = f"{row.against:>10}{row.baseline_s:8.2f} s"
            line = f"{row.what:8}{row.seconds:12.2f} s{baseline}{row.ratio:8.1f}{row.target:9.1f}"
            print(line + ("" if row.met else "  missed"))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
