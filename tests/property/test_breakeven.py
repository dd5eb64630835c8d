"""Break-even volumes and hours against the costs that they are about."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.sizing.breakeven import (
    Hosting,
    Site,
    against_api,
    api_usd_per_hour,
    own_from_hours,
    payback_months,
)
from orchestrator.sizing.energy import HOURS_PER_YEAR

usd = st.floats(0.01, 1e3)
hostings = st.builds(Hosting, usd_per_hour=usd, tokens_per_hour=st.floats(1e3, 1e9))
sites = st.builds(
    Site,
    capex_usd=st.floats(100, 1e6),
    years=st.floats(1, 10),
    opex_share=st.floats(0, 0.5),
    cost_of_capital=st.one_of(st.just(0.0), st.floats(1e-6, 0.3)),
    kw=st.floats(0, 2),
    pue=st.floats(1, 2),
    usd_per_kwh=st.floats(0.01, 1),
)


@given(hostings, usd)
def test_at_the_break_even_volume_both_cost_the_same(hosting: Hosting, price: float) -> None:
    volumes = against_api(hosting, price)
    assume(isfinite(volumes.first))
    assert hosting.cost_per_hour(volumes.first) == pytest.approx(api_usd_per_hour(volumes.first, price))
    if isfinite(volumes.for_good):
        api = api_usd_per_hour(volumes.for_good, price)
        # The volume may lie where one more replica is just not taken yet.
        costs = [hosting.cost_per_hour(volumes.for_good * (1 + nudge)) for nudge in (0.0, 1e-9)]
        assert api in [pytest.approx(cost) for cost in costs]


@given(hostings, usd, st.floats(0.001, 0.999))
def test_below_the_first_volume_the_api_is_cheaper(hosting: Hosting, price: float, part: float) -> None:
    volumes = against_api(hosting, price)
    volume = part * (volumes.first if isfinite(volumes.first) else 1e12)
    assert api_usd_per_hour(volume, price) < hosting.cost_per_hour(volume)


@given(hostings, st.floats(0.05, 0.98), st.floats(1, 4))
def test_above_the_last_volume_it_never_is(hosting: Hosting, share: float, times: float) -> None:
    price = hosting.usd_per_1m / share
    volume = against_api(hosting, price).for_good * times
    assert hosting.cost_per_hour(volume) <= api_usd_per_hour(volume, price) * (1 + 1e-6)


@given(hostings, usd, st.floats(1.0, 10.0))
def test_a_dearer_api_moves_the_break_even_down(hosting: Hosting, price: float, times: float) -> None:
    cheap, dear = against_api(hosting, price), against_api(hosting, price * times)
    assert dear.first <= cheap.first * (1 + 1e-12)
    assert dear.for_good <= cheap.for_good * (1 + 1e-9) or cheap.for_good == inf


@given(sites, usd)
def test_at_the_break_even_hours_owning_and_renting_cost_the_same(site: Site, rent: float) -> None:
    hours = own_from_hours(site, rent)
    assume(1e-3 < hours <= HOURS_PER_YEAR)
    assert site.usd_per_gpu_hour(hours / HOURS_PER_YEAR) == pytest.approx(rent)


@given(sites, usd, st.floats(1.0, 10.0))
def test_a_dearer_rent_makes_owning_pay_sooner(site: Site, rent: float, times: float) -> None:
    assert own_from_hours(site, rent * times) <= own_from_hours(site, rent)
    assert payback_months(site, rent * times, 0.5) <= payback_months(site, rent, 0.5) * (1 + 1e-9)


@given(sites, usd, st.floats(0.05, 1.0))
def test_owning_pays_back_within_its_life_where_and_only_where_it_is_cheaper(
    site: Site, rent: float, utilisation: float
) -> None:
    free = replace(site, cost_of_capital=0.0)  # with interest, paying monthly and paying yearly differ a little
    cheaper = free.usd_per_gpu_hour(utilisation) / rent
    assume(abs(cheaper - 1) > 1e-6)
    assert (payback_months(free, rent, utilisation) < free.years * 12.0) == (cheaper < 1)
