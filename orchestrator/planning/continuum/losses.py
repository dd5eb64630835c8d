"""What the loss of a site means: where its users go, whether their limits still hold there, and who is left."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from orchestrator.planning.autoscale.queueing import first_token_quantile
from orchestrator.planning.continuum.model import CALM, load_of
from orchestrator.planning.continuum.problem import Option, Problem
from orchestrator.planning.continuum.result import Loss, Moved
from orchestrator.planning.continuum.solution import Solution

LEAST = 1e-6


class _Away(NamedTuple):
    who: int
    option: int
    share: float


def losses(problem: Problem, options: Sequence[Option], solution: Solution) -> tuple[Loss, ...]:
    """The loss of every site in use, at the peak and with the nodes as they are.

    Where the plan was made to survive it, its own way out is told. Otherwise the largest go first, each to the nearest
    pool that still keeps its own promise: first where the users' limits hold, then anywhere.
    """
    used = sorted({problem.columns[options[index].column].site for index, count in solution.nodes.items() if count})
    return tuple(Loss(site=problem.sites[site].label, moved=_moved(problem, options, solution, site)) for site in used)


def _moved(problem: Problem, options: Sequence[Option], solution: Solution, site: int) -> tuple[Moved, ...]:
    away = [
        _Away(who, index, share)
        for (scenario, index, who), share in sorted(solution.flow.items())
        if scenario == CALM and share > LEAST and problem.columns[options[index].column].site == site
    ]
    if problem.survive:
        return _planned(problem, options, solution, site, away)
    loads = {
        index: solution.load(problem, options, index)
        for index, count in solution.nodes.items()
        if count and problem.columns[options[index].column].site != site
    }
    moved: list[tuple[_Away, int | None, float]] = []
    for one in sorted(away, key=lambda one: (-one.share * problem.rates[one.who], one.who, one.option)):
        moved += _elsewhere(problem, options, solution, one, loads)
    return tuple(_told(problem, options, solution, loads, step) for step in sorted(moved, key=_order))


def _order(step: tuple[_Away, int | None, float]) -> tuple[int, int, int]:
    return (step[0].who, step[0].option, -1 if step[1] is None else step[1])


def _elsewhere(
    problem: Problem, options: Sequence[Option], solution: Solution, one: _Away, loads: dict[int, float]
) -> list[tuple[_Away, int | None, float]]:
    """Parts of a share and the pools they go to; what goes nowhere comes last. `loads` takes them up."""
    own = options[one.option]

    def place(index: int) -> tuple[bool, float, int]:
        rtt = problem.sites[problem.columns[options[index].column].site].rtt_ms[one.who]
        return (one.who not in options[index].allowed, rtt, index)

    left = one.share
    found: list[tuple[_Away, int | None, float]] = []
    fits = [index for index in loads if options[index].group == own.group and options[index].slice == own.slice]
    for index in sorted(fits, key=place):
        spare = options[index].curve.rate(solution.nodes[index]) - loads[index]
        share = min(left, spare / load_of(problem, options[index], one.who))
        if share > LEAST:
            loads[index] += share * load_of(problem, options[index], one.who)
            found.append((one, index, share))
            left -= share
    if left > LEAST:
        found.append((one, None, left))
    return found


def _told(
    problem: Problem,
    options: Sequence[Option],
    solution: Solution,
    loads: dict[int, float],
    step: tuple[_Away, int | None, float],
) -> Moved:
    one, index, share = step
    weight = problem.slices[options[one.option].slice].share * problem.groups[options[one.option].group].share
    name = problem.populations[one.who]
    if index is None:
        return Moved(population=name, share=share * weight, site=None, first_token_s=None, kept=False)
    option = options[index]
    site = problem.sites[problem.columns[option.column].site]
    seconds = first_token_s(problem, option, solution.nodes[index], loads[index]) + site.rtt_ms[one.who] / 1000.0
    kept = one.who in option.allowed
    return Moved(population=name, share=share * weight, site=site.label, first_token_s=seconds, kept=kept)


def _planned(
    problem: Problem, options: Sequence[Option], solution: Solution, site: int, away: Sequence[_Away]
) -> tuple[Moved, ...]:
    """What the plan provides for: everybody whose site is lost is served as its scenario says."""
    told = []
    for who in sorted({one.who for one in away}):
        weight = sum(one.share for one in away if one.who == who)
        there = [(index, share) for (s, index, p), share in sorted(solution.flow.items()) if (s, p) == (site, who)]
        total = sum(share for _, share in there) or 1.0
        for index, share in there:
            load = solution.load(problem, options, index, site)
            step = (_Away(who, index, share), index, share / total * weight)
            told.append(_told(problem, options, solution, {index: load}, step))
    return tuple(told)


def first_token_s(problem: Problem, option: Option, nodes: int, load: float) -> float:
    """Seconds within which the promised share of a pool's requests has its first token, without the round trip."""
    curve = option.curve
    if nodes < 1:
        return inf
    return first_token_quantile(problem.percentile, load, nodes * curve.per_node, curve.replica, curve.mix)
