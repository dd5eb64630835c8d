"""Parts: a fleet problem cut into smaller ones that can be solved at the same time, and put together again.

As POP does (D. Narayanan et al., "Solving Large-Scale Granular Resource Allocation Problems Efficiently with POP",
SOSP 2021): jobs are dealt out evenly and every part gets its share of each resource. Nodes are whole, so that an offer
of fewer nodes than there are parts goes to some of them alone; what a part cannot hold is tried again on what all
parts together left over, and chains of moves between the parts mend some of the rest (`improved`). What it loses is in
docs/fleet.md, by benchmarks/bench_fleet_pop.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.pool import gather, nearest, resources
from orchestrator.planning.fleet.problem import Options, Problem, Source
from orchestrator.planning.fleet.search import settle
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.state import State

DEARER = 1.5  # options looked at in the end, as times what the job pays
USUAL = Effort()

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

    offer: IntArray  # (J,)
    nodes: FloatArray
    usd: FloatArray
    money_usd: FloatArray
    node_price_usd: FloatArray  # (O,): the mean of the parts'

    @property
    def objective_usd(self) -> float:
        """What it costs, jobs left out at their penalty."""
        return float(self.usd.sum())


def of_part(effort: Effort, parts: int) -> Effort:
    """The effort of each part such that all together do the work of the whole.

    Work that grows with the jobs shrinks by itself. What is solved exactly does not: there would be as many
    neighbourhoods, of as many jobs, in every part, and parts small enough to be solved exactly as a whole, which takes
    longer than all the rest.
    """
    return replace(effort, sweeps=-(-effort.sweeps // parts), exact_columns=effort.exact_columns // parts)


def split(problem: Problem, parts: int, order: IntArray | None = None) -> list[tuple[IntArray, Problem]]:
    """The rows of the jobs of each part, and its problem: jobs dealt out in `order`, limits shared evenly.

    Without an order the dearest jobs are dealt out first; POP's is random. The parts' limits add up to no more than
    the whole's.
    """
    jobs = len(problem.unplaced_usd)
    if order is None:
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
        options=_some(problem.options, rows),
        unplaced_usd=problem.unplaced_usd[rows],
        team=None if problem.team is None else problem.team[rows],
        jobs=tuple(problem.jobs[row] for row in rows.tolist()) if problem.jobs else (),
    )


def _some(options: Options | Source, rows: IntArray) -> Options | Some:
    """Written options are copied, so that a part that travels to another process takes no other's with it."""
    if not isinstance(options, Options):
        return Some(options, rows)
    return options.below(rows, np.full(len(rows), np.inf))


def parted(
    problem: Problem,
    parts: int,
    solve: Solve,
    *,
    spread: Spread = map,
    order: IntArray | None = None,
    repair: bool = True,
) -> Merged:
    """The problem in `parts`, solved by `spread` at the same time, and those left out once more on what is left over.

    Every limit of the whole is kept. `repair` False leaves out who is left out.
    """
    jobs, offers = len(problem.unplaced_usd), len(problem.capacity_nodes)
    none = np.full(jobs, -1, np.int64)
    merged = Merged(none, np.zeros(jobs), problem.unplaced_usd.copy(), np.zeros(jobs), np.zeros(offers))
    pieces = split(problem, parts, order)
    for (rows, _), solution in zip(pieces, spread(solve, [piece for _, piece in pieces]), strict=True):
        _take(merged, rows, solution)
        merged.node_price_usd[:] += solution.node_price_usd / parts
    left = np.flatnonzero(merged.offer < 0)
    if repair and len(left):
        _take(merged, left, solve(left_over(problem, merged, left)))
    return merged


def improved(problem: Problem, merged: Merged, effort: Effort = USUAL) -> Merged:
    """`merged` after ejection chains and swaps between the parts, over the columns that are best at the parts' prices.

    Never worse, and every limit of the whole kept.
    """
    limits = resources(problem)
    jobs, offers = len(problem.unplaced_usd), len(problem.capacity_nodes)
    if not jobs:
        return merged
    pool = gather(problem, limits, DEARER * merged.usd + 1.0, np.arange(jobs)).columns
    own = np.where(merged.offer < 0, offers, merged.offer)[pool.job] == pool.offer
    own &= pool.usd == merged.usd[pool.job]
    own &= (pool.nodes == merged.nodes[pool.job]) | (pool.offer == offers)
    rows = np.flatnonzero(own)
    rows = rows[np.flatnonzero(np.diff(pool.job[rows], prepend=-1))]
    priced = pool.usd + np.append(merged.node_price_usd, 0.0)[pool.offer] * pool.nodes
    keep = nearest(pool, priced, effort.columns, np.full(jobs, np.inf), rows)
    columns = pool.take(keep)
    state = State(columns, limits)
    if len(rows) < jobs or not state.move(range(jobs), np.searchsorted(keep, rows).tolist()):
        return merged  # a sum of floats at its limit: what is, is kept
    settle(state, columns.usd, effort.rounds, lambda: False)
    offer = columns.offer[state.at]
    return merged._replace(
        offer=np.where(offer == offers, -1, offer),
        nodes=np.where(offer == offers, 0.0, columns.nodes[state.at]),
        usd=columns.usd[state.at],
        money_usd=columns.money_usd[state.at],
    )


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
    merged.offer[rows] = solution.offer
    merged.nodes[rows] = solution.nodes
    merged.usd[rows] = solution.usd
    merged.money_usd[rows] = solution.money_usd
