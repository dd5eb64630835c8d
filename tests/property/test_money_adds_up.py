"""What a bill or a plan prints adds up, whatever the amounts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.interfaces.views import format as fmt


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), max_size=12))
def test_printed_amounts_sum_to_the_printed_total_and_each_is_right_to_a_unit(amounts: list[float]) -> None:
    rounded = fmt.ledger(amounts)
    unit = 10.0**-rounded.places
    assert abs(sum(rounded.units) * unit - sum(amounts)) <= 0.5 * unit + 1e-6
    for units, amount in zip(rounded.units, amounts, strict=True):
        assert abs(units * unit - amount) <= unit * 1.01 + 1e-6
    printed = [round(float(text.replace("$", "").replace(",", "")) / unit) for text in rounded.texts()]
    assert sum(printed) == round(float(rounded.total().replace("$", "").replace(",", "")) / unit)
