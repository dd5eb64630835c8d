"""What holds for every outlook: demand grows with its causes, and more supply never makes a gap larger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isfinite, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.accelerator import Precision
from orchestrator.sizing.gap import (
    FIRST_YEAR,
    HORIZON,
    LAST_YEAR,
    NAMES,
    Device,
    Outlook,
    Region,
    YearGap,
    capacity_gap,
    fault,
    nearest_power,
    outlook,
)

DEVICE = Device(name="d", year=2022, precision=Precision.BF16, peak_flops=1e15, tdp_w=700.0)
EDGE = Device(name="e", year=2023, precision=Precision.BF16, peak_flops=1e14, tdp_w=70.0)
ROUNDING = 1 + 1e-9

years = st.integers(FIRST_YEAR, LAST_YEAR)
factors = st.floats(0.1, 10.0)
more = st.floats(1.0, 100.0)
systems = [f"{region}_{kind}" for region in ("us", "eu") for kind in ("hpc", "cloud")]


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    """The bundled assumptions, each moved within an order of magnitude where that means something."""
    bundled = outlook()
    moved = {name: bundled.value(name) * draw(factors) for name in NAMES}
    return outlook({name: value for name, value in moved.items() if not fault(name, value)})


def rows(assumed: Outlook, year: int) -> tuple[YearGap, ...]:
    return capacity_gap(assumed, [year], device=DEVICE, edge_device=EDGE)


@given(outlooks(), years, more)
def test_demand_never_falls_when_it_grows_faster(assumed: Outlook, year: int, factor: float) -> None:
    faster = outlook_with(assumed, growth_per_year=min(1e3, assumed.growth_per_year * factor))
    hungrier = outlook_with(assumed, inference_growth=assumed.inference_growth * factor)
    for one, two, three in zip(rows(assumed, year), rows(faster, year), rows(hungrier, year), strict=True):
        assert two.training.flops >= one.training.flops
        assert two.training.gpus >= one.training.gpus
        assert three.answer.flops >= one.answer.flops


@given(outlooks(), st.integers(FIRST_YEAR, LAST_YEAR - 1))
def test_demand_never_falls_from_year_to_year_where_it_grows_faster_than_runs_and_algorithms(
    assumed: Outlook, year: int
) -> None:
    relief = assumed.algorithmic_gain * assumed.longer_runs
    growing = outlook_with(
        assumed,
        growth_per_year=max(assumed.growth_per_year, relief ** (1 / 6) * ROUNDING),
        inference_growth=max(assumed.inference_growth, assumed.algorithmic_gain * ROUNDING),
    )
    for now, then in zip(rows(growing, year), rows(growing, year + 1), strict=True):
        assert then.training.flops * ROUNDING >= now.training.flops
        assert then.answer.flops * ROUNDING >= now.answer.flops


@pytest.mark.parametrize("system", systems)
@given(outlooks(), years, more)
def test_more_supply_in_2030_never_makes_a_gap_larger(system: str, assumed: Outlook, year: int, factor: float) -> None:
    name = f"{system}_{HORIZON}"
    assert_no_gap_grows(assumed, outlook_with(assumed, **{name: assumed.value(name) * factor}), year)


@pytest.mark.parametrize("system", systems)
@given(outlooks(), st.integers(FIRST_YEAR, HORIZON), more)
def test_more_supply_in_2024_never_makes_a_gap_larger_until_2030(
    system: str, assumed: Outlook, year: int, factor: float
) -> None:
    name = f"{system}_{FIRST_YEAR}"
    assert_no_gap_grows(assumed, outlook_with(assumed, **{name: assumed.value(name) * factor}), year)


@pytest.mark.parametrize("name", ["supply_share", "us_edge_gpus", "eu_edge_gpus", "edge_utilisation"])
@given(outlooks(), years, more)
def test_more_of_every_supply_never_makes_a_gap_larger(name: str, assumed: Outlook, year: int, factor: float) -> None:
    most = 1.0 if name in {"supply_share", "edge_utilisation"} else 1e9
    assert_no_gap_grows(assumed, outlook_with(assumed, **{name: min(most, assumed.value(name) * factor)}), year)


@given(outlooks(), years)
def test_every_number_is_finite_and_positive_and_a_gap_is_demand_over_supply(assumed: Outlook, year: int) -> None:
    for row in rows(assumed, year):
        assert row.training.gpus >= 1
        assert row.training.power_w is not None
        assert row.training.power_w > 0
        assert isfinite(row.training.flops)
        for gap in row.gaps:
            assert isfinite(gap.factor)
            assert gap.factor > 0
            assert sqrt(0.1) / ROUNDING <= gap.factor / gap.order <= sqrt(10) * ROUNDING
        for region in Region:
            systems = [gap.factor for gap in row.gaps if gap.region is region and gap.kind != "edge"]
            assert row.largest(region).factor == min(systems)


@given(st.floats(-200, 200))
def test_the_nearest_power_of_ten_is_within_its_square_root(exponent: float) -> None:
    assert sqrt(0.1) / ROUNDING <= 10**exponent / nearest_power(10**exponent) <= sqrt(10) * ROUNDING


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("end", [min, max])
def test_the_ends_of_what_is_allowed_still_give_numbers(name: str, end: Callable[[list[float]], float]) -> None:
    allowed = [10.0**exponent for exponent in range(-300, 301) if not fault(name, 10.0**exponent)]
    for year in (FIRST_YEAR, HORIZON, LAST_YEAR):
        for row in rows(outlook({name: end(allowed)}), year):
            assert all(isfinite(gap.factor) and gap.factor > 0 for gap in row.gaps)
            assert row.training.power_w is not None
            assert isfinite(row.training.power_w)


def assert_no_gap_grows(before: Outlook, after: Outlook, year: int) -> None:
    for one, two in zip(rows(before, year), rows(after, year), strict=True):
        for small, large in zip(one.gaps, two.gaps, strict=True):
            assert large.factor <= small.factor * ROUNDING
        for region in Region:
            assert two.largest(region).factor <= one.largest(region).factor * ROUNDING


def outlook_with(assumed: Outlook, **values: float) -> Outlook:
    return replace(assumed, **values)
