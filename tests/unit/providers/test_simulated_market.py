from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from math import inf, log
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.offer import Billing
from orchestrator.testing.clock import EPOCH
from providers.simulated.market import CEILING, FLOOR, STEP_S, boots_s, free, lasts_s, offer_of, price
from providers.simulated.pools import pools
from providers.simulated.settings import MarketName

DEMO, WORLD = pools(MarketName.DEMO), pools(MarketName.WORLD)
SPOT = next(pool for pool in WORLD if pool.billing is Billing.SPOT)
TIMES = st.floats(-1e8, 1e9)


def _market(seed: int, at_s: float) -> list[tuple[float, int]]:
    return [(price(pool, seed=seed, at_s=at_s), free(pool, seed=seed, at_s=at_s, held=0)) for pool in WORLD]


@settings(max_examples=25)
@given(st.integers(0, 2**40), TIMES, st.randoms())
def test_the_same_seed_and_time_are_the_same_market_in_any_order(seed: int, at_s: float, random) -> None:
    shuffled = list(WORLD)
    random.shuffle(shuffled)
    backwards = {pool.key: offer_of(pool, seed=seed, at_s=at_s, held=0, now=EPOCH) for pool in shuffled}
    price(SPOT, seed=seed, at_s=at_s + 1e5)  # looking elsewhere in between changes nothing
    for pool in WORLD:
        assert offer_of(pool, seed=seed, at_s=at_s, held=0, now=EPOCH) == backwards[pool.key]


def test_another_process_sees_the_same_market() -> None:
    code = (
        "from providers.simulated.market import free, price\n"
        "from providers.simulated.pools import pools\n"
        "from providers.simulated.settings import MarketName\n"
        "print([(price(p, seed=5, at_s=1e6), free(p, seed=5, at_s=1e6, held=0)) for p in pools(MarketName.WORLD)])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == str(_market(5, 1e6))


def test_the_market_of_a_seed_never_changes() -> None:
    """Plans in bug reports were made from it: a change of these numbers is a change of everybody's market."""
    spot = [pool for pool in DEMO if pool.billing is Billing.SPOT]
    assert [price(pool, seed=0, at_s=0.0) for pool in spot] == [0.0296, 0.0349, 0.0341]


def test_seeds_differ() -> None:
    assert len({str(_market(seed, 0.0)) for seed in range(20)}) == 20


def test_prices_change_from_step_to_step_and_not_within_one() -> None:
    steps = [price(SPOT, seed=1, at_s=step * STEP_S) for step in range(50)]
    assert len(set(steps)) > 40
    assert price(SPOT, seed=1, at_s=STEP_S * 7) == price(SPOT, seed=1, at_s=STEP_S * 8 - 0.001)


def test_a_spot_price_returns_to_its_mean_and_remembers_the_step_before() -> None:
    calm = replace(SPOT, on_demand_usd_per_hour=1e6, usd_per_hour=10.0, volatility=0.1)
    path = [log(price(calm, seed=3, at_s=step * STEP_S) / 10.0) for step in range(4000)]
    assert abs(fmean(path)) < 0.03
    assert stdev(path) == pytest.approx(0.1, rel=0.15)
    moves = [after - before for before, after in pairwise(path)]
    assert stdev(moves) == pytest.approx(0.1 * (2 * (1 - 0.95)) ** 0.5, rel=0.1)  # of an AR(1) of persistence 0.95


@given(st.sampled_from(DEMO + WORLD), st.integers(0, 1000), TIMES)
def test_spot_stays_between_its_floor_and_the_on_demand_price(pool, seed: int, at_s: float) -> None:
    if pool.billing is Billing.SPOT:
        pool = replace(pool, volatility=2.0)  # so wild that the bounds are met often
    seen = price(pool, seed=seed, at_s=at_s)
    if pool.billing is Billing.SPOT:
        assert FLOOR * pool.usd_per_hour - 1e-4 <= seen <= CEILING * pool.on_demand_usd_per_hour + 1e-4
    else:
        assert seen == pool.usd_per_hour


@given(st.sampled_from(DEMO + WORLD), st.integers(0, 1000), TIMES, st.integers(0, 100))
def test_what_is_free_and_what_is_held_never_pass_the_capacity(pool, seed: int, at_s: float, held: int) -> None:
    left = free(pool, seed=seed, at_s=at_s, held=held)
    assert left >= 0
    assert left == 0 or left + held <= pool.capacity


def test_the_world_is_sold_out_at_times_and_the_demo_never() -> None:
    times = [hour * 3600.0 for hour in range(100)]
    assert any(free(pool, seed=0, at_s=at_s, held=0) == 0 for pool in WORLD for at_s in times)
    assert all(free(pool, seed=0, at_s=at_s, held=0) == pool.capacity for pool in DEMO for at_s in times)


def test_machines_without_a_hazard_last_for_ever() -> None:
    assert {lasts_s(pool, seed=0, serial=1, nodes=4) for pool in WORLD if pool.billing is not Billing.SPOT} == {inf}


def test_lifetimes_follow_the_hazard_and_more_nodes_are_lost_sooner() -> None:
    lives = [lasts_s(SPOT, seed=0, serial=serial, nodes=1) / 3600 for serial in range(3000)]
    assert fmean(lives) == pytest.approx(1 / SPOT.hazard_per_hour, rel=0.06)
    assert stdev(lives) == pytest.approx(1 / SPOT.hazard_per_hour, rel=0.1)  # exponential: as wide as it is long
    alone, among_four = (lasts_s(SPOT, seed=0, serial=9, nodes=nodes) for nodes in (1, 4))
    assert among_four == pytest.approx(alone / 4)


def test_boots_vary_by_a_quarter_either_way() -> None:
    boots = [boots_s(SPOT, seed=0, serial=serial) / SPOT.boot_s for serial in range(500)]
    assert 0.75 <= min(boots) < 0.77
    assert 1.23 < max(boots) <= 1.25


def test_the_demo_sells_this_machines_processor_in_three_regions_and_spot_is_cheaper() -> None:
    assert {pool.accelerator for pool in DEMO} == {"cpu"}
    assert {pool.region for pool in DEMO} == {"sim-west", "sim-east", "sim-north"}
    for spot, steady in zip(DEMO[1::2], DEMO[::2], strict=True):
        assert (spot.billing, steady.billing, spot.region) == (Billing.SPOT, Billing.ON_DEMAND, steady.region)
        assert spot.usd_per_hour < steady.usd_per_hour
