"""How long from a start to the job's first output on a machine over SSH, against `ssh HOST COMMAND`, measured in turns.

    python benchmarks/bench_launch.py [--rounds 10] [--json]

The machine is an OpenSSH server on loopback. *First* is the first job of a new control plane on a new machine: a
connection is made, the agent is brought along, work and checkpoint folders are made. *Next* is another job on it. The
baseline opens a connection and prints a line, which is what anybody can do by hand and nothing of what a launcher
promises. Times are from the call of `start` until the line is read here, looks at the output included.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.job import Job
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Program
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher

ROOT = Path(__file__).resolve().parents[1]
FILES, FILE_BYTES = 50, 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One way to the first output; the median of all rounds in seconds."""

    what: str
    seconds: float
    baseline_s: float
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        """Whether the ratio is below its target."""
        return self.ratio <= self.target


def first_output_s(launcher: SshLauncher, lease: Lease, job: Job) -> float:
    """Seconds from the start until its output is here."""
    began = time.perf_counter()
    handle = launcher.start(lease, job)
    while b"up" not in b"".join(launcher.logs(handle, since=0)):
        time.sleep(0.005)
    return time.perf_counter() - began


def a_job(folder: Path, token: str) -> Job:
    """A job with a work directory of a megabyte."""
    program = Program(command=("echo", "up"), workdir=str(folder / "work"))
    return Job(run_id=token, attempt=1, token=token, program=program, checkpoint_dir=str(folder / "saved" / token))


def measured(rounds: int, sshd: Any) -> list[Row]:
    """Every way in turns, so that a busy machine slows all of them."""
    machines: Any = importlib.import_module("tests.e2e.machines")
    times: dict[str, list[float]] = {"first": [], "next": [], "ssh": []}
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
            began = time.perf_counter()
            sshd.run(lease.endpoints[0], ["echo", "up"], folder)
            times["ssh"].append(time.perf_counter() - began)
    median = {what: statistics.median(all_s) for what, all_s in times.items()}
    baseline = median["ssh"]
    targets = {"first": 8.0, "next": 5.0}
    return [Row(what, median[what], baseline, median[what] / baseline, most) for what, most in targets.items()]


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # the server that the tests start
    sshd: Any = importlib.import_module("tests.e2e.sshd")
    if sshd.SSHD is None or sshd.SSH is None:
        print("left out: OpenSSH is not installed (apt-get install openssh-server openssh-client)")
        return 0
    rows = measured(arguments.rounds, sshd)
    if arguments.json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=2))
    else:
        print(f"{'job':8}{'first output':>14}{'ssh HOST echo':>15}{'ratio':>8}{'target':>9}")
        for row in rows:
            line = f"{row.what:8}{row.seconds:12.2f} s{row.baseline_s:13.2f} s{row.ratio:8.1f}{row.target:9.1f}"
            print(line + ("" if row.met else "  missed"))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
