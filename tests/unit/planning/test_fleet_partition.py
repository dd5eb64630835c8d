"""Parts of a fleet problem: shares add up, limits hold when they are put together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from orchestrator.planning.fleet.generate import fleet, written_out
from orchestrator.planning.fleet.partition import Merged, improved, of_part, parted, split
from orchestrator.planning.fleet.problem import Options, Problem
from orchestrator.planning.fleet.solution import Effort
from orchestrator.planning.fleet.solve import solve

QUICK = partial(solve, effort=Effort(sweeps=0, exact_columns=0))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return written_out(fleet(40, 200, np.random.default_rng(1)))


def test_the_parts_hold_every_job_once_and_no_more_than_there_is(problem: Problem) -> None:
    pieces = split(problem, 3)
    rows = np.concatenate([rows for rows, _ in pieces])
    assert sorted(rows.tolist()) == list(range(40))
    assert np.array_equal(sum(piece.capacity_nodes for _, piece in pieces), problem.capacity_nodes)
    assert np.allclose(sum(piece.quotas.cap for _, piece in pieces), problem.quotas.cap)
    assert np.allclose(sum(piece.budget_usd for _, piece in pieces), problem.budget_usd)


def _keeps_every_limit(problem: Problem, found: Merged) -> bool:
    placed = np.flatnonzero(found.offer >= 0)
    used = np.bincount(found.offer[placed], found.nodes[placed], minlength=len(problem.capacity_nodes))
    quotas = problem.quotas
    group = np.repeat(np.arange(len(quotas.cap)), np.diff(quotas.start))
    held = np.bincount(group, used[quotas.offer] * quotas.units, minlength=len(quotas.cap))
    assert problem.team is not None
    spent = np.bincount(problem.team[placed], found.money_usd[placed], minlength=len(problem.budget_usd))
    return bool(
        (used <= problem.capacity_nodes).all()
        and (held <= quotas.cap + 1e-6).all()
        and (spent <= problem.budget_usd * (1 + 1e-6)).all()
    )


def test_what_is_put_together_keeps_every_limit_and_costs_no_less_than_the_bound(problem: Problem) -> None:
    found = parted(problem, 3, QUICK)
    assert _keeps_every_limit(problem, found)
    assert found.objective_usd >= QUICK(problem).bound_usd - 1e-6


def test_repair_and_moves_between_the_parts_only_make_it_cheaper(problem: Problem) -> None:
    bare = parted(problem, 3, QUICK, repair=False)
    repaired = parted(problem, 3, QUICK)
    better = improved(problem, repaired)
    assert (bare.offer < 0).sum() > 0
    assert better.objective_usd < repaired.objective_usd < bare.objective_usd
    assert _keeps_every_limit(problem, better)


def test_an_improved_placement_says_what_its_options_cost(problem: Problem) -> None:
    found = improved(problem, parted(problem, 2, QUICK))
    options = problem.options
    assert isinstance(options, Options)
    for job, (offer, nodes, usd) in enumerate(zip(found.offer, found.nodes, found.usd, strict=True)):
        rows = slice(options.start[job], options.start[job + 1])
        same = (options.offer[rows] == offer) & (options.nodes[rows] == nodes) & (options.usd[rows] == usd)
        assert same.any() if offer >= 0 else usd == problem.unplaced_usd[job]


def test_a_part_of_written_options_holds_its_own_jobs_options_alone(problem: Problem) -> None:
    pieces = split(problem, 2)
    held = [piece.options for _, piece in pieces]
    assert all(isinstance(options, Options) for options in held)
    assert isinstance(problem.options, Options)
    assert sum(len(options.offer) for options in held if isinstance(options, Options)) == len(problem.options.offer)


def test_the_parts_together_solve_no_more_neighbourhoods_than_the_whole() -> None:
    assert of_part(Effort(sweeps=60), 4).sweeps == 15
    assert of_part(Effort(sweeps=0), 4).sweeps == 0
