"""A solution over the continuum as it really is: the nodes that its flows need, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.planning.continuum.model import CALM, latency_usd, load_of
from orchestrator.planning.continuum.problem import Option, Problem

TOLERANCE = 1e-6


class Solution(NamedTuple):
    """Who goes where: `flow[(scenario, option, population)]` is a share, `nodes[option]` what that takes.

    Costs are over the horizon; `latency_usd` is part of `usd`.
    """

    flow: Mapping[tuple[int, int, int], float]
    nodes: Mapping[int, int]
    usd: float
    money: float
    latency_usd: float

    def load(self, problem: Problem, options: Sequence[Option], option: int, scenario: int = CALM) -> float:
        """Requests per second at the peak of its slice that an option takes."""
        return sum(
            share * load_of(problem, options[index], who)
            for (when, index, who), share in self.flow.items()
            if (when, index) == (scenario, option)
        )


def evaluate(
    problem: Problem, options: Sequence[Option], flow: Mapping[tuple[int, int, int], float]
) -> Solution | None:
    """The least nodes that carry `flow`, by the curves themselves; None where stock or budget do not allow them."""
    loads: dict[tuple[int, int], float] = {}
    worth = 0.0
    for (scenario, index, who), share in sorted(flow.items()):
        option = options[index]
        loads[scenario, index] = loads.get((scenario, index), 0.0) + share * load_of(problem, option, who)
        worth += share * latency_usd(problem, option, who) if scenario == CALM else 0.0
    nodes: dict[int, int] = {}
    held: dict[int, int] = {}
    for index in sorted({index for _, index in loads}):
        option = options[index]
        stock = problem.columns[option.column].stock
        load = max(value for (_, which), value in loads.items() if which == index)
        count = option.curve.need(load, stock)
        if count is None:
            return None
        nodes[index] = count
        held[option.column] = held.get(option.column, 0) + count
        if held[option.column] > stock:
            return None
    usd, money = cost(options, nodes)
    if money > problem.budget_usd * (1.0 + TOLERANCE):
        return None
    return Solution(flow, nodes, usd + worth, money, worth)


def cost(options: Sequence[Option], nodes: Mapping[int, int]) -> tuple[float, float]:
    """The objective and the bill of so many nodes of each option."""
    usd = money = 0.0
    for index in sorted(nodes):
        option, count = options[index], nodes[index]
        if count:
            usd += option.usd * count + option.usd_open
            money += option.money * count + option.money_open
    return usd, money
