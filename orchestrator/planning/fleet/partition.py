"""Parts: a fleet problem cut into smaller ones that can be solved at the same time, and put together again.

As POP does (D. Narayanan et al., "Solving Large-Scale Granular Resource Allocation Problems Efficiently with POP",
SOSP 2021): jobs are dealt out evenly and every part gets its share of each resource. Nodes are whole, so that an offer
of fewer nodes than there are parts goes to some of them alone; what a part cannot hold is tried again on what all
parts together left over. That costs quality where markets are not granular: measure it before use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.problem import Options, Problem, Source
from orchestrator.planning.fleet.solution import Solution

Solve = Callable[[Problem], Solution]
Spread = Callable[[Solve, Sequence[Problem]], Iterable[Solution]]


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """The options of some of a source's jobs, numbered from 0."""

    whole: Options | Source
    rows: IntArray

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return len(self.rows)

    def least_usd(self, among: BoolArray | None = None) -> FloatArray:
        """Shape (J,): as the whole's."""
        return self.whole.least_usd(among)[self.rows]

    def below(self, jobs: IntArray, limit_usd: FloatArray) -> Options:
        """As the whole's."""
        return self.whole.below(self.rows[jobs], limit_usd)


class Merged(NamedTuple):
    """A placement of all jobs: the offer of each (-1: left out), its nodes, USD and money."""

    offer: IntArray
    nodes: FloatArray
    usd: FloatArray
    money_usd: FloatArray

    @property
    def objective_usd(self) -> float:
        """What it costs, jobs left out at their penalty."""
        return float(self.usd.sum())


def split(problem: Problem, parts: int) -> list[tuple[IntArray, Problem]]:
    """The rows of the jobs of each part, and its problem: the dearest jobs dealt out first, limits shared evenly.

    The parts' limits add up to no more than the whole's.
    """
    jobs = len(problem.unplaced_usd)
    order = np.lexsort((np.arange(jobs), -problem.unplaced_usd))
    found = []
    for part in range(parts):
        rows = np.sort(order[part::parts])
        sub = _of_jobs(problem, rows)
        # Whole nodes that do not divide evenly go to the parts in turn, another first at every offer.
        turn = (np.arange(len(problem.capacity_nodes)) + part) % parts
        finite = np.isfinite(problem.capacity_nodes)
        whole = np.where(finite, problem.capacity_nodes, 0.0)
        share = np.where(finite, np.floor(whole / parts) + (turn < np.mod(np.floor(whole), parts)), np.inf)
        quotas = replace(problem.quotas, cap=problem.quotas.cap / parts)
        found.append((rows, replace(sub, capacity_nodes=share, quotas=quotas, budget_usd=problem.budget_usd / parts)))
    return found


def _of_jobs(problem: Problem, rows: IntArray) -> Problem:
    return replace(
        problem,
        options=Some(problem.options, rows),
        unplaced_usd=problem.unplaced_usd[rows],
        team=None if problem.team is None else problem.team[rows],
        jobs=tuple(problem.jobs[row] for row in rows.tolist()) if problem.jobs else (),
    )


def parted(problem: Problem, parts: int, solve: Solve, *, spread: Spread = map) -> Merged:
    """The problem in `parts`, solved by `spread` at the same time, and those left out once more on what is left over.

    Every limit of the whole is kept.
    """
    jobs = len(problem.unplaced_usd)
    merged = Merged(np.full(jobs, -1, np.int64), np.zeros(jobs), problem.unplaced_usd.copy(), np.zeros(jobs))
    pieces = split(problem, parts)
    for (rows, _), solution in zip(pieces, spread(solve, [piece for _, piece in pieces]), strict=True):
        _take(merged, rows, solution)
    left = np.flatnonzero(merged.offer < 0)
    if len(left):
        _take(merged, left, solve(left_over(problem, merged, left)))
    return merged


def left_over(problem: Problem, merged: Merged, rows: IntArray) -> Problem:
    """The jobs `rows`, which are left out, over what the placement of the others leaves of every limit."""
    placed = np.flatnonzero(merged.offer >= 0)
    offers = len(problem.capacity_nodes)
    used = np.bincount(merged.offer[placed], merged.nodes[placed], minlength=offers)
    quotas = problem.quotas
    group = np.repeat(np.arange(len(quotas.cap)), np.diff(quotas.start))
    held = np.bincount(group, used[quotas.offer] * quotas.units, minlength=len(quotas.cap))
    budget = problem.budget_usd
    if problem.team is not None:
        mine = placed[problem.team[placed] >= 0]
        budget = budget - np.bincount(problem.team[mine], merged.money_usd[mine], minlength=len(budget))
    return replace(
        _of_jobs(problem, rows),
        capacity_nodes=np.maximum(problem.capacity_nodes - used, 0.0),
        quotas=replace(quotas, cap=np.maximum(quotas.cap - held, 0.0)),
        budget_usd=np.maximum(budget, 0.0),
    )


def _take(merged: Merged, rows: IntArray, solution: Solution) -> None:
    for mine, theirs in zip(merged, (solution.offer, solution.nodes, solution.usd, solution.money_usd), strict=True):
        mine[rows] = theirs
