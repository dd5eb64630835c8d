"""The order of queued jobs of unknown run time, and when they buy."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.planning.queue.burst import buys, wait_budget_s
from orchestrator.planning.queue.order import Queue, decide, fill, index, order, usd_of_an_hour
from orchestrator.planning.queue.runtimes import BINS, EDGES_S, Curves, RuntimeModel, curves_of

HOUR_S = 3600.0


def queue(gpus: list[int], ran_s: list[float], running: list[bool] | None = None, restart_s: float = 0.0) -> Queue:
    count = len(gpus)
    return Queue.plain(
        np.arange(count),
        np.array(gpus),
        np.array(running or [False] * count),
        np.array(ran_s),
        np.full(count, restart_s),
    )


@pytest.fixture
def blank() -> Curves:
    none = np.empty(0)
    return RuntimeModel().curves(none.astype(np.int64), none)


def test_without_history_the_least_attained_service_goes_first(blank: Curves) -> None:
    jobs = queue([1, 4, 1, 1], [7200.0, 600.0, 60.0, 86_400.0])
    assert list(order(jobs, blank)) == [2, 1, 0, 3]


def test_a_small_gang_goes_before_a_large_one_of_the_same_age(blank: Curves) -> None:
    assert list(order(queue([8, 2], [600.0, 600.0]), blank)) == [1, 0]


def test_learned_run_times_turn_the_order_of_attained_service_around() -> None:
    model = RuntimeModel()
    model.finished(np.ones(2000, np.int64), np.full(2000, 7000.0))
    jobs = queue([1, 1], [0.0, 5000.0])
    assert list(order(jobs, model.curves(jobs.gpus, jobs.ran_s))) == [1, 0]


def test_the_order_of_observations_does_not_matter() -> None:
    gpus, ran_s = np.array([1, 8, 2]), np.array([60.0, 7200.0, 500.0])
    one, other = RuntimeModel(), RuntimeModel()
    one.finished(gpus, ran_s)
    other.finished(gpus[::-1], ran_s[::-1])
    np.testing.assert_array_equal(one.curves(gpus, ran_s).survival, other.curves(gpus[::-1], ran_s[::-1]).survival)


def test_jobs_that_still_run_make_runs_look_longer() -> None:
    model = RuntimeModel()
    model.finished(np.ones(100, np.int64), np.full(100, 600.0))
    none = np.empty(0)
    without = model.curves(none.astype(np.int64), none).survival[0]
    with_them = model.curves(np.ones(100, np.int64), np.full(100, 50_000.0)).survival[0]
    assert with_them[20] > without[20]


def test_constant_hazards_in_time_give_the_same_index_at_every_age() -> None:
    rate = 1e-5
    hazards = 1.0 - np.exp(-rate * np.diff(EDGES_S))
    hours = curves_of(np.clip(hazards, 1e-12, 1 - 1e-12)[None, :]).hours_per_finish[0]
    np.testing.assert_allclose(hours[5 : BINS - 12], 1.0 / rate / HOUR_S, rtol=0.05)


def test_a_dearer_hour_goes_first_and_so_does_a_job_that_would_be_late(blank: Curves) -> None:
    jobs = queue([1, 1, 1], [600.0, 600.0, 600.0])
    dearer = jobs._replace(usd_per_wait_hour=np.array([1.0, 5.0, 1.0]))
    assert order(dearer, blank)[0] == 1
    late = jobs._replace(usd_per_late_hour=np.full(3, 10.0), due_s=np.array([np.inf, 1e6, 600.0]))
    assert order(late, blank)[0] == 2
    value = usd_of_an_hour(late, blank)
    assert value[0] == 1.0
    assert 1.0 < value[1] < value[2] <= 11.0


def test_a_restart_counts_as_hours_to_run(blank: Curves) -> None:
    fresh, paused = index(queue([1], [600.0]), blank), index(queue([1], [600.0], restart_s=900.0), blank)
    assert paused[0] < fresh[0]


def test_a_running_job_is_not_preempted_for_a_slightly_better_one(blank: Curves) -> None:
    jobs = queue([1, 1], [900.0, 600.0], [True, False])
    assert not len(decide(jobs, 1, blank).preemptions)
    assert list(decide(jobs, 1, blank, hysteresis=1.0).preemptions) == [0]
    much_better = queue([1, 1], [86_400.0, 0.0], [True, False])
    decision = decide(much_better, 1, blank)
    assert list(decision.starts) == [1]
    assert list(decision.preemptions) == [0]


def test_what_fits_passes_what_does_not_only_where_it_may() -> None:
    gpus = np.array([2, 8, 1, 4, 1])
    front = np.arange(5)
    assert list(fill(front, gpus, 4)) == [0, 2, 4]
    assert list(fill(front, gpus, 4, skip=False)) == [0]
    assert not len(fill(front, gpus, 0))


def test_the_wait_budget_is_what_is_left_to_buy_over_what_waiting_costs(blank: Curves) -> None:
    jobs = queue([1, 8], [600.0, 600.0])
    budget = wait_budget_s(jobs, blank, usd_per_gpu_hour=2.0)
    np.testing.assert_allclose(budget[1], 8 * budget[0])
    assert list(buys(jobs, budget - 1.0, blank, 2.0)) == [False, False]
    assert list(buys(jobs, budget, blank, 2.0)) == [True, True]
    assert list(buys(jobs._replace(running=np.array([True, False])), budget, blank, 2.0)) == [False, True]


def test_a_job_whose_time_is_worth_nothing_never_buys(blank: Curves) -> None:
    jobs = queue([1], [600.0])._replace(usd_per_wait_hour=np.zeros(1))
    assert np.isinf(wait_budget_s(jobs, blank, 2.0)[0])
    assert not buys(jobs, np.array([1e9]), blank, 2.0)[0]
