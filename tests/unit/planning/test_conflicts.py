"""Which limits are at odds, where nothing is feasible."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Spend
from orchestrator.domain.workload import DataSet, LatencyTarget, Limits, Setting, Workload
from orchestrator.planning.explain import explain
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.testing.builders import inference, offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline
from policies.latency.policy import create as latency
from policies.residency.policy import create as residency

POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost, deadline, latency, residency))
MARKET = snapshot(
    offer(),
    offer(region="eu-central-1", usd_per_hour=60.0),
    offer(region="eu-central-1", usd_per_hour=20.0, billing=Billing.SPOT, interruption_rate=0.001),
)


def told(workload: Workload, market: Snapshot = MARKET, *, buyable_only: bool = False) -> tuple[str, ...]:
    made = plan(workload, market, POLICIES, PlanOptions(buyable_only=buyable_only))
    assert bool(made.conflicts) == (not made.ranked and made.considered > 0)
    return made.conflicts


def test_a_feasible_job_has_no_conflicts() -> None:
    assert told(training()) == ()


def test_two_limits_that_each_leave_something_and_together_nothing() -> None:
    job = training(limits=Limits(residency=("EU",), regions=("us-*",), budget_usd=1e6))
    assert told(job) == (
        "residency in EU and the regions us-* cannot be kept together: feasible are 2 offers with residency in EU "
        "alone and 1 offer with the regions us-* alone, none with both",
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(budget_usd=1.0), "a budget of $1.00 alone rules everything out: 3 offers are refused for budget"),
        (Limits(deadline_s=60.0), "a deadline in 0.0 h alone rules everything out: 3 offers are refused for deadline"),
        (Limits(finish_by=EPOCH - timedelta(hours=1)), "a deadline that is past alone rules everything out"),
        (Limits(residency=("CH",)), "residency in CH alone rules everything out: 3 offers are refused for residency"),
        (Limits(providers=("nobody",), budget_usd=1e6), "the providers nobody alone rules everything out"),
    ],
)
def test_one_limit_that_nothing_keeps_is_named_with_the_nearest_miss(limits: Limits, words: str) -> None:
    (sentence,) = told(training(limits=limits))
    assert sentence.startswith(words)


def test_an_answer_faster_than_light_from_where_the_data_must_be() -> None:
    target = LatencyTarget(first_token_s=0.1)
    job = inference(limits=Limits(residency=("US",), latency=target))
    (sentence,) = told(job)
    assert "residency in US" in sentence
    assert "a first token within 100 ms" in sentence


def test_a_budget_and_a_deadline_that_only_the_dear_meets() -> None:
    cheap, fast = offer(instance_type="a", usd_per_hour=2.0, available=1), offer(instance_type="b", usd_per_hour=900.0)
    job = training(limits=Limits(budget_usd=2000.0, deadline_s=6 * 3600.0))
    (sentence,) = told(job, snapshot(cheap, fast))
    assert sentence.startswith("a budget of $2,000.00 and a deadline in 6.0 h cannot be kept together")


def test_conflicts_that_share_no_limit_are_both_told() -> None:
    job = training(limits=Limits(providers=("nobody",), residency=("EU",), regions=("us-*",)))
    assert len(told(job)) == 2


def test_a_confidence_is_at_odds_with_its_deadline() -> None:
    job = training(limits=Limits(deadline_s=12 * 3600.0), settings=(Setting("deadline", "confidence", 0.99),))
    (sentence,) = told(job, snapshot(offer(available=1)))
    assert sentence.startswith(
        "a deadline in 12.0 h and the settings of policy 'deadline' cannot be kept together: feasible are 1 offer"
    )


def test_data_that_stays_and_regions_elsewhere() -> None:
    job = training(data=DataSet(location="Frankfurt", stays=True), limits=Limits(regions=("us-*",)))
    (sentence,) = told(job)
    assert sentence.startswith("the regions us-* and data that stays in Frankfurt cannot be kept together")


def test_an_empty_purse_is_named() -> None:
    purse = Spend(name="", cap_usd=10.0, starts_at=EPOCH - timedelta(days=1), ends_at=EPOCH + timedelta(days=1))
    (sentence,) = told(training(), replace(MARKET, spends=(purse,)))
    assert sentence.startswith("what is left of the budgets in the settings alone rules everything out")


def test_nothing_on_sale_is_nobodys_limit() -> None:
    gone = snapshot(offer(available=0))
    (sentence,) = told(training(limits=Limits(budget_usd=1.0)), gone)
    assert sentence.startswith("without any of the limits nothing is feasible either: 1 offer is refused for sold-out")


def test_what_can_be_bought_is_a_limit_too() -> None:
    market = replace(MARKET, buyable=())
    (sentence,) = told(training(), market, buyable_only=True)
    assert sentence.startswith("buying from the providers set up alone rules everything out")


def test_explain_says_it_too() -> None:
    job = training(limits=Limits(residency=("EU",), regions=("us-*",)))
    assert "cannot be kept together" in explain(plan(job, MARKET, POLICIES), MARKET, POLICIES).headline
