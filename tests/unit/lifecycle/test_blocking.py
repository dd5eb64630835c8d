"""What was refused is not asked for again at once, by any run, and a run that finds nothing else waits and says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.errors import Scope
from orchestrator.domain.events import (
    ControllerNote,
    Event,
    LeaseGone,
    Moved,
    Planned,
    Postponed,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Example, Plan, RefusalCount
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.run import RunState
from orchestrator.lifecycle.actions import Bought, Buy, MakePlan, PlanMade, Refused
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE, blocks
from orchestrator.lifecycle.observed import Blind
from orchestrator.lifecycle.standing import standing
from orchestrator.testing.builders import offer, plan_of, snapshot
from orchestrator.testing.clock import EPOCH
from tests.unit.lifecycle.scene import ALPHA, BETA, Scene, kinds, market, ready, refused

ZONES = [offer(provider="aws", zone=f"us-east-1{zone}") for zone in "ab"]
ABROAD = offer(provider="aws", region="eu-west-1", zone="eu-west-1a")
SPOT = offer(provider="aws", zone="us-east-1a", billing=Billing.SPOT)
SOLD_OUT_S, QUOTA_S, AUTH_S = DEFAULT_PATIENCE.sold_out_s, DEFAULT_PATIENCE.quota_s, DEFAULT_PATIENCE.auth_s


def scoped(action: Buy, error: str, scope: Scope) -> Refused:
    return Refused(action=action, error=error, detail=f"{error} said no", scope=scope)


def bought_after(scope: Scope, error: str = "CapacityError") -> list[Offer]:
    """What is asked for one after the other, where each refuses with `scope`."""
    scene = Scene(plan=market(*ZONES, SPOT, ABROAD, BETA))
    asked = [scene.to_acquiring().offer]
    while actions := scene.step(scoped(scene.action(Buy), error, scope)):
        (action,) = actions
        if not isinstance(action, Buy):
            break
        asked.append(action.offer)
    return asked


def test_a_refusal_passes_over_what_its_scope_reaches_and_nothing_else() -> None:
    assert bought_after(Scope.ZONE) == [*ZONES, SPOT, ABROAD, BETA]
    assert bought_after(Scope.REGION) == [ZONES[0], SPOT, ABROAD, BETA]
    assert bought_after(Scope.PROVIDER) == [ZONES[0], BETA]
    assert bought_after(Scope.REGION, "QuotaError") == [ZONES[0], SPOT, ABROAD, BETA]


def test_the_scope_is_stored_with_the_refusal() -> None:
    scene = Scene(plan=market(*ZONES))
    scene.step(scoped(scene.to_acquiring(), "CapacityError", Scope.REGION))
    (event,) = scene.told(PurchaseRefused)
    assert event.scope is Scope.REGION


# Waiting


def exhausted(error: str = "CapacityError", plan: Plan | None = None) -> Scene:
    """Every candidate was refused and the next plan has the same ones."""
    scene = Scene(plan=plan)
    action: Buy | None = scene.to_acquiring()
    while action is not None:
        following = scene.step(refused(action, error))
        action = following[0] if following and isinstance(following[0], Buy) else None
    scene.step(wait_s=scene.rules.plan_backoff_s)
    scene.step(PlanMade(action=scene.action(MakePlan), plan=scene.plan))
    return scene


def test_with_everything_refused_the_run_waits_for_the_first_block_to_end_and_says_so() -> None:
    scene = exhausted()
    (told,) = scene.told(Postponed)
    first = scene.told(PurchaseRefused)[0].at
    assert told.until == first + timedelta(seconds=SOLD_OUT_S)
    assert scene.state is RunState.PLANNING
    assert scene.detail == told.cause
    assert f"next look at {told.until:%Y-%m-%d %H:%M:%S} UTC: alpha us-east-1 h100.8x on-demand: sold out" in told.cause
    assert scene.step(wait_s=SOLD_OUT_S - 60.0) == []
    assert len(scene.told(Postponed)) == 1
    assert kinds(scene.step(wait_s=60.0)) == ["MakePlan"]
    fresh = replace(scene.plan, made_at=scene.now)
    (again,) = scene.step(PlanMade(action=scene.action(MakePlan), plan=fresh))
    assert isinstance(again, Buy)
    assert again.offer == ALPHA


def test_waiting_ends_with_a_lease_like_any_other_search() -> None:
    scene = exhausted()
    scene.step(wait_s=SOLD_OUT_S)
    scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(scene.plan, made_at=scene.now)))
    scene.step(Bought(action=scene.action(Buy), lease=ready(scene.action(Buy), scene.now)))
    assert scene.state is RunState.STARTING
    assert scene.run is not None
    assert scene.run.postponed_since is None


def test_a_plan_that_says_what_is_blocked_is_waited_for_though_it_has_no_candidates() -> None:
    detail = "aws us-east-1 p5 on-demand: sold out 3 min ago, asked again after 12 min"
    counted = RefusalCount(by="planning", code=ReasonCode.RECENTLY_REFUSED, count=1, examples=(Example("x", detail),))
    until = EPOCH + timedelta(minutes=12)
    nothing = replace(plan_of(), ranked=(), refusals=(counted,), blocked_until=until)
    scene = Scene(plan=nothing)
    for event in history("CapacityError"):
        scene.blocks.take(event)
    scene.step()
    assert scene.step(PlanMade(action=scene.action(MakePlan), plan=nothing)) == []
    (told,) = scene.told(Postponed)
    assert told.until == until
    assert detail in told.cause
    assert kinds(scene.step(wait_s=720.0)) == ["MakePlan"]


def test_a_run_may_be_cancelled_while_it_waits() -> None:
    scene = exhausted()
    scene.cancel()
    scene.step()
    assert scene.state is RunState.CANCELLED


def test_a_new_controller_goes_on_waiting() -> None:
    scene = exhausted()
    scene.forget()
    assert scene.step(wait_s=30.0) == []
    assert scene.state is RunState.PLANNING
    assert len(scene.told(Postponed)) == 1


def test_waiting_never_counts_as_plans_that_came_to_nothing() -> None:
    scene = exhausted()
    for _ in range(2 * scene.rules.plans):
        scene.step(wait_s=SOLD_OUT_S)
        scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(scene.plan, made_at=scene.now)))
        scene.step(refused(scene.action(Buy), "CapacityError"))
        scene.step(refused(scene.action(Buy), "CapacityError"))
        scene.step(wait_s=scene.rules.plan_backoff_s)
        scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(scene.plan, made_at=scene.now)))
    assert scene.state is RunState.PLANNING
    assert len(scene.told(Postponed)) == 1 + 2 * scene.rules.plans


def test_a_run_that_could_buy_nothing_for_a_day_ends() -> None:
    scene = exhausted("QuotaError", market(ALPHA))
    for _ in range(5):
        if scene.state is not RunState.FAILED:
            scene.step(wait_s=QUOTA_S)
            scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(scene.plan, made_at=scene.now)))
            scene.step(refused(scene.action(Buy), "QuotaError"))
            scene.step(wait_s=scene.rules.plan_backoff_s)
            scene.step(PlanMade(action=scene.action(MakePlan), plan=replace(scene.plan, made_at=scene.now)))
    assert scene.state is RunState.FAILED
    assert "nothing could be bought for 24" in scene.detail
    assert "alpha: over quota" in scene.detail


def test_a_provider_that_does_not_answer_is_not_waited_out_behind_a_block() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.sights["beta"] = Blind(detail="no answer")
    scene.step(refused(buy, "CapacityError"))
    scene.step(wait_s=scene.rules.plan_backoff_s)
    scene.step(PlanMade(action=scene.action(MakePlan), plan=scene.plan))
    (told,) = scene.told(Postponed)
    assert told.until == scene.now + timedelta(seconds=scene.rules.plan_backoff_cap_s)


def test_what_another_run_was_refused_is_not_asked_for_by_this_one() -> None:
    scene = Scene()
    for event in history("CapacityError", of=ALPHA):
        scene.blocks.take(event)
    assert scene.to_acquiring().offer == BETA


def test_a_run_is_never_left_waiting_for_blocks_that_were_lifted() -> None:
    scene = exhausted("AuthError", market(ALPHA))
    scene.blocks.take(ControllerNote(run_id="", at=scene.now, detail="two leads", fence=2))
    assert kinds(scene.step()) == ["MakePlan"]


# The fold


def history(
    error: str, *, of: Offer = ALPHA, scope: Scope | None = None, nodes: int = 1, number: int = 1
) -> list[Event]:
    token = f"o-{number}"
    intended = PurchaseIntended(
        run_id="o", at=EPOCH, token=token, candidate=0, offer=of, nodes=nodes, usd_per_hour=1.0, fence=1
    )
    said_no = PurchaseRefused(run_id="o", at=EPOCH, token=token, error=error, detail="no", scope=scope)
    return [intended, said_no]


@pytest.mark.parametrize(
    ("error", "seconds", "scope"),
    [
        ("CapacityError", SOLD_OUT_S, Scope.ZONE),
        ("QuotaError", QUOTA_S, Scope.PROVIDER),
        ("AuthError", AUTH_S, Scope.PROVIDER),
        ("ThrottledError", DEFAULT_PATIENCE.throttled_s, Scope.PROVIDER),
    ],
)
def test_a_block_lasts_as_long_as_its_kind_and_one_without_a_scope_reaches_as_its_error_does(
    error: str, seconds: float, scope: Scope
) -> None:
    (found,) = blocks(history(error), EPOCH)
    assert (found.since, found.until, found.scope) == (EPOCH, EPOCH + timedelta(seconds=seconds), scope)
    assert blocks(history(error), found.until) == ()


@pytest.mark.parametrize("error", ["TransientError", "LeaseNotFound", "NeverHeardOf"])
def test_a_purchase_that_came_to_nothing_for_no_lasting_reason_blocks_nothing(error: str) -> None:
    assert blocks(history(error), EPOCH) == ()


def test_the_newest_refusal_of_one_thing_stands_and_a_larger_one_does_not_hide_a_smaller() -> None:
    small, large = history("CapacityError", nodes=2), history("CapacityError", nodes=4, number=2)
    assert [block.nodes for block in blocks([*large, *small], EPOCH)] == [2]
    assert [block.nodes for block in blocks([*small, *large], EPOCH)] == [2, 4]


def test_giving_machines_back_ends_blocks_by_quota_where_they_were() -> None:
    elsewhere = history("QuotaError", of=ABROAD, scope=Scope.REGION, number=2)
    here = history("QuotaError", of=ZONES[0], scope=Scope.REGION, number=3)
    sold_out = history("CapacityError", of=ZONES[1], number=4)
    held = PurchaseIntended(
        run_id="o", at=EPOCH, token="o-9", candidate=0, offer=ZONES[1], nodes=1, usd_per_hour=1.0, fence=1
    )
    gone = LeaseGone(run_id="o", at=EPOCH, token="o-9", cause="released")
    left = blocks([held, *elsewhere, *here, *sold_out, gone], EPOCH)
    assert [(block.region, block.error) for block in left] == [
        ("eu-west-1", "QuotaError"),
        ("us-east-1", "CapacityError"),
    ]


def test_a_control_plane_that_starts_asks_those_again_who_refused_the_credentials() -> None:
    led = ControllerNote(run_id="", at=EPOCH, detail="it leads", fence=2)
    assert blocks([*history("AuthError"), led], EPOCH) == ()
    assert len(blocks([*history("AuthError"), replace(led, fence=0)], EPOCH)) == 1
    assert len(blocks([*history("QuotaError"), led], EPOCH)) == 1


def test_events_out_of_any_order_are_folded_without_an_error() -> None:
    assert blocks(list(reversed(history("CapacityError"))), EPOCH) == ()
    stray = LeaseGone(run_id="o", at=EPOCH, token="nobody's", cause="released")
    assert blocks([stray, Moved(run_id="o", at=EPOCH, to=RunState.PLANNING, cause="")], EPOCH) == ()


def test_the_planner_is_told_what_is_blocked() -> None:
    scene = exhausted()
    found = standing(snapshot(taken_at=scene.now), scene.history, purses=(), configured=())
    assert [(block.provider, block.error) for block in found.blocks] == [
        ("alpha", "CapacityError"),
        ("beta", "CapacityError"),
    ]


def test_a_plan_made_while_waiting_is_one_more_event_and_no_purchase() -> None:
    scene = exhausted()
    assert len(scene.told(Planned)) == 2
    assert len(scene.told(PurchaseIntended)) == 2
