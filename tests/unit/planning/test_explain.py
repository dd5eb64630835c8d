"""Explanations of plans, and whether a plan still holds."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import Infeasible, UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.domain.workload import Limits
from orchestrator.planning.explain import explain, money
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.planning.validity import still_valid
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as create_budget
from policies.cost.policy import create
from policies.spot.policy import create as create_spot

POLICIES: tuple[Policy, ...] = (create_budget(PolicyContext()), create(PolicyContext()), create_spot(PolicyContext()))
MARKET = snapshot(
    offer(),
    offer(region="eu-central-1", usd_per_hour=40.0),
    offer(region="eu-central-1", usd_per_hour=20.0, billing=Billing.SPOT, interruption_rate=0.1),
    offer(provider="zed", accelerator="X1", instance_type="x1.big"),
    offer(instance_type="gone", available=0),
)
MADE = plan(training(), MARKET, POLICIES)


def test_without_a_question_it_says_why_the_best_and_why_not_the_next() -> None:
    told = explain(MADE, MARKET, POLICIES)
    assert told.headline.startswith("1x acme eu-central-1 h100.8x spot has the least objective of 3 feasible offers: $")
    assert [finding.rank for finding in told.findings] == [1, 2, 3]
    second = told.findings[1]
    assert second.sentence.startswith("no. 2: costs $")
    assert "compute +$" in second.sentence
    assert "interruption -$" in second.sentence


def test_the_differences_of_the_terms_add_up_to_that_of_the_objectives() -> None:
    told = explain(MADE, MARKET, POLICIES)
    best = told.findings[0].placement
    for finding in told.findings[1:]:
        assert best is not None
        assert finding.placement is not None
        apart = finding.placement.objective_usd - best.objective_usd
        assert sum(part.usd for part in finding.differences) == pytest.approx(apart, abs=0.02)


@pytest.mark.parametrize("query", ["zed", "X1", "x1.big", "us-east-1 x1", "zed us-east-1 x1.big on-demand", "x1.*"])
def test_a_refused_offer_is_found_by_any_of_its_words_and_says_why(query: str) -> None:
    told = explain(MADE, MARKET, POLICIES, query)
    (finding,) = told.findings
    assert finding.reason is not None
    assert finding.reason.code is ReasonCode.UNKNOWN_ACCELERATOR
    assert finding.sentence == ("refused by planning (unknown-accelerator): no facts are held about a device 'X1'")
    assert [(refusal.code, refusal.count) for refusal in told.refusals] == [(ReasonCode.UNKNOWN_ACCELERATOR, 1)]


def test_a_used_offer_is_found_by_the_label_the_plan_shows() -> None:
    label = MADE.ranked[2].label
    told = explain(MADE, MARKET, POLICIES, label)
    assert [finding.rank for finding in told.findings] == [3]
    assert told.findings[0].placement == MADE.ranked[2]


def test_a_provider_shows_its_used_offers_first_and_then_the_refused() -> None:
    told = explain(MADE, MARKET, POLICIES, "acme")
    assert told.matched == 4
    assert [finding.rank for finding in told.findings] == [1, 2, 3, None]
    assert told.headline == "4 offers match 'acme': 3 feasible, 1 refused; the best of them is no. 1 of 3"


def test_what_matches_nothing_gets_the_nearest_spellings() -> None:
    told = explain(MADE, MARKET, POLICIES, "h100.8xx")
    assert (told.matched, told.findings, told.suggestions[0]) == (0, (), "h100.8x")
    assert told.headline.startswith("no offer matches 'h100.8xx'; known and similar: h100.8x")


def test_an_infeasible_plan_says_what_was_in_the_way() -> None:
    job = training(limits=Limits(budget_usd=1.0))
    told = explain(plan(job, MARKET, POLICIES), MARKET, POLICIES)
    assert told.headline.startswith("none of 5 offers is feasible; most often, 3 times, because of budget (budget): ")
    assert "the budget is $1.00" in told.headline


def test_an_empty_market_is_said_to_be_empty() -> None:
    empty = replace(MARKET, book=MARKET.book.where(MARKET.book.available > 99))
    assert "no offers" in explain(plan(training(), empty, POLICIES), empty, POLICIES).headline


def test_equal_offers_are_told_apart_by_the_tie_break() -> None:
    market = snapshot(offer(zone="a"), offer(zone="b"))
    told = explain(plan(training(), market, POLICIES), market, POLICIES)
    assert "tie-break" in told.findings[1].sentence


def test_a_plan_for_purchase_is_explained_as_one() -> None:
    market = replace(MARKET, buyable=("zed",))
    made = plan(training(), market, POLICIES, PlanOptions(buyable_only=True))
    told = explain(made, market, POLICIES, "eu-central-1 spot")
    assert told.findings[0].reason is not None
    assert told.findings[0].reason.code is ReasonCode.NOT_BUYABLE


def test_another_snapshot_or_other_policies_explain_nothing() -> None:
    with pytest.raises(UserError, match="snapshot"):
        explain(MADE, snapshot(), POLICIES)
    with pytest.raises(UserError, match="policies"):
        explain(MADE, MARKET, ())


@pytest.mark.parametrize(
    ("usd", "text"), [(1234.5, "+$1,234.50"), (-3.0, "-$3.00"), (0.0004, "+$0.0004"), (0.0, "+$0.00")]
)
def test_money_reads_as_money(usd: float, text: str) -> None:
    assert money(usd, sign=True) == text


def fresh(**changes: object) -> Snapshot:
    """The market a minute later, the best offer changed."""
    best = replace(MADE.ranked[0].parts[0].offer, **changes)  # type: ignore[arg-type]
    others = [other for other in MARKET.book if other.label != best.label]
    return replace(snapshot(*others, best), taken_at=EPOCH + timedelta(minutes=1))


def test_a_plan_holds_over_the_same_market() -> None:
    assert still_valid(MADE, MARKET) == ()


@pytest.mark.parametrize("usd", [20.9, 20.0, 1.0])
def test_a_price_within_tolerance_or_lower_is_no_matter(usd: float) -> None:
    assert still_valid(MADE, fresh(usd_per_hour=usd)) == ()


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"usd_per_hour": 22.0}, ReasonCode.PRICE_MOVED, "the price rose from 20 to 22 USD/h; 5% is tolerated"),
        ({"usd_per_hour": float("nan")}, ReasonCode.PRICE_MOVED, "nan"),
        ({"available": 0}, ReasonCode.SOLD_OUT, "needs 1 nodes, 0 on sale now"),
        ({"instance_type": "other"}, ReasonCode.SOLD_OUT, "no longer on the market"),
    ],
)
def test_a_market_that_moved_is_said(changes: dict[str, object], code: ReasonCode, detail: str) -> None:
    market = fresh(**changes)
    if "instance_type" in changes:
        market = replace(market, book=market.book.where(~market.book.billing.isin(frozenset({"spot"}))))
    (reason,) = still_valid(MADE, market)
    assert reason.code is code
    assert detail in reason.detail


def test_a_provider_that_fell_silent_cannot_be_bought_from() -> None:
    silent = replace(MARKET, buyable=("zed",), gaps=(Gap("acme", "no answer within 5 s"),))
    (reason,) = still_valid(MADE, silent)
    assert (reason.code, reason.detail) == (
        ReasonCode.NOT_BUYABLE,
        "acme cannot be bought from now: no answer within 5 s",
    )


def test_a_moment_to_finish_by_comes_nearer() -> None:
    job = training(limits=Limits(finish_by=EPOCH + timedelta(hours=40)))
    made = plan(job, MARKET, POLICIES)
    assert still_valid(made, replace(MARKET, taken_at=EPOCH)) == ()
    (reason,) = still_valid(made, replace(MARKET, taken_at=EPOCH + timedelta(hours=39)))
    assert reason.code is ReasonCode.DEADLINE


def test_nothing_to_hold_is_infeasible() -> None:
    with pytest.raises(Infeasible):
        still_valid(plan(training(limits=Limits(budget_usd=1.0)), MARKET, POLICIES), MARKET)
