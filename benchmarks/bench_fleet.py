"""Many jobs over scarce offers: cost above a proven bound, time and memory, against named baselines.

    python benchmarks/bench_fleet.py [--quick] [--json]

Fleets are made up (planning/fleet/generate.py): gangs of 1 to 32 nodes, twelve accelerators in sixty regions of six
providers, quotas, ten teams of whose budgets three bind, and far more demand for what is cheap than there is of it. A
job left out counts six times its cheapest option. Every solve runs in a process of its own, in two threads, with the
time limit named, which is the goal for its wall time; its peak memory includes making the fleet up. *Above* is what a
placement costs above the bound that the solver proves for the same fleet, which no placement can be below.

Baselines: *greedy* in the order of arrival and dearest first; *POP* (D. Narayanan et al., SOSP 2021) with k = 4 random
parts, each solved by this solver in the time that two cores leave it; *LP rounding*, the linear relaxation by HiGHS
over 24 columns a job, jobs then settling where they mostly are (not for the largest: it takes minutes).

The last line places single jobs, each by itself, on the cheapest of 50 000 offers: exact, by cells, on one core.
--quick leaves out the largest fleets. The exit code says whether every goal was met.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import NamedTuple

import numpy as np
from fleet_baselines import baselines

from orchestrator.planning.fleet.cells import CellMarket
from orchestrator.planning.fleet.generate import fleet
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.solve import solve

CORES, TOLERANCE = 2, 1e-6
MOST_GIB = 2.0
LATE = 1.05  # times its limit: what the clock may be off by
PLACED_PER_S, REPEATS = 50_000.0, 5


class Goal(NamedTuple):
    """A fleet's size and what is asked."""

    jobs: int
    offers: int
    limit_s: float
    above: float
    seeds: tuple[int, ...]


QUICK = (Goal(100, 2_000, 1.0, 0.005, (1, 2, 3)), Goal(1_000, 5_000, 5.0, 0.01, (1, 2, 3)))
LARGE = (Goal(10_000, 50_000, 10.0, 0.02, (1,)), Goal(10_000, 50_000, 60.0, 0.015, (1,)))


class Run(NamedTuple):
    """One placement of one fleet."""

    what: str
    usd: float
    bound_usd: float  # 0: it proves none
    left_out: int
    wall_s: float
    cpu_s: float
    peak_gib: float
    how: str  # what ended it


class Row(NamedTuple):
    """One line of the table: means over the seeds, but the worst and the peak."""

    what: str
    above: float
    worst: float
    left_out: float
    wall_s: float
    cpu_s: float
    peak_gib: float
    how: str


def within_limits(problem: Problem, found: Solution) -> bool:
    """Whether capacities, quotas and budgets hold."""
    placed = np.flatnonzero(found.offer >= 0)
    used = np.bincount(found.offer[placed], found.nodes[placed], minlength=len(problem.capacity_nodes))
    quotas = problem.quotas
    group = np.repeat(np.arange(len(quotas.cap)), np.diff(quotas.start))
    held = np.bincount(group, used[quotas.offer] * quotas.units, minlength=len(quotas.cap))
    ok = bool((used <= problem.capacity_nodes).all() and (held <= quotas.cap + TOLERANCE).all())
    if problem.team is not None:
        spent = np.bincount(problem.team, found.money_usd, minlength=len(problem.budget_usd))
        ok &= bool((spent <= problem.budget_usd * (1 + TOLERANCE)).all())
    return ok


def ours(goal: Goal, seed: int) -> list[Run]:
    """The solver's placement. Raises: RuntimeError where a limit is broken."""
    problem = fleet(goal.jobs, goal.offers, np.random.default_rng(seed))
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(CORES) as pool:
        found = solve(
            problem,
            Effort.for_size(goal.jobs),
            elapsed=lambda: time.perf_counter() - began,
            limit_s=goal.limit_s,
            spread=pool.map,
            threads=pool.map,
        )
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    if not within_limits(problem, found):
        raise RuntimeError(f"{goal}: a limit is broken")
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    usd, bound = found.objective_usd, found.bound_usd
    return [Run("isoflop", usd, bound, found.unplaced, took_s, cpu_s, peak_gib, found.stopped)]


def theirs(goal: Goal, seed: int) -> list[Run]:
    """The baselines' placements."""
    problem = fleet(goal.jobs, goal.offers, np.random.default_rng(seed))
    effort, runs = Effort.for_size(goal.jobs), []
    named = baselines(effort, goal.limit_s, seed, time.perf_counter, with_lp=goal in QUICK)
    for name, place in named.items():
        began, cpu = time.perf_counter(), time.process_time()
        usd, left_out = place(problem)
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        runs.append(Run(f"  {name}", usd, 0.0, left_out, took_s, cpu_s, 0.0, ""))
    return runs


def single() -> float:
    """Jobs a CPU second, each placed by itself on the cheapest of 50 000 offers. Raises: RuntimeError: not by cells."""
    source = fleet(10_000, 50_000, np.random.default_rng(1)).options
    if not isinstance(source, CellMarket):
        raise RuntimeError("the market is not one of cells")
    everyone, best_s = np.arange(source.jobs), float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        source.cheapest(everyone)
        best_s = min(best_s, time.process_time() - began)
    return source.jobs / best_s


def child(task: str) -> None:
    """Run one task, print what it found as JSON."""
    what, index, seed = json.loads(task)
    if what == "single":
        print(json.dumps(single()))
        return
    print(json.dumps((ours if what == "ours" else theirs)((QUICK + LARGE)[index], seed)))


def apart(what: str, goal: Goal, seed: int) -> str:
    """What a task in a process of its own prints."""
    call = [sys.executable, __file__, "--child", json.dumps([what, (QUICK + LARGE).index(goal), seed])]
    return subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(goal: Goal) -> list[Row]:
    """The solver's row of one size, and the baselines' where no smaller limit has them for the same fleets."""
    by_seed: list[list[Run]] = []
    bounds = []
    for seed in goal.seeds:
        found = json.loads(apart("ours", goal, seed))
        found += [] if goal == LARGE[-1] else json.loads(apart("theirs", goal, seed))
        by_seed.append([Run(*run) for run in found])
        bounds.append(by_seed[-1][0].bound_usd)
    return [_row(same, bounds) for same in zip(*by_seed, strict=True)]


def _row(runs: tuple[Run, ...], bounds: list[float]) -> Row:
    above = [run.usd / bound - 1 for run, bound in zip(runs, bounds, strict=True)]
    left_out, wall_s, cpu_s = (
        fmean(values) for values in zip(*((run.left_out, run.wall_s, run.cpu_s) for run in runs), strict=True)
    )
    peak_gib = max(run.peak_gib for run in runs)
    how = " or ".join(sorted({run.how for run in runs}))
    return Row(runs[0].what, fmean(above), max(above), left_out, wall_s, cpu_s, peak_gib, how)


def met(goal: Goal, row: Row) -> bool:
    """Whether the solver's row is within the goal."""
    return row.worst <= goal.above and row.wall_s <= goal.limit_s * LATE and row.peak_gib <= MOST_GIB


def shown(goal: Goal, rows: list[Row]) -> None:
    """Print one size."""
    asked = f"{goal.jobs:,} jobs x {goal.offers:,} offers: at most {goal.above:.1%} in {goal.limit_s:g} s"
    print(f"{asked}, {MOST_GIB:g} GiB: {'met' if met(goal, rows[0]) else 'MISSED'}")
    for row in rows:
        peak = f"{row.peak_gib:5.2f} GiB" if row.peak_gib else " " * 9
        quality = f"{row.above:9.3%} {row.worst:9.3%} {row.left_out:8.1f}"
        print(f"  {row.what:26} {quality} {row.wall_s:7.2f} {row.cpu_s:7.2f} {peak}  {row.how}")


def main() -> int:
    """Print the table; 0 where every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the largest fleets")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
        return 0
    goals = QUICK if asked.quick else QUICK + LARGE
    if not asked.json:
        print(f"  {'':26} {'above':>9} {'worst':>9} {'left out':>8} {'wall s':>7} {'CPU s':>7} {'peak':>9}")
    table = []
    for goal in goals:
        rows = measured(goal)
        table.append((goal, rows))
        if not asked.json:
            shown(goal, rows)
    per_s = float(json.loads(apart("single", goals[0], 0)))
    good = per_s >= PLACED_PER_S and all(met(goal, rows[0]) for goal, rows in table)
    if asked.json:
        sizes = [{**goal._asdict(), "rows": [row._asdict() for row in rows]} for goal, rows in table]
        print(json.dumps({"sizes": sizes, "single_jobs_per_s": per_s}))
    else:
        verdict = "met" if per_s >= PLACED_PER_S else "MISSED"
        print(f"single jobs over 50,000 offers: {per_s:,.0f} a CPU second (goal {PLACED_PER_S:,.0f}): {verdict}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
