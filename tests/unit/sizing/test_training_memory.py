"""Memory of training by term and layout, against what papers and benchmarks publish."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.workload import Method, Model
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import bundled
from orchestrator.sizing.recipes import Framework
from orchestrator.sizing.training_memory import MemoryModel, in_flight

USABLE = bundled()["memory.usable_share"]


def model(  # one model, in its published numbers
    name: str,
    parameters: float,
    layers: int,
    hidden: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    vocabulary: int = 51200,
    feed_forward: int | None = None,
    gated: bool | None = False,
) -> Model:
    return Model(
        name=name,
        parameters=parameters,
        active_parameters=parameters,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads or heads,
        head_dim=hidden // heads,
        vocabulary=vocabulary,
        feed_forward=feed_forward or 4 * hidden,
        gated=gated,
    )


def llama(name: str, parameters: float, shape: tuple[int, int, int, int]) -> Model:
    """`shape`: layers, hidden, heads, feed-forward."""
    layers, hidden, heads, width = shape
    return model(name, parameters, layers, hidden, heads, vocabulary=32000, feed_forward=width, gated=True)


def llama3(name: str, parameters: float, shape: tuple[int, int, int, int]) -> Model:
    return replace(llama(name, parameters, shape), kv_heads=8, vocabulary=128256)


GPT3 = model("GPT-3 175B", 175e9, 96, 12288, 96)
LLAMA_7B = llama("Llama 7B", 6.74e9, (32, 4096, 32, 11008))
LLAMA3_8B = llama3("Llama 3.1 8B", 8.03e9, (32, 4096, 32, 14336))
LLAMA3_70B = llama3("Llama 3.1 70B", 70.55e9, (80, 8192, 64, 28672))
LLAMA3_405B = llama3("Llama 3.1 405B", 405.85e9, (126, 16384, 128, 53248))


def sized(name: str, parameters: float) -> Model:
    return Model(name=name, parameters=parameters, active_parameters=parameters)


# Rajbhandari et al. 2020, table 1: GB of model states per device by data-parallel degree, at 16 bytes per parameter.
ZERO_TABLE = [
    (7.5e9, 1, (120, 120, 120)),
    (7.5e9, 4, (52.5, 41.3, 30)),
    (7.5e9, 16, (35.6, 21.6, 7.5)),
    (7.5e9, 64, (31.4, 16.6, 1.88)),
    (7.5e9, 256, (30.4, 15.4, 0.47)),
    (7.5e9, 1024, (30.1, 15.1, 0.12)),
    (128e9, 64, (536, 284, 32)),
    (128e9, 1024, (513, 257, 2)),
    (1e12, 1, (16000, 16000, 16000)),
    (1e12, 64, (4187, 2218, 250)),
    (1e12, 1024, (4011, 2013, 15.6)),
]


@pytest.mark.parametrize(("parameters", "devices", "published"), ZERO_TABLE)
def test_states_are_those_of_the_zero_papers_table(
    parameters: float, devices: int, published: tuple[float, float, float]
) -> None:
    memory = MemoryModel(sized("m", parameters), sequence_length=1024, framework=Framework.ZERO)
    for sharding, gigabytes in zip((Sharding.ZERO_1, Sharding.ZERO_2, Sharding.ZERO_3), published, strict=True):
        terms = memory.terms(Parallelism(data=devices, sharding=sharding))
        assert terms.states / 1e9 == pytest.approx(gigabytes, rel=0.03 if gigabytes < 1 else 0.01)


@pytest.mark.parametrize(
    ("framework", "sharding", "bytes_per_parameter"),
    [
        (Framework.MEGATRON, Sharding.NONE, 18),  # theoretical_memory_usage.py of Megatron-LM
        (Framework.MEGATRON, Sharding.ZERO_1, 6 + 12 / 8),
        (Framework.ZERO, Sharding.NONE, 16),
        (Framework.DEEPSPEED, Sharding.ZERO_2, 4 + 16 / 8),  # estimate_zero2_model_states_mem_needs
        (Framework.DEEPSPEED, Sharding.ZERO_3, 18 / 8),
        (Framework.FSDP, Sharding.ZERO_3, 16 / 8),
        (Framework.FSDP, Sharding.ZERO_2, 2 + 16 / 8),
    ],
)
def test_states_take_the_frameworks_bytes_per_parameter_on_eight_devices(
    framework: Framework, sharding: Sharding, bytes_per_parameter: float
) -> None:
    terms = MemoryModel(GPT3, sequence_length=2048, framework=framework).terms(Parallelism(data=8, sharding=sharding))
    assert terms.states / GPT3.parameters == pytest.approx(bytes_per_parameter)


def test_fp32_states_are_four_weights_four_gradients_and_eight_moments() -> None:
    terms = MemoryModel(GPT3, sequence_length=2048, precision=Precision.FP32).terms(Parallelism(sharding=Sharding.NONE))
    assert [terms.weights / 175e9, terms.gradients / 175e9, terms.optimizer / 175e9] == pytest.approx([4, 4, 8])


def test_the_usual_framework_is_megatron_for_zero_1_and_fsdp_for_zero_3() -> None:
    memory = MemoryModel(GPT3, sequence_length=2048)
    assert memory.terms(Parallelism(data=64)).states / 175e9 == pytest.approx(6 + 12 / 64)
    assert memory.terms(Parallelism(data=64, sharding=Sharding.ZERO_3)).states / 175e9 == pytest.approx(16 / 64)


def test_context_parallel_devices_share_out_the_optimizer_as_data_parallel_ones_do() -> None:
    memory = MemoryModel(GPT3, sequence_length=2048)
    assert memory.terms(Parallelism(data=4, context=2)).states == memory.terms(Parallelism(data=8)).states


class TestActivations:
    """Korthikanti et al. 2022, arXiv:2205.05198: s = 2048, vocabulary 51 200, table 3's models."""

    LAYER = 2048 * 12288  # s·b·h

    def of_layers(self, count: int) -> Model:
        return model("n", 12.0 * count * 12288**2 + 51200 * 12288, count, 12288, 96)

    def stored(self, **changes: object) -> float:
        """Bytes of one layer of GPT-3 over s·b·h, from two depths so that nothing else is in it."""
        layout = replace(Parallelism(tensor=8, sharding=Sharding.NONE), **changes)
        shallow, deep = (
            MemoryModel(self.of_layers(count), sequence_length=2048).terms(layout).activations for count in (96, 97)
        )
        return (deep - shallow) / self.LAYER

    def test_nothing_recomputed_without_sequence_parallelism_is_equation_2(self) -> None:
        found = self.stored(recompute=Recompute.NONE, sequence_parallel=False)
        assert found == pytest.approx(10 + 24 / 8 + 5 * 96 * 2048 / (12288 * 8), rel=0.02)

    def test_selective_recomputation_with_sequence_parallelism_is_equation_6(self) -> None:
        assert self.stored(recompute=Recompute.SELECTIVE) == pytest.approx(34 / 8, rel=0.02)

    def test_full_recomputation_keeps_the_layers_input(self) -> None:
        assert self.stored(recompute=Recompute.FULL, sequence_parallel=False) == pytest.approx(2)

    @pytest.mark.parametrize(
        ("made", "layout"),
        [
            (model("22B", 22e9, 48, 6144, 64), Parallelism(tensor=8, micro_batch=4)),
            (GPT3, Parallelism(tensor=8, pipeline=8, micro_batches=64, interleave=3)),
            (
                model("530B", 530e9, 105, 20480, 128),
                Parallelism(tensor=8, pipeline=35, micro_batches=280, interleave=3),
            ),
            (model("1T", 1008e9, 128, 25600, 160), Parallelism(tensor=8, pipeline=64, micro_batches=512)),
        ],
        ids=lambda case: case.name if isinstance(case, Model) else "",
    )
    def test_both_techniques_take_about_a_fifth_and_full_recomputation_a_tenth(
        self, made: Model, layout: Parallelism
    ) -> None:
        """Section 6.1: 'a 5x reduction', 'under 20 %' of the tensor-parallel baseline, full recomputation 10 %."""
        memory = MemoryModel(made, sequence_length=2048, framework=Framework.MEGATRON)
        without = replace(layout, sequence_parallel=False)
        baseline = memory.terms(replace(without, recompute=Recompute.NONE)).activations
        both = memory.terms(replace(layout, recompute=Recompute.SELECTIVE)).activations
        full = memory.terms(replace(without, recompute=Recompute.FULL)).activations
        assert 0.16 < both / baseline < 0.21
        assert 0.08 < full / baseline < 0.11

    def test_the_interleaved_schedule_keeps_1_plus_p_minus_1_over_pv_times_as_much(self) -> None:
        plain = in_flight(Parallelism(pipeline=8, micro_batches=64), 96)
        interleaved = in_flight(Parallelism(pipeline=8, micro_batches=64, interleave=3), 96)
        assert plain == (96, 12)
        assert interleaved[0] == pytest.approx(96 * (1 + 7 / 24))

    def test_no_more_is_in_flight_than_there_are_micro_batches(self) -> None:
        assert in_flight(Parallelism(pipeline=8, micro_batches=2), 96)[0] == 24

    def test_context_parallelism_divides_the_sequence(self) -> None:
        memory = MemoryModel(LLAMA3_8B, sequence_length=32768)
        layout = Parallelism(data=8, recompute=Recompute.FULL)
        half = replace(layout, data=4, context=2)
        assert memory.terms(half).activations == pytest.approx(memory.terms(layout).activations / 2)

    def test_fp8_keeps_the_inputs_of_matrices_at_eight_bits_and_narrow_copies_of_weights(self) -> None:
        layout = Parallelism(tensor=8, pipeline=8, micro_batches=64)
        wide, narrow = (
            MemoryModel(GPT3, sequence_length=2048, precision=p).terms(layout) for p in (Precision.BF16, Precision.FP8)
        )
        assert narrow.states == wide.states
        assert 0.7 < narrow.activations / wide.activations < 0.8
        assert narrow.buffers == pytest.approx(2 * GPT3.parameters / 64, rel=0.01)  # FP8 and its transpose

    def test_every_expert_that_a_token_is_routed_to_keeps_its_planes_and_a_copy_of_the_token(self) -> None:
        mixtral = replace(
            llama("Mixtral 8x7B", 46.7e9, (32, 4096, 32, 14336)),
            active_parameters=12.9e9,
            kv_heads=8,
            experts=8,
            experts_per_token=2,
        )
        found = MemoryModel(mixtral, sequence_length=4096).terms(Parallelism(data=8, expert=8)).activations
        attention = 8 * 4096 + 2 * (4096 + 1024 + 1024) + 2 * 4096
        routed = 2 * (2 * 3 * 14336 + 4 * 4096)
        ends = 4 * 4096 + bundled()["memory.logit_bytes.megatron"] * 32000
        assert found == pytest.approx(4096 * (32 * (attention + routed) + ends), rel=0.01)


# Peak memory in GiB as PyTorch reserves it: our total over the usable share. Source: torchtitan's
# benchmarks/llama3_h100_202412_torchtitan.md, tables 1 to 3 (FSDP2, 'op' selective checkpointing).
TORCHTITAN = [
    ("1: FSDP", 8192, Parallelism(data=8, micro_batch=2), 82.4),
    ("1: and compile", 8192, Parallelism(data=8, micro_batch=2), 77.0),
    ("3: FSDP", 8192, Parallelism(data=128, micro_batch=2), 67.0),
    ("3: and compile", 8192, Parallelism(data=128, micro_batch=2), 62.0),
    ("2: CP 1", 32768, Parallelism(data=8, recompute=Recompute.FULL), 83.9),
    ("2: CP 2", 65536, Parallelism(data=4, context=2, recompute=Recompute.FULL), 84.2),
    ("2: CP 4", 131072, Parallelism(data=2, context=4, recompute=Recompute.FULL), 84.0),
    ("2: CP 8", 262144, Parallelism(data=1, context=8, recompute=Recompute.FULL), 84.5),
]


@pytest.mark.parametrize(("table", "sequence", "layout", "gib"), TORCHTITAN, ids=[row[0] for row in TORCHTITAN])
def test_peak_memory_of_torchtitans_llama_8b_is_met_within_10_percent(
    table: str, sequence: int, layout: Parallelism, gib: float
) -> None:
    memory = MemoryModel(LLAMA3_8B, sequence_length=sequence)
    assert memory.total(replace(layout, sharding=Sharding.ZERO_3)) / USABLE / GIB == pytest.approx(gib, rel=0.10)


def test_llama_405b_fits_its_published_layout_without_recomputation() -> None:
    """Dubey et al. 2024, section 3.3.2: TP 8, PP 16, DP 128, 16 sequences per group, 8 192 tokens, 80 GB devices."""
    memory = MemoryModel(LLAMA3_405B, sequence_length=8192)
    layout = Parallelism(tensor=8, pipeline=16, data=128, micro_batches=16, sharding=Sharding.ZERO_2)
    assert memory.total(layout) <= 80 * GIB * USABLE - 3e9


# GB of the bars of QLoRA's figure 6, batch 1 and 512 tokens (Dettmers et al. 2023; the paper's rank of 64).
QLORA = [
    (llama("7B", 6.74e9, (32, 4096, 32, 11008)), 6.9),
    (llama("13B", 13.02e9, (40, 5120, 40, 13824)), 11.3),
    (llama("33B", 32.53e9, (60, 6656, 52, 17920)), 24.7),
    (llama("65B", 65.29e9, (80, 8192, 64, 22016)), 45.0),
]
ALONE = Parallelism(sharding=Sharding.NONE, recompute=Recompute.FULL)


@pytest.mark.parametrize(("made", "gigabytes"), QLORA, ids=[made.name for made, _ in QLORA])
def test_qlora_takes_what_its_papers_figure_shows(made: Model, gigabytes: float) -> None:
    memory = MemoryModel(made, sequence_length=512, method=Method.QLORA, lora_rank=64)
    assert memory.total(ALONE) / GIB == pytest.approx(gigabytes, rel=0.10)


def test_qlora_65b_fits_one_device_of_48_gb_and_lora_does_not() -> None:
    qlora, lora = (
        MemoryModel(QLORA[3][0], sequence_length=512, method=method, lora_rank=64)
        for method in (Method.QLORA, Method.LORA)
    )
    assert qlora.total(ALONE) < 48 * GIB < lora.total(ALONE)


@pytest.mark.parametrize(("method", "gib"), [(Method.LORA, 16.2), (Method.QLORA, 7.4)])
def test_adapters_take_what_torchtune_measured_with_its_chunked_loss(method: Method, gib: float) -> None:
    """torchtune's README: Llama 3.1 8B on one RTX 4090, two sequences of 2 048 tokens, allocated."""
    memory = MemoryModel(LLAMA3_8B, sequence_length=2048, method=method, lora_rank=8, chunked_loss=True)
    assert memory.total(replace(ALONE, micro_batch=2)) / GIB == pytest.approx(gib, rel=0.10)


def test_frozen_weights_have_no_gradients_and_no_optimizer() -> None:
    memory = MemoryModel(LLAMA_7B, sequence_length=512, method=Method.LORA, lora_rank=16)
    terms = memory.terms(ALONE)
    assert memory.adapter is not None
    trained = memory.adapter.total
    assert (terms.gradients, terms.optimizer) == (2 * trained, 12 * trained)
    assert terms.weights == pytest.approx(2 * 6.74e9 + 2 * trained)
    assert trained == pytest.approx(39_976_960, rel=1e-3)  # peft's count for Llama 7B, rank 16 on all linear layers


def test_full_fine_tuning_of_a_7b_model_takes_112_gb_of_states() -> None:
    memory = MemoryModel(replace(LLAMA_7B, parameters=7e9, active_parameters=7e9), sequence_length=512)
    assert memory.terms(Parallelism(sharding=Sharding.ZERO_3)).states == pytest.approx(112e9)


def test_embedding_is_on_the_first_stage_and_the_output_layer_on_the_last() -> None:
    memory = MemoryModel(LLAMA3_8B, sequence_length=128)
    layout = Parallelism(pipeline=4, micro_batches=1, sharding=Sharding.NONE)
    layers = memory.parts.dense / 4
    assert memory.terms(layout).weights == pytest.approx(2 * (layers + memory.parts.head))


def test_a_pipeline_of_fsdp_keeps_its_stage_gathered() -> None:
    memory = MemoryModel(LLAMA3_405B, sequence_length=8192)
    layout = Parallelism(tensor=8, pipeline=8, data=8, micro_batches=8, sharding=Sharding.ZERO_3)
    assert memory.terms(layout).buffers > 6 * LLAMA3_405B.parameters / 64


def test_the_largest_micro_batch_fits_and_one_more_does_not() -> None:
    memory = MemoryModel(LLAMA3_8B, sequence_length=4096)
    for layout in (
        Parallelism(data=8, sharding=Sharding.ZERO_3),
        Parallelism(tensor=2, pipeline=4, data=2, micro_batches=8),
    ):
        most = memory.largest_micro_batch(layout, 70 * GIB)
        assert most >= 1
        assert memory.total(replace(layout, micro_batch=most)) <= 70 * GIB
        assert memory.total(replace(layout, micro_batch=most + 1)) > 70 * GIB


def test_where_the_states_do_not_fit_no_micro_batch_does() -> None:
    assert MemoryModel(GPT3, sequence_length=2048).largest_micro_batch(Parallelism(), 80 * GIB) == 0


RUNS = Path(__file__).parents[4] / "shared" / "data" / "sizing" / "training_runs.csv"
MICRO_BATCH = re.compile(r"mbs=(\d+) ga=\d+ (FULL_SHARD|SHARD_GRAD_OP)")


@pytest.mark.skipif(not RUNS.exists(), reason="the table of published runs is not here")
def test_the_micro_batches_of_llm_foundrys_benchmarks_fit_and_most_would_not_fit_twice() -> None:
    """MPT under FSDP with fused attention and a fused loss, on devices of 40 and 80 GB: they did run."""
    fits = twice = count = 0
    with RUNS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        found = MICRO_BATCH.match(row["note"])
        if found is None:
            continue
        made = replace(
            model(row["model"], float(row["params_b"]) * 1e9, int(float(row["layers"])), int(float(row["d_model"])), 1),
            heads=None,
            kv_heads=None,
            head_dim=None,
            vocabulary=50368,
        )
        memory = MemoryModel(
            made, sequence_length=int(float(row["seq_len"])), framework=Framework.FSDP, chunked_loss=True
        )
        layout = Parallelism(
            data=int(float(row["n_gpus"])),
            micro_batch=int(found[1]),
            sharding=Sharding.ZERO_3 if found[2] == "FULL_SHARD" else Sharding.ZERO_2,
            recompute=Recompute(row["recompute"]),
        )
        room = (40 if "40GB" in row["gpu"] else 80) * GIB * USABLE - 3e9
        count += 1
        fits += memory.total(layout) <= room
        twice += memory.total(replace(layout, micro_batch=2 * layout.micro_batch)) <= room
    assert fits == count > 100
    assert twice < 0.4 * count
