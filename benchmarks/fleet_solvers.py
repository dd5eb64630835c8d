"""HiGHS against OR-Tools on the problems that the fleet solver hands to a library (docs/adr/0010).

    pip install --target DIR ortools
    python benchmarks/fleet_solvers.py DIR

Three kinds, from made-up fleets under scarcity: *small*, 100 jobs over 2 000 offers as a whole; *whole*, 1 000 jobs
over 5 000 offers as a whole; *parts*, the neighbourhoods of 50 jobs that a solve of the latter looks at. Columns are
those that prices leave (28 a job at most), and every solver starts from the same placement. *Found* is cost above the
best that any of the solvers found, *proven* the solver's own gap. OR-Tools runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import numpy as np

from orchestrator.planning.fleet import highs, search
from orchestrator.planning.fleet.generate import fleet
from orchestrator.planning.fleet.solution import Effort
from orchestrator.planning.fleet.solve import solve

OTHER = Path(__file__).with_name("fleet_ortools.py")
GAP, SECONDS = 5e-4, 10.0
PARTS = 12  # of a solve's neighbourhoods, those looked at


class Recorder:
    """The library, which keeps the tasks it is given."""

    Task = highs.Task

    def __init__(self, *, idle: bool) -> None:
        self.tasks: list[highs.Task] = []
        self._idle = idle  # answers the start instead of solving

    def solve_task(self, task: highs.Task) -> highs.Answer:
        """As the library."""
        self.tasks.append(task)
        return highs.Answer(task.warm, 0.0, True) if self._idle else highs.solve_task(task)


def recorded(jobs: int, offers: int, seed: int, effort: Effort, *, idle: bool) -> list[highs.Task]:
    """The tasks of one solve."""
    recorder = Recorder(idle=idle)
    usual, search.solver = search.solver, lambda: recorder
    try:
        solve(fleet(jobs, offers, np.random.default_rng(seed)), effort)
    finally:
        search.solver = usual
    return recorder.tasks


def tasks() -> dict[str, highs.Task]:
    """Every problem by name."""
    everything = Effort(exact_jobs=10_000, exact_columns=10**7)
    found = {}
    for seed in (1, 2, 3):
        found[f"small-{seed}"] = recorded(100, 2_000, seed, everything, idle=True)[0]
        found[f"whole-{seed}"] = recorded(1_000, 5_000, seed, everything, idle=True)[0]
    parts = recorded(1_000, 5_000, 1, Effort.for_size(1_000), idle=False)
    found.update({f"parts-{number:02}": task for number, task in enumerate(parts[:PARTS])})
    return found


def by_highs(named: dict[str, highs.Task]) -> list[list[object]]:
    """Every problem by HiGHS: name, solver, USD, bound, wall and CPU seconds."""
    found: list[list[object]] = []
    for name, task in named.items():
        began, cpu = time.perf_counter(), time.process_time()
        answer = highs.solve_task(task._replace(gap=GAP, nodes=10**6, seconds=SECONDS))
        took = time.perf_counter() - began, time.process_time() - cpu
        found.append([name, "HiGHS", float(task.cost[answer.chosen].sum()), answer.bound, *took])
    return found


def main() -> int:
    """Print the table."""
    named = tasks()
    with tempfile.TemporaryDirectory() as folder:
        for name, task in named.items():
            np.savez(Path(folder) / name, **task._asdict())
        call = [sys.executable, str(OTHER), folder, str(GAP), str(SECONDS)]
        there = {**os.environ, "PYTHONPATH": sys.argv[1]}
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, env=there)
    runs = by_highs(named) + json.loads(done.stdout)
    best = {name: min(run[2] for run in runs if run[0] == name) for name in named}
    print(f"means; solvers stop at a gap of {GAP:.2%} or after {SECONDS:g} s")
    print(f"{'':8} {'':18} {'found':>8} {'worst':>8} {'proven':>8} {'wall s':>7} {'CPU s':>7}")
    for kind in ("small", "parts", "whole"):
        for solver in dict.fromkeys(run[1] for run in runs):
            mine = [run for run in runs if run[1] == solver and run[0].startswith(kind)]
            above = [run[2] / best[run[0]] - 1 for run in mine]
            proven = fmean(1 - run[3] / run[2] for run in mine)
            wall_s, cpu_s = (fmean(run[at] for run in mine) for at in (4, 5))
            print(
                f"{kind:8} {solver:18} {fmean(above):8.3%} {max(above):8.3%} {proven:8.3%} {wall_s:7.2f} {cpu_s:7.2f}"
            )
        sizes = [len(task.cost) for name, task in named.items() if name.startswith(kind)]
        print(f"{'':8} ({len(sizes)} problems, {min(sizes):,} to {max(sizes):,} columns)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
