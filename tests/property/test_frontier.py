"""The frontier is exactly what nothing dominates."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.planning.frontier import non_dominated, spread

values = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 3.0, float("inf"), float("nan")]), st.floats(0.0, 1e6))
tables = st.integers(0, 40).flatmap(lambda n: arrays(np.float64, (n, 3), elements=values))


def dominated(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Whether `other` is at most as large everywhere and smaller somewhere."""
    return bool((other <= one).all() and (other < one).any())


@given(tables)
@settings(deadline=None, max_examples=200)
def test_the_frontier_is_exactly_the_non_dominated_set(points: npt.NDArray[np.float64]) -> None:
    finite = [row for row in range(len(points)) if np.isfinite(points[row]).all()]
    best = [row for row in finite if not any(dominated(points[row], points[other]) for other in finite)]
    found = non_dominated(points).tolist()
    # Of equal rows one stands for all.
    assert {tuple(points[row]) for row in found} == {tuple(points[row]) for row in best}
    assert len({tuple(points[row]) for row in found}) == len(found)
    assert found == sorted(found)


@given(st.integers(0, 200), st.sets(st.integers(0, 199), max_size=4), st.integers(4, 20))
@settings(deadline=None, max_examples=100)
def test_what_is_shown_has_the_extremes_and_no_more_than_asked(count: int, wanted: set[int], most: int) -> None:
    inside = [position for position in wanted if position < count]
    shown = spread(count, inside, most)
    assert set(inside) <= set(shown)
    assert list(shown) == sorted(set(shown))
    assert len(shown) <= most
    assert all(0 <= position < count for position in shown)
