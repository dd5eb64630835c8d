"""The decision tables of spot with a deadline: hazards learned, choices, expected cost."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.planning.spot import hazard
from orchestrator.planning.spot.choose import table_for, values
from orchestrator.planning.spot.expected import expected, reasons, sheet, start
from orchestrator.planning.spot.hazard import Seen
from orchestrator.planning.spot.state import NEVER, ON_DEMAND, SPOT, WAIT, Market, State

SLOT_H = 1.0 / 6.0
ONE = Market(np.array([3.06]), np.array([[0.2]]), np.zeros((1, 1)), SLOT_H)
TWO = Market(np.array([3.0, 3.2]), np.full((2, 2), 0.2), np.array([[0.0, 0.5], [0.5, 0.0]]), SLOT_H)
PRICES = np.array([1.0, 0.8])


def watched(up: bool, slots: int, regions: int = 1) -> Seen:
    """Every region watched for some slots, always up or always away."""
    answer = np.full((1, regions), up)
    seen = hazard.look(hazard.unseen(1, regions), np.ones_like(answer), answer, SLOT_H)
    for _ in range(slots):
        seen = hazard.look(hazard.pass_time(seen, SLOT_H), np.ones_like(answer), answer, SLOT_H)
    return seen


def flapping(slots: int) -> Seen:
    """A region watched for some slots that changes in every one."""
    where = np.ones((1, 1), dtype=np.bool_)
    seen = hazard.unseen(1, 1)
    for slot in range(slots):
        seen = hazard.look(hazard.pass_time(seen, SLOT_H if slot else 0.0), where, where & bool(slot % 2), SLOT_H)
    return seen


def test_capacity_that_flaps_raises_the_hazard_and_capacity_that_stays_lowers_it() -> None:
    assert hazard.factors(flapping(60))[0][0, 0] > 1.0 > hazard.factors(watched(True, 200))[0][0, 0]


def test_a_fresh_answer_is_certain_and_fades_to_the_usual_share() -> None:
    seen = watched(True, 0)
    assert hazard.chance_up(seen)[0, 0] == 1.0
    fading = [float(hazard.chance_up(hazard.pass_time(seen, h))[0, 0]) for h in (0.5, 5.0, 5e4)]
    assert fading == sorted(fading, reverse=True)
    assert fading[-1] == pytest.approx(hazard.SHARE_UP, abs=0.05)


def test_a_gap_longer_than_what_counts_as_watched_teaches_nothing_of_lengths() -> None:
    where = np.ones((1, 1), dtype=np.bool_)
    seen = hazard.look(hazard.pass_time(watched(True, 0), 5.0), where, ~where, SLOT_H)
    assert seen.up_events[0, 0] == 0.0 == seen.up_exposure[0, 0]


def test_with_no_slack_left_the_job_goes_on_demand_even_where_spot_is_there() -> None:
    table = table_for(ONE, np.array([0.97]), 10.0, 10.3)
    state = start(1, 10.0, 10.3, np.array([0.97]))._replace(seen=watched(True, 10), region=np.array([0]))
    choice = values(table, ONE, state)
    assert (int(choice.kind[0]), int(choice.region[0])) == (ON_DEMAND, 0)
    assert choice.spot_usd[0, 0] == choice.wait_usd[0] == NEVER


def test_with_much_slack_the_job_waits_for_spot_and_takes_it_when_it_has_shown_to_last() -> None:
    table = table_for(ONE, np.array([0.97]), 10.0, 40.0)
    away = start(1, 10.0, 40.0, np.array([0.97]))._replace(seen=watched(False, 1), region=np.array([0]))
    assert int(values(table, ONE, away).kind[0]) == WAIT
    assert int(values(table, ONE, away._replace(seen=watched(True, 12))).kind[0]) == SPOT


def test_the_cheaper_region_is_asked_first_and_one_known_to_be_away_is_not_asked() -> None:
    table = table_for(TWO, PRICES, 10.0, 15.0)
    state = start(2, 10.0, 15.0, PRICES)
    first = values(table, TWO, state)
    assert (int(first.kind[0]), int(first.region[0])) == (SPOT, 1)
    where = np.array([[False, True]])
    told = state._replace(seen=hazard.look(state.seen, where, np.zeros_like(where), SLOT_H))
    second = values(table, TWO, told)
    assert (int(second.kind[0]), int(second.region[0])) == (SPOT, 0)


def test_a_market_where_spot_is_dearer_than_on_demand_is_not_asked() -> None:
    dear = np.array([4.0, 5.0])
    choice = values(table_for(TWO, dear, 10.0, 15.0), TWO, start(2, 10.0, 15.0, dear))
    assert int(choice.kind[0]) != SPOT


def test_a_price_that_rises_while_the_job_runs_makes_staying_dearer() -> None:
    table = table_for(TWO, PRICES, 10.0, 15.0)
    state: State = start(2, 10.0, 15.0, PRICES)._replace(
        mode=np.array([SPOT]), region=np.array([1]), seen=watched(True, 3, 2)
    )
    before = values(table, TWO, state).spot_usd[0, 1]
    after = values(table, TWO, state._replace(spot_usd_per_hour=np.array([[1.0, 1.6]]))).spot_usd[0, 1]
    assert after > before


def test_more_time_never_costs_more_and_less_than_on_demand_is_what_spot_is_for() -> None:
    costs = [expected(ONE, np.array([0.9731]), 48.0, time_h) for time_h in (49.0, 55.0, 70.0, 100.0)]
    assert all(cost is not None for cost in costs)
    usd = [cost.usd for cost in costs if cost]
    assert usd == sorted(usd, reverse=True)
    assert usd[-1] < 0.55 * 3.06 * 48.0
    assert all(c.low_usd <= c.usd <= c.high_usd and c.usd <= c.on_demand_usd for c in costs if c)


def test_the_hours_expected_cover_the_work_and_its_change_overs() -> None:
    cost = expected(ONE, np.array([0.9731]), 48.0, 70.0)
    assert cost is not None
    assert 48.0 < cost.spot_h + cost.on_demand_h < 60.0


def test_what_cannot_be_in_time_has_no_expected_cost() -> None:
    assert expected(ONE, np.array([0.9731]), 48.0, 48.1) is None
    assert expected(ONE, np.array([0.9731]), 0.0, 10.0) is None


def test_the_reasons_name_every_choice_in_dollars_the_best_first() -> None:
    choice = values(table_for(TWO, PRICES, 10.0, 15.0), TWO, start(2, 10.0, 15.0, PRICES))
    said = reasons(choice, ("here", "there"))
    assert [r.usd for r in said] == sorted(r.usd for r in said)
    assert {r.action for r in said} == {"wait", "on-demand in here", "spot in here", "spot in there"}
    assert said[0].action == "spot in there"


def test_the_sheet_goes_from_late_to_on_demand_to_waiting_as_time_grows() -> None:
    table = table_for(ONE, np.array([0.9731]), 20.0, 60.0)
    (row,) = sheet(table, ONE, np.array([20.0]), np.array([20.1, 20.3, 60.0]), up=False)
    assert row == ("late", "on-demand", "wait")
