"""Tests of the hedge: spot replicas in zones, spares and on-demand."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.hedge import (
    HedgeRules,
    HedgeState,
    Held,
    Orders,
    Share,
    begin,
    hazards,
    hedge,
    shortfall,
)

RULES = HedgeRules((1.0, 1.0, 1.0), 3.0, 2)
NONE = (0, 0, 0)


def held(at_s: float, ready: tuple[int, ...], *, lost: tuple[int, ...] = NONE, own: int = 0) -> Held:
    """Three zones, nothing booting, nothing refused."""
    return Held(at_s, ready, NONE, lost, (False,) * 3, own, 0)


def calm(hours: float, ready: tuple[int, ...], rules: HedgeRules = RULES) -> tuple[Orders, HedgeState]:
    """The orders after hours without a loss."""
    state = begin(rules)
    for tick in range(int(hours * 12)):
        orders, state = hedge(held(300.0 * tick, ready), state, rules)
    return orders, state


def test_it_starts_on_spot_and_steps_in_on_demand_where_no_zone_has_capacity() -> None:
    orders, _ = hedge(held(0.0, NONE), begin(RULES), RULES)
    assert orders.launch >= RULES.needed
    assert orders.launch - orders.spare == RULES.needed
    assert set(orders.walk) == {0, 1, 2}


def test_one_replica_a_zone_lost_together_is_a_shortage_beyond_the_spares() -> None:
    stacked = shortfall([3, 0, 0], [1e-4] * 3, Share(whole=1.0, region=0.0), (0, 1, 2), 100.0)
    spread = shortfall([1, 1, 1], [1e-4] * 3, Share(whole=1.0, region=0.0), (0, 1, 2), 100.0)
    assert stacked[1] == pytest.approx(1.0 - np.exp(-0.01))
    assert spread[1] == pytest.approx(3.0 * (1.0 - np.exp(-0.01)) ** 2, rel=0.02)


def test_zones_of_one_region_are_lost_together_more_often_than_those_of_two() -> None:
    share = Share(whole=0.0, region=0.5)
    together = shortfall([1, 1], [1e-5] * 2, share, (0, 0), 100.0)
    apart = shortfall([1, 1], [1e-5] * 2, share, (0, 1), 100.0)
    assert together[1] > 100.0 * apart[1]


def test_a_zone_that_was_lost_is_expected_to_be_lost_again() -> None:
    _, state = calm(10.0, (1, 1, 0))
    before = hazards(state.belief)
    _, state = hedge(held(36_000.0, (0, 1, 0), lost=(1, 0, 0)), state, RULES)
    after = hazards(state.belief)
    assert after[0] > 2.0 * before[0]
    assert after[0] > 2.0 * after[1]


def test_what_was_lost_is_ordered_again_elsewhere_in_the_same_tick() -> None:
    _, state = calm(10.0, (1, 1, 0))
    orders, _ = hedge(held(36_000.0, (0, 1, 0), lost=(1, 0, 0)), state, RULES)
    assert orders.launch - orders.spare >= 1
    assert orders.walk[0] != 0


def test_on_demand_goes_only_once_spot_serves() -> None:
    state = begin(RULES)
    booting = Held(0.0, NONE, (2, 0, 0), NONE, (False,) * 3, 2, 0)
    orders, state = hedge(booting, state, RULES)
    assert orders.on_demand == 2
    orders, _ = hedge(held(150.0, (2, 0, 0), own=2), state, RULES)
    assert orders.on_demand == 0


def test_restless_zones_get_more_spares_than_calm_ones() -> None:
    _, quiet = calm(60.0, (1, 1, 0))
    state = begin(RULES)
    for tick in range(60 * 12):
        lost = (1, 0, 0) if tick % 24 == 0 else NONE
        _, state = hedge(held(300.0 * tick, (0, 1, 0) if tick % 24 == 0 else (1, 1, 0), lost=lost), state, RULES)
    assert quiet.spares + quiet.base < state.spares + state.base


def test_a_replica_moves_away_from_a_zone_that_proved_restless() -> None:
    state = begin(RULES)
    launches = 0
    for tick in range(150):
        lost = (1, 0, 0) if tick % 12 == 0 else NONE
        count = 2 + state.spares
        ready = (1, count - 1, 0)
        orders, state = hedge(held(300.0 * tick, ready, lost=lost), state, RULES)
        launches += orders.launch > 0 and orders.walk[0] != 0 and not any(lost)
    assert launches > 0


@pytest.mark.parametrize(
    "rules",
    [
        RULES._replace(needed=0),
        RULES._replace(usd_per_hour=()),
        RULES._replace(target=1.0),
        RULES._replace(usd_per_hour=(float("nan"), 1.0, 1.0)),
        RULES._replace(tick_s=0.0),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: HedgeRules) -> None:
    with pytest.raises(UserError):
        begin(rules)


def test_prices_of_zero_are_no_trouble() -> None:
    rules = RULES._replace(usd_per_hour=(0.0, 0.0, 0.0), on_demand_usd_per_hour=0.0)
    orders, _ = hedge(held(0.0, NONE), begin(rules), rules)
    assert orders.launch >= 0
