"""The fleet solver against every placement there is, on fleets small enough to write them all down."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.fleet import neighbourhood
from orchestrator.planning.fleet.problem import Options, Problem, Quotas, penalties
from orchestrator.planning.fleet.solution import Effort, Solution
from orchestrator.planning.fleet.solve import solve

QUICK = Effort(price_steps=20, packing_steps=10, sweeps=4)
TINY = 1e-6

amounts = st.integers(0, 40).map(lambda cents: cents / 4)


@st.composite
def fleets(draw: st.DrawFn) -> Problem:
    """Up to four jobs on up to three offers, with quotas, budgets and ties."""
    jobs, offers = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    rows = [
        sorted(
            draw(st.lists(st.tuples(st.integers(0, offers - 1), st.integers(1, 4), amounts, st.booleans()), max_size=4))
        )
        if offers
        else []
        for _ in range(jobs)
    ]
    flat = [row for job in rows for row in job]
    teams = draw(st.integers(0, 2))
    groups = draw(st.lists(st.lists(st.integers(0, offers - 1), max_size=3), max_size=2)) if offers else []
    least = np.array([min((row[2] for row in job), default=inf) for job in rows], np.float64)
    return Problem(
        capacity_nodes=np.array([draw(st.sampled_from([0.0, 1.0, 3.0, 5.0, inf])) for _ in range(offers)], np.float64),
        options=Options(
            start=np.concatenate(([0], np.cumsum([len(job) for job in rows], dtype=np.int64))).astype(np.int64),
            offer=np.array([row[0] for row in flat], np.int64),
            nodes=np.array([row[1] for row in flat], np.float64),
            usd=np.array([row[2] for row in flat], np.float64),
            money_usd=np.array([row[2] if row[3] else 0.0 for row in flat], np.float64),
        ),
        unplaced_usd=penalties(least, times=draw(st.sampled_from([1.5, 6.0]))),
        quotas=Quotas(
            start=np.concatenate(([0], np.cumsum([len(group) for group in groups], dtype=np.int64))).astype(np.int64),
            offer=np.array([offer for group in groups for offer in group], np.int64),
            units=np.array([draw(st.sampled_from([1.0, 2.0])) for group in groups for _ in group], np.float64),
            cap=np.array([draw(st.sampled_from([0.0, 2.0, 5.0])) for _ in groups], np.float64),
        ),
        team=np.array([draw(st.integers(-1, teams - 1)) for _ in range(jobs)], np.int64),
        budget_usd=np.array([draw(amounts) for _ in range(teams)], np.float64),
        jobs=tuple(f"job-{row}" for row in range(jobs)),
        offers=tuple(f"offer-{row}" for row in range(offers)),
    )


def keeps_limits(problem: Problem, offer: list[int], nodes: list[float], money: list[float]) -> bool:
    """Whether a placement (offer -1: left out) breaks nothing."""
    used = np.zeros(len(problem.capacity_nodes))
    spent = np.zeros(len(problem.budget_usd))
    team = problem.team if problem.team is not None else np.full(len(offer), -1)
    for one, many, usd, payer in zip(offer, nodes, money, team, strict=True):
        if one >= 0:
            used[one] += many
            if payer >= 0:
                spent[payer] += usd
    quotas = problem.quotas
    taken = [
        float((used[quotas.offer[low:high]] * quotas.units[low:high]).sum())
        for low, high in zip(quotas.start[:-1], quotas.start[1:], strict=True)
    ]
    return bool(
        (used <= problem.capacity_nodes + TINY).all()
        and (spent <= problem.budget_usd + TINY).all()
        and (np.array(taken) <= quotas.cap + TINY).all()
    )


def best_of_all(problem: Problem) -> float:
    """The least any placement costs: every one of them is tried."""
    options = problem.options
    assert isinstance(options, Options)
    choices = [
        [-1, *range(int(low), int(high))] for low, high in zip(options.start[:-1], options.start[1:], strict=True)
    ]
    best = inf
    for rows in product(*choices):
        offer = [int(options.offer[row]) if row >= 0 else -1 for row in rows]
        nodes = [float(options.nodes[row]) if row >= 0 else 0.0 for row in rows]
        money = [float(options.money_usd[row]) if row >= 0 else 0.0 for row in rows]
        if keeps_limits(problem, offer, nodes, money):
            usd = (options.usd[row] if row >= 0 else problem.unplaced_usd[job] for job, row in enumerate(rows))
            best = min(best, float(sum(usd)))
    return best


def is_sound(problem: Problem, found: Solution) -> None:
    options = problem.options
    assert isinstance(options, Options)
    assert keeps_limits(problem, found.offer.tolist(), found.nodes.tolist(), found.money_usd.tolist())
    for job, row in enumerate(found.option.tolist()):
        if row < 0:
            assert found.offer[job] == -1
            assert found.usd[job] == problem.unplaced_usd[job]
        else:
            assert options.start[job] <= row < options.start[job + 1]
            assert found.offer[job] == options.offer[row]
            assert found.usd[job] == options.usd[row]
    assert found.objective_usd == pytest.approx(float(found.usd.sum()))


@settings(max_examples=150, deadline=None)
@given(fleets())
def test_the_best_placement_lies_between_the_bound_and_what_was_found(problem: Problem) -> None:
    found = solve(problem, QUICK)
    best = best_of_all(problem)
    is_sound(problem, found)
    assert found.bound_usd <= best + TINY
    assert found.objective_usd >= best - TINY


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_without_the_library_the_answer_is_as_sound(problem: Problem) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbourhood, "LIBRARY", "a_library_that_is_not_installed")
        found = solve(problem, QUICK)
    is_sound(problem, found)
    assert found.bound_usd <= best_of_all(problem) + TINY


@settings(max_examples=60, deadline=None)
@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_of_jobs_and_offers_does_not_matter(problem: Problem, chance: object) -> None:
    rng = np.random.default_rng(chance.randrange(2**32))  # type: ignore[attr-defined]
    jobs, offers = rng.permutation(len(problem.jobs)), rng.permutation(len(problem.offers))
    other = solve(shuffled(problem, jobs, offers), QUICK)
    one = solve(problem, QUICK)
    assert other.objective_usd == one.objective_usd
    assert other.bound_usd == one.bound_usd
    back = np.where(other.offer >= 0, offers[other.offer] if len(offers) else -1, -1)
    assert dict(zip(jobs.tolist(), back.tolist(), strict=True)) == dict(enumerate(one.offer.tolist()))


def shuffled(problem: Problem, jobs: np.ndarray, offers: np.ndarray) -> Problem:
    """The same fleet with its rows in another order."""
    options = problem.options
    assert isinstance(options, Options)
    rows = [np.arange(options.start[job], options.start[job + 1])[::-1] for job in jobs]
    row = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
    number = np.empty(len(offers), np.int64)
    number[offers] = np.arange(len(offers))
    assert problem.team is not None
    return Problem(
        capacity_nodes=problem.capacity_nodes[offers],
        options=Options(
            start=np.concatenate(([0], np.cumsum([len(some) for some in rows], dtype=np.int64))).astype(np.int64),
            offer=number[options.offer[row]] if len(row) else row,
            nodes=options.nodes[row],
            usd=options.usd[row],
            money_usd=options.money_usd[row],
        ),
        unplaced_usd=problem.unplaced_usd[jobs],
        quotas=Quotas(
            start=problem.quotas.start,
            offer=number[problem.quotas.offer] if len(number) else problem.quotas.offer,
            units=problem.quotas.units,
            cap=problem.quotas.cap,
        ),
        team=problem.team[jobs],
        budget_usd=problem.budget_usd,
        jobs=tuple(problem.jobs[job] for job in jobs),
        offers=tuple(problem.offers[offer] for offer in offers),
    )
