"""What a pass of an engine takes, by hand, and the rates that a stack gets out of a device."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, log

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import Model, Stack
from orchestrator.sizing.engine import OTHER, Mount, experts_chosen, kv_pool_bytes, memory_kind, rates_of
from orchestrator.sizing.flops import device_hours, usd_per_1000_tokens
from orchestrator.sizing.shape import shape_of
from orchestrator.sizing.throughput import Engine
from tests.unit.sizing.given import BIG, LLAMA_7B, MIXTRAL, PLAIN_SERVING, table

# 1 ms for one token's FLOPs, 10 ms to read the weights, 1 us to read a token of the KV cache.
ENGINE = Engine(
    flops_per_token=1e9,
    attention_flops=2e12,
    flops_per_s=1e12,
    attention_flops_per_s=1e12,
    bytes_per_s=1e12,
    weight_bytes=1e10,
    spared_bytes=0.0,
    missed_share=0.0,
    kv_bytes_per_token=1e6,
    collective_s=0.0,
    collective_s_per_token=0.0,
    layers_s=0.0,
    host_step_s=0.0,
    sequence_s=0.0,
    first_token_s=0.0,
    prompt_tokens=1000.0,
    output_tokens=200.0,
)


class TestPasses:
    def test_a_step_reads_the_weights_and_every_sequences_cache_and_multiplies(self) -> None:
        # 10 ms of weights; 4 x (1 100 tokens, half-way through the answer, x 1 us); 4 x 1 ms of FLOPs.
        assert ENGINE.step_s(4) == pytest.approx(0.010 + 4 * 1100e-6 + 4 * 1e-3)

    def test_times_of_their_own_add_to_a_step_once_or_per_sequence(self) -> None:
        slow = replace(ENGINE, collective_s=1.0, layers_s=2.0, host_step_s=4.0)
        assert slow.step_s(4) - ENGINE.step_s(4) == pytest.approx(7.0)
        each = replace(ENGINE, collective_s_per_token=1.0, sequence_s=2.0)
        assert each.step_s(4) - ENGINE.step_s(4) == pytest.approx(12.0)

    def test_a_lone_prompt_computes_while_it_reads_the_weights_in_part(self) -> None:
        assert ENGINE.prefill_s == pytest.approx(hypot(1.0 + 2.0, 0.010))  # 1 000 tokens x 1 ms, and attention
        assert ENGINE.prefill_of(3) == pytest.approx(hypot(9.0, 0.010))
        waiting = replace(ENGINE, layers_s=0.1, first_token_s=0.2, collective_s=0.4, collective_s_per_token=1e-3)
        assert waiting.prefill_of(2) == pytest.approx(hypot(6.0, 0.010) + 0.1 + 0.2 + 0.4 + 2.0)

    def test_under_load_a_prompt_keeps_the_engine_busy_for_its_arithmetic_alone(self) -> None:
        assert ENGINE.prompt_s == pytest.approx(3.0)
        talking = replace(ENGINE, collective_s=8.192, collective_s_per_token=1e-3)
        assert talking.prompt_s == pytest.approx(3.0 + 1.0 + 1.0)  # a thousand of 8 192 tokens of a chunk

    def test_a_token_waits_for_its_step_and_its_share_of_the_others_prompts(self) -> None:
        assert ENGINE.tpot_s(1) == ENGINE.step_s(1)
        assert ENGINE.tpot_s(5) == pytest.approx(ENGINE.step_s(5) + 4 * 3.0 / 200)

    def test_the_rate_is_requests_over_their_prompts_and_steps(self) -> None:
        assert ENGINE.requests_per_s(8) == pytest.approx(8 / (8 * 3.0 + 200 * ENGINE.step_s(8)))

    def test_a_fixed_batch_reads_all_prompts_and_then_writes_all_answers(self) -> None:
        assert ENGINE.static_s(4) == pytest.approx(ENGINE.prefill_of(4) + 200 * ENGINE.step_s(4))


class TestQueues:
    def test_random_arrivals_wait_as_in_an_m_d_1_queue_and_half_a_step(self) -> None:
        rho = 0.5 * ENGINE.requests_per_s(8) * 3.0
        expected = ENGINE.prefill_s + 3.0 * rho / (2 * (1 - rho)) + ENGINE.step_s(8) / 2
        assert ENGINE.ttft_s(8, 0.5) == pytest.approx(expected)

    def test_an_idle_engine_answers_after_its_prompt_and_half_a_step(self) -> None:
        assert ENGINE.ttft_s(1, 0.0) == pytest.approx(ENGINE.prefill_s + ENGINE.step_s(1) / 2)
        assert ENGINE.ttft_p95_s(1, 0.0) == pytest.approx(ENGINE.prefill_s + ENGINE.step_s(1))

    def test_one_in_twenty_waits_longer_than_the_95th_percentile_of_an_exponential_tail(self) -> None:
        rho = 0.5 * ENGINE.requests_per_s(8) * 3.0
        assert rho > 0.05
        waiting = 3.0 / (2 * (1 - rho)) * log(rho / 0.05)
        assert ENGINE.ttft_p95_s(8, 0.5) == pytest.approx(ENGINE.prefill_s + waiting + ENGINE.step_s(8))
        assert ENGINE.ttft_p95_s(8, 0.5) > ENGINE.ttft_s(8, 0.5)

    def test_in_a_closed_loop_a_request_waits_for_a_share_of_the_others_prompts(self) -> None:
        closed = replace(ENGINE, closed_loop=0.25)
        assert closed.closed_ttft_s(1) == pytest.approx(ENGINE.prefill_s)
        expected = ENGINE.prefill_s + 0.25 * 8 * 3.0 + ENGINE.step_s(9) / 2
        assert closed.closed_ttft_s(9) == pytest.approx(expected)

    def test_the_last_token_comes_after_the_first_and_all_others(self) -> None:
        assert ENGINE.e2e_s(5.0, 4) == pytest.approx(5.0 + 199 * ENGINE.tpot_s(4))


class TestStages:
    def test_stages_hold_a_share_of_the_batch_each_and_share_out_the_prompts(self) -> None:
        two = replace(ENGINE, stages=2.0)
        assert two.step_s(8) == ENGINE.step_s(4)
        assert two.prompt_s == ENGINE.prompt_s / 2
        assert two.prefill_s == ENGINE.prefill_s  # one prompt goes through both

    def test_one_sequence_gains_nothing_from_a_second_stage(self) -> None:
        assert replace(ENGINE, stages=2.0).step_s(1) == ENGINE.step_s(1)


class TestMixtures:
    @pytest.mark.parametrize("tokens", [1, 2, 7, 100])
    def test_a_pass_touches_all_weights_but_the_experts_that_no_token_chooses(self, tokens: int) -> None:
        engine = made(MIXTRAL)
        total, active = 2 * 46.7e9, 2 * 12.9e9
        assert engine.touched_bytes(tokens) == pytest.approx(total - (total - active) * (1 - 2 / 8) ** (tokens - 1))

    def test_a_dense_model_touches_all_its_weights(self) -> None:
        assert made(LLAMA_7B).touched_bytes(1) == 2 * 6.74e9

    def test_the_share_of_experts_is_that_of_the_parameters_where_they_are_not_given(self) -> None:
        assert experts_chosen(MIXTRAL) == 0.25
        bare = replace(MIXTRAL, experts=None, experts_per_token=None)
        assert experts_chosen(bare) == pytest.approx(12.9 / 46.7)
        assert experts_chosen(LLAMA_7B) == 1.0

    def test_grouped_products_of_experts_are_slower(self) -> None:
        slow = made(MIXTRAL, values={"serving.experts.compute": 0.5})
        assert slow.flops_per_s == pytest.approx(made(MIXTRAL).flops_per_s / 2)
        assert made(LLAMA_7B, values={"serving.experts.compute": 0.5}).flops_per_s == made(LLAMA_7B).flops_per_s


def made(model: Model, devices: int = 1, stages: int = 1, values: dict[str, float] | None = None) -> Engine:
    mount = Mount(
        model,
        shape_of(model)[0],
        BIG,
        peak_tflops=400.0,
        peak16_tflops=400.0,
        used=Precision.BF16,
        weight_bytes=2 * model.parameters,
        kv_bytes_per_token=1.0,
        stack=Stack.VLLM,
        prompt_tokens=1000.0,
        output_tokens=200.0,
        parameters=table(PLAIN_SERVING, values or {}),
    )
    return mount.on(devices, stages)


class TestEngine:
    def test_devices_add_up_and_work_at_their_shares(self) -> None:
        engine = made(LLAMA_7B, devices=4)
        assert engine.flops_per_s == pytest.approx(4 * 400e12 * 0.5)
        assert engine.bytes_per_s == pytest.approx(4 * 2000e9 * 0.5)
        assert engine.flops_per_token == 2 * 6.74e9
        assert engine.attention_flops == 2 * 32 * 4096 * 1000 * 1000  # causal: half of 4·L·d·p²

    def test_devices_that_split_layers_reduce_twice_per_layer_over_their_links(self) -> None:
        assert (made(LLAMA_7B).collective_s, made(LLAMA_7B).collective_s_per_token) == (0.0, 0.0)
        engine = made(LLAMA_7B, devices=4, values={"serving.collective_s": 1e-5})
        assert engine.collective_s == pytest.approx(64 * 1e-5)
        one_way = 600e9 / 2 * 0.5
        assert engine.collective_s_per_token == pytest.approx(64 * 2 * (3 / 4) * 4096 * 2 / one_way)

    def test_kernels_of_every_layer_and_the_host_have_times_of_their_own(self) -> None:
        engine = made(LLAMA_7B, values={"serving.layer_s": 1e-5, "serving.host_s.vllm": 0.003})
        assert (engine.layers_s, engine.host_step_s) == pytest.approx((32e-5, 0.003))

    def test_stages_add_no_rate_to_the_devices_of_one(self) -> None:
        assert made(LLAMA_7B, devices=4, stages=2).flops_per_s == made(LLAMA_7B, devices=4).flops_per_s


DEVICES = {device.name: device for device in load()}


class TestRates:
    @pytest.mark.parametrize(
        ("device", "kind"),
        [
            ("H100-SXM", "hbm"),
            ("A100-80GB", "hbm"),
            ("B200", "hbm"),
            ("V100-16GB", "hbm"),
            ("A10G", "gddr"),
            ("L4", "gddr"),
            ("T4", "gddr"),
            ("RTX-4090", "gddr"),
            ("MI300X", "cdna"),
            ("Jetson-AGX-Orin-64GB", "shared"),
        ],
    )
    def test_what_a_device_has_for_memory(self, device: str, kind: str) -> None:
        assert memory_kind(DEVICES[device]) == kind

    @pytest.mark.parametrize("stack", [*Stack, OTHER])
    @pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
    def test_every_stack_has_rates_on_every_device(self, stack: str, device: Accelerator) -> None:
        rates = rates_of(device, Precision.BF16, stack, table({}))
        assert 0 < rates.bandwidth <= 1
        assert rates.matrix > 0
        assert rates.attention > 0
        assert rates.link_bytes_per_s >= 16e9 * 0.3
        assert rates.host_step_s > 0

    def test_llama_cpp_moves_and_multiplies_at_its_own_shares_and_fills_no_fast_memory(self) -> None:
        own = {"serving.llama_cpp.bandwidth": 0.8, "serving.llama_cpp.hbm": 0.5, "serving.llama_cpp.compute": 2.0}
        known = table(PLAIN_SERVING, own)
        slow = replace(BIG, memory_bandwidth_gb_s=1000.0)
        assert rates_of(BIG, Precision.BF16, Stack.LLAMA_CPP, known).bandwidth == pytest.approx(0.4)
        assert rates_of(slow, Precision.BF16, Stack.LLAMA_CPP, known).bandwidth == pytest.approx(0.8)
        assert rates_of(BIG, Precision.BF16, Stack.LLAMA_CPP, known).matrix == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("used", "name"), [(Precision.FP8, "8"), (Precision.INT8, "8"), (Precision.FP4, "4"), (Precision.FP16, "16")]
    )
    def test_each_width_has_its_own_share_of_the_peak(self, used: Precision, name: str) -> None:
        known = table(PLAIN_SERVING, {f"serving.compute.{name}": 0.123})
        assert rates_of(BIG, used, Stack.VLLM, known).matrix == pytest.approx(0.123)

    def test_the_pool_of_the_cache_is_a_share_of_memory_less_weights_and_overhead(self) -> None:
        known = table({"serving.kv_pool": 0.5, "memory.overhead_gb": 3.0})
        pool = kv_pool_bytes(BIG, 2, 10e9, known)
        assert pool == pytest.approx(2 * (40 * 2**30 - 3e9) - 10e9)


def test_a_device_hour_is_flops_over_what_the_device_does_in_an_hour() -> None:
    assert device_hours(3.6e18, 1000.0, 0.5) == pytest.approx(2.0)
    assert usd_per_1000_tokens(7200.0, 4000.0, 3.0) == pytest.approx(1.5)
