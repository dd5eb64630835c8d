"""Exact search in parts: some jobs that compete are placed anew by a solver while the rest stand still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol, cast

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.spread import Spread
from orchestrator.planning.fleet.state import State

SOLVER = "orchestrator.planning.fleet.highs"  # imported when the first part is solved: nothing else needs it
LIBRARY = "highspy"
GAP, NODES = 5e-4, 40
FANOUT = 4  # columns of a job that its neighbours are looked for on
CUT_LIMIT = 1e18
BUDGET_BITS = 14  # of a budget in its own unit


class Answer(Protocol):
    """What `highs.solve_task` answers."""

    @property
    def chosen(self) -> IntArray:
        """Columns."""

    @property
    def bound(self) -> float:
        """USD."""

    @property
    def finished(self) -> bool:
        """Whether its own limits ended the search."""


class Solver(Protocol):
    """The module `SOLVER`."""

    @property
    def Task(self) -> Callable[..., object]:
        """Makes a task of its values in order."""

    def solve_task(self, task: object) -> Answer:
        """Solve it."""


def solver() -> Solver | None:
    """The solver, or None where its library is not installed."""
    return cast(Solver, import_module(SOLVER)) if find_spec(LIBRARY) else None


class Part(NamedTuple):
    """Some jobs, the columns they may take, and the task that says so."""

    jobs: IntArray
    rows: IntArray
    task: object  # what `Solver.Task` made


def part(
    state: State,
    library: Solver,
    jobs: IntArray,
    rows: IntArray,
    *,
    share: float,
    gap: float,
    nodes: int,
    seconds: float,
) -> Part:
    """The task of placing `jobs` on their columns `rows` (rising), with what the others leave.

    `share` of what is left of quotas and budgets may be used, so that parts solved at once break none together.
    """
    columns, limits = state.columns, state.limits
    offers = len(limits.capacity_nodes)
    mine = state.at[jobs]
    free = state.nodes_left.copy()
    np.add.at(free, columns.offer[mine], columns.nodes[mine])
    rows = rows[(columns.nodes[rows] <= free[columns.offer[rows]])]
    real = np.flatnonzero(columns.offer[rows] < offers)
    used, at = np.unique(columns.offer[rows[real]], return_inverse=True)
    number = np.full(len(limits.team), -1)
    number[jobs] = np.arange(len(jobs))
    lines, places, values = [number[columns.job[rows]]], [np.arange(len(rows))], [np.ones(len(rows))]
    lines.append(len(jobs) + at)
    places.append(real)
    values.append(columns.nodes[rows[real]])
    upper = [np.ones(len(jobs)), free[used]]
    base = len(jobs) + len(used)
    for left, weights in _shared(state, jobs, rows, share):
        line, place, value = weights
        keep = np.flatnonzero(np.isfinite(left)[line])
        lines.append(base + line[keep])
        places.append(place[keep])
        values.append(value[keep])
        upper.append(np.where(np.isfinite(left), left, CUT_LIMIT))
        base += len(left)
    line, place, value = np.concatenate(lines), np.concatenate(places), np.concatenate(values)
    line, place, value = _summed(line, place, value)
    top = np.concatenate(upper)
    top[top >= CUT_LIMIT] = np.inf
    lower = np.full(len(top), -np.inf)
    lower[: len(jobs)] = 1.0
    start = np.searchsorted(place, np.arange(len(rows) + 1))
    warm = np.searchsorted(rows, np.sort(mine))
    task = library.Task(columns.usd[rows], start, line, value, lower, top, warm, gap, nodes, min(seconds, 1e9))
    return Part(jobs, rows, task)


def _summed(line: IntArray, place: IntArray, value: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """The entries by column, those of one cell added up: a quota may name an offer twice, and HiGHS none twice."""
    order = np.lexsort((line, place))
    line, place, value = line[order], place[order], value[order]
    first = np.flatnonzero((np.diff(line, prepend=-1) != 0) | (np.diff(place, prepend=-1) != 0))
    return line[first], place[first], np.add.reduceat(value, first) if len(first) else value


def _shared(
    state: State, jobs: IntArray, rows: IntArray, share: float
) -> list[tuple[FloatArray, tuple[IntArray, IntArray, FloatArray]]]:
    """Budgets and quotas: what these jobs may use of each, and the entries (line, column, amount).

    Budgets are in a unit of their own size: the library's tolerances are absolute.
    """
    columns, limits = state.columns, state.limits
    mine = state.at[jobs]
    team = limits.team[columns.job[rows]]
    budget = np.maximum(state.budget_left, 0.0) * share
    budget += np.bincount(limits.team[jobs], columns.money_usd[mine], minlength=len(budget))
    paid = np.flatnonzero(columns.money_usd[rows] > 0)
    unit = np.exp2(np.frexp(np.where(np.isfinite(budget) & (budget > 0), budget, 1.0))[1] - BUDGET_BITS)
    result = [(budget / unit, (team[paid], paid, columns.money_usd[rows[paid]] / unit[team[paid]]))]
    if len(limits.quota_cap):
        line, place, units = _quota_entries(state, rows)
        own_line, _, own = _quota_entries(state, mine)
        quota = np.maximum(state.quota_left, 0.0) * share + np.bincount(own_line, own, minlength=len(limits.quota_cap))
        result.append((quota, (line, place, units)))
    return result


def _quota_entries(state: State, rows: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    columns, limits = state.columns, state.limits
    starts = np.append(limits.quota_start, limits.quota_start[-1])
    offer = columns.offer[rows]
    count = np.diff(starts)[offer]
    place = np.repeat(np.arange(len(rows)), count)
    entry = np.arange(len(place)) - np.repeat(np.cumsum(count) - count - starts[offer], count)
    return limits.quota[entry], place, limits.quota_units[entry] * columns.nodes[rows[place]]


def neighbours(state: State, order: IntArray, seed: int, *, size: int, taken: BoolArray, closed: BoolArray) -> IntArray:
    """Up to `size` jobs around `seed`: those that stand where it would like to be, those where they would, and so on.

    `order` ranks every job's columns, best first; jobs `taken` and offers `closed` are left alone.
    """
    columns = state.columns
    offers = len(state.nodes_left) - 1
    here = columns.offer[state.at]
    inside = np.zeros(len(here), np.bool_)
    inside[seed] = True
    fresh = np.array([seed])
    count = 1
    while count < size and len(fresh):
        low = columns.start[fresh]
        some = low[:, None] + np.arange(FANOUT)
        rows = order[np.minimum(some, columns.start[fresh + 1][:, None] - 1).ravel()]
        wanted = np.zeros(offers + 1, np.bool_)
        wanted[columns.offer[rows]] = True
        wanted[offers] = False
        wanted[closed] = False
        fresh = np.flatnonzero(wanted[here] & ~inside & ~taken)[: size - count]
        inside[fresh] = True
        count += len(fresh)
    return np.flatnonzero(inside)


def rows_of(state: State, jobs: IntArray, closed: BoolArray) -> IntArray:
    """Every column of `jobs` that is on no `closed` offer, and those they stand on; rising."""
    columns = state.columns
    count = np.diff(columns.start)[jobs]
    rows = np.arange(count.sum()) + np.repeat(columns.start[jobs] - np.cumsum(count) + count, count)
    open_: IntArray = rows[~closed[columns.offer[rows]] | (state.at[columns.job[rows]] == rows)]
    return open_


def adopt(state: State, piece: Part, answer: Answer) -> float:
    """Take the answer if it is better; the USD it saves."""
    rows = piece.rows[answer.chosen]
    columns = state.columns
    if len(rows) != len(piece.jobs):
        return 0.0
    saved = float(columns.usd[state.at[piece.jobs]].sum() - columns.usd[rows].sum())
    least = 1e-9 * max(1.0, float(columns.usd[rows].sum()))
    return saved if saved > least and state.move(columns.job[rows].tolist(), rows.tolist()) else 0.0


def sweep(
    state: State,
    library: Solver,
    order: IntArray,
    loss: FloatArray,
    *,
    size: int,
    parts: int,
    seconds: float,
    spread: Spread,
) -> tuple[float, IntArray, bool]:
    """One round: `parts` neighbourhoods with nothing in common, around the jobs with most `loss` (J,), solved at once.

    All together get `seconds`, since `spread` may solve one after the other. Returns what was saved, the jobs looked
    at, and whether every solver ended by its own limits.
    """
    taken = np.zeros(len(loss), np.bool_)
    closed = np.zeros(len(state.nodes_left), np.bool_)
    groups: list[tuple[IntArray, IntArray]] = []
    for _ in range(parts):
        left = np.where(taken, -1.0, loss)
        seed = int(left.argmax())
        if left[seed] <= 0:
            break
        jobs = neighbours(state, order, seed, size=size, taken=taken, closed=closed)
        rows = rows_of(state, jobs, closed)
        groups.append((jobs, rows))
        taken[jobs] = True
        closed[state.columns.offer[rows]] = True
        closed[-1] = False
    share = 1.0 / max(1, len(groups))
    each_s = seconds * share
    pieces = [
        part(state, library, jobs, rows, share=share, gap=GAP, nodes=NODES, seconds=each_s) for jobs, rows in groups
    ]
    answers: Sequence[Answer] = list(spread(library.solve_task, [piece.task for piece in pieces]))
    saved = sum(adopt(state, piece, answer) for piece, answer in zip(pieces, answers, strict=True))
    return saved, np.flatnonzero(taken), all(answer.finished for answer in answers)
