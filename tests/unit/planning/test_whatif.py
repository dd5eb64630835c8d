"""What if: edits of the market, and what they do to a plan."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.workload import Limits
from orchestrator.planning.plan import plan
from orchestrator.planning.whatif import Market, WhatIf, what_if
from orchestrator.testing.builders import offer, snapshot, training
from policies.budget.policy import create as create_budget
from policies.cost.policy import create as create_cost

POLICIES: tuple[Policy, ...] = (create_budget(PolicyContext()), create_cost(PolicyContext()))
MARKET = snapshot(
    offer(),
    offer(billing=Billing.SPOT, usd_per_hour=20.0, available=None),
    offer(region="eu-central-1", usd_per_hour=40.0),
    offer(provider="zed", region="zed-1", usd_per_hour=50.0),
)
JOB = training()
MADE = plan(JOB, MARKET, POLICIES)


def asked(market: Market) -> WhatIf:
    return what_if(MADE, JOB, market.snapshot, POLICIES, [edit.words for edit in market.edits])


def test_a_price_that_falls_moves_the_choice_and_says_by_how_much() -> None:
    market = Market(MARKET)
    market.price("zed=-90%")
    told = asked(market)
    assert told.headline.startswith("the choice moves to 1x zed zed-1 h100.8x on-demand, at -$")
    assert told.before is not None
    assert told.after is not None
    assert told.more_usd == pytest.approx(told.after.objective_usd - told.before.objective_usd)
    assert sum(each.usd for each in told.differences) == pytest.approx(told.more_usd, abs=0.02)
    assert (told.moves[0].offer, told.moves[0].before, told.moves[0].after) == ("zed zed-1 h100.8x on-demand", 4, 1)


def test_a_price_is_set_by_node_and_hour() -> None:
    market = Market(MARKET)
    market.price("acme spot=$7.50/h")
    assert sorted(market.snapshot.book.usd_per_hour.tolist()) == [7.5, 32.0, 40.0, 50.0]
    assert market.edits[0].offers == 1


def test_no_edit_is_the_same_plan() -> None:
    told = asked(Market(MARKET))
    assert told.before == told.after
    assert (told.more_usd, told.differences, told.moves, told.shifts) == (0.0, (), (), ())
    assert told.headline.startswith("the choice stays")


def test_a_region_that_is_sold_out_is_refused_for_it() -> None:
    market = Market(MARKET)
    market.sold_out("us-east-1")
    told = asked(market)
    assert (told.feasible_before, told.feasible_after) == (4, 2)
    assert [(s.code, s.before, s.after) for s in told.shifts] == [(ReasonCode.SOLD_OUT, 0, 2)]
    assert told.after is not None
    assert told.after.parts[0].offer.region == "eu-central-1"


def test_a_provider_can_be_left_out_after_a_price_was_set_there() -> None:
    market = Market(MARKET)
    market.price("zed=-90%")
    market.price("eu-central-1=-50%")
    market.without("ZED")
    assert {market.snapshot.book.provider[row] for row in range(3)} == {"acme"}
    with pytest.raises(UserError, match="change the same offers"):
        market.price("acme=+10%")


def test_more_nodes_are_added_where_somebody_says_how_many_there_are() -> None:
    market = Market(MARKET)
    market.add_nodes("acme=+16")
    stock = market.snapshot.book.available
    assert sorted(stock.tolist()) == [-1, 4, 20, 20]
    with pytest.raises(UserError, match="enough are assumed already"):
        Market(MARKET).add_nodes("spot=+16")
    exact = Market(MARKET)
    exact.add_nodes("spot=3")
    assert 3 in exact.snapshot.book.available.tolist()


def test_a_job_that_becomes_infeasible_or_feasible_says_so() -> None:
    tight = replace(JOB, limits=Limits(budget_usd=1.0))
    told = what_if(MADE, tight, MARKET, POLICIES, ["limits.budget = 1"])
    assert told.headline == f"nothing would be feasible; now it is {MADE.ranked[0].label}"
    back = what_if(plan(tight, MARKET, POLICIES), JOB, MARKET, POLICIES, ["no budget"])
    assert back.headline == f"feasible then: {MADE.ranked[0].label}"
    assert back.more_usd is None


@pytest.mark.parametrize(
    ("edit", "text", "message"),
    [
        ("price", "acme=20%", "write OFFER=-20%"),
        ("price", "acme", "write OFFER=-20%"),
        ("price", "acme=-100%", "leaves no price"),
        ("price", "acme=$0/h", "more than 0"),
        ("price", "amce=-20%", "no offer matches; known and similar: acme"),
        ("sold_out", "us-eest-1", "no offer matches; known and similar: us-east-1"),
        ("sold_out", "", "no offer matches"),
        ("without", "zedd", "no such provider; known and similar: zed"),
        ("add_nodes", "acme=-3", r"write OFFER=\+16"),
        ("add_nodes", "=3", r"write OFFER=\+16"),
    ],
)
def test_an_edit_that_makes_no_sense_or_matches_nothing_is_refused(edit: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        getattr(Market(MARKET), edit)(text)


def test_two_edits_of_one_price_contradict_each_other() -> None:
    market = Market(MARKET)
    market.price("acme=-20%")
    with pytest.raises(UserError, match=r"'spot=\$3/h' and 'acme=-20%' change the same offers"):
        market.price("spot=$3/h")
    market.sold_out("spot")  # a price and a stock are two things
    assert np.count_nonzero(market.snapshot.book.available == 0) == 1
