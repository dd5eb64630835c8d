"""When an interruptible job runs, and the forecasts that it follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.planning.shift.forecast import ENOUGH_H, Hourly, fit, forecast, persistence
from orchestrator.planning.shift.when import NOWHERE, Choice, Switching, Task, must_run, usd_per_hour, when
from orchestrator.simulation.queue_trace import generated as generated_jobs
from orchestrator.simulation.queue_trace import read as read_jobs
from orchestrator.simulation.queue_trace import window
from orchestrator.simulation.shift_replay import GRIDS, at_once, fixed, generated, lowest_slot, read, replay, walked


def test_an_hour_costs_its_price_and_its_carbon() -> None:
    cost = usd_per_hour(np.array([2.0, 3.0]), np.array([500.0, 0.0]), kilowatts=10.0, usd_per_tonne=100.0)
    np.testing.assert_allclose(cost, [2.5, 3.0])


def test_a_job_waits_for_the_cheap_hours_and_says_how_long() -> None:
    assert when(Task(2.0, 6.0), np.array([9.0, 8.0, 1.0, 1.0, 5.0, 5.0])) == Choice(NOWHERE, 2, 2.0)


def test_a_flat_curve_runs_now_in_the_first_place() -> None:
    assert when(Task(2.0, 9.0), np.ones((3, 9))) == Choice(0, 0, 2.0)


def test_a_dear_resume_keeps_a_job_running() -> None:
    curve = np.array([3.0, 1.0, 1.0])
    running = Task(2.0, 3.0, place=0, running=True)
    assert when(running, curve).place == NOWHERE
    assert when(running, curve, Switching(resume_usd=5.0)) == Choice(0, 0, 4.0)


def test_a_job_moves_where_that_pays_for_the_move() -> None:
    curve = np.array([[5.0, 5.0], [1.0, 1.0]])
    running = Task(2.0, 2.0, place=0, running=True)
    assert when(running, curve, Switching(move_usd=7.0)).place == 1
    assert when(running, curve, Switching(move_usd=9.0)).place == 0


def test_without_slack_a_job_runs_whatever_it_costs() -> None:
    task = Task(2.0, 2.5)
    assert must_run(task, Switching())
    assert when(task, np.array([99.0, 1.0, 1.0])).place == 0


def test_the_time_of_a_resume_is_kept_in_hand() -> None:
    curve = np.array([9.0, 1.0, 1.0, 1.0])
    assert when(Task(2.0, 3.5, 0, running=True), curve).place == NOWHERE
    assert when(Task(2.0, 3.5, 0, running=True), curve, Switching(resume_h=1.0)).place == 0


def test_a_job_without_time_to_move_stays() -> None:
    curve = np.array([[5.0, 5.0], [1.0, 1.0]])
    assert when(Task(2.0, 2.0, 0, running=True), curve, Switching(resume_h=0.5)).place == 0


def test_a_deadline_that_cannot_be_met_is_said_and_the_job_runs() -> None:
    choice = when(Task(5.0, 3.0), np.ones(3))
    assert choice.place == 0
    assert np.isinf(choice.expected_usd)


def test_no_work_left_needs_nothing() -> None:
    assert when(Task(0.0, 3.0), np.ones(3)) == Choice(NOWHERE, 0, 0.0)


@pytest.mark.parametrize("curve", [np.empty((1, 0)), np.array([1.0, np.nan]), np.array([np.inf])])
def test_a_curve_that_is_no_curve_is_refused(curve: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="curve"):
        when(Task(1.0, 5.0), curve)


def test_negative_costs_of_switching_are_refused() -> None:
    with pytest.raises(ValueError, match="switching"):
        when(Task(1.0, 5.0), np.ones(5), Switching(resume_usd=-1.0))


def test_negative_prices_are_hours_to_run_in() -> None:
    assert when(Task(1.0, 3.0), np.array([1.0, -4.0, 0.0])) == Choice(NOWHERE, 1, -4.0)


def test_with_little_history_yesterday_comes_again() -> None:
    history = Hourly(np.arange(30.0), 0)
    np.testing.assert_array_equal(forecast(history, 30, fit(history)), np.resize(np.arange(6.0, 30.0), 30))
    np.testing.assert_array_equal(persistence(np.array([4.0]), 3), [4.0, 4.0, 4.0])


def test_a_daily_cycle_with_quiet_weekends_is_forecast() -> None:
    hours = np.arange(60 * 24)
    weekend = np.where(hours // 24 % 7 >= 5, 0.8, 1.0)
    values = (200.0 + 80.0 * np.sin(2 * np.pi * hours / 24)) * weekend
    friday = 25 * 24 - 3 + 28 * 24  # 21:00 of a Friday
    history = Hourly(values[:friday], 0)
    ahead = forecast(history, 48, fit(history))
    naive = persistence(history.values, 48)
    truth = values[friday : friday + 48]
    assert np.abs(ahead - truth).mean() < 0.75 * np.abs(naive - truth).mean()


def test_forecasts_use_history_alone() -> None:
    series = generated(GRIDS["wind and gas"], 40, np.random.default_rng(1))
    changed = Hourly(series.values.copy(), 0)
    changed.values[30 * 24 :] *= 3.0
    np.testing.assert_array_equal(walked(series, 24)[: 30 * 24], walked(changed, 24)[: 30 * 24])


def test_forecasts_stay_within_what_was_seen_and_take_prices_below_zero() -> None:
    values = np.random.default_rng(1).normal(5.0, 30.0, ENOUGH_H + 50)
    ahead = forecast(Hourly(values, 0), 48, fit(Hourly(values, 0)))
    assert values.min() <= ahead.min() <= ahead.max() <= values.max()


def test_a_flat_history_is_forecast_flat() -> None:
    history = Hourly(np.full(ENOUGH_H + 50, 7.0), 0)
    np.testing.assert_allclose(forecast(history, 24, fit(history)), 7.0)


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_history_that_is_none_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="history"):
        fit(Hourly(np.array(values), 0))


def test_yesterday_s_lowest_window_runs_without_a_stop() -> None:
    costs = np.array([[5.0, 1.0, 1.0, 1.0, 9.0, 0.0]])
    done = replay(costs, 0, Task(3.0, 6.0), lowest_slot(costs, 0, 3))
    assert done == (3.0, 4.0, 0, 0)
    assert replay(costs, 0, Task(3.0, 6.0), at_once).usd == 7.0


def test_a_resume_costs_its_dollars_and_its_time() -> None:
    costs = np.array([[1.0, 9.0, 1.0, 2.0, 2.0]])
    switching = Switching(resume_usd=0.5, resume_h=0.5)
    done = replay(costs, 0, Task(2.0, 5.0), fixed(costs, 0, switching), switching)
    assert done == (1.0 + 0.5 + 1.0 + 0.5 * 2.0, 3.5, 1, 0)


def test_hourly_csv_is_read_and_short_gaps_are_filled(tmp_path: Path) -> None:
    file = tmp_path / "de.csv"
    file.write_text("time,g\n2024-01-02T05:00:00Z,100\n2024-01-02T06:00:00Z,110\n2024-01-02T08:00:00Z,130\n")
    series = read(file)
    np.testing.assert_allclose(series.values, [100.0, 110.0, 120.0, 130.0])
    assert series.first_hour == 24 + 5


@pytest.mark.parametrize(
    "rows",
    ["", "noon,3\n", "2024-01-02T05:00,x\n", "2024-01-02T05:00,nan\n", "2024-01-02T05:00,1\n2024-02-02T05:00,1\n"],
)
def test_hourly_csv_with_faults_is_refused_with_its_line(tmp_path: Path, rows: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text("time,g\n" + rows)
    with pytest.raises(SpecError):
        read(file)


def test_job_traces_are_read_by_arrival_and_cut_by_day(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(
        "timestamp,duration,num_gpus\n2017-10-02 00:00:10,60,2\n2017-10-01 00:00:10,30,1\n2017-10-03 00:00:10,5,8\n"
    )
    trace = read_jobs(file)
    assert list(trace.gpus) == [1, 2, 8]
    assert list(window(trace, 1, 1).arrived_s) == [0.0]


@pytest.mark.parametrize("row", ["soon,60,1", "2017-10-01 00:00:00,x,1", "2017-10-01 00:00:00,0,1", "2017-10-01,5"])
def test_job_traces_with_faults_are_refused(tmp_path: Path, row: str) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(f"timestamp,duration,num_gpus\n{row}\n")
    with pytest.raises(SpecError):
        read_jobs(file)


def test_generated_jobs_offer_the_load_asked_for() -> None:
    trace = generated_jobs(5_000, 500.0, np.random.default_rng(1))
    assert len(trace.gpus) == 5_000
    offered = float(trace.run_s @ trace.gpus) / float(trace.arrived_s[-1])
    assert 400.0 < offered < 600.0
