"""What a run does next: planning, buying, failing over, settling what is in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.events import (
    Moved,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Limits
from orchestrator.lifecycle.actions import Bought, Buy, MakePlan, PlanMade
from orchestrator.lifecycle.observed import Blind, Listing
from orchestrator.testing.builders import offer, placement_on, plan_of, training
from tests.unit.lifecycle.scene import (
    ALPHA,
    BETA,
    Scene,
    doubtful,
    kinds,
    market,
    ready,
    refused,
)


def test_a_job_that_nothing_happens_to_goes_straight_through() -> None:
    scene = Scene()
    scene.to_releasing(0)
    scene.given_back()
    assert [event.to for event in scene.told(Moved)] == [
        RunState.PLANNING,
        RunState.ACQUIRING,
        RunState.STARTING,
        RunState.RUNNING,
        RunState.RELEASING,
        RunState.SUCCEEDED,
    ]


def test_the_intent_is_among_the_events_that_are_stored_before_the_purchase() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    (intent,) = scene.told(PurchaseIntended)
    assert (intent.token, intent.offer, intent.fence) == (buy.token, buy.offer, 7)


def test_a_plan_of_the_users_is_walked_without_another_look_at_the_market() -> None:
    scene = Scene(saved=True)
    assert kinds(scene.step()) == ["Buy"]
    assert scene.action(Buy).offer == ALPHA


def test_a_workload_without_a_program_fails_and_says_so() -> None:
    scene = Scene()
    assert scene.run is not None
    scene.run = replace(scene.run, workload=training(name="plan only"))
    assert scene.step() == []
    assert scene.state is RunState.FAILED
    assert "no program" in scene.detail


def test_capacity_moves_on_to_the_next_candidate_without_planning_again() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    (following,) = scene.step(refused(buy, "CapacityError"))
    assert isinstance(following, Buy)
    assert following.offer == BETA
    assert following.token != buy.token


@pytest.mark.parametrize("error", ["QuotaError", "AuthError"])
def test_a_provider_that_refuses_us_is_passed_over_for_the_rest_of_the_plan(error: str) -> None:
    other = offer(provider="alpha", instance_type="larger")
    scene = Scene(plan=market(ALPHA, other, BETA))
    (following,) = scene.step(refused(scene.to_acquiring(), error))
    assert isinstance(following, Buy)
    assert following.offer == BETA


def test_a_provider_that_does_not_answer_is_not_bought_from() -> None:
    scene = Scene()
    scene.sights["alpha"] = Blind(detail="no answer")
    assert scene.to_acquiring().offer == BETA


def test_placements_that_cannot_be_bought_are_passed_over() -> None:
    first, second = placement_on(ALPHA, buyable=False), placement_on(BETA)
    split = placement_on(ALPHA, parts=(*first.parts, *second.parts))
    assert Scene(plan=plan_of(first, split, second)).to_acquiring().offer == BETA


def test_a_doubtful_purchase_is_repeated_with_its_token_and_never_with_another() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    assert scene.step(doubtful(buy)) == []
    for _ in range(3):
        assert scene.step(wait_s=1.0) == [buy]
        scene.step(doubtful(buy))
    scene.step(wait_s=1.0)
    scene.step(Bought(action=buy, lease=ready(buy, scene.now)))
    assert len(scene.told(PurchaseIntended)) == 1
    assert scene.state is RunState.STARTING


def test_a_doubtful_purchase_that_a_listing_shows_is_ours() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    found = ready(buy, scene.now)
    scene.step(doubtful(buy), sights={"alpha": Listing(asked_at=scene.now, leases=(found,))})
    assert scene.told(Purchased)[0].lease == found
    assert scene.state is RunState.STARTING


def test_a_purchase_that_stays_in_doubt_is_refused_only_when_a_late_listing_shows_nothing() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    for _ in range(scene.rules.calls):
        scene.step(doubtful(buy))
        scene.step(wait_s=1.0)
    called = scene.now
    assert scene.step(wait_s=100.0, sights={"alpha": Blind(detail="no answer")}) == []
    assert scene.step(sights={"alpha": Listing(asked_at=called + timedelta(seconds=50), leases=())}) == []
    assert scene.state is RunState.ACQUIRING
    scene.step(sights={"alpha": Listing(asked_at=called + timedelta(seconds=61), leases=())})
    assert scene.told(PurchaseRefused)[0].error == "TransientError"
    assert scene.action(Buy).offer == BETA


def test_a_purchase_that_was_turned_away_each_time_is_not_in_doubt_and_the_run_goes_elsewhere() -> None:
    other = offer(provider="alpha", instance_type="larger")
    scene = Scene(plan=market(ALPHA, other, BETA))
    buy = scene.to_acquiring()
    for _ in range(scene.rules.calls):
        assert scene.state is RunState.ACQUIRING
        scene.step(doubtful(buy, turned_away=True))
        scene.step(wait_s=1.0)
    assert scene.told(PurchaseRefused)[0].error == "ThrottledError"
    assert scene.action(Buy).offer == BETA


@pytest.mark.parametrize("crash", [False, True])
def test_one_call_in_doubt_among_those_turned_away_leaves_the_purchase_in_doubt(crash: bool) -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(doubtful(buy))
    scene.step(wait_s=1.0)
    if crash:
        scene.forget()
        scene.step(sights=scene.empty())
    for _ in range(scene.rules.calls):
        scene.step(doubtful(buy, turned_away=True))
        scene.step(wait_s=1.0)
    assert scene.told(PurchaseRefused) == []
    scene.step(sights=scene.empty(in_s=70.0))
    assert scene.told(PurchaseRefused)[0].error == "TransientError"


def test_a_purchase_that_was_turned_away_is_given_up_at_once_by_a_cancel() -> None:
    scene = Scene()
    scene.step(doubtful(scene.to_acquiring(), turned_away=True))
    scene.cancel()
    scene.step()
    assert scene.state is RunState.CANCELLED


def test_after_a_crash_the_listing_is_read_before_the_purchase_is_repeated() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(wait_s=5.0)
    scene.forget()
    assert scene.step() == []
    assert scene.step(sights={"alpha": Blind(detail="no answer")}) == []
    stale = Listing(asked_at=scene.since - timedelta(seconds=1), leases=())
    assert scene.step(sights={"alpha": stale}) == []
    assert scene.step(sights=scene.empty()) == [buy]


def test_after_a_crash_a_lease_bought_a_moment_before_is_found_by_its_token() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.forget()
    found = ready(buy, scene.now)
    scene.step(sights={"alpha": Listing(asked_at=scene.now, leases=(found,))})
    assert scene.attempt.lease == found
    assert scene.state is RunState.STARTING


def test_when_every_candidate_refuses_the_market_is_looked_at_again_with_growing_pauses() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(refused(buy, "CapacityError"))
    assert scene.step(refused(scene.action(Buy), "CapacityError")) == []
    assert scene.state is RunState.PLANNING
    assert scene.step(wait_s=scene.rules.plan_backoff_s - 1) == []
    assert kinds(scene.step(wait_s=1.0)) == ["MakePlan"]


def test_many_plans_without_a_lease_end_the_run() -> None:
    scene = Scene()
    scene.step()
    for _ in range(scene.rules.plans):
        scene.step(PlanMade(action=scene.action(MakePlan), plan=scene.plan), wait_s=400.0)
        scene.step(refused(scene.action(Buy), "TransientError"))
        scene.step(refused(scene.action(Buy), "TransientError"))
        scene.step(wait_s=400.0)
    assert scene.state is RunState.FAILED
    assert "5 plans in a row" in scene.detail
    assert "TransientError said no" in scene.detail


def test_an_infeasible_job_fails_at_once_and_says_how_many_offers_were_considered() -> None:
    empty = replace(plan_of(), ranked=(), considered=12)
    scene = Scene()
    scene.step()
    assert scene.step(PlanMade(action=scene.action(MakePlan), plan=empty)) == []
    assert scene.state is RunState.FAILED
    assert "no feasible placement among 12 offers" in scene.detail


def test_planning_that_cannot_be_is_the_users_to_mend_and_planning_that_fails_is_tried_again() -> None:
    scene = Scene()
    scene.step()
    scene.step(doubtful(scene.action(MakePlan)))
    assert kinds(scene.step()) == ["MakePlan"]
    scene.step(refused(scene.action(MakePlan), "UserError"))
    assert scene.state is RunState.FAILED


def test_planning_that_fails_again_and_again_ends_the_run() -> None:
    scene = Scene()
    scene.step()
    for _ in range(scene.rules.calls):
        scene.step(doubtful(scene.action(MakePlan)))
        scene.step()
    assert scene.state is RunState.FAILED
    assert "planning failed 5 times: no answer" in scene.detail


def test_nothing_is_bought_that_the_budget_cannot_carry() -> None:
    dear = offer(provider="alpha", usd_per_hour=1000.0, min_billing_s=3600.0)
    cheap = offer(provider="beta", usd_per_hour=1.0)
    scene = Scene(plan=market(dear, cheap), limits=Limits(budget_usd=10.0))
    buy = scene.to_acquiring()
    assert buy.offer == cheap
    assert buy.boot.lifetime_s == pytest.approx(36000.0)


def test_a_budget_that_carries_no_candidate_ends_the_run_before_a_cent_is_spent() -> None:
    scene = Scene(limits=Limits(budget_usd=0.01))
    scene.step()
    scene.step(PlanMade(action=scene.action(MakePlan), plan=scene.plan))
    assert scene.state is RunState.FAILED
    assert "over budget" in scene.detail
    assert scene.told(PurchaseIntended) == []


def test_free_machines_are_never_over_budget() -> None:
    free = offer(provider="alpha", usd_per_hour=0.0)
    scene = Scene(plan=market(free), limits=Limits(budget_usd=1.0))
    scene.to_running()
    scene.step(wait_s=1e7)
    assert scene.state is RunState.RUNNING
