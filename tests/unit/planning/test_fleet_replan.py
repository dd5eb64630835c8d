"""Running jobs move only where what they save is worth the disruption."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.fleetplan import FleetPlan
from orchestrator.domain.offer import Offer
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.fleet.plan import plan_fleet
from orchestrator.planning.fleet.replan import replan
from orchestrator.planning.fleet.solve import solve
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.cost.policy import create as cost

POLICIES: tuple[Policy, ...] = (cost(PolicyContext()),)
JOBS: list[Workload] = [training(name=f"job{index}", tokens=2e10) for index in range(3)]
EAST, WEST = offer(available=3), offer(region="us-west-2", usd_per_hour=40.0, available=3)


def before(*offers: Offer) -> FleetPlan:
    return plan_fleet(JOBS, snapshot(*(offers or (EAST, WEST))), POLICIES, solve=solve)


def later(*offers: Offer, hours: float = 20.0) -> Snapshot:
    return snapshot(*offers, taken_at=EPOCH + timedelta(hours=hours))


def again(market: Snapshot, current: FleetPlan, threshold: float = 1.0) -> FleetPlan:
    return replan(JOBS, market, POLICIES, current, threshold=threshold, solve=solve)


def test_with_an_unchanged_market_nothing_moves() -> None:
    current = before()
    found = again(snapshot(EAST, WEST), current)
    assert [one.placement.parts for one in found.placed] == [one.placement.parts for one in current.placed]
    assert not any(move.moved for move in found.moves)
    assert len(found.moves) == 3


def test_nothing_moves_when_the_fleets_own_machines_have_left_the_market() -> None:
    found = again(later(replace(EAST, available=0), WEST), before())
    assert not any(move.moved for move in found.moves)


def test_a_market_that_fell_far_enough_moves_jobs_and_shows_the_score() -> None:
    found = again(later(EAST, replace(WEST, usd_per_hour=4.0)), before())
    assert all(move.moved for move in found.moves)
    for move in found.moves:
        assert move.saving_usd > move.disruption_usd > 0
        assert move.score == pytest.approx(move.saving_usd / move.disruption_usd)
        assert move.restart_usd > 0
        assert move.lost_work_usd > 0
        assert move.transfer_usd > 0


def test_a_small_saving_is_considered_and_not_taken() -> None:
    found = again(later(EAST, replace(WEST, usd_per_hour=31.9)), before())
    assert not any(move.moved for move in found.moves)
    assert all(0 < move.score < 1 for move in found.moves)
    assert all("us-west-2" in move.to for move in found.moves)


def test_a_higher_threshold_keeps_what_a_lower_one_moves() -> None:
    market, current = later(EAST, replace(WEST, usd_per_hour=27.0)), before()
    scores = [move.score for move in again(market, current).moves]
    assert min(scores) > 1
    kept = again(market, current, threshold=max(scores) * 1.01)
    assert not any(move.moved for move in kept.moves)


def test_near_its_end_a_job_does_not_move() -> None:
    current = before()
    end = current.placed[0].ends_h
    market = later(EAST, replace(WEST, usd_per_hour=4.0), hours=end - 0.1)
    assert not any(move.moved for move in again(market, current).moves)


def test_a_place_that_is_gone_is_left_whatever_it_costs() -> None:
    found = again(later(WEST), before())
    assert all(move.moved and move.why for move in found.moves)
    assert all("us-west-2" in one.placement.label for one in found.placed)


def test_who_is_new_gets_a_place_beside_those_that_run() -> None:
    current = plan_fleet(JOBS[:2], snapshot(EAST, WEST), POLICIES, solve=solve)
    found = again(later(replace(EAST, available=1), WEST, hours=0.2), current)
    assert len(found.placed) == 3
    assert {move.job for move in found.moves} == {"job0", "job1"}
    assert not any(move.moved for move in found.moves)


def test_who_has_little_left_makes_room_for_who_has_much() -> None:
    current = plan_fleet(JOBS[:2], snapshot(EAST, WEST), POLICIES, solve=solve)
    found = again(later(replace(EAST, available=0), WEST, hours=30.0), current)
    (moved,) = [move for move in found.moves if move.moved]
    assert moved.saving_usd < 0  # by itself it would stay: the newcomer gains more


def test_a_job_that_waits_for_another_is_not_disturbed_by_going_elsewhere() -> None:
    chain: list[Workload] = [training(name="first", tokens=2e10), training(name="then", tokens=2e10, after=("first",))]
    current = plan_fleet(chain, snapshot(EAST, WEST), POLICIES, solve=solve)
    market = later(EAST, replace(WEST, usd_per_hour=30.0), hours=1.0)
    found = replan(chain, market, POLICIES, current, solve=solve)
    running, waiting = found.moves
    assert running.disruption_usd > 0
    assert waiting.job == "then"
    assert waiting.disruption_usd == 0
