"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from orchestrator.domain.sizing import Band
from orchestrator.interfaces.views import format as fmt

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1234.56, "$1,234.56"),
        (-3.5, "-$3.50"),
        (0.01, "$0.01"),
        (0.0002, "$0.0002"),
        (0.015, "$0.015"),
        (0.05, "$0.05"),
        (0.0999, "$0.10"),
        (8.8e-9, "$8.8e-09"),
        (0.0014, "$0.0014"),
        (123.9e6, "$123,900,000.00"),
        (nan, "unknown"),
        (inf, "unbounded"),
    ],
)
def test_money_has_cents_and_never_reads_as_free(amount: float, text: str) -> None:
    assert fmt.usd(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (12.3, "$12.30"),
        (9999.99, "$9,999.99"),
        (12_345, "$12.3k"),
        (999_499, "$999k"),
        (999_600, "$1M"),
        (123.9e6, "$124M"),
        (2.5e9, "$2.5B"),
        (3e12, "$3T"),
        (7.25e15, "$7,250T"),
    ],
)
def test_short_money_keeps_three_digits(amount: float, text: str) -> None:
    assert fmt.usd_short(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00023, "0.23 ms"),
        (0.23, "230 ms"),
        (1.1468, "1.15 s"),
        (42.4, "42 s"),
        (600, "10 min"),
        (3600 * 1.9, "1.9 h"),
        (3.2 * 3600, "3.2 h"),
        (47 * 3600, "47 h"),
        (2 * 86400, "2 d"),
        (14 * 86400 + 6 * 3600, "14 d 6 h"),
        (14 * 86400 - 1, "14 d"),
        (120 * 86400, "120 d"),
        (3.4 * 365.25 * 86400, "3.4 years"),
        (-90, "-90 s"),
        (nan, "unknown"),
        (inf, "unbounded"),
    ],
)
def test_durations_come_in_the_unit_they_are_imagined_in(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text


@pytest.mark.parametrize(
    ("flops", "text"),
    [
        (2 * 0.34e9 * 1024, "696e9"),
        (2 * 6e9 * 1024, "12.3e12"),
        (2 * 1.5e9 * 1024, "3.07e12"),
        (2 * 175e9 * 1024, "358e12"),
        (2 * 1760e9 * 1024, "3.6e15"),
        (2 * 69e9 * 1024, "141e12"),
        (2 * 405e9 * 1024, "829e12"),
        (999.7e9, "1e12"),
        (0, "0"),
        (5, "5"),
        (0.002, "2e-3"),
    ],
)
def test_engineering_notation_is_that_of_the_published_tables(flops: float, text: str) -> None:
    assert fmt.engineering(flops) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(6.74e9, "6.74B"), (2e12, "2T"), (15e12, "15T"), (1024, "1,024"), (0.5, "0.5"), (340e6, "340M")],
)
def test_quantities_are_written_as_the_field_writes_them(number: float, text: str) -> None:
    assert fmt.quantity(number) == text


@pytest.mark.parametrize(
    ("gib", "text"),
    [
        (80, "80 GiB"),
        (12.345, "12.3 GiB"),
        (0.05, "51.2 MiB"),
        (2607.703, "2,608 GiB"),
        (20480, "20 TiB"),
        (0, "0 GiB"),
    ],
)
def test_memory_has_its_unit(gib: float, text: str) -> None:
    assert fmt.gib(gib) == text


@pytest.mark.parametrize(
    ("kwh", "text"),
    [(0.035, "35 Wh"), (412, "412 kWh"), (1.59e9, "1.59 TWh"), (25_000, "25 MWh"), (2.5e7, "25 GWh")],
)
def test_energy_has_its_unit(kwh: float, text: str) -> None:
    assert fmt.energy(kwh) == text


@pytest.mark.parametrize(("share", "text"), [(0.38, "38 %"), (0.054, "5.4 %"), (0, "0 %"), (1, "100 %")])
def test_shares_are_per_cent(share: float, text: str) -> None:
    assert fmt.percent(share) == text


def test_an_estimate_shows_its_range_and_a_certain_number_stands_alone() -> None:
    assert fmt.band(Band(2.8, 3.2, 4.1), fmt.hours) == "3.2 h (2.8 h to 4.1 h)"
    assert fmt.band(Band(5, 5, 5), fmt.usd) == "$5.00"


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (timedelta(seconds=5), "now"),
        (timedelta(hours=3), "3 h"),
        (timedelta(days=2), "2 d"),
        (timedelta(days=232), "232 d"),
        (timedelta(seconds=-5), "new"),
    ],
)
def test_ages_are_rough(past: timedelta, text: str) -> None:
    assert fmt.age(NOON - past, NOON) == text


@pytest.mark.parametrize(
    ("amounts", "texts", "total"),
    [
        ([1 / 3, 1 / 3, 1 / 3], ("$0.34", "$0.33", "$0.33"), "$1.00"),
        ([0.004, 0.004, 100.0], ("$0.01", "$0.00", "$100.00"), "$100.01"),
        ([0.0018, 0.00004], ("$0.0018", "$0.0000"), "$0.0018"),
        ([-1.005, 2.5], ("-$1.00", "$2.50"), "$1.50"),
        ([], (), "$0.00"),
    ],
)
def test_amounts_are_rounded_so_that_they_add_up(amounts: list[float], texts: tuple[str, ...], total: str) -> None:
    assert fmt.sum_of(amounts) == (texts, total)


def test_a_sum_that_is_no_number_is_no_traceback() -> None:
    assert fmt.sum_of([1.0, inf]) == (("$1.00", "unbounded"), "unbounded")
