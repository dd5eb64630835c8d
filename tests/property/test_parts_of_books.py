"""Properties of parts of a market and of rows that stand for others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.alike import FEW, alike
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.testing.builders import offer

BOOK = OfferBook.of([offer(region=f"r{index}", gpus=float(index), available=index) for index in range(12)])
ROWS = st.lists(st.integers(0, 5), max_size=8).map(lambda rows: np.array(rows, np.int64))
VALUES = st.sampled_from([0.0, -0.0, 1.0, 0.25, float("nan"), float("inf"), 1e-300])


@given(st.lists(st.integers(0, 11), min_size=6, max_size=12), ROWS)
def test_a_part_of_a_part_has_the_columns_of_the_whole_at_their_rows(outer: list[int], inner: np.ndarray) -> None:
    rows = np.array(outer, np.int64)
    part = BOOK.take(rows).take(inner)
    assert len(part) == len(inner)
    for name, column in BOOK.columns().items():
        found = getattr(part, name)
        if isinstance(column, Words):
            assert isinstance(found, Words)
            assert [found[row] for row in range(len(found))] == [column[row] for row in rows[inner].tolist()]
        else:
            assert found.dtype == column.dtype
            assert np.array_equal(found, column[rows[inner]], equal_nan=True)


@given(st.lists(st.tuples(VALUES, st.integers(-3, 3)), min_size=1, max_size=20), st.integers(1, 40))
def test_a_row_that_stands_for_others_is_the_same_bit_by_bit(drawn: list[tuple[float, int]], times: int) -> None:
    floats = np.array([value for value, _ in drawn] * times, np.float64)
    integers = np.array([value for _, value in drawn] * times, np.int32)
    rows, index = alike((floats, integers))
    assert np.array_equal(np.unique(index), np.arange(len(rows)))
    stands = rows[index]
    assert np.array_equal(floats[stands].view(np.uint64), floats.view(np.uint64))
    assert np.array_equal(integers[stands], integers)
    assert len(floats) <= FEW or len(rows) <= len(drawn)
