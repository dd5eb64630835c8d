"""Placing a fleet: exact where nothing is scarce, by the solver where jobs must share, results' moves included.

A job alone takes its cheapest choice; jobs that read each other's results take the cheapest sites together (`chain`).
Where those choices keep every shared limit they are the optimum. Else the solver places all jobs at once. It knows
costs of single jobs only, so the moves of results enter as what they cost beside the sites found last, and the problem
is solved again until that gains nothing; the bound is of the problem without those moves, or of the jobs by themselves,
whichever is higher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.fleetplan import Obstacle
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.case import Case, Costs
from orchestrator.planning.fleet.chain import Link, cheapest, joined, marginals
from orchestrator.planning.fleet.choices import Choices, Judge
from orchestrator.planning.fleet.shared import Shared, everybody_spent, kept, taken
from orchestrator.planning.fleet.solving import Prices, Solve, solved

ROUNDS = 4  # of solving again with the results' moves
SHRINKS = 4  # of everybody's purse
DOUBLINGS = 40  # of what an hour is worth to jobs that must hurry
HALVINGS = 10
TOLERANCE_H = 1e-9
TOLERANCE_USD = 1e-6
EXACT = "optimal: nothing is scarce"

Stop = Callable[[], bool]


class Placed(NamedTuple):
    """A chosen row of every job (-1: left out), its objective, what none is below, and what is scarce."""

    rows: tuple[int, ...]
    usd: float
    bound_usd: float
    how: str  # what stopped the search
    left_out: dict[int, Obstacle]
    prices: Prices | None = None


def place(case: Case, judge: Judge, solve: Solve, stop: Stop) -> tuple[Case, Placed]:
    """The best placement found until `stop` says so, and the case with the choices that it names."""
    out = _unplaceable(case)
    free, bound = alone(case, np.zeros(len(case.jobs)), out)
    bound += float(sum(case.unplaced_usd[job] for job in out))
    weight = np.zeros(len(case.jobs))
    if late(case, free):
        case, weight = _hurried(case, judge, out)
        free, _ = alone(case, weight, out)
    if keeps(case, free, case.limits):
        return case, Placed(tuple(free), case.total_usd(free), bound, EXACT, out)
    case = case.with_choices({job: judge.more_shapes(case.asked[job]) for job in _elastic(case, weight, out)})
    return case, _shared(case, free, weight, bound, _Search(solve, stop, out))


def late(case: Case, rows: Sequence[int]) -> list[int]:
    """The jobs that end after their deadline, each begun as soon as those it waits for have ended."""
    ends = case.depends.ends_h(case.hours(rows))
    placed = np.array(rows) >= 0
    return np.flatnonzero(placed & (ends > case.left_h + TOLERANCE_H)).tolist()


def dear(case: Case, rows: Sequence[int]) -> list[int]:
    """The jobs over their own budget, results brought to them included."""
    money = case.money_usd(rows)
    found = []
    for job, row in enumerate(rows):
        budget = case.jobs[job].limits.budget_usd
        if row >= 0 and budget is not None and money[job] > budget + TOLERANCE_USD:
            found.append(job)
    return found


def keeps(case: Case, rows: Sequence[int], limits: Shared) -> bool:
    """Whether the rows keep everything that the jobs share and every job's own limits."""
    used = taken(case.choices, rows, case.money_usd(rows).tolist())
    return kept(limits, used, case.depends.depth) and not late(case, rows) and not dear(case, rows)


def _unplaceable(case: Case) -> dict[int, Obstacle]:
    """The jobs that nobody would take alone, and those that wait for one."""
    out: dict[int, Obstacle] = {}
    for job in case.depends.order:
        if not case.choices[job].size:
            out[job] = Obstacle.REFUSED
        elif any(one in out for one in case.depends.before(job)):
            out[job] = Obstacle.PREDECESSOR
    return out


def alone(case: Case, weight: FloatArray, out: dict[int, Obstacle]) -> tuple[list[int], float]:
    """The cheapest rows where nobody shares anything, an hour of job j worth `weight[j]`, and a bound on their sum.

    The bound leaves deadlines of chains out and is exact where the links form no ring and no hour is worth anything.
    """
    links = [link for link in case.links if link.first not in out and link.then not in out]
    linked = sorted({job for link in links for job in (link.first, link.then)})
    usd = [one.usd + weight[job] * one.hours for job, one in enumerate(case.choices)]
    rows = [-1 if job in out or job in linked else case.choices[job].best(usd[job]) for job in range(len(case.choices))]
    bound = float(sum(usd[job][row] for job, row in enumerate(rows) if row >= 0))
    if linked:
        place_of = {job: index for index, job in enumerate(linked)}
        known: dict[tuple[int, float], tuple[FloatArray, IntArray]] = {}
        tables = []
        for job in linked:
            choices, key = case.choices[job], (id(case.choices[job]), float(weight[job]))
            if key not in known:
                known[key] = choices.by_site(usd[job], len(case.market.sites))
            tables.append(known[key])
        inner = [Link(place_of[link.first], place_of[link.then], link.usd) for link in links]
        found = cheapest(np.stack([least for least, _ in tables]), inner)
        for index, job in enumerate(linked):
            rows[job] = int(tables[index][1][found.site[index]])
        bound += found.bound_usd
    return rows, bound


def _hurried(case: Case, judge: Judge, out: dict[int, Obstacle]) -> tuple[Case, FloatArray]:
    """What an hour must be worth to each job so that chains keep their deadlines, at little more than it takes.

    The jobs that cannot keep theirs at any price join those that are `out`, and so do those that wait for them.
    """
    weight, widened = np.zeros(len(case.jobs)), set[int]()
    while True:
        rows, _ = alone(case, weight, out)
        behind = late(case, rows)
        if not behind:
            return case, _eased(case, weight, out)
        hurry = _waited_for(case, behind)
        fresh = hurry - widened
        if fresh:
            more = {job: judge.more_shapes(case.asked[job], faster=True) for job in fresh}
            case, widened = case.with_choices(more), widened | fresh
        least = {job: _rate(case.choices[job]) for job in hurry}
        if all(weight[job] >= least[job] * 2.0**DOUBLINGS for job in hurry):
            _give_up(case, behind, out)
            continue
        for job in hurry:
            weight[job] = max(least[job], 2.0 * weight[job])


def _rate(choices: Choices) -> float:
    """A small worth of an hour: a hundredth of what the cheapest choice costs in one."""
    best = int(np.argmin(choices.usd))
    return max(1e-6, 0.01 * float(choices.usd[best] / max(1e-6, choices.hours[best])))


def _waited_for(case: Case, jobs: Sequence[int]) -> set[int]:
    """The jobs and all that they wait for, however indirectly."""
    found, waiting = set[int](), list(jobs)
    while waiting:
        job = waiting.pop()
        if job not in found:
            found.add(job)
            waiting += case.depends.before(job)
    return found


def _give_up(case: Case, jobs: Sequence[int], out: dict[int, Obstacle]) -> None:
    for job in jobs:
        out[job] = Obstacle.DEADLINE
    _drop_waiting(case, out)


def _drop_waiting(case: Case, out: dict[int, Obstacle]) -> None:
    for job in case.depends.order:
        if job not in out and any(one in out for one in case.depends.before(job)):
            out[job] = Obstacle.PREDECESSOR


def _eased(case: Case, weight: FloatArray, out: dict[int, Obstacle]) -> FloatArray:
    """A smaller weight, in proportion, with which nobody is late."""
    if not weight.any():
        return weight
    low, high = 0.5, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        rows, _ = alone(case, middle * weight, out)
        if late(case, rows):
            low = middle
        else:
            high = middle
    return high * weight


def _elastic(case: Case, weight: FloatArray, out: dict[int, Obstacle]) -> list[int]:
    """The jobs whose choices hold one number of nodes an offer as yet."""
    return [job for job in range(len(case.jobs)) if job not in out and weight[job] == 0]


class _Search(NamedTuple):
    solve: Solve
    stop: Stop
    out: dict[int, Obstacle]


def _shared(case: Case, free: Sequence[int], weight: FloatArray, bound: float, search: _Search) -> Placed:
    """The best of several solutions: without results' moves, beside the sites of `free`, and beside the best so far."""
    best = _sharing(case, _beside(case, None, weight), case.limits, search)
    # With hours weighted the solver's bound is of another objective.
    lower = bound if weight.any() else max(bound, best.bound_usd)
    if case.links:
        bounding = _sharing(case, _averaged(case, search.out), case.limits, search)
        if not weight.any():
            lower = max(lower, bounding.bound_usd)
        best = min(best, bounding, key=lambda found: found.usd)
        anchor: Sequence[int] = free
        for _ in range(ROUNDS):
            found = _sharing(case, _beside(case, anchor, weight), case.limits, search)
            better = found.usd < best.usd - TOLERANCE_USD
            if better:
                best = found
            if search.stop() or (not better and anchor is not free):
                break
            anchor = best.rows
    lower = min(lower, best.usd)
    return best._replace(bound_usd=lower)


def _beside(case: Case, anchor: Sequence[int] | None, weight: FloatArray) -> Costs:
    """What choices cost where results move from and to the sites of `anchor`; over the job's own budget, infinite."""
    site = case.sites(anchor) if anchor is not None else None
    usd, money = [], []
    for job, choices in enumerate(case.choices):
        own, paid = choices.usd + weight[job] * choices.hours, choices.money_usd
        for link in case.beside(job) if site is not None else ():
            other = int(site[link.then if job == link.first else link.first])  # type: ignore[index]
            if other >= 0:
                moving = link.usd[:, other] if job == link.first else link.usd[other]
                own = own + moving[choices.site]
                paid = paid if job == link.first else paid + moving[choices.site]
        budget = case.jobs[job].limits.budget_usd
        if budget is not None:
            own = np.where(paid > budget + TOLERANCE_USD, np.inf, own)
        usd.append(own)
        money.append(paid)
    return Costs(tuple(usd), tuple(money), case.unplaced_usd)


def _averaged(case: Case, out: dict[int, Obstacle]) -> Costs:
    """Costs of single jobs that add up to no more than any placement with its results' moves.

    Of n jobs that are linked each choice costs an n-th of what all n cost together at the least with it (`marginals`):
    the mean of n lower bounds of one sum. The bounds of the others take every job for placed; where it is not, its
    penalty gives back what that may have cost them.
    """
    unplaced = case.unplaced_usd.copy()
    links = [link for link in case.links if link.first not in out and link.then not in out]
    usd = list(case.costs().usd)
    for group in joined(links):
        place_of = {job: index for index, job in enumerate(group)}
        inner = [Link(place_of[link.first], place_of[link.then], link.usd) for link in links if link.first in place_of]
        least = np.stack([case.choices[job].by_site(usd[job], len(case.market.sites))[0] for job in group])
        found = marginals(least, inner)
        for index, job in enumerate(group):
            choices = case.choices[job]
            beyond = usd[job] - least[index][choices.site]
            usd[job] = (found[index][choices.site] + beyond) / len(group)
            unplaced[job] -= case.surely_usd[job]
    return Costs(tuple(usd), case.costs().money_usd, unplaced)


def _sharing(case: Case, costs: Costs, limits: Shared, search: _Search) -> Placed:
    """One solution that keeps all limits: what waits for a job left out leaves, and who breaks a limit of its own."""
    out = dict(search.out)
    first: float | None = None
    for _ in range(len(case.jobs) + SHRINKS):
        gone_usd = tuple(np.full(len(usd), np.inf) if job in out else usd for job, usd in enumerate(costs.usd))
        left = costs._replace(usd=gone_usd)
        found = solved(case, left, limits, search.solve)
        first = found.bound_usd if first is None else first
        rows = [-1 if job in out else row for job, row in enumerate(found.rows)]
        gone = dict(out) | {job: Obstacle.SCARCE for job, row in enumerate(rows) if row < 0 and job not in out}
        before = len(gone)
        _drop_waiting(case, gone)
        if len(gone) > before:  # what waits for a job left out frees room for others
            out = {job: why for job, why in gone.items() if why is not Obstacle.SCARCE or _needed(case, job)}
            continue
        used = taken(case.choices, rows, case.money_usd(rows).tolist())
        if everybody_spent(used) > limits.everybody_usd + TOLERANCE_USD:
            limits = _shrunk(case, limits, rows)
            continue
        wrong = dict.fromkeys(late(case, rows), Obstacle.DEADLINE) | dict.fromkeys(dear(case, rows), Obstacle.SCARCE)
        if wrong:
            out |= wrong
            _drop_waiting(case, out)
            continue
        if not kept(limits, used, case.depends.depth):  # results' moves beyond a purse: the dearest of them leaves
            worst = max((job for job, row in enumerate(rows) if row >= 0), key=lambda job: case.moved_usd(rows)[job])
            out[worst] = Obstacle.SCARCE
            _drop_waiting(case, out)
            continue
        return Placed(tuple(rows), case.total_usd(rows), first, found.how, gone, found.prices)
    nobody = [-1] * len(case.jobs)
    return Placed(tuple(nobody), case.total_usd(nobody), first or 0.0, "given up", out)


def _needed(case: Case, job: int) -> bool:
    return bool(case.depends.behind(job))


def _shrunk(case: Case, limits: Shared, rows: Sequence[int]) -> Shared:
    """Purses cut so that all together keep everybody's: each its share of what it spends now."""
    money = case.money_usd(rows)
    total = float(money.sum())
    purses, purse, budget = limits.purses, limits.purse, limits.budget_usd
    if "" not in purses:
        purses, purse = (*purses, ""), np.where(purse < 0, len(purses), purse)
        budget = np.append(budget, np.inf)
    spent = np.bincount(purse, money, minlength=len(budget))
    share = limits.everybody_usd * spent / max(total, 1e-9)
    return limits._replace(purses=purses, purse=purse, budget_usd=np.minimum(budget, share))
