"""Quantities: what is formatted parses back exactly, and whatever is typed is a finite value or a clear error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec import quantity
from orchestrator.spec.quantity import QuantityError

Format = Callable[[float], str]
Parse = Callable[[str], float]

PAIRS: list[tuple[Format, Parse, quantity.Dimension]] = [
    (quantity.format_count, quantity.count, quantity.COUNT),
    (quantity.format_money, quantity.money_usd, quantity.MONEY),
    (quantity.format_duration, quantity.duration_s, quantity.DURATION),
    (quantity.format_size, quantity.size_gib, quantity.SIZE),
    (quantity.format_rate, quantity.rate_per_s, quantity.RATE),
]


@pytest.mark.parametrize(("form", "parse", "dimension"), PAIRS)
@given(data=st.data())
def test_what_is_formatted_parses_back_exactly(
    form: Format, parse: Parse, dimension: quantity.Dimension, data: st.DataObject
) -> None:
    value = data.draw(
        st.floats(dimension.least, dimension.most)
        | st.integers(1, 10**9).map(float).filter(lambda v: v <= dimension.most)
    )
    assert parse(form(value)) == value


NUMBERS = ["1", "7", "0", ".5", "1e3", "1e308", "1e-9", "_", ".", " ", "-", "+", "$", "%", "/", ",", "nan", "inf", "١"]
UNITS = ["k", "M", "B", "T", "d", "h", "m", "ms", "s", "GiB", "GB", "Gb", "USD", "per", "rps", "tokens", "é", "\x00"]
PIECES = st.sampled_from(NUMBERS + UNITS)


@pytest.mark.parametrize("parse", [parse for _, parse, _ in PAIRS] + [quantity.ratio, quantity.number, quantity.whole])
@given(text=st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=12))
def test_whatever_is_typed_is_finite_and_not_negative_or_refused(parse: Parse, text: str) -> None:
    with suppress(QuantityError):  # any other error fails the test
        value = parse(text)
        assert isfinite(value)
        assert value >= 0


@given(st.floats(1, 1e12), st.sampled_from(["k", "K", "m", "M", "b", "B", "g", "t", "T"]))
def test_case_never_changes_a_count(number: float, unit: str) -> None:
    text = f"{number!r}"
    assert quantity.count(text + unit.lower()) == quantity.count(text + unit.upper())
