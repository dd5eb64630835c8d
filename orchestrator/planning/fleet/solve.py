"""Many jobs at once: a placement near the best, and the proof of how near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import fsum, inf

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources
from orchestrator.planning.fleet.packing import Packed, Packing
from orchestrator.planning.fleet.pool import resources
from orchestrator.planning.fleet.prices import dual_value, priced, values
from orchestrator.planning.fleet.problem import Options, Problem, Quotas, check
from orchestrator.planning.fleet.reach import Reach, at_once, reach
from orchestrator.planning.fleet.search import Found, Proof, search
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.spread import Spread

REACHED, PROVEN = 0.5, 0.6  # parts of a time limit after which prices and then the bound are as good as they get
AFTERWARDS = 20.0  # a placement without any search takes so many times as long as finding each job's cheapest option
MOST_OF_IT = 0.65  # of the limit at most is kept for that: a placement without prices is a poor one

DEFAULT = Effort()


class Clock:
    """Asks the caller's clock, if there is one, whether a part of the time limit is over.

    It is asked only where there is more to do: `late` then says that work was left undone for want of time.
    """

    def __init__(self, elapsed: Callable[[], float] | None, limit_s: float) -> None:
        self._elapsed, self._limit_s = elapsed, limit_s
        self._reserved_s = 0.0
        self.late = False

    def left_s(self) -> float:
        """Seconds left; inf without a clock."""
        return inf if self._elapsed is None else self._limit_s - self._elapsed()

    def reserve(self, seconds: float) -> None:
        """Have no part of the limit end later than so long before its end."""
        self._reserved_s = seconds

    def after(self, part: float) -> Callable[[], bool]:
        """A question: is this part of the limit over?"""

        def over() -> bool:
            end_s = min(part * self._limit_s, self._limit_s - self._reserved_s)
            if self._elapsed is None or self._elapsed() < end_s:
                return False
            self.late = True
            return True

        return over

    def cut(self) -> None:
        """A clock elsewhere ended work that was given so long."""
        self.late = True


def solve(
    problem: Problem,
    effort: Effort = DEFAULT,
    *,
    elapsed: Callable[[], float] | None = None,
    limit_s: float = inf,
    spread: Spread = map,
    threads: Spread = map,
) -> Solution:
    """Place the jobs at the least cost found with the given effort, every limit kept, with a proven lower bound.

    Prices on what is shared come first (`prices`), then a bound that knows nodes are whole (`packing`), a greedy
    placement improved by ejection chains (`exchange`), and parts solved exactly (`neighbourhood`) where highspy is
    installed. The same arguments give the same answer; with names the order of jobs and offers does not matter. Where
    `elapsed` (seconds since the start) passes `limit_s` the best so far is the answer, and says so. `spread` may be
    the `map` of a pool of processes or threads: parts are then solved at the same time, with the same result; so may
    `threads`, of threads alone, for prices: its tasks are many, short and large.

    Raises: UserError where the problem names what there is not or holds numbers that cannot be meant.
    """
    check(problem)
    own, jobs, offers = _in_order(problem)
    limits = resources(own)
    clock = Clock(elapsed, limit_s)
    if not len(own.unplaced_usd):
        return _answer(problem, own, limits, None, jobs=jobs, offers=offers, clock=clock)
    left_s = clock.left_s()
    least = own.options.least_usd()
    if elapsed is not None:
        clock.reserve(min(AFTERWARDS * (left_s - clock.left_s()), MOST_OF_IT * limit_s))
    found = (
        at_once(own, limits, least)
        if limit_s <= 0 and clock.after(1.0)()
        else reach(own, limits, least, effort.price_steps, stop=clock.after(REACHED), spread=threads)
    )
    proof = _proof(own, limits, found, effort, clock)
    clock.reserve(0.0)
    best = search(own, limits, proof, effort, clock=clock, spread=spread)
    return _answer(problem, own, limits, best, jobs=jobs, offers=offers, clock=clock)


def _proof(problem: Problem, limits: Resources, found: Reach, effort: Effort, clock: Clock) -> Proof:
    """The better of the bounds of prices and of packings, and every column's regret by it."""
    pool, prices = found
    value = values(pool.columns, prices, limits, pool.beyond_usd)
    linear = dual_value(value, prices, limits)
    over = clock.after(PROVEN)
    if not effort.packing_steps or over():
        regret = np.maximum(priced(pool.columns, prices, limits) - value[pool.columns.job], 0.0)
        return Proof(pool, prices, value, regret, max(linear, 0.0))
    packing = Packing(pool.columns, limits, prices)
    packed = packing.evaluate(value)
    if not over():
        ceiling = np.minimum(problem.unplaced_usd, pool.beyond_usd)
        better = packing.ascend(value, ceiling, packed.bound_usd * 1.01, effort.packing_steps, over)
        again: Packed = packing.evaluate(better)
        if again.bound_usd > packed.bound_usd:
            value, packed = better, again
    return Proof(pool, prices, value, packing.regret(value, packed), max(linear, packed.bound_usd, 0.0))


def _in_order(problem: Problem) -> tuple[Problem, IntArray, IntArray]:
    """The problem with jobs, offers and options in the order of their names; and both orders."""
    options, count, offers = problem.options, len(problem.unplaced_usd), len(problem.capacity_nodes)
    to_job, to_offer = np.arange(count), np.arange(offers)
    if not isinstance(options, Options):
        return problem, to_job, to_offer
    if problem.jobs:
        to_job = np.array(sorted(range(count), key=problem.jobs.__getitem__), np.int64)
    if problem.offers:
        to_offer = np.array(sorted(range(offers), key=problem.offers.__getitem__), np.int64)
    number = np.empty(offers, np.int64)
    number[to_offer] = np.arange(offers)
    rows = options.below(to_job, np.full(count, inf))
    job = np.repeat(np.arange(count), np.diff(rows.start))
    order = np.lexsort((rows.nodes, rows.money_usd, number[rows.offer], rows.usd, job))
    row = rows.row if rows.row is not None else np.arange(len(job))
    ordered = Options(
        start=rows.start,
        offer=number[rows.offer[order]],
        nodes=rows.nodes[order],
        usd=rows.usd[order],
        money_usd=rows.money_usd[order],
        row=row[order],
    )
    quotas = problem.quotas
    return (
        replace(
            problem,
            capacity_nodes=problem.capacity_nodes[to_offer],
            options=ordered,
            unplaced_usd=problem.unplaced_usd[to_job],
            quotas=Quotas(start=quotas.start, offer=number[quotas.offer], units=quotas.units, cap=quotas.cap),
            team=None if problem.team is None else problem.team[to_job],
            jobs=tuple(problem.jobs[job] for job in to_job) if problem.jobs else (),
            offers=tuple(problem.offers[offer] for offer in to_offer) if problem.offers else (),
        ),
        to_job,
        to_offer,
    )


def _answer(
    problem: Problem,
    own: Problem,
    limits: Resources,
    found: Found | None,
    *,
    jobs: IntArray,
    offers: IntArray,
    clock: Clock,
) -> Solution:
    """What was found, in the caller's order."""
    count = len(own.unplaced_usd)
    prices = found.prices if found else None
    columns, at = (found.columns, found.at) if found else (None, np.zeros(0, np.int64))
    placed = _placed(columns, at, count, len(limits.capacity_nodes))
    mine = np.empty(count, np.int64)
    mine[jobs] = np.arange(count)
    offer, option = placed[0][mine], placed[1][mine]
    nodes, usd, money = placed[2][mine], placed[3][mine], placed[4][mine]
    total = fsum(placed[3])  # exact, so that the order of the jobs does not matter
    node = np.empty(len(offers))
    node[offers] = prices.node[:-1] if prices else 0.0
    return Solution(
        offer=np.where(offer >= 0, offers[offer] if len(offers) else -1, -1),
        option=option,
        nodes=nodes,
        usd=usd,
        money_usd=money,
        objective_usd=total,
        bound_usd=min(found.bound_usd, total) if found else 0.0,
        node_price_usd=node,
        quota_price_usd=prices.quota if prices else np.zeros(len(problem.quotas.cap)),
        budget_price=prices.budget[:-1] if prices else np.zeros(len(problem.budget_usd)),
        method=found.method if found else "nothing to place",
        stopped=_ended(found, clock),
        reproducible=not clock.late,
        counters=found.counters if found else {},
    )


def _ended(found: Found | None, clock: Clock) -> str:
    """What ended the search: a proof before all else, then the clock."""
    if found is None:
        return "done"
    return "the time limit" if clock.late and not found.proven else found.stopped


def _placed(
    columns: Columns | None, at: IntArray, jobs: int, offers: int
) -> tuple[IntArray, IntArray, FloatArray, FloatArray, FloatArray]:
    """Offer, option, nodes, USD and money of every job."""
    if columns is None:
        none = np.zeros(jobs)
        return np.zeros(jobs, np.int64), np.zeros(jobs, np.int64), none, none, none
    offer = columns.offer[at]
    left = offer == offers
    return (
        np.where(left, -1, offer),
        columns.option[at],
        np.where(left, 0.0, columns.nodes[at]),
        columns.usd[at],
        columns.money_usd[at],
    )
