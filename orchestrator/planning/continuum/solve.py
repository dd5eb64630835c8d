"""The solver: a greedy start, every pool that cannot pay left out by proof, and HiGHS on those that remain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import floor, inf
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning import milp
from orchestrator.planning.continuum.greedy import greedy
from orchestrator.planning.continuum.model import Model, build, latency_usd, load_of
from orchestrator.planning.continuum.problem import Option, Problem
from orchestrator.planning.continuum.solution import Solution, evaluate

ROUNDS = 3


class Search(NamedTuple):
    """How far to look: the gap to stop at, nodes of the search tree, and pools that it sees at most."""

    gap: float = 1e-3
    nodes: int = 2_500
    pools: int = 160
    seconds: float = inf  # with a limit the answer depends on the machine


USUAL = Search()


class Found(NamedTuple):
    """The best solution and a proof: no solution costs less than `bound`."""

    solution: Solution | None
    bound: float
    method: str
    infeasible: bool = False

    @property
    def gap(self) -> float:
        """How far the solution may be above the optimum, relative to the bound."""
        if self.solution is None:
            return inf
        excess = max(0.0, self.solution.usd - self.bound)
        return excess / self.bound if self.bound > 0.0 else 0.0 if excess <= 1e-9 else inf


def solve(problem: Problem, options: Sequence[Option], search: Search = USUAL) -> Found:
    """The cheapest way to serve everybody; no solution with `infeasible` where there is provably none.

    `options` are those of the problem. The answer is never dearer than the greedy start.
    """
    best = greedy(problem, options)
    model = build(problem, options, relaxed=True)
    relaxed = milp.solve(model.program, milp.Effort(seconds=search.seconds))
    if relaxed.infeasible:
        return Found(None, inf, "no share of nodes serves everybody", infeasible=True)
    kept, bound, beyond = _kept(problem, options, (model, relaxed), best, search.pools)

    for _ in range(ROUNDS):
        if best is not None and best.usd <= bound * (1.0 + search.gap) + 1e-9:
            break
        few = [options[index] for index in kept]
        exact = build(problem, few, known_usd=inf if best is None else best.usd)
        effort = milp.Effort(search.gap / 4.0, search.nodes, search.seconds)
        outcome = milp.solve(exact.program, effort)
        bound = max(bound, min(outcome.bound, beyond))
        if outcome.x is None:
            break
        flow = {(s, kept[o], p): share for (s, o, p), share in exact.flows_in(outcome.x).items()}
        whole = _scaled(problem, options, flow)
        better = None if whole is None else evaluate(problem, options, whole)
        if better is not None and (best is None or better.usd < best.usd):
            best = better
        if not _refined(few, exact, outcome.x):
            break
    method = (
        f"branch and bound (HiGHS) over {len(kept):,} of {len(options):,} pools, the others ruled out by their cost"
    )
    return Found(best, min(bound, best.usd) if best is not None else bound, method)


def _kept(
    problem: Problem,
    options: Sequence[Option],
    relaxed: tuple[Model, milp.Outcome],
    best: Solution | None,
    most: int,
) -> tuple[list[int], float, float]:
    """Pools that a better solution may open; what any solution costs at least, and what one with another pool does.

    At the prices of the relaxed program a pool costs its nodes and earns what its requests are worth. No solution
    costs less than all prices together and the losses of pools that gain (Lagrange); one that opens a pool bears its
    loss.
    """
    model, outcome = relaxed
    if outcome.duals is None:
        return list(range(len(options))), outcome.bound, inf
    prices = _Prices(problem, model, outcome.duals)
    losses = [prices.loss(index, option) for index, option in enumerate(options)]
    bound = prices.all() + sum(min(0.0, loss) for loss in losses)
    used = set(best.nodes) if best is not None else set()
    limit = best.usd - bound if best is not None else inf
    order = sorted(range(len(options)), key=lambda index: (index not in used, max(0.0, losses[index]), index))
    kept = [index for index in order if index in used or losses[index] <= limit][:most]
    dropped = [losses[index] for index in sorted(set(range(len(options))) - set(kept))]
    return sorted(kept), bound, bound + max(0.0, min(dropped, default=inf))


class _Prices:
    """What the rows of a relaxed program are worth."""

    def __init__(self, problem: Problem, model: Model, duals: FloatArray) -> None:
        self._problem, self._model, self._duals = problem, model, duals
        self._scenarios = sorted({key[0] for key in model.flow})

    def all(self) -> float:
        """What serving everybody is worth, less what the stock and the budget are."""
        rows = self._model.cover.values()
        total = sum(float(self._duals[row]) for row in rows)
        for column, row in self._model.stock.items():
            total += float(self._duals[row]) * self._problem.columns[column].stock
        if self._model.budget is not None:
            total += float(self._duals[self._model.budget]) * self._problem.budget_usd
        return total

    def loss(self, index: int, option: Option) -> float:
        """The least that opening a pool costs more than it earns, over all its sizes."""
        usd, usd_open = option.usd - float(self._duals[self._model.stock[option.column]]), option.usd_open
        if self._model.budget is not None:
            usd -= float(self._duals[self._model.budget]) * option.money
            usd_open -= float(self._duals[self._model.budget]) * option.money_open
        worths = [self._worths(index, option, scenario) for scenario in self._scenarios]
        loads = sorted({0.0, *(at for curve in worths for at, _ in curve)})
        least = inf
        for segment in option.curve.segments(option.most):
            # What it earns grows ever slower with its size: the best size is where a line of it ends.
            ends = [(load - segment.level) / segment.slope for load in loads] if segment.slope > 0.0 else []
            sizes = {segment.low, segment.high}
            for end in ends:
                sizes |= {min(max(size, segment.low), segment.high) for size in (floor(end), floor(end) + 1)}
            for size in sizes:
                earned = sum(_earned(curve, segment.rate(size)) for curve in worths)
                least = min(least, usd * size + usd_open - earned)
        return least

    def _worths(self, index: int, option: Option, scenario: int) -> list[tuple[float, float]]:
        """Loads up to which the best requests are taken, and what those earn: the most lucrative first."""
        problem, model = self._problem, self._model
        worths = []
        for who in option.allowed:
            if (scenario, index, who) not in model.flow:
                continue
            buckets = problem.groups[option.group].buckets
            rows = [model.cover[scenario, who, option.slice, bucket] for bucket in buckets]
            worth = sum(float(self._duals[row]) for row in rows)
            worth -= latency_usd(problem, option, who) if scenario < 0 else 0.0
            load = load_of(problem, option, who)
            worths.append((worth / load, load))
        curve, taken, earned = [(0.0, 0.0)], 0.0, 0.0
        for each, load in sorted(worths, reverse=True):
            if each > 0.0:
                taken, earned = taken + load, earned + each * load
                curve.append((taken, earned))
        return curve


def _earned(curve: Sequence[tuple[float, float]], capacity: float) -> float:
    """Linear between the points of `curve`, level after the last."""
    for (low, before), (high, after) in pairwise(curve):
        if capacity < high:
            return before + (after - before) * max(0.0, capacity - low) / (high - low)
    return curve[-1][1]


def _scaled(
    problem: Problem, options: Sequence[Option], flow: dict[tuple[int, int, int], float]
) -> dict[tuple[int, int, int], float] | None:
    """The flows with every sum exactly one: a solver's are to its own tolerance. None where one is far from it."""
    sums: dict[tuple[int, int, int, int], float] = {}
    for (scenario, index, who), share in flow.items():
        option = options[index]
        for bucket in problem.groups[option.group].buckets:
            key = (scenario, who, option.slice, bucket)
            sums[key] = sums.get(key, 0.0) + share
    if len(problem.groups) > 1:
        return flow if all(abs(total - 1.0) < 1e-5 for total in sums.values()) else None
    return {
        (scenario, index, who): share / sums[scenario, who, options[index].slice, 0]
        for (scenario, index, who), share in flow.items()
    }


def _refined(few: Sequence[Option], exact: Model, x: FloatArray) -> bool:
    """Where a line promised more than its curve keeps, touch the curve; whether there was such a place."""
    changed = False
    for index, option in enumerate(few):
        nodes = exact.nodes_in(x, index)
        if not nodes:
            continue
        line = next((one for one in option.curve.segments(option.most) if one.low <= nodes <= one.high), None)
        if line is not None and line.rate(nodes) > option.curve.rate(nodes) * (1.0 + 1e-6):
            option.curve.refine(nodes)
            changed = True
    return changed and bool(np.isfinite(x).all())
