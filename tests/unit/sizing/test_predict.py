"""What is said of runs that somebody observed, in the terms that they were observed in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.workload import Stack
from orchestrator.sizing.accuracy import Prediction, Quantity
from orchestrator.sizing.engine import OTHER
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.predict import predict_inference, predict_training, stack_of
from tests.unit.sizing.given import BIG, LLAMA_7B, PLAIN_SERVING, PLAIN_TRAINING, table

PLAIN = table(PLAIN_TRAINING, PLAIN_SERVING)
RUN = TrainingRun(
    id="r",
    family="f",
    group="g",
    benchmark=False,
    model=LLAMA_7B,
    accelerator="big",
    generation="ampere",
    peak16_tflops=400.0,
    flops=6 * 6.74e9 * 1e12,
    gpu_hours=60_000.0,
)
SEEN = InferenceRun(
    id="i",
    family="f",
    group="g",
    engine="vllm-0.6",
    mode="conc",
    model=LLAMA_7B,
    accelerator="big",
    generation="ampere",
    devices=1,
    weights=Precision.BF16,
    kv=Precision.BF16,
    concurrency=8.0,
    prompt_tokens=1024,
    output_tokens=256,
    ttft_s=0.2,
    tpot_s=0.02,
    output_tokens_per_s=300.0,
    latency_s=5.0,
)


def trained(run: TrainingRun) -> dict[Quantity, Prediction]:
    found = predict_training(run, BIG, PLAIN)
    assert not isinstance(found, Reason), found
    return {each.quantity: each for each in found}


def answered(run: InferenceRun) -> dict[Quantity, Prediction]:
    found = predict_inference(run, BIG, PLAIN)
    assert not isinstance(found, Reason), found
    return {each.quantity: each for each in found}


class TestTraining:
    def test_a_run_is_judged_by_its_device_hours(self) -> None:
        found = trained(RUN)
        assert set(found) == {Quantity.TRAINING_TIME}  # nothing is known of its layout
        assert found[Quantity.TRAINING_TIME].true == pytest.approx(60_000)
        hours = 6 * 6.74e9 * 1e12 / (400e12 * 0.5) / 3600
        assert found[Quantity.TRAINING_TIME].predicted.p50 == pytest.approx(hours)

    def test_a_benchmark_is_judged_by_the_device_seconds_of_a_million_tokens(self) -> None:
        bench = replace(RUN, benchmark=True, gpu_hours=None, tokens_per_s_per_gpu=4000.0, flops=6 * 6.74e9)
        found = trained(bench)[Quantity.TRAINING_TIME]
        assert found.true == pytest.approx(250.0)
        assert found.predicted.p50 == pytest.approx(1e6 * 6 * 6.74e9 / 200e12)

    @pytest.mark.parametrize("counted", [True, False])
    def test_a_utilisation_is_a_time_by_the_flops_that_it_counts(self, counted: bool) -> None:
        bench = replace(RUN, benchmark=True, gpu_hours=None, mfu=0.5, mfu_counts_attention=counted, flops=6 * 6.74e9)
        attention = 12 * 32 * 4096 * 2048 if counted else 0
        found = trained(bench)[Quantity.TRAINING_TIME]
        assert found.true == pytest.approx(1e6 * (6 * 6.74e9 + attention) / 200e12)

    def test_a_run_with_nothing_observed_is_a_reason(self) -> None:
        found = predict_training(replace(RUN, gpu_hours=None), BIG, PLAIN)
        assert isinstance(found, Reason)
        assert "neither GPU-hours" in found.detail

    def test_a_known_layout_is_judged_by_its_step_too(self) -> None:
        found = trained(replace(RUN, gpus=64, tensor=8, pipeline=2, recompute=Recompute.FULL))
        assert set(found) == {Quantity.TRAINING_TIME, Quantity.STEP_TIME}
        selective = trained(replace(RUN, gpus=64, tensor=8, pipeline=2))
        assert found[Quantity.STEP_TIME].predicted.p50 > selective[Quantity.STEP_TIME].predicted.p50
        assert Quantity.STEP_TIME in trained(replace(RUN, gpus=64, data=64))  # all data-parallel: fully sharded
        assert Quantity.STEP_TIME not in trained(replace(RUN, gpus=64, data=32))  # the other factor of 2 is not known

    def test_a_runs_step_has_the_downtime_that_a_benchmarks_has_not(self) -> None:
        laid_out = replace(RUN, gpus=8, tensor=8, gpu_hours=None, tokens_per_s_per_gpu=4000.0)
        run, bench = (trained(replace(laid_out, benchmark=each))[Quantity.STEP_TIME] for each in (False, True))
        per_token = run.predicted.p50 * 3600 / 1e12
        assert per_token == pytest.approx(bench.predicted.p50 / 1e6 / table({})["step.run"])


class TestInference:
    def test_all_that_was_observed_is_predicted_and_nothing_else(self) -> None:
        found = answered(SEEN)
        assert set(found) == {Quantity.TTFT_LOAD, Quantity.TPOT, Quantity.THROUGHPUT, Quantity.LATENCY}
        assert set(answered(replace(SEEN, ttft_s=None, latency_s=None))) == {Quantity.TPOT, Quantity.THROUGHPUT}

    def test_one_request_is_judged_apart_from_many(self) -> None:
        assert Quantity.TTFT_ONE in answered(replace(SEEN, concurrency=1.0))

    def test_a_fixed_batch_reads_its_prompts_at_once_and_then_decodes(self) -> None:
        found = answered(replace(SEEN, mode="static"))
        step = 2 * 6.74e9 / 1e12 + 8 * (2 * 32 * 4096 * 2 * 1152 / 1e12 + 2 * 6.74e9 / 200e12)
        assert found[Quantity.TPOT].predicted.p50 == pytest.approx(step)
        first = found[Quantity.TTFT_LOAD].predicted.p50
        assert found[Quantity.LATENCY].predicted.p50 == pytest.approx(first + 256 * step)
        assert found[Quantity.THROUGHPUT].predicted.p50 == pytest.approx(8 * 256 / (first + 256 * step))

    def test_without_a_concurrency_memory_says_how_many(self) -> None:
        few, many = (replace(SEEN, concurrency=None), replace(SEEN, concurrency=None, kv=Precision.FP8))
        rates = [answered(each)[Quantity.THROUGHPUT].predicted.p50 for each in (few, many)]
        assert rates[0] < rates[1]

    def test_weights_that_leave_no_room_are_a_reason(self) -> None:
        small = replace(BIG, memory_gib=14.0)
        found = predict_inference(replace(SEEN, concurrency=None), small, PLAIN)
        assert isinstance(found, Reason)
        assert found.code is ReasonCode.NO_FIT

    def test_a_device_of_unknown_bandwidth_or_arithmetic_is_a_reason(self) -> None:
        for device in (replace(BIG, memory_bandwidth_gb_s=0.0), replace(BIG, peak_tflops=())):
            assert isinstance(predict_inference(SEEN, device, PLAIN), Reason)

    @pytest.mark.parametrize(
        ("engine", "stack"),
        [
            ("trtllm-0.17", Stack.TENSORRT_LLM),
            ("TensorRT-LLM 0.9", Stack.TENSORRT_LLM),
            ("NIM 1.8", Stack.TENSORRT_LLM),
            ("vllm-0.6", Stack.VLLM),
            ("SGLang", Stack.SGLANG),
            ("llama.cpp b4000", Stack.LLAMA_CPP),
            ("ollama", Stack.LLAMA_CPP),
            ("mlc-llm", Stack.LLAMA_CPP),
            ("ctranslate2", OTHER),
            ("", OTHER),
        ],
    )
    def test_software_is_known_by_what_its_name_begins_with(self, engine: str, stack: str) -> None:
        assert stack_of(engine) == stack
