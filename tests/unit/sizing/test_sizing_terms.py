"""Memory terms, arithmetic that stands in, latency and refusals, on devices whose numbers are easy to follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import FiniteWork, Service, Sizing
from orchestrator.domain.workload import (
    BatchInference,
    FineTune,
    Inference,
    LatencyTarget,
    Limits,
    Method,
    Model,
    Population,
    Training,
    Workload,
)
from orchestrator.sizing.memory import (
    GIB,
    activation_bytes,
    kv_bytes_per_token,
    least_devices,
)
from orchestrator.sizing.shape import Shape, shape_of
from orchestrator.sizing.size import size

LLAMA_7B = Model(
    name="Llama 2 7B",
    parameters=6.74e9,
    active_parameters=6.74e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=32,
    vocabulary=32000,
)
MIXTRAL = Model(
    name="Mixtral 8x7B",
    parameters=46.7e9,
    active_parameters=12.9e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    vocabulary=32000,
)
BIG = Accelerator(
    name="big",
    vendor="x",
    memory_gib=80.0,
    memory_bandwidth_gb_s=2000.0,
    peak_tflops=((Precision.FP32, 20.0), (Precision.BF16, 300.0), (Precision.FP8, 600.0)),
    tdp_w=500.0,
    generation="ampere",
)
OLD = replace(BIG, name="old", peak_tflops=((Precision.FP32, 10.0),), generation="kepler")
VOLTA = replace(BIG, name="volta", peak_tflops=((Precision.FP32, 15.0), (Precision.FP16, 125.0)), generation="volta")
SMALL = replace(BIG, name="small", memory_gib=4.0)

TRAINING = Training(name="train", model=LLAMA_7B, tokens=1e12)
SERVING = Inference(name="chat", model=LLAMA_7B, users=(Population("Paris", 2.0), Population("Rome", 3.0)))
BATCH = BatchInference(name="label", model=LLAMA_7B, requests=1e6)


def sized(job: Workload, device: Accelerator = BIG) -> Sizing:
    answer = size(job, [device])[device.name]
    assert isinstance(answer, Sizing), answer
    return answer


def refused(job: Workload, device: Accelerator = BIG) -> Reason:
    answer = size(job, [device])[device.name]
    assert isinstance(answer, Reason), answer
    assert answer.by == "sizing"
    return answer


def terms(answer: Sizing) -> dict[str, float]:
    """Bytes by name."""
    return {term.name: term.gib * GIB for term in answer.memory}


def said(answer: Sizing) -> dict[str, str]:
    """Origins of the assumptions by name."""
    return {assumption.name: assumption.origin for assumption in answer.assumptions}


def served(answer: Sizing) -> Service:
    assert isinstance(answer.effort, Service)
    return answer.effort


def finite(answer: Sizing) -> FiniteWork:
    assert isinstance(answer.effort, FiniteWork)
    return answer.effort


class TestTraining:
    def test_state_is_2_weights_2_gradients_and_12_optimizer_bytes_per_parameter(self) -> None:
        held = terms(sized(TRAINING))
        assert held["weights"] == pytest.approx(2 * 6.74e9)
        assert held["gradients"] == pytest.approx(2 * 6.74e9)
        assert held["optimizer"] == pytest.approx(12 * 6.74e9)

    def test_fp32_state_is_4_weights_4_gradients_and_8_optimizer_bytes_and_twice_the_activations(self) -> None:
        half, full = sized(TRAINING), sized(replace(TRAINING, precision=Precision.FP32))
        held = terms(full)
        assert [held[name] / 6.74e9 for name in ("weights", "gradients", "optimizer")] == pytest.approx([4, 4, 8])
        assert held["activations"] / full.min_gpus == pytest.approx(2 * terms(half)["activations"] / half.min_gpus)

    def test_device_hours_are_flops_over_peak_times_mfu(self) -> None:
        answer = sized(replace(TRAINING, mfu=0.5))
        assert answer.flops == 6 * 6.74e9 * 1e12
        assert finite(answer).gpu_hours.p50 == pytest.approx(answer.flops / (300e12 * 0.5) / 3600)
        assert answer.mfu.value == 0.5
        assert "stated" in answer.mfu.origin
        assert finite(answer).energy_kwh.p50 == pytest.approx(finite(answer).gpu_hours.p50 * 0.5 * 0.8)

    def test_mfu_of_the_generation_says_where_it_comes_from_and_how_far_it_can_be_off(self) -> None:
        answer = sized(TRAINING)
        hours = finite(answer).gpu_hours
        assert answer.mfu.value == 0.37
        assert "ampere" in answer.mfu.origin
        assert (hours.p10 / hours.p50, hours.p90 / hours.p50) == pytest.approx((0.71, 1.41))

    def test_an_unpublished_generation_and_a_cpu_have_wider_bands(self) -> None:
        unknown = finite(sized(TRAINING, replace(BIG, generation="abacus"))).gpu_hours
        cpu = finite(sized(replace(TRAINING, precision=Precision.FP32), replace(OLD, generation="cpu"))).gpu_hours
        assert 1.41 < unknown.p90 / unknown.p50 < cpu.p90 / cpu.p50

    def test_fp16_stands_in_for_bf16_and_fp32_where_there_is_neither_and_both_are_said(self) -> None:
        assert sized(TRAINING).precision is Precision.BF16
        assert "arithmetic" not in said(sized(TRAINING))
        volta, old = sized(TRAINING, VOLTA), sized(TRAINING, OLD)
        assert (volta.precision, old.precision) == (Precision.FP16, Precision.FP32)
        assert "fp16 stands in" in said(volta)["arithmetic"]
        assert "fp32 stands in" in said(old)["arithmetic"]

    @pytest.mark.parametrize("asked", [Precision.FP8, Precision.FP4, Precision.INT8, Precision.INT4])
    def test_nothing_stands_in_for_narrow_training(self, asked: Precision) -> None:
        assert refused(replace(TRAINING, precision=asked), VOLTA).code is ReasonCode.NO_PRECISION

    def test_fp8_training_gains_less_than_its_peak(self) -> None:
        wide, narrow = sized(TRAINING), sized(replace(TRAINING, precision=Precision.FP8))
        gain = finite(wide).gpu_hours.p50 / finite(narrow).gpu_hours.p50
        assert gain == pytest.approx(1.3)

    def test_a_sequence_that_fits_no_group_of_devices_is_refused_with_the_arithmetic(self) -> None:
        reason = refused(replace(TRAINING, sequence_length=1_000_000), SMALL)
        assert reason.code is ReasonCode.NO_FIT
        assert "shorten the sequence" in reason.detail

    def test_a_state_beyond_the_largest_jobs_is_refused_with_the_arithmetic(self) -> None:
        huge = replace(LLAMA_7B, parameters=1e15, active_parameters=1e9)
        reason = refused(replace(TRAINING, model=huge))
        assert reason.code is ReasonCode.NO_FIT
        assert "16,384" in reason.detail

    def test_activations_are_split_over_a_node_only_where_that_takes_fewer_devices(self) -> None:
        whole = least_devices(state=100.0, activations=1.0, fixed=0.0, capacity=60.0, most=100)
        split = least_devices(state=100.0, activations=50.0, fixed=0.0, capacity=60.0, most=100)
        assert whole is not None
        assert split is not None
        assert (whole.devices, whole.split) == (2, 1)
        assert (split.devices, split.split) == (3, 2)  # 100/3 + 50/2 < 60

    def test_a_device_that_only_just_fits_is_not_given_a_second(self) -> None:
        exact = least_devices(state=50.0, activations=5.0, fixed=5.0, capacity=60.0, most=1)
        assert exact is not None
        assert exact.devices == 1
        assert least_devices(state=50.1, activations=5.0, fixed=5.0, capacity=60.0, most=1) is None


class TestActivations:
    GPT3 = Shape(layers=96, hidden=12288, heads=96, kv_width=12288, vocabulary=0)

    def test_no_recompute_is_34_plus_5as_over_h_per_layer(self) -> None:
        # Korthikanti et al. 2022 for GPT-3: 5·a·s/h = 80, so 114·s·b·h per layer.
        size_ = activation_bytes(self.GPT3, sequence_length=2048, micro_batch=1, recompute=Recompute.NONE)
        assert size_ == pytest.approx(114 * 2048 * 12288 * 96)

    def test_selective_recompute_saves_70_per_cent_for_gpt3(self) -> None:
        none, selective = (
            activation_bytes(self.GPT3, sequence_length=2048, micro_batch=1, recompute=each)
            for each in (Recompute.NONE, Recompute.SELECTIVE)
        )
        assert 1 - selective / none == pytest.approx(0.70, abs=0.005)

    def test_full_recompute_keeps_2_bytes_per_layer_and_one_layer_at_work(self) -> None:
        size_ = activation_bytes(self.GPT3, sequence_length=2048, micro_batch=1)
        assert size_ == pytest.approx((2 * 96 + 34) * 2048 * 12288)

    def test_logits_take_four_bytes_per_token_and_word(self) -> None:
        wide = replace(self.GPT3, vocabulary=100.0)
        more = activation_bytes(wide, sequence_length=10, micro_batch=2)
        assert more - activation_bytes(self.GPT3, sequence_length=10, micro_batch=2) == 4 * 10 * 2 * 100


class TestFineTuning:
    LORA = FineTune(name="tune", model=LLAMA_7B, tokens=1e9)

    def test_full_fine_tuning_costs_what_training_costs(self) -> None:
        full = sized(replace(self.LORA, method=Method.FULL))
        assert full.flops == 6 * 6.74e9 * 1e9
        assert terms(full)["optimizer"] == pytest.approx(12 * 6.74e9)

    def test_lora_needs_4nd_and_a_little_for_the_adapter(self) -> None:
        answer = sized(self.LORA)
        assert 4.0 < answer.flops / (6.74e9 * 1e9) < 4.1

    def test_lora_holds_frozen_weights_at_their_width_and_16_bytes_per_adapter_parameter(self) -> None:
        held = terms(sized(self.LORA))
        assert held["weights"] == pytest.approx(2 * 6.74e9)
        assert held["adapter"] == pytest.approx(16 * 18 * 4096 * 16 * 32)
        assert not {"gradients", "optimizer"} & set(held)

    def test_qlora_holds_weights_in_0_5625_bytes_whatever_it_computes_in(self) -> None:
        for device in (BIG, VOLTA, OLD):
            held = terms(sized(replace(self.LORA, method=Method.QLORA), device))
            assert held["weights"] == pytest.approx(0.5625 * 6.74e9)

    def test_qlora_asked_for_in_int4_computes_in_16_bits(self) -> None:
        answer = sized(replace(self.LORA, method=Method.QLORA, precision=Precision.INT4))
        assert answer.precision is Precision.BF16

    def test_16_bit_weights_double_where_only_fp32_runs(self) -> None:
        assert terms(sized(self.LORA, OLD))["weights"] == pytest.approx(4 * 6.74e9)


class TestServing:
    def test_kv_cache_is_two_vectors_per_layer_and_token(self) -> None:
        shape, _ = shape_of(LLAMA_7B)
        assert kv_bytes_per_token(shape, Precision.BF16) == 2 * 32 * 4096 * 2
        assert kv_bytes_per_token(shape, Precision.FP8) == 2 * 32 * 4096
        grouped, _ = shape_of(MIXTRAL)
        assert kv_bytes_per_token(grouped, Precision.BF16) == 2 * 32 * 1024 * 2

    def test_flops_are_of_one_request_online_and_of_all_in_batch(self) -> None:
        assert sized(SERVING).flops == 2 * 6.74e9 * 1280
        assert sized(BATCH).flops == 2 * 6.74e9 * 1280 * 1e6

    def test_decoding_one_sequence_is_bound_by_reading_the_weights(self) -> None:
        lone = sized(replace(SERVING, users=(Population("Paris", 0.001),)))
        read_s = 2 * 6.74e9 / (2000e9 * 0.92)
        assert read_s < served(lone).tpot_s.p50 < 1.5 * read_s + 0.003

    def test_prefill_is_bound_by_arithmetic(self) -> None:
        work_s = 2 * 6.74e9 * 8192 / (300e12 * 0.69)
        lone = sized(replace(SERVING, users=(Population("Paris", 0.001),), prompt_tokens=8192))
        assert work_s < served(lone).ttft_s.p50 < 1.2 * work_s

    def test_replicas_carry_the_load_of_all_users_below_their_full_rate(self) -> None:
        for rate in (0.0, 0.1, 5.0, 50.0, 5000.0):
            service = served(sized(replace(SERVING, users=(Population("Paris", rate),))))
            assert service.replicas >= 1
            assert service.replicas * service.requests_per_s_per_replica >= rate * (1 - 1e-9)
            assert (service.replicas - 1) * service.requests_per_s_per_replica <= rate or service.replicas == 1

    def test_the_batch_is_no_larger_than_the_load_needs(self) -> None:
        quiet, busy = (sized(replace(SERVING, users=(Population("Paris", rate),))) for rate in (0.01, 100.0))
        assert terms(quiet)["kv-cache"] < terms(busy)["kv-cache"]
        assert served(quiet).tpot_s.p50 < served(busy).tpot_s.p50

    def test_a_tighter_limit_gives_a_smaller_batch_and_more_replicas(self) -> None:
        busy = replace(SERVING, users=(Population("Paris", 100.0),))
        free = served(sized(busy))
        tight = replace(busy, limits=Limits(latency=LatencyTarget(per_token_s=free.tpot_s.p90 * 0.8)))
        bound = served(sized(tight))
        assert bound.tpot_s.p90 <= free.tpot_s.p90 * 0.8
        assert bound.replicas > free.replicas

    def test_a_fifth_of_the_first_token_limit_is_left_to_the_network(self) -> None:
        busy = replace(SERVING, users=(Population("Paris", 100.0),))
        free = served(sized(busy))
        tight = replace(busy, limits=Limits(latency=LatencyTarget(first_token_s=free.ttft_s.p90)))
        assert served(sized(tight)).ttft_s.p90 <= 0.8 * free.ttft_s.p90

    @pytest.mark.parametrize(
        ("latency", "words"),
        [
            (LatencyTarget(first_token_s=1e-3), "the first token"),
            (LatencyTarget(per_token_s=1e-3), "each further token"),
            (LatencyTarget(total_s=1e-2), "the whole answer"),
        ],
    )
    def test_a_limit_that_one_sequence_alone_misses_refuses_the_device(
        self, latency: LatencyTarget, words: str
    ) -> None:
        reason = refused(replace(SERVING, limits=Limits(latency=latency)))
        assert reason.code is ReasonCode.LATENCY
        assert words in reason.detail
        assert "limit" in reason.detail

    def test_a_replica_takes_a_power_of_two_of_devices(self) -> None:
        nine = replace(LLAMA_7B, parameters=9e9, active_parameters=9e9)
        answer = sized(replace(SERVING, model=nine), SMALL)
        assert answer.min_gpus == 8  # 16.8 GiB of weights over 3.6 GiB each would fit five
        assert "tensor_parallel" in said(answer)

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

    def test_a_mixture_reads_its_active_weights_for_one_token_and_nearly_all_for_many(self) -> None:
        job = replace(SERVING, model=MIXTRAL, users=(Population("Paris", 0.001),))
        device = replace(BIG, memory_gib=200.0)
        lone = served(sized(job, device))
        active_s, all_s = (2 * size_ / (2000e9 * 0.92) for size_ in (12.9e9, 46.7e9))
        assert active_s < lone.tpot_s.p50 < all_s
        assert "active_share" in said(sized(job, device))

    def test_a_device_of_unknown_bandwidth_is_refused_for_serving_but_not_for_training(self) -> None:
        dark = replace(BIG, memory_bandwidth_gb_s=0.0)
        assert refused(SERVING, dark).code is ReasonCode.UNKNOWN_ACCELERATOR
        sized(TRAINING, dark)

    def test_batch_inference_runs_as_many_sequences_as_memory_holds(self) -> None:
        full = sized(replace(BATCH, prompt_tokens=4096))
        assert full.memory_per_gpu_gib > 0.9 * full.capacity_per_gpu_gib
        assert finite(full).gpu_hours.p50 > 0


class TestUnknowns:
    def test_a_bare_parameter_count_is_given_a_shape_and_every_guess_is_said(self) -> None:
        shape, guesses = shape_of(Model(name="?", parameters=175e9, active_parameters=175e9))
        assert shape.layers == pytest.approx(96, rel=0.02)  # GPT-3
        assert shape.hidden == pytest.approx(12288, rel=0.02)
        assert {guess.name for guess in guesses} == {"layers", "hidden", "kv_width", "vocabulary"}
        assert 12 * shape.layers * shape.hidden**2 == pytest.approx(175e9)

    def test_a_full_shape_needs_no_guess(self) -> None:
        assert shape_of(LLAMA_7B)[1] == ()
        assert "layers" not in said(sized(TRAINING))

    @pytest.mark.parametrize("given", [{"layers": 32}, {"hidden": 4096}])
    def test_half_a_shape_fixes_the_other_half(self, given: dict[str, int]) -> None:
        shape, _ = shape_of(Model(name="?", parameters=6.5e9, active_parameters=6.5e9, **given))
        assert 12 * shape.layers * shape.hidden**2 == pytest.approx(6.5e9)

    def test_an_unpublished_tdp_is_said_and_counts_as_no_energy(self) -> None:
        answer = sized(TRAINING, replace(BIG, tdp_w=0.0))
        assert finite(answer).energy_kwh.p90 == 0.0
        assert "tdp_w" in said(answer)

    @pytest.mark.parametrize("job", [TRAINING, SERVING, BATCH])
    def test_a_device_without_arithmetic_or_memory_is_refused(self, job: Workload) -> None:
        assert refused(job, replace(BIG, peak_tflops=())).code is ReasonCode.NO_PRECISION
        assert refused(job, replace(BIG, memory_gib=0.0)).code is ReasonCode.NO_FIT
