"""The solver: a greedy start, every pool that cannot pay left out by proof, and HiGHS on those that remain."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning import milp
from orchestrator.planning.continuum.greedy import greedy
from orchestrator.planning.continuum.model import Model, build, latency_usd, load_of, most_per_node
from orchestrator.planning.continuum.problem import Option, Problem
from orchestrator.planning.continuum.solution import Solution, evaluate

ROUNDS = 4


class Search(NamedTuple):
    """How far to look: the gap to stop at, nodes of the search tree, and pools that it sees at most."""

    gap: float = 1e-3
    nodes: int = 2_000
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
    kept, floor = _kept(problem, options, (model, relaxed), best, search.pools)
    bound = max(0.0, relaxed.bound)
    for _ in range(ROUNDS):
        if best is not None and best.usd <= bound * (1.0 + search.gap) + 1e-9:
            break
        few = [options[index] for index in kept]
        exact = build(problem, few)
        effort = milp.Effort(search.gap / 4.0, search.nodes, search.seconds)
        outcome = milp.solve(exact.program, effort)
        bound = max(bound, min(outcome.bound, floor))
        if outcome.x is None:
            break
        flow = {(s, kept[o], p): share for (s, o, p), share in exact.flows_in(outcome.x).items()}
        better = evaluate(problem, options, _scaled(problem, options, flow))
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
) -> tuple[list[int], float]:
    """Pools that a better solution may open, and what any solution with another one costs at least.

    At the prices of the relaxed program a node has its cost, and earns what its requests are worth: a solution that
    opens a pool costs at least the relaxed one and the loss of its first node.
    """
    model, outcome = relaxed
    if outcome.duals is None:
        return list(range(len(options))), inf
    losses = [_loss(problem, option, index, model, outcome.duals) for index, option in enumerate(options)]
    used = set(best.nodes) if best is not None else set()
    limit = best.usd - outcome.objective if best is not None else inf
    order = sorted(range(len(options)), key=lambda index: (index not in used, max(0.0, losses[index]), index))
    kept = [index for index in order if index in used or losses[index] <= limit][:most]
    dropped = [losses[index] for index in sorted(set(range(len(options))) - set(kept))]
    return sorted(kept), outcome.objective + max(0.0, min(dropped, default=inf))


def _loss(problem: Problem, option: Option, index: int, model: Model, duals: FloatArray) -> float:
    usd = option.usd - duals[model.stock[option.column]] + option.usd_open
    if model.budget is not None:
        usd -= duals[model.budget] * option.money
    best = most_per_node(option)
    earned = 0.0
    for scenario in sorted({key[0] for key in model.flow}):
        room = best
        worths = []
        for who in option.allowed:
            if (scenario, index, who) not in model.flow:
                continue
            buckets = problem.groups[option.group].buckets
            worth = sum(duals[model.cover[scenario, who, option.slice, bucket]] for bucket in buckets)
            worth -= latency_usd(problem, option, who) if scenario < 0 else 0.0
            load = load_of(problem, option, who)
            worths.append((worth / load, load))
        for each, load in sorted(worths, reverse=True):
            taken = min(room, load)
            if each <= 0.0 or taken <= 0.0:
                break
            earned += each * taken
            room -= taken
    return float(usd - earned)


def _scaled(
    problem: Problem, options: Sequence[Option], flow: dict[tuple[int, int, int], float]
) -> dict[tuple[int, int, int], float]:
    """The flows with every sum exactly one: a solver's are to its own tolerance."""
    sums: dict[tuple[int, int, int, int], float] = {}
    for (scenario, index, who), share in flow.items():
        option = options[index]
        for bucket in problem.groups[option.group].buckets:
            key = (scenario, who, option.slice, bucket)
            sums[key] = sums.get(key, 0.0) + share
    if len(problem.groups) > 1:
        return flow if all(abs(total - 1.0) < 1e-5 for total in sums.values()) else {}
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
