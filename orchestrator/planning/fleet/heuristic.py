"""A quick solver: prices by dual ascent, a greedy start at those prices, ejection chains; with the bound they prove."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orchestrator.planning.fleet import search
from orchestrator.planning.fleet.greedy import place
from orchestrator.planning.fleet.pool import gather, resources
from orchestrator.planning.fleet.prices import Steps, ascend, dual_value, no_prices, priced, values
from orchestrator.planning.fleet.problem import Problem, check
from orchestrator.planning.fleet.solving import Answer

STEPS = Steps(300, 0.2, 0.0005)
ROUNDS = 20


def solve(problem: Problem, *, stop: Callable[[], bool] = lambda: False) -> Answer:
    """The best placement found until `stop` says so. Raises: UserError where the problem cannot be meant."""
    check(problem)
    limits, jobs = resources(problem), np.arange(len(problem.unplaced_usd))
    pool = gather(problem, limits, problem.unplaced_usd, jobs)
    columns = pool.columns
    prices = ascend(columns, limits, no_prices(limits), STEPS, stop=stop)
    value = values(columns, prices, limits, pool.beyond_usd)
    state = search.first(columns, limits, value, priced(columns, prices, limits))
    search.settle(state, columns.usd, ROUNDS, stop)
    state = search.within(state, limits, prices.budget, ROUNDS, stop)
    left = np.flatnonzero(columns.offer[state.at] >= len(limits.capacity_nodes))
    place(state, left[np.argsort(-problem.unplaced_usd[left], kind="stable")], columns.usd)
    search.settle(state, columns.usd, ROUNDS, stop)
    how = "time limit" if stop() else "search"
    bound = dual_value(value, prices, limits)
    return Answer(columns.option[state.at], bound, prices.node[:-1], prices.quota, prices.budget[:-1], how)
