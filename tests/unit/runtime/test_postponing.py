"""Controller, planner and log together: what was refused is planned around, waited for, and asked for again in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import CapacityError, ProviderError, QuotaError
from orchestrator.domain.events import Planned, Postponed, Purchased, PurchaseIntended, PurchaseRefused
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Workload
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE
from orchestrator.lifecycle.standing import standing
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.testing.builders import offer, snapshot
from policies.cost.policy import create as create_cost
from tests.unit.runtime.test_controller import Stage

POLICIES: tuple[Policy, ...] = (create_cost(PolicyContext()),)


class Market(Stage):
    """A stage whose plans are made by the planner, from a market and the log."""

    def __init__(self, *offers: Offer) -> None:
        super().__init__()
        self.offers = offers

    def planner(self, workload: Workload) -> Plan:
        self.planned += 1
        seen = snapshot(*self.offers, taken_at=self.clock.now())
        seen = standing(seen, self.events(), purses=(), configured=())
        return plan(replace(workload, tokens=1e6), seen, POLICIES, PlanOptions(buyable_only=True))

    def refuse(self, *errors: type[ProviderError]) -> None:
        self.market.refusals = list(errors)


def test_the_only_offer_is_waited_for_and_asked_for_again_when_its_block_ends() -> None:
    stage = Market(offer(provider="alpha", boot_s=0.0))
    stage.refuse(CapacityError)
    stage.submit("run")
    controller = stage.controller("a")
    stage.tick(controller, 60)
    (told,) = [event for event in stage.events() if isinstance(event, Postponed)]
    (refused,) = [event for event in stage.events() if isinstance(event, PurchaseRefused)]
    assert told.until == refused.at + timedelta(seconds=DEFAULT_PATIENCE.sold_out_s)
    assert stage.run("run").state is RunState.PLANNING
    assert "alpha us-east-1 h100.8x on-demand: sold out" in stage.run("run").detail
    made = stage.planned
    stage.tick(controller, 800)
    assert stage.planned == made, "the market is not looked at while nothing can be asked for"
    stage.tick(controller, 60)
    (bought,) = [event for event in stage.events() if isinstance(event, Purchased)]
    assert told.until <= bought.at <= told.until + timedelta(seconds=10)


def test_a_second_run_plans_around_what_the_first_was_refused() -> None:
    cheap, dear = (
        offer(provider="alpha", boot_s=0.0),
        offer(provider="alpha", region="eu", usd_per_hour=64.0, boot_s=0.0),
    )
    stage = Market(cheap, dear)
    stage.refuse(CapacityError)
    controller = stage.controller("a")
    stage.submit("first")
    stage.tick(controller, 10)
    stage.submit("second")
    stage.tick(controller, 10)
    asked = [(event.run_id, event.offer.region) for event in stage.events() if isinstance(event, PurchaseIntended)]
    assert asked == [("first", "us-east-1"), ("first", "eu"), ("second", "eu")]
    (plan_made,) = [event.plan for event in stage.events() if isinstance(event, Planned) and event.run_id == "second"]
    assert [refusal.code for refusal in plan_made.refusals] == [ReasonCode.RECENTLY_REFUSED]


def test_a_quota_that_is_raised_while_a_run_waits_is_found_at_the_next_look() -> None:
    small = offer(provider="alpha", boot_s=0.0, quota_nodes=1)
    stage = Market(small)
    stage.refuse(QuotaError)
    stage.submit("run")
    controller = stage.controller("a")
    stage.tick(controller, 30)
    assert stage.run("run").state is RunState.PLANNING
    assert "over quota" in stage.run("run").detail
    stage.tick(controller, 2000)
    assert stage.planned == 4, "a look every quarter of an hour"
    stage.offers = (replace(small, quota_nodes=2),)
    stage.tick(controller, 900)
    assert [event.lease.offer for event in stage.events() if isinstance(event, Purchased)] == list(stage.offers)


def test_a_successor_waits_for_the_same_moment() -> None:
    stage = Market(offer(provider="alpha", boot_s=0.0))
    stage.refuse(CapacityError)
    stage.submit("run")
    stage.tick(stage.controller("a"), 30)
    successor = stage.controller("b")
    stage.tick(successor, 700)
    assert stage.planned == 2, "none of its own"
    assert len([event for event in stage.events() if isinstance(event, PurchaseIntended)]) == 1
    stage.tick(successor, 250)
    assert [event for event in stage.events() if isinstance(event, Purchased)]
