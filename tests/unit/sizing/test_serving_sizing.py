"""Services and batches on one device: times, replicas, latency limits, memory, quantisation."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.workload import BatchInference, Inference, LatencyTarget, Limits, Population, Stack
from orchestrator.sizing.arithmetic import BYTES
from tests.unit.sizing.given import (
    BATCH,
    BIG,
    LLAMA_7B,
    MIXTRAL,
    PLAIN_SERVING,
    SERVING,
    SMALL,
    VOLTA,
    finite,
    refused,
    said,
    served,
    sized,
    table,
    terms,
)

PLAIN = table(PLAIN_SERVING)
LONE = replace(SERVING, users=(Population("Paris", 0.001),))
BUSY = replace(SERVING, users=(Population("Paris", 100.0),))
READ_S = 2 * 6.74e9 / (2000e9 * 0.5)  # the weights, at half of BIG's bandwidth
TOKEN_S = 2 * 6.74e9 / (400e12 * 0.5)  # one token's FLOPs, at half of its peak
KV = 2 * 32 * 4096 * 2  # bytes of a token's keys and values in all layers


def limited(job: Inference, **limits: float) -> Inference:
    return replace(job, limits=Limits(latency=LatencyTarget(**limits)))


class TestTimes:
    def test_a_lone_answers_token_takes_reading_weights_and_cache_and_its_flops(self) -> None:
        tpot = served(sized(LONE, parameters=PLAIN)).tpot_s.p50
        cache_s = KV * (1024 + 256 / 2) / (2000e9 * 0.5)
        assert tpot == pytest.approx(READ_S + cache_s + TOKEN_S)

    def test_a_long_prompt_takes_its_flops_and_those_of_its_attention(self) -> None:
        job = replace(LONE, prompt_tokens=8192, output_tokens=2048)
        attention_s = 2 * 32 * 4096 * 8192**2 / 400e12
        first = served(sized(job, parameters=PLAIN)).ttft_s.p50
        assert first == pytest.approx(8192 * TOKEN_S + attention_s, rel=0.03)  # and half a step

    def test_the_95th_percentile_of_the_first_token_is_above_its_mean(self) -> None:
        service = served(sized(BUSY))
        assert service.ttft_p95_s is not None
        assert service.ttft_p95_s.p50 > service.ttft_s.p50
        assert service.e2e_s is not None
        assert service.e2e_s.p50 == pytest.approx(service.ttft_s.p50 + 255 * service.tpot_s.p50)

    def test_flops_are_of_one_request_online_and_of_all_in_batch(self) -> None:
        assert sized(SERVING).flops == 2 * 6.74e9 * 1280
        assert sized(BATCH).flops == 2 * 6.74e9 * 1280 * 1e6

    def test_stacks_differ_by_their_hosts_time(self) -> None:
        times = {"serving.host_s.vllm": 0.004, "serving.host_s.tensorrt-llm": 0.001}
        slow, fast = (
            served(sized(replace(LONE, stack=stack), parameters=table(PLAIN_SERVING, times)))
            for stack in (Stack.VLLM, Stack.TENSORRT_LLM)
        )
        assert slow.tpot_s.p50 - fast.tpot_s.p50 == pytest.approx(0.003)
        assert (slow.stack, fast.stack) == ("vllm", "tensorrt-llm")

    def test_a_mixture_reads_its_active_weights_for_one_token(self) -> None:
        job, device = replace(LONE, model=MIXTRAL), replace(BIG, memory_gib=200.0)
        tpot = served(sized(job, device, PLAIN)).tpot_s.p50
        cache_s = 2 * 32 * 1024 * 2 * (1024 + 128) / (2000e9 * 0.5)
        assert tpot == pytest.approx(2 * 12.9e9 / 1e12 + cache_s + 2 * 12.9e9 / (400e12 * 0.5))
        assert "experts_chosen" in said(sized(job, device))


class TestReplicas:
    @pytest.mark.parametrize("rate", [0.0, 0.1, 5.0, 50.0, 5000.0])
    def test_replicas_carry_the_load_of_all_users_and_not_one_more(self, rate: float) -> None:
        users = (Population("Paris", rate / 4), Population("Rome", rate * 3 / 4))
        service = served(sized(replace(SERVING, users=users)))
        assert service.replicas >= 1
        assert service.replicas * service.requests_per_s_per_replica >= rate * (1 - 1e-9)
        assert (service.replicas - 1) * service.requests_per_s_per_replica <= rate or service.replicas == 1

    def test_a_replica_is_planned_for_a_share_of_its_full_rate(self) -> None:
        full, half = (
            served(sized(BUSY, parameters=table(PLAIN_SERVING, {"serving.target_load": load}))) for load in (0.9, 0.45)
        )
        assert half.replicas == pytest.approx(2 * full.replicas, abs=1)

    def test_the_batch_is_no_larger_than_the_load_needs(self) -> None:
        quiet, busy = sized(LONE), sized(BUSY)
        assert terms(quiet)["kv-cache"] < terms(busy)["kv-cache"]
        assert served(quiet).tpot_s.p50 < served(busy).tpot_s.p50

    def test_a_peak_over_the_mean_raises_replicas_and_leaves_those_that_are_busy_on_the_average(self) -> None:
        flat, spiky = (served(sized(replace(BUSY, peak_over_mean=ratio), parameters=PLAIN)) for ratio in (1.0, 5.0))
        assert spiky.replicas >= 4 * flat.replicas
        assert spiky.mean_replicas == pytest.approx(100.0 / spiky.requests_per_s_per_replica)
        assert spiky.mean_replicas == pytest.approx(flat.mean_replicas, rel=0.05)
        assert flat.replicas == ceil(flat.mean_replicas)

    def test_one_replica_is_always_awake(self) -> None:
        assert served(sized(LONE)).mean_replicas == 1.0

    def test_power_is_that_of_decoding_devices_and_their_hosts(self) -> None:
        known = table(PLAIN_SERVING, {"energy.decode_share": 0.5, "energy.host_w": 100.0})
        assert served(sized(LONE, parameters=known)).watts_per_replica == pytest.approx(0.5 * 500 + 100)


class TestLimits:
    def test_a_tighter_limit_gives_a_smaller_batch_and_more_devices(self) -> None:
        free = sized(BUSY)
        limit = served(free).tpot_s.p90 * 0.8
        bound = sized(limited(BUSY, per_token_s=limit))
        assert served(bound).tpot_s.p90 <= limit
        assert served(bound).replicas * bound.min_gpus > served(free).replicas * free.min_gpus

    def test_a_fifth_of_the_first_token_limit_is_left_to_the_network_at_the_95th_percentile(self) -> None:
        free = served(sized(BUSY)).ttft_p95_s
        assert free is not None
        bound = served(sized(limited(BUSY, first_token_s=free.p90))).ttft_p95_s
        assert bound is not None
        assert bound.p90 <= 0.8 * free.p90

    @pytest.mark.parametrize(
        ("limit", "words"),
        [
            ({"first_token_s": 1e-3}, "the first token"),
            ({"per_token_s": 1e-3}, "each further token"),
            ({"total_s": 1e-2}, "the whole answer"),
        ],
    )
    def test_a_limit_that_one_sequence_alone_misses_on_a_whole_node_refuses_the_device(
        self, limit: dict[str, float], words: str
    ) -> None:
        reason = refused(limited(SERVING, **limit))
        assert reason.code is ReasonCode.LATENCY
        assert words in reason.detail
        assert "8 x big" in reason.detail
        assert "limit" in reason.detail

    def test_more_devices_split_a_layer_where_one_alone_misses_the_limit(self) -> None:
        alone = served(sized(LONE, parameters=PLAIN)).tpot_s.p90
        answer = sized(limited(LONE, per_token_s=alone / 2.5), parameters=PLAIN)
        assert answer.min_gpus == 4  # two take half of the time, and more for their all-reduces
        assert said(answer)["tensor_parallel"]
        assert served(answer).tpot_s.p90 <= alone / 2.5

    def test_a_device_that_stands_alone_is_not_joined_with_others(self) -> None:
        lone = replace(BIG, link="", link_gb_s=0.0)
        alone = served(sized(LONE, lone)).tpot_s.p90
        assert refused(limited(LONE, per_token_s=alone / 2.5), lone).code is ReasonCode.LATENCY


class TestMemory:
    def test_kv_cache_is_two_vectors_per_layer_and_token_half_way_through_the_answers(self) -> None:
        answer = sized(BUSY)
        (batch,) = (each.value for each in answer.assumptions if each.name == "batch")
        assert terms(answer)["kv-cache"] == pytest.approx(batch * KV * (1024 + 128))
        narrow = sized(replace(LONE, kv_precision=Precision.FP8))
        assert terms(narrow)["kv-cache"] == pytest.approx(terms(sized(LONE))["kv-cache"] / 2)

    def test_a_replica_takes_a_power_of_two_of_devices(self) -> None:
        nine = replace(LLAMA_7B, parameters=9e9, active_parameters=9e9)
        answer = sized(replace(SERVING, model=nine), SMALL)
        assert answer.min_gpus == 8  # 16.8 GiB of weights over 3.4 GiB each would fit five
        assert "tensor_parallel" in said(answer)

    def test_beyond_a_node_the_layers_are_shared_out_over_stages(self) -> None:
        large = replace(LLAMA_7B, parameters=400e9, active_parameters=400e9, layers=128, hidden=16384, heads=128)
        large = replace(large, kv_heads=8, feed_forward=None)
        answer = sized(replace(LONE, model=large))
        assert answer.min_gpus == 16
        found = {each.name: each.value for each in answer.assumptions}
        assert (found["tensor_parallel"], found["pipeline_parallel"]) == (8.0, 2.0)
        # One sequence is on one stage at a time: its step reads all weights with 8 devices' bandwidth.
        share = table({})["serving.bandwidth.hbm"]
        assert served(answer).tpot_s.p50 > 800e9 / (8 * 2000e9 * share)

    def test_the_devices_of_a_rack_split_layers_beyond_eight(self) -> None:
        large = replace(LLAMA_7B, parameters=2e12, active_parameters=2e12, layers=128, hidden=32768, heads=256)
        large = replace(large, kv_heads=64, feed_forward=None)
        rack = next(device for device in load() if device.name == "GB200")
        answer = sized(replace(LONE, model=large), rack)
        assert answer.min_gpus == 32
        assert "pipeline_parallel" not in said(answer)

    def test_a_model_beyond_the_largest_replica_is_refused_with_the_arithmetic(self) -> None:
        huge = replace(LLAMA_7B, parameters=1e13, active_parameters=1e13)
        reason = refused(replace(SERVING, model=huge))
        assert reason.code is ReasonCode.NO_FIT
        assert "64 x big" in reason.detail

    def test_narrow_weights_keep_their_width_where_the_device_widens_them_to_compute(self) -> None:
        answer = sized(replace(SERVING, precision=Precision.INT4), VOLTA)
        assert terms(answer)["weights"] == pytest.approx(0.5625 * 6.74e9)
        assert answer.precision is Precision.FP16
        assert "int4" in said(answer)["arithmetic"]


class TestQuantisation:
    @pytest.mark.parametrize("job", [BUSY, BATCH])
    def test_narrower_weights_are_taken_where_they_save_and_say_how_much(self, job: Inference | BatchInference) -> None:
        wide, allowed = sized(job, parameters=PLAIN), sized(replace(job, quantise=(Precision.INT4,)), parameters=PLAIN)
        amounts = [
            float(each.effort.replicas * each.min_gpus) if isinstance(job, Inference) else finite(each).gpu_hours.p50
            for each in (wide, allowed)
        ]
        assert amounts[1] < amounts[0]
        assert allowed.quantised is not None
        assert (allowed.quantised.asked, allowed.quantised.weights) == (Precision.BF16, Precision.INT4)
        assert allowed.quantised.saving == pytest.approx(1 - amounts[1] / amounts[0])
        assert terms(allowed)["weights"] == pytest.approx(BYTES[Precision.INT4] * 6.74e9)

    def test_they_are_left_where_they_save_nothing(self) -> None:
        answer = sized(replace(LONE, quantise=(Precision.INT4,)))  # one device either way
        assert answer.quantised is None
        assert answer == sized(LONE)

    def test_the_best_of_several_is_measured_against_what_was_asked_for(self) -> None:
        job = replace(BATCH, quantise=(Precision.INT8, Precision.INT4))
        wide, best = (finite(sized(each, parameters=PLAIN)).gpu_hours.p50 for each in (BATCH, job))
        answer = sized(job, parameters=PLAIN)
        assert answer.quantised is not None
        assert answer.quantised.saving == pytest.approx(1 - best / wide)

    def test_where_what_was_asked_for_does_not_run_there_is_no_saving_to_tell(self) -> None:
        lone = replace(BIG, link="", link_gb_s=0.0)  # and no second one to join it with
        job = limited(LONE, per_token_s=served(sized(LONE, lone)).tpot_s.p90 * 0.7)
        assert refused(job, lone).code is ReasonCode.LATENCY
        answer = sized(replace(job, quantise=(Precision.INT4,)), lone)
        assert answer.quantised is not None
        assert answer.quantised.saving is None


class TestBatches:
    def test_they_run_as_many_sequences_as_memory_holds(self) -> None:
        full = sized(replace(BATCH, prompt_tokens=4096))
        assert full.memory_per_gpu_gib > 0.85 * full.capacity_per_gpu_gib

    def test_device_hours_are_requests_over_the_rate_of_a_replica(self) -> None:
        answer = sized(BATCH, parameters=table(PLAIN_SERVING, {"serving.sequences.vllm": 64.0}))
        step = READ_S + 64 * (KV * 1152 / 1e12 + TOKEN_S)
        prompt = 1024 * TOKEN_S + 2 * 32 * 4096 * 1024**2 / 400e12
        seconds = 1e6 * (64 * prompt + 256 * step) / 64
        assert answer.min_gpus == 1
        assert finite(answer).gpu_hours.p50 == pytest.approx(seconds / 3600)

    def test_the_band_of_hours_is_the_inverse_of_that_of_the_rate(self) -> None:
        known = table(PLAIN_SERVING, {"band.throughput.p10": 0.5, "band.throughput.p90": 1.25})
        hours = finite(sized(BATCH, parameters=known)).gpu_hours
        assert (hours.p10 / hours.p50, hours.p90 / hours.p50) == pytest.approx((0.8, 2.0))

    def test_more_devices_are_taken_where_their_memory_makes_up_for_their_talk(self) -> None:
        tight = replace(BIG, memory_gib=18.0)  # 12.6 GiB of weights leave room for a few sequences only
        answer = sized(BATCH, tight)
        assert answer.min_gpus > 1


def test_a_device_of_unknown_bandwidth_is_refused_for_serving() -> None:
    dark = replace(BIG, memory_bandwidth_gb_s=0.0)
    for job in (SERVING, BATCH):
        assert refused(job, dark).code is ReasonCode.UNKNOWN_ACCELERATOR


def test_replicas_are_planned_for_less_of_their_rate_where_waiting_alone_would_miss_the_limit() -> None:
    # One device, so that more of them cannot be the answer; prompts are nearly all of its work, so that waiting counts.
    alone = replace(BIG, link="")
    job = replace(BUSY, prompt_tokens=4096, output_tokens=1)
    idle = served(sized(replace(LONE, prompt_tokens=4096, output_tokens=1), alone)).ttft_p95_s
    assert idle is not None
    answer = sized(limited(job, first_token_s=idle.p90 * 1.05), alone)
    (planned,) = (each.value for each in answer.assumptions if each.name == "load")
    assert planned < 0.7
    service = served(answer)
    assert service.ttft_p95_s is not None
    assert service.ttft_p95_s.p90 <= idle.p90 * 1.05
    assert service.replicas > served(sized(job, alone)).replicas
    assert refused(limited(job, first_token_s=idle.p90 * 0.9), alone).code is ReasonCode.LATENCY
