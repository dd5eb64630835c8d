"""The capacity gap: every figure of the source documents by name, and what the arithmetic does between them."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.sizing.gap import (
    NAMES,
    PREFIX,
    Device,
    Gap,
    Kind,
    Outlook,
    Region,
    Scenario,
    YearGap,
    capacity_gap,
    device_of,
    fault,
    nearest_power,
    outlook,
    stated,
)
from orchestrator.sizing.parameters import bundled

KNOWN = {device.name: device for device in load()}
ZETTA, EXA, PETA = 1e21, 1e18, 1e15


def device(name: str, *, training: bool = True) -> Device:
    found = device_of(KNOWN[name], Precision.BF16, training=training)
    assert found is not None
    return found


H100, L4 = device("H100-SXM"), device("L4", training=False)


def of(year: int, scenario: Scenario, assumed: Outlook | None = None, *, trainer: Device = H100) -> YearGap:
    rows = capacity_gap(assumed or outlook(), [year], device=trainer, edge_device=L4)
    return next(row for row in rows if row.scenario is scenario)


def gap(row: YearGap, region: Region, kind: Kind) -> Gap:
    return next(each for each in row.gaps if each.region is region and each.kind is kind)


def test_a_training_run_of_2024_takes_1e25_flop_in_1e7_seconds_which_is_1_eflop_s() -> None:
    for scenario in Scenario:
        need = of(2024, scenario).training
        assert (need.flop, need.run_s) == (1e25, 1e7)
        assert need.flops == pytest.approx(1 * EXA)


def test_training_in_2030_takes_10_000_times_as_much_1e29_flop_and_10_zflop_s_in_the_peak_scenario() -> None:
    need = of(2030, Scenario.PEAK).training
    assert need.flop == pytest.approx(1e29)
    assert need.run_s == 1e7
    assert need.flops == pytest.approx(10 * ZETTA)


def test_runs_three_times_as_long_and_algorithms_33_times_as_good_make_it_0_1_zflop_s_in_2030() -> None:
    need = of(2030, Scenario.CONSERVATIVE).training
    assert need.run_s == pytest.approx(3e7)
    assert need.flop == pytest.approx(1e29 / 33)
    assert need.flops == pytest.approx(1e22 / 99)
    assert round(need.flops / ZETTA, 1) == 0.1


def test_4_times_a_year_compounds_to_4_096_and_4_1_zflop_s_and_not_to_10_000() -> None:
    need = of(2030, Scenario.PEAK, outlook({"growth_per_year": 4.0})).training
    assert need.flop / 1e25 == pytest.approx(4096)
    assert need.flops == pytest.approx(4.096 * ZETTA)


@pytest.mark.parametrize(
    ("region", "kind", "eflop_s", "factor"),
    [
        (Region.US, Kind.HPC, 20, 500),
        (Region.US, Kind.CLOUD, 200, 50),
        (Region.EU, Kind.HPC, 5, 2000),
        (Region.EU, Kind.CLOUD, 20, 500),
    ],
)
def test_the_largest_systems_of_2030_and_the_gap_to_each(
    region: Region, kind: Kind, eflop_s: float, factor: float
) -> None:
    found = gap(of(2030, Scenario.PEAK), region, kind)
    assert found.supply_flops == pytest.approx(eflop_s * EXA)
    assert found.factor == pytest.approx(factor)


@pytest.mark.parametrize(("region", "order"), [(Region.US, 100), (Region.EU, 1000)])
def test_the_peak_gap_is_100_in_the_us_and_1_000_in_the_eu_to_the_nearest_power_of_ten(
    region: Region, order: float
) -> None:
    row = of(2030, Scenario.PEAK)
    assert row.largest(region).order == order
    both = gap(row, region, Kind.HPC).factor * gap(row, region, Kind.CLOUD).factor
    assert nearest_power(both**0.5) == order  # the mean of HPC and cloud says the same


def test_the_conservative_demand_of_2030_is_covered_in_the_us_and_a_gap_of_5_in_the_eu() -> None:
    row = of(2030, Scenario.CONSERVATIVE)
    assert row.largest(Region.US).factor == pytest.approx(0.505, rel=0.001)
    assert row.largest(Region.EU).factor == pytest.approx(5.05, rel=0.001)


def test_an_answer_of_2024_takes_1e15_flop_in_a_second_which_is_1_pflop_s_per_edge_node() -> None:
    need = of(2024, Scenario.PEAK).answer
    assert need.flop == 1e15
    assert need.flops == 1 * PETA


def test_an_answer_of_2030_takes_1e17_flop_which_is_100_pflop_s_per_edge_node() -> None:
    need = of(2030, Scenario.PEAK).answer
    assert need.flop == pytest.approx(1e17)
    assert need.flops == pytest.approx(100 * PETA)


def test_algorithmic_gains_make_it_about_3_pflop_s_per_edge_node() -> None:
    assert of(2030, Scenario.CONSERVATIVE).answer.flops == pytest.approx(100 / 33 * PETA)


def test_the_gpus_are_the_demand_over_what_each_delivers() -> None:
    need = of(2024, Scenario.PEAK).training
    assert need.gpus == need.gpus_today == 2888  # 1e18 / (989.4e12 x 0.35) = 2 887.8
    later = of(2030, Scenario.PEAK).training
    assert later.gpus_today == pytest.approx(1e22 / (989.4e12 * 0.35), abs=1)
    assert later.gpus == pytest.approx(later.gpus_today / 1.29**6, abs=1)


def test_power_is_tdp_with_hosts_and_cooling_and_energy_is_power_for_the_run() -> None:
    need = of(2024, Scenario.PEAK).training
    assert need.power_w == pytest.approx(2887.8 * 700 * 1.4 * 1.2, rel=1e-4)
    assert need.energy_kwh == pytest.approx(2887.8 * 700 * 1.4 * 1.2 * 1e7 / 3.6e6, rel=1e-4)
    later = of(2030, Scenario.PEAK).training
    assert later.power_w == pytest.approx(need.power_w * 1e4 / 1.26**6, rel=1e-9)


def test_an_edge_node_is_four_l4_that_get_better_by_the_year() -> None:
    found = gap(of(2024, Scenario.PEAK), Region.EU, Kind.EDGE)
    assert found.supply_flops == pytest.approx(4 * 121e12 * 0.69)
    assert found.factor == pytest.approx(1e15 / (4 * 121e12 * 0.69))
    later = gap(of(2030, Scenario.PEAK), Region.EU, Kind.EDGE)
    assert later.supply_flops == pytest.approx(found.supply_flops * 1.29**6)


def test_a_system_could_give_its_flops_over_those_of_an_answer_every_second() -> None:
    assert gap(of(2030, Scenario.PEAK), Region.US, Kind.CLOUD).answers_per_s == pytest.approx(2000)


def test_a_device_newer_than_the_year_is_no_better_than_it_is() -> None:
    gb300 = device("GB300")
    need = of(2025, Scenario.PEAK, trainer=gb300).training
    assert need.gpus == need.gpus_today
    assert (
        of(2026, Scenario.PEAK, trainer=gb300).training.gpus
        < of(2026, Scenario.PEAK, trainer=gb300).training.gpus_today
    )


def test_the_power_of_a_device_without_tdp_is_unknown() -> None:
    need = of(2030, Scenario.PEAK, trainer=replace(H100, tdp_w=0.0)).training
    assert need.power_w is None
    assert need.energy_kwh is None
    assert need.gpus > 0


def test_supply_starts_and_arrives_where_it_is_said_to_and_goes_on_at_that_rate() -> None:
    rows = {year: of(year, Scenario.PEAK) for year in (2024, 2027, 2030, 2033)}
    flops = {year: gap(row, Region.US, Kind.HPC).supply_flops for year, row in rows.items()}
    assert flops[2024] == pytest.approx(1.742 * EXA)
    assert flops[2027] / flops[2024] == pytest.approx(flops[2030] / flops[2027])
    assert flops[2033] / flops[2030] == pytest.approx(flops[2030] / flops[2027])


def test_runs_get_no_longer_after_2030_but_algorithms_get_better() -> None:
    need = of(2035, Scenario.CONSERVATIVE).training
    assert need.run_s == pytest.approx(3e7)
    assert need.flop < of(2035, Scenario.PEAK).training.flop / 33


@pytest.mark.parametrize("year", [2023, 2036])
def test_a_year_outside_the_outlook_is_refused(year: int) -> None:
    with pytest.raises(ValueError, match="2024 to 2035"):
        capacity_gap(outlook(), [year], device=H100, edge_device=L4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("growth_per_year", -1.0),
        ("growth_per_year", 1e4),
        ("run_s", 0.0),
        ("pue", 0.9),
        ("utilisation", 1.1),
        ("us_hpc_2030", float("nan")),
        ("training_flop", float("inf")),
        ("training_flop", 1e31),
        ("answer_s", 1e-13),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(name: str, value: float) -> None:
    assert fault(name, value)
    with pytest.raises(ValueError, match=name):
        outlook({name: value})


def test_an_assumption_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        outlook({"growth": 4.0})


def test_every_assumption_has_a_unit_an_origin_and_a_default_within_its_range() -> None:
    rows = {each.name: each for each in stated(outlook({"pue": 1.5}))}
    assert set(rows) == {PREFIX + field.name for field in fields(Outlook)}
    assert {name for name in bundled() if name.startswith(PREFIX)} == {PREFIX + name for name in NAMES}
    for row in rows.values():
        assert row.unit
        assert row.origin
        assert row.low <= row.default <= row.high
    assert rows["gap.pue"].value == 1.5
    assert rows["gap.pue"].default == 1.2


def test_a_device_that_cannot_train_in_the_format_is_none_and_a_stand_in_is_said() -> None:
    assert device_of(KNOWN["A100-80GB"], Precision.FP8, training=True) is None
    served = device_of(KNOWN["A100-80GB"], Precision.FP8, training=False)
    assert served is not None
    assert served.precision is Precision.BF16
    assert served.assumptions
