"""The budget policy's arithmetic, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import Spend
from orchestrator.domain.workload import Limits, Setting, Workload
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.policy_contract import candidates_of
from policies.budget.policy import create

POLICY = create(PolicyContext())
DAY = timedelta(days=1)
# A quarter of the time has passed, and $2,600 of $10,000 are spent or spoken for.
PURSE = Spend(
    name="research",
    cap_usd=10_000.0,
    starts_at=EPOCH - 25 * DAY,
    ends_at=EPOCH + 75 * DAY,
    spent_usd=2_000.0,
    committed_usd=600.0,
)


def view(workload: Workload, *purses: Spend) -> PlanView:
    return PlanView(workload=workload, snapshot=snapshot(offer(min_billing_s=0.0), spends=purses))


def held(seen: PlanView, hours: float) -> Candidates:
    """One candidate on two nodes at $32 an hour each."""
    return replace(candidates_of(seen), hours=np.array([hours]))


def refused(workload: Workload, bill: float, *purses: Spend) -> dict[ReasonCode, str]:
    seen = view(workload, *purses)
    found = POLICY.audit(seen, candidates_of(seen), np.array([bill]))
    return {each.code: each.reason("budget", 0).detail for each in found if each.refused[0]}


def test_over_the_budget_is_refused_with_the_sum() -> None:
    told = refused(training(limits=Limits(budget_usd=600.0)), 640.0)
    assert told == {ReasonCode.BUDGET: "is expected to cost $640.00; the budget is $600.00"}


def test_exactly_the_budget_is_within_it() -> None:
    assert refused(training(limits=Limits(budget_usd=640.0)), 640.0) == {}


def test_a_purse_pays_what_is_left_of_it_and_not_a_dollar_more() -> None:
    job = training(team="research")
    assert refused(job, 7_400.0, PURSE) == {}
    assert refused(job, 7_401.0, PURSE) == {
        ReasonCode.PACE: "is expected to cost $7,401.00; of team research's $10,000.00 until 2026-03-17 $2,000.00 are "
        "spent and $600.00 committed"
    }


def test_a_purse_of_another_team_or_another_time_is_not_looked_at() -> None:
    assert refused(training(team="sales"), 1e6, PURSE) == {}
    assert refused(training(), 1e6, PURSE) == {}
    early = replace(PURSE, starts_at=EPOCH - 2 * DAY, ends_at=EPOCH)
    late = replace(PURSE, starts_at=EPOCH + DAY)
    assert refused(training(team="research"), 1e6, early, late) == {}


def test_everybodys_purse_pays_beside_the_teams() -> None:
    told = refused(training(team="sales"), 8_000.0, replace(PURSE, name=""))
    assert "of everybody's $10,000.00" in told[ReasonCode.PACE]


def test_a_team_may_be_called_anything() -> None:
    odd = replace(PURSE, name="{x}")
    assert "team {x}'s" in refused(training(team="{x}"), 1e6, odd)[ReasonCode.PACE]


@pytest.mark.parametrize(
    ("spent", "hours", "ahead"),
    [
        (2_600.0, 100.0, 2_600 + 6_400 - 2_500 - 10_000 * 100 / 2400),  # 2 nodes at $32 for 100 h are $6,400
        (0.0, 10.0, 0.0),  # $640 where $2,500 may be spent by now
        (9_000.0, 10.0, 640.0),  # all of it runs ahead, and not more than all
    ],
)
def test_dollars_ahead_of_an_even_pace_cost_extra(spent: float, hours: float, ahead: float) -> None:
    seen = view(training(team="research"), replace(PURSE, spent_usd=spent, committed_usd=0.0))
    priced = create(PolicyContext(settings={"pace_usd_per_usd": 0.5})).price(seen, held(seen, hours))
    assert priced["pace"].tolist() == pytest.approx([0.5 * ahead])


def test_the_pace_has_no_price_unless_asked_for_and_none_without_a_purse() -> None:
    seen = view(training(team="research"), PURSE)
    assert POLICY.price(seen, held(seen, 10.0)) == {}
    alone = view(training(settings=(Setting("budget", "pace_usd_per_usd", 1.0),)))
    assert POLICY.price(alone, held(alone, 10.0)) == {}


def test_a_team_without_a_purse_is_pointed_out() -> None:
    seen = view(training(team="reserch"), PURSE)
    assert POLICY.notes(seen, held(seen, 1.0)) == (
        "team 'reserch' has no budget in the settings; those that have: research",
    )
    mine = view(training(team="research"), PURSE)
    assert POLICY.notes(mine, held(mine, 1.0)) == ()


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="pace_usd_per_usd"):
        create(PolicyContext(settings={"pace": 1.0}))
    seen = view(training(settings=(Setting("budget", "pace", 1.0),)), PURSE)
    with pytest.raises(UserError, match="pace_usd_per_usd"):
        POLICY.price(seen, held(seen, 1.0))
