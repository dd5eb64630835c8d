"""From a case to the solver and back: rows of choices, the bound, and prices by what they are prices of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.fleet.case import Case, Costs
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.shared import Shared
from orchestrator.planning.fleet.solution import Solution
from orchestrator.planning.fleet.statement import stated

Solve = Callable[[Problem], Solution]


class Prices(NamedTuple):
    """What one unit more of each shared limit would save, by the rows of the book, the groups and the purses."""

    node: FloatArray  # (O,)
    group: FloatArray  # (G,)
    purse: FloatArray  # (T,)


class Solved(NamedTuple):
    """The chosen row of every job (-1: none), by the solver alone."""

    rows: tuple[int, ...]
    bound_usd: float
    prices: Prices
    how: str


def solved(case: Case, costs: Costs, limits: Shared, solve: Solve) -> Solved:
    """`case` at `costs` under `limits` by `solve`.

    Costs may be below 0; every job's are lifted together where they are, which changes no choice.
    """
    lift = np.array([max(0.0, -float(usd.min(initial=0.0))) for usd in costs.usd])
    raised = tuple(usd + more for usd, more in zip(costs.usd, lift, strict=True))
    form = stated(case, Costs(raised, costs.money_usd, costs.unplaced_usd + lift), limits)
    answer = solve(form.problem)
    rows = tuple(int(form.row[option]) if option >= 0 else -1 for option in answer.option.tolist())
    node = np.zeros(len(case.limits.capacity_nodes))
    np.add.at(node, form.offer, answer.node_price_usd)
    group = np.bincount(form.group, answer.quota_price_usd, minlength=len(limits.groups)).astype(np.float64)
    prices = Prices(node, group, answer.budget_price)
    return Solved(rows, answer.bound_usd - float(lift.sum()), prices, answer.stopped)
