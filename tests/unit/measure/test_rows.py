"""Rows: what measuring writes, the reader of observed runs reads, every row and every number."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from orchestrator.catalog import accelerators
from orchestrator.catalog.devices import resolver
from orchestrator.measure.bench import Seen
from orchestrator.measure.rows import inference_csv, training_csv
from orchestrator.measure.session import Measured, measure_on
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.spec.history.reader import read
from orchestrator.testing.clock import FakeClock
from tests.unit.measure.bench_fakes import CPU, H200, FakeBench, timer_of

Run = TrainingRun | InferenceRun


def seen_on(described: Seen) -> Measured:
    clock = FakeClock()
    flop_per_s = 0.3e12 if described is CPU else 300e12  # no device beats its peak, and no row that says so is read
    bench = FakeBench(
        clock,
        described=described,
        product_s=0.025,
        seconds_of=lambda decoder, tokens: repeat(0.01 + 6 * decoder.parameters * tokens / flop_per_s),
    )
    return measure_on(
        bench, accelerators.load(), budget_s=1200.0, clock=clock, progress=lambda line: None, timer=timer_of(clock)
    )


def read_back(seen: Measured, folder: Path) -> list[Run]:
    paths = (folder / "training_runs.csv", folder / "inference_runs.csv")
    paths[0].write_text(training_csv(seen.runs, source=seen.source))
    paths[1].write_text(inference_csv(seen.runs, source=seen.source))
    histories = read(paths, resolver((*accelerators.load(), seen.device)))
    for history in histories:
        assert history.skipped == ()
        assert history.assumed == ()
        assert history.ignored_columns == ()
    return [run for history in histories for run in history.runs]


@pytest.mark.parametrize("described", [H200, CPU], ids=["gpu", "cpu"])
def test_every_run_comes_back_as_it_was(described: Seen, tmp_path: Path) -> None:
    seen = seen_on(described)
    assert any(isinstance(run, TrainingRun) for run in seen.runs)
    back = {run.id: run for run in read_back(seen, tmp_path)}
    assert set(back) == {run.id for run in seen.runs}
    for run in seen.runs:
        same = back[run.id]
        assert replace(same, model=run.model, **numbers(run)) == replace(run, family=same.family)
        for name, value in numbers(run).items():
            assert getattr(same, name) == (None if value is None else pytest.approx(value, rel=1e-9)), name
        for name in ("name", "layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "feed_forward"):
            assert getattr(same.model, name) == getattr(run.model, name), name
        assert same.model.parameters == pytest.approx(run.model.parameters, rel=1e-9)


def numbers(run: Run) -> dict[str, float | None]:
    """What was measured or multiplied: it is written with ten figures."""
    if isinstance(run, TrainingRun):
        names = ("mfu", "tokens_per_s_per_gpu", "flops", "global_batch_tokens", "peak16_tflops")
    else:
        names = ("ttft_s", "tpot_s", "output_tokens_per_s")
    return {name: getattr(run, name) for name in names}


def test_the_columns_are_those_of_the_published_files(shared_data: Path) -> None:
    for name, text in (("training", training_csv((), source="")), ("inference", inference_csv((), source=""))):
        with (shared_data / "sizing" / f"{name}_runs.csv").open(newline="") as file:
            assert next(csv.reader(text.splitlines())) == next(csv.reader(file))


def test_a_source_with_commas_and_quotes_stays_in_its_cell() -> None:
    run = next(run for run in seen_on(H200).runs if isinstance(run, TrainingRun))
    rows = list(csv.DictReader(training_csv([run], source='a "fast" GPU, hot').splitlines()))
    assert rows[0]["source"] == 'a "fast" GPU, hot'
    assert rows[0]["gpu"] == "H200"
