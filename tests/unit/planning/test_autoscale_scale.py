"""Tests of the load forecast and of how many replicas there shall be."""

from __future__ import annotations

from math import nan, sin

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.forecast import (
    FORECASTERS,
    Forecast,
    History,
    Look,
    Outlook,
    forecast,
    highest,
    learn,
    normal_quantile,
)
from orchestrator.planning.autoscale.queueing import Mix, Promise, Replica, replicas_for, saturation
from orchestrator.planning.autoscale.scale import Decision, Rules, Seen, State, replicas

REPLICA = Replica(0.02, 1 / 12_000, 0.00015, 768, 96)
MIX = Mix(1000, 200)
RULES = Rules(REPLICA, MIX, 20.0, Promise(2.0, 0.99), boot_s=120.0, tick_s=10.0)
OUTLOOK = Outlook(130.0, 0.05)


def seen(at_s: float, rate: float, count: int, *, waiting: int = 0, elapsed_s: float = 10.0) -> Seen:
    """A tick of steady traffic."""
    arrivals = round(rate * elapsed_s)
    return Seen(at_s, elapsed_s, arrivals, arrivals * 1000, arrivals, arrivals * 200, waiting, count)


def steady(rates: list[float], rules: Rules = RULES, count: int = 5) -> list[Decision]:
    """The decisions over ticks with these rates, each carried out."""
    state, decisions = State(), []
    for tick, rate in enumerate(rates):
        decision, state = replicas(seen(10.0 * (tick + 1), rate, count), state, rules)
        count = decision.replicas
        decisions.append(decision)
    return decisions


def test_normal_quantiles_are_those_of_the_tables() -> None:
    assert normal_quantile(0.5) == pytest.approx(0.0, abs=1e-9)
    assert normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-5)


def test_a_steady_load_is_foretold_as_it_is_with_a_spread_that_shrinks() -> None:
    history = History()
    spreads = []
    for tick in range(600):
        history = learn(history, 10.0 * tick, 8.0, OUTLOOK)
        spreads.append(forecast(history, OUTLOOK).spread)
    assert forecast(history, OUTLOOK).middle == pytest.approx(8.0, rel=0.02)
    assert spreads[-1] <= spreads[0]


def test_a_load_that_jumps_about_gets_a_wider_bound_than_a_steady_one() -> None:
    calm, wild = History(), History()
    for tick in range(720):
        calm = learn(calm, 10.0 * tick, 8.0, OUTLOOK)
        wild = learn(wild, 10.0 * tick, 8.0 + 4.0 * sin(tick / 9.0), OUTLOOK)
    assert forecast(wild, OUTLOOK).spread > 2.0 * forecast(calm, OUTLOOK).spread


def test_the_day_before_foretells_a_rise_that_the_level_cannot_see() -> None:
    outlook = Outlook(1800.0, 0.05, season_s=86_400.0)
    history = History()
    for tick in range(2 * 1440):
        hour = tick % 1440 / 60.0
        history = learn(history, 60.0 * tick, 20.0 if 8.0 <= hour < 20.0 else 4.0, outlook)
    history = learn(history, 2 * 86_400.0 + 7.75 * 3600.0, 4.0, outlook)
    assert forecast(history, outlook).by == "season"
    assert forecast(history, outlook).middle > 10.0


def test_a_short_peak_needs_less_capacity_where_requests_may_wait() -> None:
    looks = (Look(10.0, 10.0, 5.0), Look(20.0, 10.0, 10.0), Look(30.0, 10.0, 5.0))
    assert highest(looks, 0.0) == pytest.approx(10.0)
    assert highest(looks, 10.0) == pytest.approx(5.0)


def test_the_same_tick_twice_changes_nothing() -> None:
    history = learn(learn(History(), 0.0, 3.0, OUTLOOK), 10.0, 4.0, OUTLOOK)
    assert learn(history, 10.0, 9.0, OUTLOOK) == history


@pytest.mark.parametrize("load", [-1.0, nan])
def test_loads_that_are_none_are_refused(load: float) -> None:
    with pytest.raises(UserError, match="finite and at least 0"):
        learn(History(), 0.0, load, OUTLOOK)


def test_the_bound_grows_with_the_certainty() -> None:
    ahead = Forecast(5.0, 5.0, 0.1, 0.05, FORECASTERS[0])
    assert ahead.upper(0.99) > ahead.upper(0.9) > ahead.middle


def test_a_service_is_never_below_what_its_own_model_needs_now() -> None:
    rates = [20.0 + 15.0 * sin(tick / 20.0) for tick in range(400)]
    for rate, decision in zip(rates[60:], steady(rates)[60:], strict=True):
        level = decision.now * saturation(REPLICA, MIX)
        assert decision.replicas >= replicas_for(level, REPLICA, MIX, RULES.promise)
        assert rate > 0.0


def test_nothing_is_removed_before_enough_was_seen() -> None:
    decisions = steady([1.0] * 20, count=9)
    assert {decision.replicas for decision in decisions} == {9}
    assert decisions[-1].why == "too little seen to remove a replica"


def test_replicas_go_once_the_load_is_known_to_be_low() -> None:
    assert steady([8.0] * 60, count=9)[-1].replicas == 2


def test_longer_prompts_need_more_replicas_at_the_same_rate() -> None:
    state, count = State(), 5
    for tick in range(60):
        look = seen(10.0 * (tick + 1), 20.0, count)
        decision, state = replicas(look._replace(prompt_tokens=look.prompt_tokens * 3), state, RULES)
        count = decision.replicas
    assert count > steady([20.0] * 60)[-1].replicas


def test_requests_that_wait_add_replicas() -> None:
    state, few = State(), 0
    for tick in range(60):
        decision, state = replicas(seen(10.0 * (tick + 1), 20.0, 5), state, RULES)
        few = decision.replicas
    decision, _ = replicas(seen(610.0, 20.0, 5, waiting=2_000), state, RULES)
    assert decision.replicas > few


def test_a_replica_is_held_for_the_billing_increment() -> None:
    rules = RULES._replace(hold_s=3_600.0)
    rates = [20.0] * 40 + [40.0] * 10 + [5.0] * 100
    assert steady(rates, rules)[-1].replicas == max(decision.replicas for decision in steady(rates, rules))


def test_a_service_goes_to_zero_when_idling_has_cost_as_much_as_a_cold_start() -> None:
    rules = RULES._replace(least=0, usd_per_hour=3.6, cold_start_usd=0.36)  # 360 s of a replica, and its boot
    decisions = steady([5.0] * 60 + [0.0] * 60, rules, count=2)
    idle = [tick for tick, decision in enumerate(decisions) if decision.replicas == 0]
    assert idle[0] == 60 + 48 - 1
    assert decisions[idle[0]].why.startswith("idle for 480 s")


def test_without_a_priced_cold_start_a_service_never_goes_to_zero() -> None:
    assert steady([5.0] * 60 + [0.0] * 600, RULES._replace(least=0), count=2)[-1].replicas == 1


def test_the_first_request_wakes_a_service() -> None:
    rules = RULES._replace(least=0, usd_per_hour=3.6, cold_start_usd=0.0)
    decisions = steady([5.0] * 60 + [0.0] * 60 + [1.0], rules, count=2)
    assert decisions[-2].replicas == 0
    assert decisions[-1].replicas >= 1


def test_bounds_are_kept() -> None:
    assert steady([500.0] * 40, RULES._replace(most=7))[-1].replicas == 7
    assert steady([0.0] * 90, RULES._replace(least=3))[-1].replicas == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"least": 3, "most": 2}, "contradict each other"), ({"certainty": 1.0}, "between 0 and 1")],
)
def test_rules_that_contradict_themselves_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replicas(seen(10.0, 1.0, 1), State(), RULES._replace(**change))  # type: ignore[arg-type]


@pytest.mark.parametrize("elapsed_s", [0.0, -1.0, nan])
def test_ticks_without_length_are_refused(elapsed_s: float) -> None:
    with pytest.raises(UserError, match="over 0 s"):
        replicas(seen(10.0, 1.0, 1)._replace(elapsed_s=elapsed_s), State(), RULES)
