"""Which options the solver looks at: all of them where they are written down, else as far as prices reach."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources
from orchestrator.planning.fleet.problem import Options, Problem, Source, check_options
from orchestrator.planning.fleet.spread import Spread

SPREAD = 8
PARTED = 2000  # so many jobs are asked for in two parts

Number = TypeVar("Number", np.int64, np.float64)


class Pool(NamedTuple):
    """Columns, and what any option that is none of them costs at least."""

    columns: Columns
    beyond_usd: FloatArray  # (J,)


def resources(problem: Problem) -> Resources:
    """The problem's limits by offer instead of by group."""
    jobs, offers = len(problem.unplaced_usd), len(problem.capacity_nodes)
    quotas = problem.quotas
    group = np.repeat(np.arange(len(quotas.cap)), np.diff(quotas.start))
    order = np.lexsort((group, quotas.offer))
    team = np.full(jobs, -1) if problem.team is None else problem.team
    budgets = len(problem.budget_usd)
    return Resources(
        capacity_nodes=np.floor(problem.capacity_nodes),
        quota_start=np.searchsorted(quotas.offer[order], np.arange(offers + 1)),
        quota=group[order],
        quota_units=quotas.units[order],
        quota_cap=quotas.cap.astype(np.float64),
        team=np.where(team < 0, budgets, team),
        budget_usd=np.append(problem.budget_usd, np.inf),
    )


def of_jobs(limits: Resources, jobs: IntArray) -> Resources:
    """The same resources for some of the jobs, which are then numbered from 0."""
    return limits._replace(team=limits.team[jobs])


def gather(problem: Problem, limits: Resources, limit_usd: FloatArray, jobs: IntArray, spread: Spread = map) -> Pool:
    """Every option of `jobs` (numbered from 0 in the result) that costs less than the job's limit and than leaving it
    out, and would fit its offer, its quotas and its budget if it were alone.

    Raises: UserError where a source prices what cannot be meant.
    """
    penalty = problem.unplaced_usd[jobs]
    limit = np.minimum(limit_usd, penalty)
    options = _below(problem.options, jobs, limit, spread)
    if not isinstance(problem.options, Options):
        check_options(problem, options, jobs)
    offers = len(limits.capacity_nodes)
    room = np.minimum(limits.capacity_nodes, limits.quota_room(limits.quota_cap))
    job = np.repeat(np.arange(len(jobs)), np.diff(options.start))
    keep = options.nodes <= room[options.offer]
    keep &= options.money_usd <= limits.budget_usd[limits.team[jobs]][job]
    rows = np.flatnonzero(keep)
    job = job[rows]
    start = np.searchsorted(job, np.arange(len(jobs) + 1)) + np.arange(len(jobs) + 1)
    unplaced = start[1:] - 1
    at = np.arange(len(rows)) + job  # one unplaced row stands before those of every later job

    def column(values: NDArray[Number], last: NDArray[Number]) -> NDArray[Number]:
        result = np.empty(len(rows) + len(jobs), values.dtype)
        result[at], result[unplaced] = values, last
        return result

    everyone = np.arange(len(jobs))
    number = np.full(len(rows), -1) if options.row is None else options.row[rows]
    columns = Columns(
        start,
        column(job, everyone),
        column(options.offer[rows], np.full(len(jobs), offers)),
        column(options.nodes[rows], np.ones(len(jobs))),
        column(options.usd[rows], penalty),
        column(options.money_usd[rows], np.zeros(len(jobs))),
        column(number, np.full(len(jobs), -1)),
        unplaced,
    )
    return Pool(columns, limit)


def _below(source: Options | Source, jobs: IntArray, limit: FloatArray, spread: Spread) -> Options:
    """As `Source.below`, asked for parts of the jobs at the same time where `spread` can."""
    if len(jobs) < PARTED:
        return source.below(jobs, limit)
    cut = len(jobs) // 2
    tasks = [(source, jobs[:cut], limit[:cut]), (source, jobs[cut:], limit[cut:])]
    one, two = spread(_ask, tasks)
    row = None if one.row is None or two.row is None else np.concatenate((one.row, two.row))
    return Options(
        start=np.concatenate((one.start, two.start[1:] + one.start[-1])),
        offer=np.concatenate((one.offer, two.offer)),
        nodes=np.concatenate((one.nodes, two.nodes)),
        usd=np.concatenate((one.usd, two.usd)),
        money_usd=np.concatenate((one.money_usd, two.money_usd)),
        row=row,
    )


def _ask(task: tuple[Options | Source, IntArray, FloatArray]) -> Options:
    source, jobs, limit = task
    return source.below(jobs, limit)


def replaced(columns: Columns, other: Columns, jobs: IntArray) -> Columns:
    """`columns` with the rows of `jobs` put in place by those of `other`, which numbers the jobs from 0."""
    count = np.diff(columns.start)
    kept = np.ones(len(count), np.bool_)
    kept[jobs] = False
    fresh = np.diff(other.start)
    count[jobs] = fresh
    start = np.concatenate(([0], np.cumsum(count)))
    old = np.flatnonzero(np.repeat(kept, np.diff(columns.start)))
    at_old = old + np.repeat(start[:-1] - columns.start[:-1], np.where(kept, count, 0))
    at_new = np.arange(len(other.job)) + np.repeat(start[jobs] - other.start[:-1], fresh)

    def column(mine: NDArray[Number], theirs: NDArray[Number]) -> NDArray[Number]:
        result = np.empty(start[-1], mine.dtype)
        result[at_old], result[at_new] = mine[old], theirs
        return result

    return Columns(
        start,
        np.repeat(np.arange(len(count)), count),
        column(columns.offer, other.offer),
        column(columns.nodes, other.nodes),
        column(columns.usd, other.usd),
        column(columns.money_usd, other.money_usd),
        column(columns.option, other.option),
        start[1:] - 1,
    )


def nearest(columns: Columns, rank_by: FloatArray, count: int, within: FloatArray, always: IntArray) -> IntArray:
    """Rows, rising: each job's `count` columns least in `rank_by` of those `within` (J,) of it, as many again from the
    next ones, one in `SPREAD` and other ones for other jobs, its unplaced one, and the rows `always`.

    Jobs alike rank offers alike: without the spread all would look at the same few.
    """
    rows = np.flatnonzero(rank_by <= within[columns.job])
    job = columns.job[rows]
    rank_by = rank_by[rows]
    top = float(rank_by[np.isfinite(rank_by)].max(initial=0.0))
    part = np.minimum(rank_by / np.clip(within, 1e-300, max(top, 1e-300))[job], 1.5)  # beyond 1 is last all the same
    order = np.argsort(job + 0.5 * part)  # one key: faster than two
    first = np.searchsorted(job, np.arange(len(columns.start) - 1))
    rank = np.arange(len(rows)) - first[job]
    take = (rank < count) | ((rank < count * (1 + SPREAD)) & ((rank + job) % SPREAD == 0))
    keep = np.zeros(len(columns.job), np.bool_)
    keep[rows[order[take]]] = True
    keep[columns.unplaced] = True
    keep[always] = True
    return np.flatnonzero(keep)
