"""Break-even: the published figures, and cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from orchestrator.sizing.breakeven import (
    Hosting,
    Site,
    against_api,
    annuity,
    blended_usd,
    curve,
    device_price,
    own_from_hours,
    pair,
    payback_months,
    rent_usd_per_year,
)
from orchestrator.sizing.parameters import bundled

SITE = Site(
    capex_usd=40_000.0,
    years=4.0,
    opex_share=0.1,
    cost_of_capital=0.0,
    kw=0.7,
    pue=1.25,
    usd_per_kwh=0.1,
)


def test_two_cards_draw_3500_kwh_more_a_year_and_about_1000_dollars_more_in_three_years() -> None:
    told = pair(bundled(), usd_per_kwh=0.10)
    assert told.more_kwh_per_year == pytest.approx(3500, rel=0.01)  # per year: over three years it is 10 512
    assert told.more_usd == pytest.approx(1000, rel=0.06)
    # "nearly 2x" is of one card's price; of the price of the two it is 1.44
    assert 1 + told.more_usd / told.card_usd == pytest.approx(1.88, abs=0.01)
    assert 1 + told.more_usd / (2 * told.card_usd) == pytest.approx(1.44, abs=0.01)
    assert told.cards_total_usd < told.device_total_usd
    assert told.cards_total_usd == pytest.approx(2 * 1199 + 0.7 * 8760 * 3 * 0.1)


def test_owning_begins_to_be_worth_a_look_at_fifty_million_dollars_a_year() -> None:
    rule = bundled()["breakeven.own_from_usd_per_year"]
    assert rule == 50e6
    gpus = rule / rent_usd_per_year(1.0, 2.0, 1.0)
    assert gpus == pytest.approx(2854, abs=1)  # at $2 a GPU-hour, all year


def test_a_price_of_prompts_and_one_of_answers_are_weighted_by_their_tokens() -> None:
    assert blended_usd(1000, 250, 1.0, 6.0) == pytest.approx(2.0)
    assert blended_usd(7, 5, 3.0, 3.0) == pytest.approx(3.0)


def test_half_a_replica_of_work_breaks_even_where_the_api_takes_twice_the_price_of_a_full_one() -> None:
    hosting = Hosting(usd_per_hour=10.0, tokens_per_hour=5e6)  # $2 per 1e6 when full
    volumes = against_api(hosting, 4.0)
    assert volumes.first == pytest.approx(2.5e6)
    assert volumes.share_of_replica == pytest.approx(0.5)
    assert volumes.for_good == volumes.first  # a second replica is paid for as soon as it is there


def test_whole_replicas_can_make_the_api_cheaper_again() -> None:
    hosting = Hosting(usd_per_hour=10.0, tokens_per_hour=5e6)
    volumes = against_api(hosting, 2.5)  # a full replica takes 0.8 of the API's price
    assert volumes.first == pytest.approx(4e6)
    just_after = curve(hosting, 2.5, [5.1e6])[0]
    assert just_after.replicas == 2
    assert just_after.api_usd_per_hour < just_after.own_usd_per_hour
    assert volumes.for_good == pytest.approx(16e6)  # of four replicas; from five on the next one pays at once
    assert all(p.own_usd_per_hour <= p.api_usd_per_hour for p in curve(hosting, 2.5, [16.1e6, 20.1e6, 25.1e6, 99e6]))


def test_an_api_below_the_price_of_a_full_replica_is_never_beaten() -> None:
    volumes = against_api(Hosting(usd_per_hour=10.0, tokens_per_hour=5e6), 1.9)
    assert (volumes.first, volumes.for_good) == (inf, inf)
    level = against_api(Hosting(usd_per_hour=10.0, tokens_per_hour=5e6), 2.0)
    assert level.first == pytest.approx(5e6)
    assert level.for_good == inf


def test_an_owned_gpu_hour_is_depreciation_staff_and_power() -> None:
    assert SITE.fixed_usd_per_year == pytest.approx(14_000.0)
    assert SITE.energy_usd_per_hour == pytest.approx(0.0875)
    assert SITE.usd_per_gpu_hour(1.0) == pytest.approx(14_000 / 8760 + 0.0875)
    assert SITE.usd_per_gpu_hour(0.5) == pytest.approx(2 * 14_000 / 8760 + 0.0875)


def test_owning_breaks_even_where_the_rent_saved_pays_the_fixed_costs() -> None:
    hours = own_from_hours(SITE, 2.0875)
    assert hours == pytest.approx(7000.0)
    assert own_from_hours(SITE, 0.08) == inf  # the power alone costs more than the rent


def test_the_capex_is_paid_back_by_the_rent_saved() -> None:
    # 365 h a month at $4 less power, less $333 of staff
    assert payback_months(SITE, 4.0875, 0.5) == pytest.approx(40_000 / (365 * 4 - 4000 / 12))
    assert payback_months(SITE, 0.5, 0.5) == inf


def test_interest_makes_it_later_or_never() -> None:
    dear = replace(SITE, cost_of_capital=0.1)
    assert dear.fixed_usd_per_year > SITE.fixed_usd_per_year
    assert payback_months(dear, 4.0875, 0.5) > payback_months(SITE, 4.0875, 0.5)
    assert payback_months(replace(SITE, cost_of_capital=0.9), 4.0875, 0.5) == inf


def test_an_annuity_is_that_of_the_textbooks() -> None:
    assert annuity(0.0, 4.0) == 0.25
    assert annuity(0.05, 10.0) == pytest.approx(0.129505, abs=1e-6)
    assert annuity(1e-12, 4.0) == pytest.approx(0.25)


def test_purchase_prices_say_where_they_come_from_and_are_not_guessed() -> None:
    known = device_price("H100-SXM", bundled())
    assert known is not None
    assert known.origin
    assert device_price("K80", bundled()) is None


def test_every_assumption_lies_in_its_range_and_has_an_origin() -> None:
    numbers = bundled()
    rows = [numbers.row(name) for name in numbers if name.startswith("breakeven.")]
    assert len(rows) > 10
    assert all(row.low <= row.value <= row.high and row.origin and row.unit for row in rows)
