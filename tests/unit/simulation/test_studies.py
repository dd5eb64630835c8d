"""Studies: one trace under several ways to act, from the same replays, the same each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError, UserError
from orchestrator.domain.workload import Workload
from orchestrator.planning.shift.forecast import Hourly
from orchestrator.simulation import (
    inputs,
    queue_trace,
    shift_replay,
    study_carbon,
    study_queue,
    study_serve,
    study_spot,
)
from orchestrator.simulation.study import Study
from orchestrator.simulation.study_carbon import ShiftCase
from orchestrator.simulation.study_serve import ServeCase
from orchestrator.simulation.study_spot import SpotCase
from orchestrator.simulation.traces import SpotZone
from orchestrator.spec.quantity import duration_s
from orchestrator.testing.builders import training

UP = SpotZone("here", np.ones(600, np.bool_), 1.0 / 6.0, 2.0, 5.0)
SHORT = SpotCase(work_h=4.0, deadline_h=8.0, jobs=3)


def hourly() -> Hourly:
    return shift_replay.generated(shift_replay.GRIDS["wind and gas"], 50, np.random.default_rng(1))


def serving() -> Study:
    return study_serve.study(ServeCase(), study_serve.day(3000, 0.05, 1), "test").study


def queueing() -> Study:
    return study_queue.study(queue_trace.generated(200, 20.0, np.random.default_rng(1)), 32, 300.0, "test")


STUDIES: dict[str, Callable[[], Study]] = {
    "spot": lambda: study_spot.study(SHORT, [UP]),
    "requests": serving,
    "queue": queueing,
    "carbon": lambda: study_carbon.study(ShiftCase(every_h=101), hourly(), "test"),
}


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_is_the_same_each_time_and_has_a_figure_for_every_measure(kind: str) -> None:
    first, second = STUDIES[kind](), STUDIES[kind]()
    assert repr(first) == repr(second)
    assert first.kind == kind
    assert {len(row.values) for row in first.rows} == {len(first.measures)}
    assert first.rows[0].name == first.own


def test_spot_that_is_never_taken_costs_what_the_optimum_does() -> None:
    found = study_spot.study(SHORT, [UP])
    assert found.value("isoflop", "over_optimum") == pytest.approx(1.0, abs=1e-6)
    assert found.value("isoflop", "usd") == pytest.approx((4.0 + 0.2) * 2.0)
    assert found.value("on-demand only", "usd") == pytest.approx((4.0 + 0.2) * 5.0)


def test_no_way_to_use_spot_beats_the_optimum_or_is_late() -> None:
    flapping = UP._replace(up=np.arange(600) % 40 < 25)
    found = study_spot.study(SHORT, [flapping, flapping._replace(name="there", up=np.roll(flapping.up, 15))])
    for row in found.rows:
        assert (found.value(row.name, "over_optimum") or 0.0) >= 1.0 - 1e-9
        assert found.value(row.name, "late") == 0.0


def test_prices_stand_in_for_those_that_a_trace_does_not_record() -> None:
    silent = UP._replace(spot_usd_per_hour=np.nan, on_demand_usd_per_hour=np.nan)
    found = study_spot.study(SHORT._replace(spot_usd_per_hour=1.0, on_demand_usd_per_hour=3.0), [silent])
    assert found.value("on-demand only", "usd") == pytest.approx(4.2 * 3.0)


@pytest.mark.parametrize(
    "case",
    [SHORT._replace(work_h=8.0), SHORT._replace(work_h=0.0), SHORT._replace(deadline_h=400.0), SHORT._replace(jobs=0)],
)
def test_work_that_does_not_fit_is_refused(case: SpotCase) -> None:
    with pytest.raises(UserError):
        study_spot.study(case, [UP])


def test_the_replicas_of_perfect_foresight_keep_the_promise() -> None:
    found = serving()
    assert (found.value("foreseeing", "attained") or 0.0) >= 0.99
    assert (found.value("static peak", "replica_hours") or 0.0) >= (found.value("foreseeing", "replica_hours") or 0.0)


def test_a_gang_larger_than_the_cluster_is_refused() -> None:
    with pytest.raises(UserError, match="never fits"):
        study_queue.study(queue_trace.generated(200, 20.0, np.random.default_rng(1)), 2, 300.0, "test")


def test_too_few_hours_of_a_grid_are_refused() -> None:
    with pytest.raises(UserError, match="too few"):
        study_carbon.study(ShiftCase(), Hourly(np.ones(100), 0), "test")


def test_a_folder_of_traces_is_read_by_the_kind_of_its_files(tmp_path: Path) -> None:
    aws, gcp = tmp_path / "aws", tmp_path / "gcp"
    (gcp / "us-a_h100_1").mkdir(parents=True)
    aws.mkdir()
    (aws / "z.json").write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 0]}))
    priced = {"gap_seconds": 600, "price_info": {"price": 1.0, "on_demand_price": 3.0}}
    (gcp / "us-a_h100_1" / "full.json").write_text(json.dumps({"metadata": priced, "data": [1, 0]}))
    (gcp / "us-a_h100_1" / "0.json").write_text("a piece of it")
    assert inputs.spot_folder(aws)[0].up.tolist() == [True, False]
    assert inputs.spot_folder(gcp)[0].up.tolist() == [False, True]
    for folder in (tmp_path / "none", tmp_path / "gcp" / "us-a_h100_1" / "0.json"):
        with pytest.raises(UserError):
            inputs.spot_folder(folder)


def test_arrivals_are_read_with_every_fault_at_its_line(tmp_path: Path) -> None:
    def load(path: Path) -> Workload:
        return training(name=path.stem)

    good = tmp_path / "good.csv"
    good.write_text("at,job\n0,a.yaml\n36h,b.yaml\n")
    found = inputs.arrivals(good, load, duration_s)
    assert [(one.at_s, one.workload.name) for one in found] == [(0.0, "a"), (36 * 3600.0, "b")]
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("at,job\nsoon,a.yaml\n1h,b.yaml\nnever,a.yaml\n")
    with pytest.raises(SpecError) as raised:
        inputs.arrivals(wrong, load, duration_s)
    assert [problem.line for problem in raised.value.problems] == [2, 4]
    for text in ("when,what\n", "at,job\n"):
        wrong.write_text(text)
        with pytest.raises(SpecError):
            inputs.arrivals(wrong, load, duration_s)


def test_scattered_jobs_begin_at_once_and_leave_time_at_the_end() -> None:
    coming = inputs.scattered(inputs.examples(), 5, 10.0, 1)
    assert len(coming) == 15
    assert coming[0].at_s == 0.0
    assert max(one.at_s for one in coming) < 8 * 86_400.0
    assert sorted(one.workload.name for one in coming) == sorted(["answers", "train", "tune"] * 5)
