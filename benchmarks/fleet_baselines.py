"""What the fleet solver is compared with: greedy placements, POP, and linear relaxations rounded.

Every baseline sees the whole market: a job that its short list cannot place looks through all of its options.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import highspy
import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet import highs
from orchestrator.planning.fleet.columns import Columns, Resources
from orchestrator.planning.fleet.neighbourhood import part
from orchestrator.planning.fleet.partition import of_part, parted
from orchestrator.planning.fleet.pool import gather, nearest, resources
from orchestrator.planning.fleet.prices import priced
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.reach import reach
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.solve import solve
from orchestrator.planning.fleet.state import State

CHUNK = 256  # jobs whose options are listed at once
LISTED = 1.5  # options listed first, as times the job's cheapest
SLACK = 1e-9
COLUMNS = 24  # of a job, in the linear relaxation
POP_PARTS, CORES = 4, 2


class Placed(NamedTuple):
    """A placement: what it costs, jobs left out at their penalty, and how many those are."""

    usd: float
    left_out: int


class _Room:
    """What is left of every limit."""

    def __init__(self, problem: Problem, limits: Resources) -> None:
        self.problem, self.limits = problem, limits
        self.nodes = np.append(limits.capacity_nodes, np.inf)
        self.quota, self.budget = limits.quota_cap.copy(), limits.budget_usd.copy()
        self.usd, self.left_out = 0.0, 0

    def put(self, job: int, columns: Columns, rows: IntArray) -> bool:
        """Take the first of `rows` that fits for `job`; False where none does."""
        offer, nodes, money = columns.offer[rows], columns.nodes[rows], columns.money_usd[rows]
        team = self.limits.team[job]
        ok = (offer < len(self.limits.capacity_nodes)) & (nodes <= self.nodes[offer])
        ok &= money <= self.budget[team] * (1 + SLACK)
        for at in np.flatnonzero(ok).tolist():
            used = self.limits.quota_use({int(offer[at]): float(nodes[at])})
            if all(units <= self.quota[quota] for quota, units in used.items()):
                self.nodes[offer[at]] -= nodes[at]
                self.budget[team] -= money[at]
                for quota, units in used.items():
                    self.quota[quota] -= units
                self.usd += float(columns.usd[rows[at]])
                return True
        return False

    def put_anywhere(self, job: int) -> None:
        """Take the cheapest option of all that fits for `job`, or leave it out."""
        columns = gather(self.problem, self.limits, np.array([np.inf]), np.array([job]), map).columns
        if not self.put(job, columns, np.argsort(columns.usd, kind="stable")):
            self.usd += float(self.problem.unplaced_usd[job])
            self.left_out += 1


def greedy(problem: Problem, order: IntArray) -> Placed:
    """Jobs one after the other in `order`, each on its cheapest option that still fits."""
    limits = resources(problem)
    room, least = _Room(problem, limits), problem.options.least_usd()
    for low in range(0, len(order), CHUNK):
        jobs = order[low : low + CHUNK]
        columns = gather(problem, limits, LISTED * least[jobs], jobs).columns
        by = np.lexsort((columns.usd, columns.job))
        for at, job in enumerate(jobs.tolist()):
            rows = by[columns.start[at] : columns.start[at + 1]]
            if not room.put(job, columns, rows):
                room.put_anywhere(job)
    return Placed(room.usd, room.left_out)


def arrival(problem: Problem) -> Placed:
    """Greedy in the order in which the jobs came."""
    return greedy(problem, np.arange(len(problem.unplaced_usd)))


def dearest_first(problem: Problem) -> Placed:
    """Greedy, the jobs first that cost most at least."""
    return greedy(problem, np.argsort(-problem.unplaced_usd, kind="stable"))


def pop(problem: Problem, effort: Effort, limit_s: float, seed: int, clock: Callable[[], float]) -> Placed:
    """Four random parts (POP, SOSP 2021), each with the time that two cores leave it, put together as they are."""
    each_s = limit_s * CORES / POP_PARTS

    def one(piece: Problem) -> Solution:
        began = clock()
        return solve(piece, of_part(effort, POP_PARTS), elapsed=lambda: clock() - began, limit_s=each_s)

    order = np.random.default_rng(seed).permutation(len(problem.unplaced_usd))
    merged = parted(problem, POP_PARTS, one, order=order, repair=False)
    return Placed(merged.objective_usd, int((merged.offer < 0).sum()))


def lp_rounding(problem: Problem) -> Placed:
    """The linear relaxation over every job's nearest columns by prices, solved by HiGHS; jobs then settle, the dearest
    first, on the column they are most on of those that fit, else on their cheapest that fits.
    """
    limits = resources(problem)
    found = reach(problem, limits, problem.options.least_usd(), Effort().price_steps, stop=lambda: False)
    pool = found.pool.columns
    usd = priced(pool, found.prices, limits)
    keep = nearest(pool, usd, COLUMNS, problem.unplaced_usd, pool.unplaced)
    columns = pool.take(keep)
    part_of = linear(columns, limits)
    room = _Room(problem, limits)
    for job in np.argsort(-problem.unplaced_usd, kind="stable").tolist():
        low, high = int(columns.start[job]), int(columns.start[job + 1])
        rows = low + np.lexsort((columns.usd[low:high], -np.round(part_of[low:high], 6)))
        if not room.put(job, columns, rows[part_of[rows] > SLACK]):
            room.put_anywhere(job)
    return Placed(room.usd, room.left_out)


def linear(columns: Columns, limits: Resources) -> FloatArray:
    """Shape (rows,): the part of its job that each column holds in the optimum of the linear relaxation.

    Raises: RuntimeError where HiGHS does not find it.
    """
    state = State(columns, limits)
    everyone, rows = np.arange(len(state.at)), np.arange(len(columns.job))
    task = part(state, highs, everyone, rows, share=1.0, gap=0.0, nodes=0, seconds=np.inf).task
    if not isinstance(task, highs.Task) or len(task.cost) != len(rows):
        raise RuntimeError("the relaxation has lost columns")
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(task.cost), len(task.row_upper)
    model.col_cost_, model.col_lower_, model.col_upper_ = task.cost, np.zeros(len(rows)), np.ones(len(rows))
    model.row_lower_, model.row_upper_ = task.row_lower, task.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = task.start, task.row, task.value
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError("HiGHS has not solved the relaxation")
    return np.asarray(solver.getSolution().col_value)


def baselines(
    effort: Effort, limit_s: float, seed: int, clock: Callable[[], float], *, with_lp: bool
) -> dict[str, Callable[[Problem], Placed]]:
    """The baselines by name."""
    found: dict[str, Callable[[Problem], Placed]] = {
        "greedy in arrival order": arrival,
        "greedy, dearest first": dearest_first,
        f"POP, k = {POP_PARTS}": partial(pop, effort=effort, limit_s=limit_s, seed=seed, clock=clock),
    }
    if with_lp:
        found["LP rounding"] = lp_rounding
    return found
