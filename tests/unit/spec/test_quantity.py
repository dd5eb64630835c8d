from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.spec import quantity
from orchestrator.spec.quantity import QuantityError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7B", 7e9),
        ("7b", 7e9),
        ("2T tokens", 2e12),
        ("2 trillion tokens", 2e12),
        ("0.34B parameters", 0.34e9),
        ("405e9", 405e9),
        ("1_000_000", 1e6),
        ("0.1k", 100.0),
        (" 12 ", 12.0),
        ("0", 0.0),
    ],
)
def test_counts_read_as_people_write_them(text: str, value: float) -> None:
    assert quantity.count(text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("90 s", 90.0),
        ("30min", 1800.0),
        ("30m", 1800.0),
        ("12h", 43200.0),
        ("30d", 30 * 86400.0),
        ("2 weeks", 14 * 86400.0),
        ("1h30m", 5400.0),
        ("1d 12 Hours", 129600.0),
    ],
)
def test_durations_read_as_people_write_them(text: str, seconds: float) -> None:
    assert quantity.duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("80GiB", 80.0),
        ("80 Gi", 80.0),
        ("1024 MiB", 1.0),
        ("1TiB", 1024.0),
        ("1.073741824GB", 1.0),
        ("1.073741824 gb", 1.0),
    ],
)
def test_sizes_tell_decimal_from_binary_units(text: str, gib: float) -> None:
    assert quantity.size_gib(text) == pytest.approx(gib, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "usd"),
    [
        ("$200k", 2e5),
        ("200 USD", 200.0),
        ("USD 200", 200.0),
        ("$1.5M", 1.5e6),
        ("1500", 1500.0),
        ("200k dollars", 2e5),
        ("US$5", 5),
    ],
)
def test_money_is_us_dollars(text: str, usd: float) -> None:
    assert quantity.money_usd(text) == usd


@pytest.mark.parametrize(
    ("text", "per_s"),
    [
        ("20/s", 20.0),
        ("5/min", 5 / 60),
        ("100k/day", 1e5 / 86400),
        ("20 req/s", 20.0),
        ("20 rps", 20.0),
        ("20 requests per second", 20.0),
        ("4.1/h", 4.1 / 3600),
    ],
)
def test_rates_are_events_per_time(text: str, per_s: float) -> None:
    assert quantity.rate_per_s(text) == pytest.approx(per_s, rel=1e-12)


def test_ratios_are_fractions_or_percentages() -> None:
    assert quantity.ratio("0.45") == quantity.ratio("45%") == 0.45


@pytest.mark.parametrize(
    ("text", "gbit_s"),
    [
        ("400Gbps", 400.0),
        ("10 Gbit/s", 10.0),
        ("25 Gb per second", 25.0),
        ("1.6 Tbps", 1600.0),
        ("50 GB/s", 400.0),
        ("125MBps", 1.0),
        ("0Gbps", 0.0),
    ],
)
def test_bandwidths_are_bits_or_bytes_per_second(text: str, gbit_s: float) -> None:
    assert quantity.bandwidth_gbit_s(text) == pytest.approx(gbit_s)


PARSERS = [
    quantity.count,
    quantity.duration_s,
    quantity.size_gib,
    quantity.money_usd,
    quantity.rate_per_s,
    quantity.ratio,
    quantity.number,
    quantity.whole,
    quantity.bandwidth_gbit_s,
]


BAD = ["nan", ".nan", "NaN", "inf", ".inf", "+inf", "-1", "-1d", "-5/s", "", "  ", "x", "1e999", "9" * 100]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", BAD)
def test_no_quantity_is_empty_negative_infinite_or_no_number(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(QuantityError):
        parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (quantity.count, "7Q", "'Q' is not a unit for a count"),
        (quantity.count, "7 bilion", "did you mean billion?"),
        (quantity.count, "1,5", "a comma is read in two ways"),
        (quantity.count, "30d", "'d' is not a unit for a count"),
        (quantity.duration_s, "30", "has no unit"),
        (quantity.duration_s, "30M", "m is minutes"),
        (quantity.duration_s, "30 dayz", "did you mean day?"),
        (quantity.duration_s, "200 years", "'years' is not a unit for a duration"),
        (quantity.duration_s, "9999w", "too large for a duration"),
        (quantity.size_gib, "80Gb", "Gb is bits"),
        (quantity.size_gib, "80G", "G can mean GB or GiB"),
        (quantity.size_gib, "80", "has no unit"),
        (quantity.money_usd, "€200", "another currency"),
        (quantity.money_usd, "200 EUR", "another currency"),
        (quantity.money_usd, "$-5", "is negative"),
        (quantity.money_usd, "30d", "'d' is not a unit for an amount of money"),
        (quantity.rate_per_s, "20", "does not say per what time"),
        (quantity.rate_per_s, "20/x", "'x' is not a unit"),
        (quantity.ratio, "45", "too large for a ratio"),
        (quantity.bandwidth_gbit_s, "400", "does not say per second"),
        (quantity.bandwidth_gbit_s, "400Gb", "does not say per second"),
        (quantity.bandwidth_gbit_s, "10gbps", "gb can mean Gbit or GB"),
        (quantity.bandwidth_gbit_s, "10 km/s", "is not a unit for a bandwidth"),
        (quantity.whole, "4k", "is not a whole number"),
        (quantity.whole, "4.0", "is not a whole number"),
    ],
)
def test_a_wrong_unit_is_named_with_what_was_expected(parse: Callable[[str], float], text: str, said: str) -> None:
    with pytest.raises(QuantityError) as caught:
        parse(text)
    assert said in caught.value.message
    assert caught.value.expected


def test_megabytes_and_megabits_differ_by_case_alone_and_are_told_apart() -> None:
    assert quantity.size_gib("1024MB") == quantity.size_gib("1024mb")
    with pytest.raises(QuantityError, match="bits"):
        quantity.size_gib("1024Mb")


def test_formatting_picks_the_largest_unit() -> None:
    assert quantity.format_count(7e9) == "7B"
    assert quantity.format_money(200_000.0) == "$200k"
    assert quantity.format_duration(30 * 86400.0) == "30d"
    assert quantity.format_duration(5400.0) == "90min"
    assert quantity.format_duration(0.0) == "0s"
    assert quantity.format_size(80.0) == "80GiB"
    assert quantity.format_rate(20.0) == "20/s"


def test_a_hostile_text_is_quoted_short_and_escaped() -> None:
    assert "\x1b" not in quantity.shown("\x1b[31m")
    assert len(quantity.shown("x" * 10_000)) < 60
