"""The frontier of a job: its extremes, its shapes, and what it is of a service."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Limits, Population
from orchestrator.planning.frontier import CHEAPEST, CHOICE, FASTEST, GREENEST, MANY, frontier, non_dominated
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import inference, network, offer, place, snapshot, training
from policies.budget.policy import create as create_budget
from policies.cost.policy import create as create_cost

POLICIES: tuple[Policy, ...] = (create_budget(PolicyContext()), create_cost(PolicyContext()))
GRIDS = replace(
    network(),
    places=(
        place(g_co2_per_kwh=400.0),
        place(key="acme/no-1", country="NO", g_co2_per_kwh=20.0),
        *network().places[1:],
    ),
)
MARKET: Snapshot = snapshot(
    offer(usd_per_hour=16.0, available=4),
    offer(region="no-1", usd_per_hour=20.0, available=1),
    offer(region="eu-central-1", usd_per_hour=60.0, available=40, boot_s=60.0),
    network=GRIDS,
)


def test_the_extremes_are_named_and_more_nodes_are_faster_and_dearer() -> None:
    found = frontier(training(), MARKET, POLICIES)
    cheapest, fastest, greenest = (found.titled(title) for title in (CHEAPEST, FASTEST, GREENEST))
    assert cheapest is not None
    assert fastest is not None
    assert greenest is not None
    assert "us-east-1" in cheapest.label
    assert fastest.label == "40x acme eu-central-1 h100.8x on-demand"
    assert greenest.label == "1x acme no-1 h100.8x on-demand"
    assert cheapest.usd == min(point.usd for point in found.points)
    assert fastest.hours == min(point.hours for point in found.points)
    assert [point.usd for point in found.points] == sorted(point.usd for point in found.points)
    assert {point.nodes for point in found.points if "us-east-1" in point.label} == {1, 2, 3, 4}
    assert not any(point.kg_known for point in found.points if "eu-central-1" in point.label)


def test_the_plans_choice_is_on_the_frontier_where_money_is_all_that_counts() -> None:
    found, made = frontier(training(), MARKET, POLICIES), plan(training(), MARKET, POLICIES)
    choice = found.titled(CHOICE)
    assert isinstance(made, Plan)
    assert made.best is not None
    assert choice is not None
    assert choice.label == made.best.label
    assert choice.usd == pytest.approx(made.best.cost_usd.p50)


def test_what_a_limit_refuses_is_not_on_the_frontier() -> None:
    free = frontier(training(), MARKET, POLICIES)
    budget = free.points[0].usd * 1.05
    tight = frontier(training(limits=Limits(budget_usd=budget)), MARKET, POLICIES)
    assert tight.points
    assert all(point.usd <= budget for point in tight.points)
    assert {point.label for point in tight.points} <= {point.label for point in free.points}


def test_the_placements_are_those_of_the_points_shown() -> None:
    found = frontier(training(), MARKET, POLICIES)
    for position, placement in zip(found.shown, found.placements, strict=True):
        point = found.points[position]
        assert placement.label == point.label
        assert placement.cost_usd.p50 == pytest.approx(point.usd)
        assert placement.hours.p50 == pytest.approx(point.hours)


def test_of_a_service_the_fastest_is_the_one_that_answers_first() -> None:
    job = inference(users=(Population("Frankfurt", 1.0),))
    found = frontier(job, MARKET, POLICIES)
    fastest = found.titled(FASTEST)
    assert found.service
    assert fastest is not None
    assert "eu-central-1" in fastest.label
    assert 0 < fastest.hours * 3600 < 5.0


def test_without_a_feasible_offer_the_frontier_is_empty() -> None:
    for market in (snapshot(offer(available=0)), replace(MARKET, book=MARKET.book.take(MARKET.book.available[:0]))):
        found = frontier(training(), market, POLICIES)
        assert (found.points, found.shown, found.placements) == ((), (), ())


def test_of_many_points_the_same_stand_as_when_compared_one_by_one() -> None:
    rng = np.random.default_rng(3)
    # Few distinct values, zeros among them: ties in single columns and equal rows.
    for points in (rng.integers(0, 9, (2 * MANY, 3)).astype(np.float64), rng.lognormal(size=(2 * MANY, 3))):
        rows = np.unique(points, axis=0, return_index=True)[1]
        dominated = [
            ((points <= points[row]).all(axis=1) & (points < points[row]).any(axis=1)).any() for row in rows.tolist()
        ]
        assert non_dominated(points).tolist() == sorted(rows[~np.array(dominated)].tolist())
