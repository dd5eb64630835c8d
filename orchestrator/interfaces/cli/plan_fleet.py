"""`isoflop plan` of several jobs: one plan for all of them, within what they share."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from orchestrator.app import App
from orchestrator.domain.errors import Problem, SpecError, Unplaced, UserError
from orchestrator.domain.fleetplan import FleetPlan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.cli import files, session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.fleet_view import FleetReport
from orchestrator.planning.fleet.case import FleetOptions
from orchestrator.planning.fleet.handover import ASSUMED_USD_PER_GIB
from orchestrator.planning.fleet.plan import plan_fleet
from orchestrator.planning.fleet.problem import Problem as FleetProblem
from orchestrator.planning.fleet.replan import THRESHOLD, replan
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.solve import solve
from orchestrator.runtime.workers import Workers
from orchestrator.spec import documents, fleet_documents, quantity

TIME_LIMIT_S = 10.0
SINGLE, CHAINED = 0.9, 0.3  # parts of the time left for one solution: results that move take several


class Asked(NamedTuple):
    """What the command line says of a fleet."""

    job_files: Sequence[Path]
    snapshot: Path | None
    output: Path | None
    save_snapshot: Path | None
    current: Path | None
    time_limit: str | None
    threshold: float | None
    workers: int
    offline: bool
    buyable: bool
    as_json: bool


def run(app: App, asked: Asked) -> None:
    """Plan, save and show. Raises: UserError, Unplaced where a job has no place."""
    workers = Workers(min(asked.workers, Effort().parts))  # more than there are parts at a time would only wait
    limit_s = session.read_option("--time-limit", asked.time_limit, quantity.duration_s)
    began = time.monotonic()
    jobs, names = _jobs(asked.job_files)
    current = None if asked.current is None else _current(asked.current)
    market = _market(app, asked)
    limit_s = TIME_LIMIT_S if limit_s is None else limit_s
    with waiting(f"planning {len(jobs)} jobs"), closing(workers):
        plan = _planned(app, asked, _Read(jobs, names, market, current), workers, began + limit_s)
    if asked.save_snapshot is not None:
        files.write(asked.save_snapshot, documents.dump_snapshot(market))
    if asked.output is not None:
        files.write(asked.output, fleet_documents.dump_fleet(plan, market))
    now, later = _commands(plan, names)
    exact = fleet_documents.fleet_json(plan) if asked.as_json else {}
    choose(asked.as_json).show(FleetReport(plan=plan, exact=exact, commands=now, later=later))
    if plan.unplaced:
        raise Unplaced(f"{len(plan.unplaced)} of {len(plan.jobs)} jobs have no place")


def _solved(clock: Callable[[], float], end_s: float, part: float, workers: Workers, problem: FleetProblem) -> Solution:
    """One solution within a part of the time left, in threads; workers start where neighbourhoods are to be solved."""
    effort = Effort.for_size(len(problem.unplaced_usd))
    if len(problem.unplaced_usd) > effort.whole_jobs:
        workers.begin()
    began = clock()

    def elapsed() -> float:
        return clock() - began

    limit_s = max(0.0, part * (end_s - began))
    with ThreadPoolExecutor(effort.parts) as pool:
        spread = workers if workers.running else pool.map
        return solve(problem, effort, elapsed=elapsed, limit_s=limit_s, spread=spread, threads=pool.map)


def _over(clock: Callable[[], float], end_s: float) -> bool:
    return clock() >= end_s


def _jobs(paths: Sequence[Path]) -> tuple[list[Workload], dict[str, str]]:
    """The workloads and the file of each by name. Raises: SpecError."""
    jobs: list[Workload] = []
    names: dict[str, str] = {}
    for path in paths:
        job = session.load_job(path)
        if job.name in names:
            told = f"{names[job.name]} has a job of that name too: '{job.name}'"
            raise SpecError(str(path), (Problem(0, 0, "name", told, "give each job its own name"),))
        names[job.name] = str(path)
        jobs.append(job)
    return jobs, names


def _current(path: Path) -> FleetPlan:
    try:
        return fleet_documents.load_fleet(files.read(path))
    except UserError as error:
        raise session.named(path, error) from error


def _market(app: App, asked: Asked) -> Snapshot:
    if asked.current is None or asked.snapshot is not None:
        return session.look(app, saved=asked.snapshot, live=not asked.offline)
    with waiting("asking the providers"):
        return app.snapshot(live=not asked.offline, buying=True)  # with what runs hold


class _Read(NamedTuple):
    """What the command line names, read."""

    jobs: Sequence[Workload]
    files: dict[str, str]  # of each job by name
    market: Snapshot
    current: FleetPlan | None


def _planned(app: App, asked: Asked, read: _Read, workers: Workers, end_s: float) -> FleetPlan:
    assumed = app.settings.policies.get("cost", {}).get("assumed_egress_usd_per_gib", ASSUMED_USD_PER_GIB)
    options = FleetOptions(
        buyable_only=asked.buyable,
        quotas=app.quotas(),
        assumed_usd_per_gib=assumed if isinstance(assumed, float | int) else ASSUMED_USD_PER_GIB,
    )
    policies = app.policies()
    share = CHAINED if any(job.after for job in read.jobs) else SINGLE
    solver = partial(_solved, time.monotonic, end_s, share, workers)
    stop = partial(_over, time.monotonic, end_s)
    if read.current is None:
        return plan_fleet(read.jobs, read.market, policies, options, solve=solver, stop=stop, files=read.files)
    threshold = THRESHOLD if asked.threshold is None else asked.threshold
    return replan(
        read.jobs,
        read.market,
        policies,
        read.current,
        options,
        threshold=threshold,
        solve=solver,
        stop=stop,
        files=read.files,
    )


def _commands(plan: FleetPlan, names: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What hands in the jobs that can start now, and those that wait for others, in the order of their starts."""
    after = {job.name: job.after for job in plan.jobs}
    program = {job.name: job.program is not None for job in plan.jobs}
    placed = sorted(plan.placed, key=lambda one: (one.starts_h, one.job))
    told = [
        (shlex.join(["isoflop", "submit", names[one.job]]), bool(after[one.job])) for one in placed if program[one.job]
    ]
    return tuple(words for words, waits in told if not waits), tuple(words for words, waits in told if waits)
