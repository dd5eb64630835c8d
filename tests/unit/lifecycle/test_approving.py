"""Runs that cost more than somebody has agreed to wait, hold nothing, and go on once that person agrees."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.approval import Approval, ApprovalRule
from orchestrator.domain.events import ApprovalAsked, Approved, Moved, PurchaseIntended
from orchestrator.domain.job import JobState, JobStatus, Progress
from orchestrator.domain.run import RunState
from orchestrator.lifecycle.actions import MakePlan, PlanMade
from orchestrator.lifecycle.approving import needed
from orchestrator.lifecycle.billing import spent_usd
from orchestrator.lifecycle.draft import Draft
from orchestrator.lifecycle.observed import Observed
from orchestrator.testing.builders import offer
from tests.unit.lifecycle.scene import Scene, kinds, market, refused

CHEAP = offer(provider="alpha", usd_per_hour=1.0)  # $12.50 expected, up to $16.25
DEAR = offer(provider="beta", usd_per_hour=40.0)  # $500 expected, up to $650


def waiting(*, above_usd: float = 100.0) -> Scene:
    """A run that waits for the approval of its only candidate."""
    scene = Scene(plan=market(DEAR))
    scene.rules = replace(scene.rules, approval=ApprovalRule("cfo@acme", above_usd))
    scene.step()
    scene.step(PlanMade(action=scene.action(MakePlan), plan=scene.plan))
    return scene


def approve(scene: Scene, *, by: str = "cfo@acme", usd: float = 650.0) -> None:
    scene.write(Approved(run_id="r", at=scene.now, by=by, usd=usd))


def test_a_dear_run_waits_before_it_buys_and_says_for_whom_and_how_much() -> None:
    scene = waiting()
    assert scene.state is RunState.WAITING
    assert scene.flying == {}
    assert scene.told(PurchaseIntended) == []
    assert scene.detail == "waiting for cfo@acme's approval of $650.00 (expected $500.00, above $100.00)"
    for _ in range(3):
        assert scene.step(wait_s=3600.0) == []
    assert len(scene.told(ApprovalAsked)) == 1


def test_what_costs_no_more_than_the_amount_asks_nobody() -> None:
    assert waiting(above_usd=500.0).state is RunState.ACQUIRING


def test_the_approver_agrees_and_it_buys() -> None:
    scene = waiting()
    approve(scene)
    assert kinds(scene.step()) == ["Buy"]


@pytest.mark.parametrize(("by", "usd"), [("me", 1e9), ("cfo@acme", 649.0)])
def test_another_name_or_too_little_changes_nothing(by: str, usd: float) -> None:
    scene = waiting()
    approve(scene, by=by, usd=usd)
    assert scene.step() == []
    assert scene.state is RunState.WAITING


def test_an_old_plan_is_made_anew_and_one_within_the_amount_asks_nobody_again() -> None:
    scene = waiting()
    scene.now += timedelta(hours=5)
    approve(scene)
    scene.step()
    assert kinds(scene.step(wait_s=5.0)) == ["MakePlan"]
    moved = replace(DEAR, usd_per_hour=45.0)  # $562.50 expected
    plan = replace(market(moved), made_at=scene.now)
    assert kinds(scene.step(PlanMade(action=scene.action(MakePlan), plan=plan))) == ["Buy"]
    assert len(scene.told(ApprovalAsked)) == 1


def test_a_plan_beyond_the_amount_asks_again() -> None:
    scene = waiting()
    scene.now += timedelta(hours=5)
    approve(scene)
    scene.step()
    scene.step(wait_s=5.0)
    plan = replace(market(replace(DEAR, usd_per_hour=80.0)), made_at=scene.now)
    scene.step(PlanMade(action=scene.action(MakePlan), plan=plan))
    assert scene.state is RunState.WAITING
    assert [asked.approval.usd for asked in scene.told(ApprovalAsked)] == pytest.approx([650.0, 1300.0])


def test_the_next_candidate_of_the_failover_order_is_held_against_the_rule_too() -> None:
    scene = Scene(plan=market(CHEAP, DEAR))
    scene.rules = replace(scene.rules, approval=ApprovalRule("cfo@acme", 100.0))
    buy = scene.to_acquiring()
    assert buy.offer == CHEAP
    scene.step(refused(buy, "CapacityError"))
    assert scene.state is RunState.WAITING


def test_a_users_own_plan_cannot_lift_the_rule() -> None:
    scene = Scene(plan=market(DEAR), saved=True)
    scene.rules = replace(scene.rules, approval=ApprovalRule("cfo@acme", 100.0))
    scene.step()
    assert scene.state is RunState.WAITING


def test_what_was_spent_counts_and_what_is_done_does_not() -> None:
    scene = Scene(plan=market(DEAR))
    scene.to_running()
    scene.step(wait_s=5 * 3600.0, job=JobStatus(state=JobState.RUNNING, progress=Progress(done=0.6)))
    assert scene.run is not None
    spent = spent_usd(scene.run, scene.now)
    assert spent == pytest.approx(200.0, abs=0.1)

    def asked(above_usd: float) -> Approval | None:
        rules = replace(scene.rules, approval=ApprovalRule("cfo@acme", above_usd))
        assert scene.run is not None
        return needed(Draft(scene.run, Observed(since=scene.now), scene.now, rules), 0)

    approval = asked(399.0)
    assert approval is not None
    assert approval.expected_usd == pytest.approx(spent + 0.4 * 500.0)
    assert approval.usd == pytest.approx(spent + 0.4 * 650.0)
    assert asked(401.0) is None


def test_cancelling_is_how_to_refuse() -> None:
    scene = waiting()
    scene.cancel()
    assert scene.step() == []
    assert scene.state is RunState.CANCELLED


def test_a_rule_that_is_lifted_lets_the_run_go_on() -> None:
    scene = waiting()
    scene.rules = replace(scene.rules, approval=None)
    assert kinds(scene.step()) == ["Buy"]
    assert scene.told(Moved)[-1].to is RunState.ACQUIRING
