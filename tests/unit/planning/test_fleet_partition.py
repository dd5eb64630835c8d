"""Parts of a fleet problem: shares add up, limits hold when they are put together."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.planning.fleet.generate import fleet, written_out
from orchestrator.planning.fleet.partition import parted, split
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.solve import solve


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


def test_what_is_put_together_keeps_every_limit_and_costs_no_less_than_the_bound(problem: Problem) -> None:
    found = parted(problem, 3, solve)
    placed = np.flatnonzero(found.offer >= 0)
    used = np.bincount(found.offer[placed], found.nodes[placed], minlength=len(problem.capacity_nodes))
    assert (used <= problem.capacity_nodes).all()
    quotas = problem.quotas
    group = np.repeat(np.arange(len(quotas.cap)), np.diff(quotas.start))
    held = np.bincount(group, used[quotas.offer] * quotas.units, minlength=len(quotas.cap))
    assert (held <= quotas.cap + 1e-6).all()
    assert problem.team is not None
    spent = np.bincount(problem.team[placed], found.money_usd[placed], minlength=len(problem.budget_usd))
    assert (spent <= problem.budget_usd * (1 + 1e-6)).all()
    assert found.objective_usd >= solve(problem).bound_usd - 1e-6
