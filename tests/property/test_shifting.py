"""Shifting a job in time: never late, never dearer than it must be, and exact for the curve given."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.shift.when import Switching, Task, when
from orchestrator.simulation.shift_replay import fixed, follow, replay

costs = st.floats(0.0, 100.0, allow_subnormal=False)


@st.composite
def curves(draw: st.DrawFn, hours: int, most_places: int = 3) -> FloatArray:
    places = draw(st.integers(1, most_places))
    return np.array(draw(st.lists(st.lists(costs, min_size=hours, max_size=hours), min_size=places, max_size=places)))


@settings(max_examples=150, deadline=None)
@given(
    work_h=st.floats(0.1, 8.0),
    slack_h=st.floats(0.0, 6.0),
    resume_h=st.sampled_from([0.0, 0.3, 1.0, 1.5]),
    places=st.integers(1, 2),
    seed=st.integers(0, 10_000),
)
def test_no_forecast_makes_a_job_late(work_h: float, slack_h: float, resume_h: float, places: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve = rng.uniform(20.0, 100.0, (places, 60))
    # Each hour all later hours look free, or all look dear: the job starts and stops as often as it is let.
    wrong = np.broadcast_to(rng.choice([0.0, 1000.0], (1, 60, 1)), (places, 60, 30))
    switching = Switching(resume_usd=1.0, resume_h=resume_h, move_usd=1.0)
    done = replay(curve, 1, Task(work_h, work_h + slack_h), follow(curve, wrong, switching), switching)
    assert done.took_h <= work_h + slack_h + 1e-6


@settings(max_examples=60, deadline=None)
@given(curve=curves(8, most_places=1), work=st.integers(1, 4), resume_usd=st.sampled_from([0.0, 3.0, 50.0]))
def test_with_the_true_curve_the_cost_is_the_least_of_all_ways(curve: FloatArray, work: int, resume_usd: float) -> None:
    switching = Switching(resume_usd=resume_usd)
    ways = [
        sum(curve[0, hour] for hour in hours)
        + resume_usd * sum(after - before > 1 for before, after in pairwise(hours))
        for hours in combinations(range(8), work)
    ]
    done = replay(curve, 0, Task(work, 8.0), fixed(curve, 0, switching), switching)
    assert abs(done.usd - min(ways)) < 1e-6
    assert abs(when(Task(work, 8.0), curve, switching).expected_usd - min(ways)) < 1e-6


@settings(max_examples=40, deadline=None)
@given(curve=curves(10), work=st.integers(1, 5), move_usd=st.sampled_from([0.0, 10.0]))
def test_expected_dollars_are_what_the_true_curve_comes_to(curve: FloatArray, work: int, move_usd: float) -> None:
    switching = Switching(resume_usd=2.0, move_usd=move_usd)
    expected = when(Task(work, 10.0), curve, switching).expected_usd
    done = replay(curve, 0, Task(work, 10.0), fixed(curve, 0, switching), switching)
    assert abs(done.usd - expected) < 1e-6
