"""Prices and the options within their reach, found together: a sample of the jobs first where there are many."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources, without_budgets
from orchestrator.planning.fleet.pool import Pool, gather, of_jobs, replaced
from orchestrator.planning.fleet.prices import Prices, Steps, ascend, no_prices, node_price, priced, values
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.spread import Spread

FIRST = 1.8  # options looked at first, as times a job's cheapest
MARGIN = 1.02  # then: above what a job would pay on offers that are not scarce
SAMPLED, SHARE = 4000, 8  # from so many jobs on, one in so many sets the first prices
NEAR = 1.15  # columns dearer than that, at the prices so far, are left out of an ascent
FREE = 0.1  # of the middle price: an offer cheaper than that counts as not scarce
WIDER, WIDEST = 1.1, 1.6  # so much further at once, and at most in the end
ALL = 500_000  # pairs of a job and an offer: so few are all looked at
DEPTH = 1.3  # times its cheapest option: where that is taken there must be others


class Reach(NamedTuple):
    """What was found: prices, and every option that any job would take near them."""

    pool: Pool
    prices: Prices


def reach(
    problem: Problem,
    limits: Resources,
    least_usd: FloatArray,
    fine: int,
    *,
    stop: Callable[[], bool],
    spread: Spread = map,
) -> Reach:
    """Prices after `fine` steps over all jobs, and a pool that covers what they make any job pay."""
    everyone = np.arange(len(least_usd))
    prices = no_prices(limits)
    few = len(least_usd) * len(limits.capacity_nodes) <= ALL
    limit = np.full(len(least_usd), np.inf) if few else FIRST * least_usd
    plan = [Steps(2 * fine, 0.1, 0.001, (0.02, 0.001)), Steps(fine, 0.01, 0.0003)]
    if len(least_usd) >= SAMPLED:
        prices = _sampled(problem, limits, limit, 2 * fine, stop=stop, spread=spread)
        scarce = node_price(prices, limits)[:-1]
        middle = float(np.median(scarce[scarce > 0])) if (scarce > 0).any() else 0.0
        limit = np.maximum(MARGIN * problem.options.least_usd(scarce <= FREE * middle), DEPTH * least_usd)
        plan = [
            Steps(fine, 0.03, 0.005, (0.01, 0.002)),
            Steps(fine, 0.008, 0.0005, (0.003, 0.0005)),
        ]
    pool = gather(problem, limits, limit, everyone, spread)
    for last, steps in enumerate(plan, start=1 - len(plan)):
        near = _near(pool.columns, prices, limits)
        prices = ascend(near, limits, prices, steps, pool.beyond_usd, stop=stop, spread=spread)
        pool = _covered(problem, limits, Reach(pool, prices), WIDER if last else WIDEST, stop)
    return Reach(pool, prices)


def _covered(problem: Problem, limits: Resources, found: Reach, most: float, stop: Callable[[], bool]) -> Pool:
    """The pool with more options of the jobs that pay more than it reaches, up to `most` times as far."""
    pool, prices = found
    value = values(pool.columns, prices, limits, problem.unplaced_usd)
    short = np.flatnonzero((value >= pool.beyond_usd) & (pool.beyond_usd < problem.unplaced_usd))
    if not len(short) or (most == WIDER and stop()):  # the last widening is what the bound stands on
        return pool
    further = most * pool.beyond_usd[short]
    return _wider(
        problem, limits, pool, short, further if most == WIDER else np.minimum(value[short] * MARGIN, further)
    )


def _wider(problem: Problem, limits: Resources, pool: Pool, jobs: IntArray, limit_usd: FloatArray) -> Pool:
    more = gather(problem, limits, limit_usd, jobs)
    beyond = pool.beyond_usd.copy()
    beyond[jobs] = more.beyond_usd
    return Pool(replaced(pool.columns, more.columns, jobs), beyond)


def _near(columns: Columns, prices: Prices, limits: Resources) -> Columns:
    """The columns that may matter in an ascent from `prices`."""
    if not prices.node.any():
        return columns
    usd = priced(columns, prices, limits)
    value = np.minimum.reduceat(usd, columns.start[:-1])
    keep = usd <= NEAR * value[columns.job]
    keep[columns.unplaced] = True
    return columns.take(np.flatnonzero(keep))


def _sampled(
    problem: Problem,
    limits: Resources,
    limit_usd: FloatArray,
    steps: int,
    *,
    stop: Callable[[], bool],
    spread: Spread,
) -> Prices:
    """First prices, from every so-many-th job and as much of every resource.

    A few jobs are no fair sample of a team's money: budgets wait until all jobs are looked at.
    """
    some = np.arange(0, len(limit_usd), SHARE)
    own = of_jobs(without_budgets(limits), some)
    pool = gather(problem, limits, limit_usd[some], some)
    plan = Steps(steps, 0.1, 0.005, (0.02, 0.004))
    free = no_prices(limits)
    return ascend(pool.columns, own, free, plan, pool.beyond_usd, share=1.0 / SHARE, stop=stop, spread=spread)


def at_once(problem: Problem, limits: Resources, least_usd: FloatArray) -> Reach:
    """No prices, and every job's cheapest options: what there is time for when there is none."""
    return Reach(gather(problem, limits, FIRST * least_usd, np.arange(len(least_usd))), no_prices(limits))
