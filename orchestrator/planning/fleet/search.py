"""From prices to a placement: greedy, ejection chains, budgets met by raising their price, parts solved exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources, without_budgets
from orchestrator.planning.fleet.exchange import exchange, swap
from orchestrator.planning.fleet.greedy import place
from orchestrator.planning.fleet.neighbourhood import Solver, adopt, part, solver, sweep
from orchestrator.planning.fleet.pool import Pool, gather, nearest, replaced
from orchestrator.planning.fleet.prices import Prices, priced
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.solution import Effort
from orchestrator.planning.fleet.spread import Spread
from orchestrator.planning.fleet.state import State

BUDGET_TRIES = 12
FIRST_RAISE, FASTER = 0.05, 1.5  # USD per USD of a budget overspent
NOTHING = 5e-6  # of a placement's cost: a round of exchanges that gains less is the last
STEEP = 30.0  # of raises, in the part overspent: demand for money falls slowly in its price
WITHIN = 0.15  # columns with more regret, as a part of the job's value, are not looked at
FURTHER = (1.25, 2.0, 4.0)  # jobs without a place look at options up to so many times dearer than those seen so far
ROOM = 20  # so many with room
AT_ONCE = 150  # such jobs at a time, so that their options fit in memory; only so few look as far as the last
SETTLED, AFFORDED, SEARCHED = 0.75, 0.88, 0.97  # parts of a time limit after which each stage ends
EXACT_NODES = 2000
WHOLE_GAP, WHOLE_NODES = 1e-3, 20  # where exactly takes too long
QUICK = 0.35  # of the time left, for the few columns that prices leave
SAFE = 1e-7  # of a bound that a solver in floating point reports
LEAST_S = 0.01  # for a task of the library: it takes no time limit of 0
IDLE = 6  # rounds in a row without gain that end the search, or as many as may look at every job once


class Proof(NamedTuple):
    """A bound, and what each column of the pool would add to it."""

    pool: Pool
    prices: Prices
    value: FloatArray  # (J,)
    regret: FloatArray  # (rows,)
    bound_usd: float


class Found(NamedTuple):
    """A placement and all that is said of it."""

    columns: Columns
    at: IntArray
    prices: Prices
    bound_usd: float
    method: str
    stopped: str
    proven: bool  # whether the gap asked for is reached
    counters: dict[str, int]


class Guard(Protocol):
    """The clock."""

    def left_s(self) -> float:
        """Seconds left."""

    def after(self, part: float) -> Callable[[], bool]:
        """Whether a part of the limit is over; asked only where a yes leaves work undone."""

    def cut(self) -> None:
        """Some work given so long was cut short."""


def search(problem: Problem, limits: Resources, proof: Proof, effort: Effort, *, clock: Guard, spread: Spread) -> Found:
    """The best placement found with the effort."""
    stop = clock.after(SEARCHED)
    counters = {"pool": len(proof.pool.columns.job)}
    state = _start(problem, limits, proof, effort)
    counters["columns"] = len(state.columns.job)
    money = _money_priced(state.columns, limits, proof.prices.budget)
    settle(state, money, effort.rounds, clock.after(SETTLED))
    state = within(state, limits, proof.prices.budget, effort.rounds, clock.after(AFFORDED))
    counters["rounds"] = settle(state, state.columns.usd, effort.rounds, stop)
    bound, method = proof.bound_usd, "greedy, ejection chains"
    if state.usd() > bound * (1 + effort.gap) and not stop():
        library = solver()
        if library is None:
            method += " (highspy is not installed: no part was solved exactly)"
        else:
            method += ", parts solved by HiGHS"
            counters["sweeps"] = _improved(state, library, proof, effort, limits=limits, clock=clock, spread=spread)
            state, bound, whole = _whole(limits, proof, state, library, effort, clock=clock)
            method += ", the whole solved by HiGHS" if whole else ""
    proven = state.usd() <= bound * (1 + effort.gap)
    stopped = "the proven gap is small enough" if proven else "nothing more was gained"
    return Found(state.columns, state.at, proof.prices, bound, method, stopped, proven, counters)


def _improved(
    state: State, library: Solver, proof: Proof, effort: Effort, *, limits: Resources, clock: Guard, spread: Spread
) -> int:
    """All at once over the columns looked at where they are few, else in parts: the number of rounds."""
    jobs = len(state.at)
    if jobs > max(effort.exact_jobs, effort.whole_jobs) or len(state.columns.job) > effort.exact_columns:
        return _sweeps(state, library, _regret(state.columns, proof, limits), effort, clock=clock, spread=spread)
    gap, nodes = (effort.gap / 2, EXACT_NODES) if jobs <= effort.exact_jobs else (WHOLE_GAP, WHOLE_NODES)
    _solved(state, library, clock, gap=gap, nodes=nodes, patience=QUICK if jobs <= effort.exact_jobs else SEARCHED)
    return 0


def settle(state: State, cost: FloatArray, rounds: int, stop: Callable[[], bool], *, depth: int = 3) -> int:
    """Exchange until next to nothing is gained or `rounds` are over; how many rounds it took."""
    rows = np.arange(len(cost))
    for done in range(rounds):
        if stop():
            return done
        chains, by_chains = exchange(state, rows, cost, depth=depth)
        swaps, by_swaps = swap(state, rows, cost)
        if chains + swaps == 0 or by_chains + by_swaps < NOTHING * float(cost[state.at].sum()):
            return done + 1
    return rounds


def _start(problem: Problem, limits: Resources, proof: Proof, effort: Effort) -> State:
    """The greedy placement by priced cost, budgets not looked at, over the columns that the search will look at."""
    pool, soft = proof.pool.columns, without_budgets(limits)
    dearest = np.argsort(-proof.value, kind="stable")
    state = State(pool, soft)
    place(state, dearest, priced(pool, proof.prices, limits))
    keep = nearest(pool, proof.regret, effort.columns, WITHIN * proof.value, state.at)
    state = moved(state, pool.take(keep), soft)
    for further in FURTHER:
        out = np.flatnonzero(state.at == state.columns.unplaced)
        if not len(out) or (further == FURTHER[-1] and len(out) > AT_ONCE):
            break
        limit = np.minimum(further * proof.pool.beyond_usd, proof.pool.columns.usd[proof.pool.columns.unplaced])
        state = _looked_further(problem, limits, proof, state, limit)
    return state


def _looked_further(problem: Problem, limits: Resources, proof: Proof, state: State, limit: FloatArray) -> State:
    """Jobs out of a place look at their options of less than `limit` (J,): the cheapest with room, and the nearest."""
    out = np.flatnonzero(state.at == state.columns.unplaced)
    columns = state.columns
    for low in range(0, len(out), AT_ONCE):
        jobs = out[low : low + AT_ONCE]
        more = gather(problem, limits, limit[jobs], jobs).columns
        fits = more.nodes <= state.nodes_left[more.offer]
        usd = priced(more, proof.prices, limits._replace(team=limits.team[jobs]))
        farthest = np.full(len(jobs), usd.max())
        some = nearest(more, np.where(fits, more.usd, np.inf), ROOM, farthest, more.unplaced)
        near = nearest(more, usd, ROOM, farthest, some)
        columns = replaced(columns, more.take(near), jobs)
    state = moved(state, columns, state.limits)
    place(state, out[np.argsort(-proof.value[out], kind="stable")], columns.usd)
    return state


def _money_priced(columns: Columns, limits: Resources, price: FloatArray) -> FloatArray:
    return columns.usd + price[limits.team[columns.job]] * columns.money_usd


def spent(state: State, limits: Resources) -> FloatArray:
    """Shape (T + 1,): what every team's jobs cost it."""
    columns = state.columns
    usd: FloatArray = np.bincount(limits.team, columns.money_usd[state.at], len(limits.budget_usd)).astype(np.float64)
    return usd


def within(state: State, limits: Resources, price: FloatArray, rounds: int, stop: Callable[[], bool]) -> State:
    """A placement within every budget, from `state`, which may be beyond; `price` is each budget's price to start with.

    The teams that overspend pay more for money until they do not; what is still over then leaves, the jobs first whose
    penalty is least for the money they free.
    """
    columns = state.columns
    price, step = price.copy(), np.full(len(price), FIRST_RAISE)
    soft = State(columns, without_budgets(limits))
    soft.move(range(len(state.at)), state.at.tolist())
    for _ in range(BUDGET_TRIES):
        part = spent(soft, limits) / np.maximum(limits.budget_usd, 1e-9)
        over = part > 1.0
        if not over.any() or stop():
            break
        price[over] += np.maximum(step, STEEP * (part - 1.0))[over]
        step[over] *= FASTER
        settle(soft, _money_priced(columns, limits, price), rounds, stop)
    hard = State(columns, limits)
    loss = columns.usd[columns.unplaced] - columns.usd[soft.at]
    money = columns.money_usd[soft.at]
    worth = np.where(money > 0, loss / np.maximum(money, 1e-300), np.inf)
    if not hard.move(range(len(worth)), soft.at.tolist()):
        for job in np.lexsort((np.arange(len(worth)), -worth)).tolist():
            hard.move((job,), (int(soft.at[job]),))
    out = np.flatnonzero(hard.at == columns.unplaced)
    place(hard, out[np.argsort(-columns.usd[columns.unplaced[out]], kind="stable")], columns.usd)
    return hard


def same_rows(state: State, columns: Columns) -> IntArray | None:
    """The rows of `columns` that the jobs stand on; None where one is not among them."""
    here = state.columns
    job = columns.job
    same = columns.offer == here.offer[state.at][job]
    same &= (columns.nodes == here.nodes[state.at][job]) & (columns.usd == here.usd[state.at][job])
    rows = np.flatnonzero(same)
    rows = rows[np.flatnonzero(np.diff(job[rows], prepend=-1))]
    return rows if len(rows) == len(state.at) else None


def moved(state: State, columns: Columns, limits: Resources) -> State:
    """The same placement over other columns, which hold all those in use."""
    rows = same_rows(state, columns)
    if rows is None:
        raise ValueError("the placement stands on columns that are not among the new ones")
    new = State(columns, limits)
    new.move(range(len(state.at)), rows.tolist())
    return new


def _regret(columns: Columns, proof: Proof, limits: Resources) -> FloatArray:
    """Shape (rows,): what each column pays above its job's value; by prices, for columns that the pool may not have."""
    return np.maximum(priced(columns, proof.prices, limits) - proof.value[columns.job], 0.0)


def _sweeps(state: State, library: Solver, regret: FloatArray, effort: Effort, *, clock: Guard, spread: Spread) -> int:
    """Neighbourhoods around what loses most, until none gains; how many rounds there were."""
    columns, stop = state.columns, clock.after(SEARCHED)
    order = np.lexsort((columns.offer, regret, columns.job))
    tried = np.zeros(len(state.at))
    idle, enough = 0, max(IDLE, len(state.at) // (effort.parts * effort.jobs_per_part))
    for done in range(effort.sweeps):
        if idle >= enough or stop():
            return done
        loss = regret[state.at] / (1.0 + tried) ** 2
        seconds = max(LEAST_S, SEARCHED * clock.left_s())
        saved, looked_at, finished = sweep(
            state, library, order, loss, size=effort.jobs_per_part, parts=effort.parts, seconds=seconds, spread=spread
        )
        if not finished:
            clock.cut()
        tried[looked_at] += 1.0
        idle = 0 if saved > 0 else idle + 1
    return effort.sweeps


def _whole(
    limits: Resources, proof: Proof, state: State, library: Solver, effort: Effort, *, clock: Guard
) -> tuple[State, float, bool]:
    """The whole solved exactly, where few columns can be in any better placement: then its bound holds for all.

    A column whose regret is more than what the placement costs above the bound is in no better placement; nor is an
    option that is no column, where it costs that much more than its job's value.
    """
    if len(state.at) > effort.exact_jobs or state.usd() <= proof.bound_usd * (1 + effort.gap):
        return state, proof.bound_usd, False
    above = state.usd() - proof.bound_usd
    pool = proof.pool
    penalty = pool.columns.usd[pool.columns.unplaced]
    keep = proof.regret <= above * (1 + 1e-9)
    keep[pool.columns.unplaced] = True
    whole = bool(((pool.beyond_usd - proof.value >= above) | (pool.beyond_usd >= penalty)).all())
    if not whole or keep.sum() > effort.exact_columns:
        return state, proof.bound_usd, False
    standing = same_rows(state, pool.columns)
    if standing is None or clock.after(SEARCHED)():
        return state, proof.bound_usd, False
    keep[standing] = True
    best = moved(state, pool.columns.take(np.flatnonzero(keep)), limits)
    before = best.usd()
    bound = _solved(best, library, clock, gap=effort.gap / 2, nodes=EXACT_NODES, patience=SEARCHED)
    return best, max(proof.bound_usd, min(before, bound)), True


def _solved(state: State, library: Solver, clock: Guard, *, gap: float, nodes: int, patience: float) -> float:
    """All jobs placed anew over the state's columns in `patience` of the time left.

    Returns what no placement over these columns costs less than.
    """
    everyone, rows = np.arange(len(state.at)), np.arange(len(state.columns.job))
    seconds = max(LEAST_S, patience * clock.left_s())
    piece = part(state, library, everyone, rows, share=1.0, gap=gap, nodes=nodes, seconds=seconds)
    answer = library.solve_task(piece.task)
    if not answer.finished:
        clock.cut()
    adopt(state, piece, answer)
    return answer.bound - SAFE * abs(answer.bound)
