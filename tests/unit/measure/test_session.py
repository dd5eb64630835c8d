"""A measuring session on a fake bench: the budget, full devices, noise, and what becomes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import repeat

import pytest

from orchestrator.catalog import accelerators
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.measure import session
from orchestrator.measure.session import Measured, measure, measure_on
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.testing.clock import EPOCH, FakeClock
from tests.unit.measure.bench_fakes import CPU, FakeBench, timer_of, wavering

TABLE = accelerators.load()


def measured(
    bench: FakeBench, budget_s: float = 600.0, devices: Sequence[Accelerator] = TABLE, said: list[str] | None = None
) -> Measured:
    clock = bench.clock
    lines = said if said is not None else []
    seen = measure_on(
        bench,
        devices,
        budget_s=budget_s,
        clock=clock,
        progress=lines.append,
        timer=timer_of(clock),
    )
    assert bench.open == []  # every job gave its memory back
    return seen


def test_training_and_serving_of_several_models_become_rows_of_the_tables_device() -> None:
    said: list[str] = []
    seen = measured(FakeBench(FakeClock()), budget_s=3600.0, said=said)
    assert seen.device.name == "H200"
    training = [run for run in seen.runs if isinstance(run, TrainingRun)]
    serving = [run for run in seen.runs if isinstance(run, InferenceRun)]
    assert len({run.model.name for run in training}) >= 4
    assert len({run.model.name for run in serving}) == 5
    assert {run.precision for run in training} == {Precision.BF16, Precision.FP16}
    assert {run.mode for run in serving} == {"single", "static"}
    assert all(run.accelerator == "H200" and run.generation == "hopper" for run in seen.runs)
    assert len({run.id for run in seen.runs}) == len(seen.runs)
    assert any("training llama-3.2-3b" in line for line in said)
    assert "Fake 1.0 on NVIDIA H200" in seen.source


def test_a_row_says_what_the_repeats_took() -> None:
    seen = measured(FakeBench(FakeClock()), budget_s=3600.0)
    run = next(run for run in seen.runs if isinstance(run, TrainingRun) and run.micro_batch == 4)
    assert run.sequence_length == 2048
    assert run.tokens_per_s_per_gpu == pytest.approx(4 * 2048 / 0.1)
    shape = run.model
    assert shape.layers
    assert shape.heads
    assert shape.head_dim
    per_token = 6 * shape.parameters + 12 * shape.layers * 2048 * shape.heads * shape.head_dim
    assert run.mfu == pytest.approx(4 * 2048 / 0.1 * per_token / (run.peak16_tflops * 1e12))
    one = next(run for run in seen.runs if isinstance(run, InferenceRun) and run.concurrency == 1)
    assert (one.ttft_s, one.tpot_s) == (pytest.approx(0.1), pytest.approx(0.1))
    many = next(run for run in seen.runs if isinstance(run, InferenceRun) and run.concurrency == 8)
    assert many.ttft_s is None
    assert many.output_tokens_per_s == pytest.approx(8 * 64 / (64 * 0.1))


@pytest.mark.parametrize("budget_s", [0.05, 1.0, 7.0, 30.0, 120.0])
@pytest.mark.parametrize("step_s", [0.02, 0.9, 11.0])
def test_the_budget_is_passed_by_one_step_at_the_most(budget_s: float, step_s: float) -> None:
    clock = FakeClock()
    bench = FakeBench(clock, product_s=step_s, copy_s=step_s, seconds_of=lambda decoder, tokens: repeat(step_s))
    measured(bench, budget_s)
    assert clock.now() <= EPOCH + timedelta(seconds=budget_s + step_s)


def test_steps_that_slow_down_do_not_pass_the_budget_by_more_than_one() -> None:
    clock = FakeClock()
    bench = FakeBench(clock, seconds_of=lambda decoder, tokens: (0.1 * 2.0**n for n in range(30)))
    measured(bench, 20.0)
    longest = max(0.1 * 2.0**n for n in range(30) if 0.1 * 2.0**n <= 20.0) * 2
    assert clock.now() <= EPOCH + timedelta(seconds=20.0 + longest)


def test_without_time_for_anything_there_are_no_rows_and_a_note_says_so() -> None:
    seen = measured(FakeBench(FakeClock(), product_s=5.0), budget_s=1.0)
    assert seen.runs == ()
    assert any("larger budget" in note for note in seen.notes)


def test_what_would_take_too_long_is_counted_and_named() -> None:
    bench = FakeBench(FakeClock(), described=CPU, product_s=0.2, seconds_of=lambda decoder, tokens: repeat(2.0))
    seen = measured(bench, budget_s=60.0)
    note = next(note for note in seen.notes if "take too long" in note)
    assert "budget of 60 s" in note
    assert not any(model == "llama-3.1-8b" for _, model, _ in bench.asked)


def test_repeats_that_differ_too_much_make_no_row_but_a_note() -> None:
    bench = FakeBench(FakeClock(), seconds_of=lambda decoder, tokens: wavering(0.1, 0.2))
    seen = measured(bench)
    assert seen.runs == ()
    assert any("took 2.0 times as long" in note and "no row" in note for note in seen.notes)


def test_a_run_that_beats_the_peak_makes_no_row_but_a_note() -> None:
    seen = measured(FakeBench(FakeClock(), seconds_of=lambda decoder, tokens: repeat(1e-4)))
    assert not any(isinstance(run, TrainingRun) for run in seen.runs)
    assert any("more than the peak of 989.4" in note for note in seen.notes)


def test_a_full_device_is_asked_for_half_the_batch_and_never_for_more_again() -> None:
    bench = FakeBench(FakeClock(), fits=lambda decoder, tokens: tokens <= 3 * 2048)
    seen = measured(bench, budget_s=3600.0)
    assert any("out of memory" in note for note in seen.notes)
    llama = [tokens for kind, model, tokens in bench.asked if (kind, model) == ("training", "llama-3.2-1b")]
    first = next(position for position, tokens in enumerate(llama) if tokens > 3 * 2048)
    assert max(llama[first + 1 :], default=0) <= llama[first] // 2
    assert 2 * 2048 in llama  # what 4 x 2,048 was halved to
    assert all(run.global_batch_tokens <= 3 * 2048 for run in seen.runs if isinstance(run, TrainingRun))


def test_a_device_that_fills_up_at_work_is_as_full_as_one_that_was_full() -> None:
    bench = FakeBench(FakeClock(), fills_up=lambda decoder, tokens: decoder.name == "llama-3.2-3b")
    seen = measured(bench, budget_s=3600.0)
    assert seen.runs
    assert all(run.model.name != "llama-3.2-3b" for run in seen.runs)


def test_the_peak_memory_stands_beside_the_prediction() -> None:
    seen = measured(FakeBench(FakeClock(), peak=20 * 2**30), budget_s=3600.0)
    note = next(note for note in seen.notes if "allocated at the most" in note)
    assert "20.00 GiB allocated" in note
    assert "predicted" in note


def test_a_table_device_gets_shares_of_its_peaks() -> None:
    seen = measured(FakeBench(FakeClock()))
    share = {each.name: each for each in seen.shares}
    reached = 4 * 2 * 8192**3 / 0.03 / 1e12
    peak = seen.device.peak(Precision.BF16)
    assert peak
    assert share["matmul_share.bf16"].value == pytest.approx(reached / peak)
    assert "measured" in share["matmul_share.bf16"].origin
    assert share["copy_share"].value == pytest.approx(2 * 2**30 * 8 / 0.01 / 1e9 / seen.device.memory_bandwidth_gb_s)


def test_a_cpu_is_described_by_what_it_reached_and_mfu_counts_against_that() -> None:
    bench = FakeBench(FakeClock(), described=CPU, product_s=0.1, seconds_of=lambda decoder, tokens: repeat(9.0))
    seen = measured(bench, budget_s=600.0)
    assert seen.device.name == "cpu"
    assert seen.device.generation == "cpu"
    assert seen.device.peak(Precision.FP32) == pytest.approx(2 * 2048**3 / 0.1 / 1e12)
    assert seen.shares == ()
    run = next(run for run in seen.runs if isinstance(run, TrainingRun))
    assert run.peak16_tflops == seen.device.peak(Precision.FP32)


@pytest.mark.parametrize(("load", "said"), [(0.1, False), (2.5, True)])
def test_a_busy_machine_is_said_to_be_one(load: float, said: bool) -> None:
    seen = measured(FakeBench(FakeClock(), described=replace(CPU, load=load)))
    assert any("measure again when it is idle" in note for note in seen.notes) is said


def test_a_gpu_that_no_table_knows_is_described_by_what_it_reached() -> None:
    seen = measured(FakeBench(FakeClock()), devices=())
    assert seen.device.name == "H200"
    assert seen.device.peak(Precision.BF16) == pytest.approx(4 * 2 * 8192**3 / 0.03 / 1e12)
    assert any("not in the accelerator table" in note for note in seen.notes)


def test_a_budget_that_is_none_or_endless_is_refused() -> None:
    for budget_s in (0.0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(UserError, match="above 0"):
            measure(TABLE, budget_s=budget_s, clock=FakeClock(), progress=print)


def test_without_pytorch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'isoflop\[measure\]'"):
        measure(TABLE, budget_s=1.0, clock=FakeClock(), progress=print)
