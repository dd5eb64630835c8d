"""Replays of queues keep what is true of any cluster: work is conserved, gangs are whole, capacity holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.simulation.queue_policies import Attained, Bursting, Easy, Fifo, Learned, Shortest
from orchestrator.simulation.queue_replay import QueuePolicy, Trace, replay

CAPACITY = 8
POLICIES: dict[str, Callable[[Trace], QueuePolicy]] = {
    "fifo": lambda _: Fifo(),
    "easy": lambda trace: Easy(trace.run_s),
    "sjf": lambda trace: Shortest(trace.run_s, gangs=False, preempts=False),
    "srsf": lambda trace: Shortest(trace.run_s, gangs=True, preempts=True),
    "las": lambda _: Attained((1_800.0,)),
    "ours": lambda _: Learned(),
    "ours, buying": lambda _: Learned(usd_per_gpu_hour=0.5),
    "no wait": lambda trace: Bursting(trace, 0.0),
    "starburst": lambda trace: Bursting(trace, 0.25),
}


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    jobs = draw(st.integers(1, 25))
    gaps = draw(st.lists(st.integers(0, 2_000), min_size=jobs, max_size=jobs))
    runs = draw(st.lists(st.integers(1, 20_000), min_size=jobs, max_size=jobs))
    gpus = draw(st.lists(st.sampled_from([1, 2, 3, 8]), min_size=jobs, max_size=jobs))
    return Trace(np.cumsum(gaps).astype(float), np.array(runs, float), np.array(gpus, np.int64))


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=25, deadline=None)
@given(trace=traces(), restart_s=st.sampled_from([0.0, 90.0]))
def test_work_is_conserved_and_capacity_never_exceeded(name: str, trace: Trace, restart_s: float) -> None:
    outcome = replay(trace, CAPACITY, POLICIES[name](trace), restart_s=restart_s)
    work = float(trace.run_s @ trace.gpus)
    assert outcome.most_gpus <= CAPACITY
    assert (outcome.completion_s >= trace.run_s - 1e-6).all()
    assert outcome.restart_gpu_s == 0.0 or restart_s > 0.0
    # What is bought may redo a restart there: at most one for each job that was bought.
    redone = outcome.held_gpu_s - outcome.restart_gpu_s + outcome.bought_gpu_s - work
    assert -1e-3 <= redone <= restart_s * float(trace.gpus[outcome.bought].sum()) + 1e-3


@settings(max_examples=15, deadline=None)
@given(trace=traces())
def test_a_replay_is_the_same_each_time(trace: Trace) -> None:
    first, again = (replay(trace, CAPACITY, Learned(), restart_s=60.0) for _ in range(2))
    np.testing.assert_array_equal(first.completion_s, again.completion_s)
    assert first[2:] == again[2:]


@settings(max_examples=25, deadline=None)
@given(trace=traces())
def test_a_cluster_as_large_as_all_gangs_together_makes_no_job_wait(trace: Trace) -> None:
    outcome = replay(trace, int(trace.gpus.sum()), Learned(), restart_s=60.0)
    np.testing.assert_allclose(outcome.completion_s, trace.run_s, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(trace=traces())
def test_no_wait_never_waits(trace: Trace) -> None:
    outcome = replay(trace, CAPACITY, Bursting(trace, 0.0))
    np.testing.assert_allclose(outcome.completion_s, trace.run_s, atol=1e-6)
