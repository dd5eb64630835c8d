"""Training and fine-tuning on one device: memory terms, hours, formats that stand in, refusals, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.workload import FineTune, Method
from orchestrator.sizing.size import size
from orchestrator.sizing.training import reference_tflops, task_of
from tests.unit.sizing.given import (
    BIG,
    LLAMA_7B,
    OLD,
    PLAIN_TRAINING,
    SMALL,
    TRAINING,
    VOLTA,
    finite,
    refused,
    said,
    sized,
    table,
    terms,
)

PLAIN = table(PLAIN_TRAINING)
HOURS = 6 * 6.74e9 * 1e12 / (400e12 * 0.5) / 3600  # of TRAINING on BIG at half of the peak


class TestMemory:
    def test_fully_sharded_state_is_4_weights_4_gradients_and_8_optimizer_bytes_per_parameter(self) -> None:
        answer = sized(TRAINING)
        held = terms(answer)
        per_parameter = [held[name] / 6.74e9 for name in ("weights", "gradients", "optimizer")]
        assert per_parameter == pytest.approx([4, 4, 8])
        assert "4 weights + 4 gradients + 8 of its states; all sharded" in said(answer)["state_bytes"]

    def test_fp32_doubles_the_activations_of_every_layer(self) -> None:
        half, full = (replace(TRAINING, precision=precision) for precision in (Precision.BF16, Precision.FP32))
        a, b = (terms(answer)["activations"] / answer.min_gpus for answer in map(sized, (half, full)))
        kept = 33 * 4096 * 4096 * 2  # the input of each layer and of the output layer, at 2 bytes
        assert b - a >= kept
        assert b < 2 * a  # the loss is computed in FP32 either way

    def test_terms_sum_to_what_a_device_holds(self) -> None:
        answer = sized(TRAINING)
        assert sum(terms(answer).values()) / answer.min_gpus == pytest.approx(answer.memory_per_gpu_gib * 2**30)
        assert answer.memory_per_gpu_gib <= answer.capacity_per_gpu_gib == pytest.approx(0.95 * 80)

    def test_one_device_fewer_would_not_hold_it(self) -> None:
        answer = sized(TRAINING)
        state = 16 * 6.74e9 / 2**30
        assert answer.min_gpus == 2
        assert state > answer.capacity_per_gpu_gib  # one device

    def test_devices_that_split_the_layers_are_said(self) -> None:
        long = sized(replace(TRAINING, sequence_length=65_536), replace(BIG, memory_gib=40.0))
        assert "tensor_parallel" in said(long)
        assert "tensor_parallel" not in said(sized(TRAINING))

    def test_a_stated_layout_is_held_as_it_is(self) -> None:
        layout = Parallelism(tensor=8, data=2, micro_batches=64)
        answer = sized(replace(TRAINING, parallelism=layout))
        held = terms(answer)
        assert (answer.min_gpus, finite(answer).gpus) == (16, 16)
        # Megatron's: 2 and 4 bytes on each of 2 ranks, 12 bytes shared out over them.
        per_parameter = [held[name] / 6.74e9 for name in ("weights", "gradients", "optimizer")]
        assert per_parameter == pytest.approx([2 * 2, 4 * 2, 12])
        assert "2 weights + 4 gradients + 12" in said(answer)["state_bytes"]


class TestHours:
    def test_a_stated_utilisation_gives_flops_over_peak_times_it(self) -> None:
        answer = sized(replace(TRAINING, mfu=0.25))
        assert answer.flops == 6 * 6.74e9 * 1e12
        assert finite(answer).gpu_hours.p50 == pytest.approx(2 * HOURS)
        assert answer.mfu.value == 0.25
        assert "stated" in answer.mfu.origin
        assert finite(answer).growth == 0.0  # it is that of the job, on however many devices

    def test_the_planning_model_gives_flops_over_peak_times_its_share(self) -> None:
        answer = sized(TRAINING, parameters=PLAIN)
        assert finite(answer).gpu_hours.p50 == pytest.approx(HOURS)
        assert answer.mfu.value == pytest.approx(0.5)
        assert "ampere" in answer.mfu.origin

    def test_the_band_is_that_of_runs_left_out_of_the_fit(self) -> None:
        answer = sized(TRAINING, parameters=table(PLAIN_TRAINING, {"band.run.p10": 0.8, "band.run.p90": 1.5}))
        hours = finite(answer).gpu_hours
        assert (hours.p10 / hours.p50, hours.p90 / hours.p50) == pytest.approx((0.8, 1.5))

    def test_an_unpublished_generation_and_a_cpu_have_wider_bands(self) -> None:
        known = finite(sized(TRAINING)).gpu_hours
        unknown = finite(sized(TRAINING, replace(BIG, generation="abacus"))).gpu_hours
        cpu = finite(sized(replace(TRAINING, precision=Precision.FP32), replace(OLD, generation="cpu"))).gpu_hours
        assert known.p90 / known.p50 < unknown.p90 / unknown.p50 < cpu.p90 / cpu.p50

    def test_energy_is_that_of_devices_at_work_and_their_hosts(self) -> None:
        known = table(PLAIN_TRAINING, {"energy.busy_share": 0.7, "energy.host_w": 100.0})
        effort = finite(sized(TRAINING, parameters=known))
        assert effort.energy_kwh.p50 == pytest.approx(HOURS * (0.7 * 500 + 100) / 1e3)
        assert effort.energy_kwh.p90 / effort.energy_kwh.p50 == pytest.approx(effort.gpu_hours.p90 / HOURS)

    def test_an_unpublished_tdp_is_said_and_counts_as_no_energy(self) -> None:
        answer = sized(TRAINING, replace(BIG, tdp_w=0.0))
        assert finite(answer).energy_kwh.p90 == 0.0
        assert "tdp_w" in said(answer)

    @pytest.mark.parametrize("precision", [Precision.FP32, Precision.TF32])
    def test_wide_formats_are_counted_against_their_own_peak(self, precision: Precision) -> None:
        device = replace(BIG, peak_tflops=((Precision.FP32, 20.0), (Precision.TF32, 200.0), (Precision.BF16, 400.0)))
        hours = finite(sized(replace(TRAINING, precision=precision), device, PLAIN)).gpu_hours.p50
        assert hours == pytest.approx(HOURS * (20 if precision is Precision.FP32 else 2))

    def test_fp8_gains_what_published_runs_gained_and_not_its_peak(self) -> None:
        known = table(PLAIN_TRAINING, {"planning.fp8": 0.1})
        wide, narrow = (
            sized(replace(TRAINING, precision=p), parameters=known) for p in (Precision.BF16, Precision.FP8)
        )
        assert finite(wide).gpu_hours.p50 / finite(narrow).gpu_hours.p50 == pytest.approx(2.718281828**0.1)

    def test_no_job_beats_the_peak_however_far_from_the_published_runs(self) -> None:
        lucky = table(PLAIN_TRAINING, {"planning.utilisation.ampere": 3.0})
        for precision in (Precision.FP32, Precision.BF16, Precision.FP8):
            answer = sized(replace(TRAINING, precision=precision), parameters=lucky)
            assert answer.mfu.value <= 1.0
        assert sized(TRAINING, parameters=lucky).mfu.value == pytest.approx(1.0)

    def test_a_stated_layout_takes_its_step_and_the_downtime_of_a_run(self) -> None:
        layout = Parallelism(tensor=8, data=2, micro_batches=64)
        answer = sized(replace(TRAINING, parallelism=layout))
        effort = finite(answer)
        assert effort.step is not None
        steps = 1e12 / (2 * 64 * 4096)
        downtime = table({})["step.run"]
        assert effort.gpu_hours.p50 == pytest.approx(steps * effort.step.seconds * 16 / downtime / 3600)
        assert answer.mfu.value == pytest.approx(effort.step.mfu * downtime)


class TestDeviceCounts:
    def on(self, gpus: int | None, **parameters: float) -> FiniteWork:
        known = table(PLAIN_TRAINING, parameters)
        answer = size(TRAINING, [BIG], known, gpus=gpus)[BIG.name]
        assert isinstance(answer, Sizing)
        return finite(answer)

    def test_hours_on_n_devices_are_those_that_the_growth_says(self) -> None:
        scale = {"planning.scale": -0.05}
        least = self.on(None, **scale)
        for n in (2, 8, 64, 1024):
            exact, extrapolated = self.on(n, **scale), least.gpu_hours_on(n)
            assert exact.gpus == n
            for percentile in ("p10", "p50", "p90"):
                assert getattr(extrapolated, percentile) == pytest.approx(getattr(exact.gpu_hours, percentile))

    def test_a_fixed_global_batch_makes_device_hours_grow_faster(self) -> None:
        job = replace(TRAINING, global_batch_tokens=4096 * 1024.0)
        known = table(PLAIN_TRAINING, {"planning.scale": -0.01, "planning.batch": 0.1})
        free = finite(sized(TRAINING, parameters=known))
        assert free.gpu_hours_on(2 * free.gpus).p50 / free.gpu_hours.p50 == pytest.approx(2.718281828**0.01)
        fixed = finite(sized(job, parameters=known))
        assert fixed.gpu_hours_on(512).p50 / fixed.gpu_hours_on(256).p50 == pytest.approx(2.718281828**0.11)

    def test_beyond_what_published_runs_say_of_batches_only_the_number_counts(self) -> None:
        # 1 024 usual shares of the batch: the term holds from 128 devices (8 shares each) to 4 096 (a quarter).
        job = replace(TRAINING, global_batch_tokens=4096 * 1024.0)
        known = table(PLAIN_TRAINING, {"planning.scale": -0.01, "planning.batch": 0.1})
        least = finite(sized(job, parameters=known))
        for n in (4, 64, 128, 200, 1024, 4096, 16_384):
            exact = size(job, [BIG], known, gpus=n)[BIG.name]
            assert isinstance(exact, Sizing)
            assert least.gpu_hours_on(n).p50 == pytest.approx(finite(exact).gpu_hours.p50)

    def test_fewer_devices_than_hold_it_are_refused_with_the_least(self) -> None:
        answer = size(TRAINING, [BIG], gpus=1)[BIG.name]
        assert isinstance(answer, Reason)
        assert answer.code is ReasonCode.NO_FIT
        assert answer.detail == "2 x big hold it at the least, and 1 are asked for"

    def test_more_devices_fail_more_often(self) -> None:
        few, many = self.on(8), self.on(8192)
        assert few.checkpoints is not None
        assert many.checkpoints is not None
        assert many.checkpoints.mtbf_h < few.checkpoints.mtbf_h
        assert many.checkpoints.goodput < few.checkpoints.goodput


class TestFormats:
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

    def test_the_reference_of_utilisation_is_the_16_bit_peak_but_for_wide_formats(self) -> None:
        task = task_of(TRAINING, PLAIN, gpus=None, cluster=Cluster())
        for asked, peak in ((Precision.BF16, 400.0), (Precision.FP8, 400.0), (Precision.FP32, 20.0)):
            chosen = task.choose(BIG, asked)
            assert chosen is not None
            assert reference_tflops(BIG, chosen) == peak


class TestRefusals:
    def test_a_sequence_that_fits_no_group_of_devices_is_refused_with_the_arithmetic(self) -> None:
        reason = refused(replace(TRAINING, sequence_length=1_000_000), SMALL)
        assert reason.code is ReasonCode.NO_FIT
        assert "shorten the sequence" in reason.detail

    def test_a_state_beyond_the_largest_jobs_is_refused_with_the_arithmetic(self) -> None:
        deep = replace(LLAMA_7B, parameters=1e14, active_parameters=1e14, layers=20_000, feed_forward=None)
        reason = refused(replace(TRAINING, model=deep, sequence_length=16))
        assert reason.code is ReasonCode.NO_FIT
        assert "16,384" in reason.detail


class TestFineTuning:
    LORA = FineTune(name="tune", model=LLAMA_7B, tokens=1e9)
    # Rank 16 on the four matrices of attention (h x h) and three of the feed-forward (h x 11008), in 32 layers.
    ADAPTER = 16 * 32 * (4 * 2 * 4096 + 3 * (4096 + 11008))

    def test_full_fine_tuning_costs_what_training_costs(self) -> None:
        full = sized(replace(self.LORA, method=Method.FULL), parameters=PLAIN)
        assert full.flops == 6 * 6.74e9 * 1e9
        assert finite(full).gpu_hours.p50 == pytest.approx(HOURS / 1e3)
        assert terms(full)["optimizer"] == pytest.approx(8 * 6.74e9)

    def test_lora_needs_4nd_and_6_times_the_adapter(self) -> None:
        answer = sized(self.LORA, parameters=PLAIN)
        assert answer.flops == pytest.approx((4 * 6.74e9 + 6 * self.ADAPTER) * 1e9, rel=0.002)
        assert finite(answer).gpu_hours.p50 == pytest.approx(answer.flops / 200e12 / 3600)

    def test_lora_holds_frozen_weights_at_their_width_and_16_bytes_per_adapter_parameter(self) -> None:
        held = terms(sized(self.LORA))
        assert held["weights"] == pytest.approx(2 * (6.74e9 + self.ADAPTER), rel=0.001)
        assert held["gradients"] == pytest.approx(2 * self.ADAPTER, rel=0.02)
        assert held["optimizer"] == pytest.approx(12 * self.ADAPTER, rel=0.02)
        assert "state_bytes" not in said(sized(self.LORA))

    def test_qlora_holds_weights_in_nf4_but_for_embedding_and_output_layer_whatever_it_computes_in(self) -> None:
        roots = 2 * 32000 * 4096
        weights = 0.515875 * (6.74e9 - roots) + 2 * (roots + self.ADAPTER)
        for device in (BIG, VOLTA, OLD):
            held = terms(sized(replace(self.LORA, method=Method.QLORA), device))
            assert held["weights"] == pytest.approx(weights, rel=0.002)

    def test_qlora_asked_for_in_int4_computes_in_16_bits_and_says_so(self) -> None:
        answer = sized(replace(self.LORA, method=Method.QLORA, precision=Precision.INT4))
        assert answer.precision is Precision.BF16
        assert "int4 is not used" in said(answer)["qlora_arithmetic"]

    def test_16_bit_weights_double_where_only_fp32_runs(self) -> None:
        assert terms(sized(self.LORA, OLD))["weights"] == pytest.approx(4 * 6.74e9, rel=0.01)

    def test_a_checkpoint_holds_the_adapter_alone(self) -> None:
        adapter, full = (finite(sized(replace(self.LORA, method=m))).checkpoints for m in (Method.LORA, Method.FULL))
        assert adapter is not None
        assert full is not None
        assert adapter.gib == pytest.approx(14 * self.ADAPTER / 2**30, rel=0.02)
        assert full.gib == pytest.approx(14 * 6.74e9 / 2**30)


def test_a_recompute_that_is_stated_is_paid_for() -> None:
    full = sized(replace(TRAINING, recompute=Recompute.FULL), parameters=PLAIN)
    assert finite(full).gpu_hours.p50 == pytest.approx(HOURS * 4 / 3)


def test_a_fully_sharded_layout_that_is_stated_needs_no_tensor_parallelism() -> None:
    layout = Parallelism(data=8, micro_batches=8, sharding=Sharding.ZERO_3)
    answer = sized(replace(TRAINING, parallelism=layout))
    assert "all sharded" in said(answer)["state_bytes"]
    assert answer.memory_per_gpu_gib <= answer.capacity_per_gpu_gib
