"""Every part of a training step by hand, on a machine whose rates are powers of ten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.steptime import (
    PARTS,
    Layouts,
    Machine,
    machine_of,
    parts,
    seconds_per_token,
)
from orchestrator.sizing.work import TrainingWork
from tests.unit.sizing.given import BIG, table

WORK = TrainingWork(
    parameters=1e9,
    active_parameters=1e9,
    layers=20.0,
    hidden=1000.0,
    attention_width=1000.0,
    sequence_length=1000.0,
    precision=Precision.BF16,
)
MIXTURE = WORK._replace(parameters=8e9, experts=16.0, experts_per_token=4.0)
MACHINE = Machine(
    matrix_flops_per_s=1e14,
    attention_flops_per_s=1e13,
    bytes_per_s=1e12,
    link_bytes_per_s=1e11,
    fabric_bytes_per_s=1e10,
    node_devices=8.0,
)
ROUND = {
    "step.elementwise_bytes": 100.0,
    "step.launch_s": 1e-5,
    "step.link_share": 0.5,
    "step.fabric_share": 0.5,
    "step.alltoall_share": 0.25,
    "step.reduce_exposed": 0.5,
    "step.gather_exposed": 0.5,
    "step.experts.matrix": 0.5,
    "step.experts.elementwise": 0.1,
    "step.modern.tensor": 0.25,
    "step.modern.kernels": 0.5,
    "step.imbalance": 0.5,
}
KNOWN = table(ROUND)
ONE = Parallelism()


def of(
    layout: Parallelism = ONE,
    work: TrainingWork = WORK,
    *,
    modern: bool = False,
    parameters: Parameters = KNOWN,
    machine: Machine = MACHINE,
) -> dict[str, float]:
    found = parts(work, machine, Layouts.of(layout), parameters, modern=modern)
    assert tuple(found) == PARTS
    return {name: float(value) for name, value in found.items()}


def test_one_device_multiplies_attends_moves_and_launches_and_does_nothing_else() -> None:
    found = of()
    assert found["matrix products"] == pytest.approx(6e9 / 1e14)
    assert found["attention"] == pytest.approx(12 * 20 * 1000 * 1000 / 1e13)
    assert found["elementwise"] == pytest.approx(100 * 20 * 1000 / 1e12)
    assert found["launch"] == pytest.approx(1e-5 * 20 * 3 / 1000)
    assert [found[name] for name in ("tensor-parallel", "experts", "bubble", "data")] == [0, 0, 0, 0]


def test_the_parts_sum_to_the_time_of_a_token() -> None:
    layout = Parallelism(tensor=4, pipeline=4, data=2, micro_batches=8, recompute=Recompute.FULL)
    whole = seconds_per_token(WORK, MACHINE, Layouts.of(layout), KNOWN, modern=True)
    assert float(whole) == pytest.approx(sum(of(layout, modern=True).values()))


def test_full_recompute_repeats_the_forward_pass_and_two_of_its_all_reduces() -> None:
    kept, redone = of(Parallelism(tensor=2)), of(Parallelism(tensor=2, recompute=Recompute.FULL))
    for name in ("matrix products", "attention", "elementwise", "launch"):
        assert redone[name] == pytest.approx(kept[name] * 4 / 3), name
    assert redone["tensor-parallel"] == pytest.approx(kept["tensor-parallel"] * 6 / 4)


def test_tensor_parallel_devices_reduce_four_times_per_layer_and_wait_for_each_launch() -> None:
    found = of(Parallelism(tensor=4))
    # 4 all-reduces of 2-byte numbers, each 2·(t-1)/t in and out of t devices: 4·2·2·(4-1)·h·L bytes.
    assert found["tensor-parallel"] == pytest.approx(4 * 2 * 2 * 3 * 1000 * 20 / 1e11)
    assert found["launch"] == pytest.approx(4 * of()["launch"])
    assert found["matrix products"] == of()["matrix products"]


def test_modern_software_hides_communication_and_fuses_kernels() -> None:
    layout = Parallelism(tensor=4)
    before, after = of(layout), of(layout, modern=True)
    assert after["tensor-parallel"] == pytest.approx(before["tensor-parallel"] * 0.25)
    for name in ("attention", "elementwise"):
        assert after[name] == pytest.approx(before[name] * 0.5)
    assert after["matrix products"] == before["matrix products"]


def test_a_pipeline_idles_p_minus_1_of_its_passes_and_hands_activations_on() -> None:
    found = of(Parallelism(pipeline=4, micro_batches=6))
    body = sum(of().values())
    handed = 2 * 2 * 1000 * 4 / 1e11  # forward and back, 2 bytes, 4 cuts, inside the node
    assert found["bubble"] == pytest.approx(body * 3 / 6 + handed)


def test_interleaving_shrinks_the_bubble_and_hands_on_more() -> None:
    found = of(Parallelism(pipeline=4, micro_batches=6, interleave=5))
    body = sum(of().values())
    assert found["bubble"] == pytest.approx(body * 3 / (6 * 5) + 2 * 2 * 1000 * 20 / 1e11)


def test_stages_beyond_a_node_talk_over_the_fabric() -> None:
    idle = sum(of().values()) * 9 / 10
    found = of(Parallelism(pipeline=10, micro_batches=10))
    assert found["bubble"] == pytest.approx(idle + 2 * 2 * 1000 * 10 / 1e10)


def test_stages_that_do_not_divide_the_layers_wait_for_the_fullest() -> None:
    even, uneven = (of(Parallelism(pipeline=p, micro_batches=1000)) for p in (4, 3))
    body = sum(of().values())
    # ceil(20/3) = 7 layers on the fullest of 3 stages, whose mean is 20/3.
    expected = (body * (1 + 2 / 1000) + 2 * 2 * 1000 * 3 / 1e11) * (21 / 20) - body
    assert uneven["bubble"] == pytest.approx(expected)
    assert even["bubble"] < uneven["bubble"]


def test_the_output_layer_makes_the_last_stage_the_fullest() -> None:
    heavy = WORK._replace(head_share=0.2)
    body = sum(of().values())
    found = of(Parallelism(pipeline=4, micro_batches=1000), heavy)
    expected = (body * (1 + 3 / 1000) + 2 * 2 * 1000 * 4 / 1e11) * (1 + 0.5 * 0.2 * 3) - body
    assert found["bubble"] == pytest.approx(expected)


def test_gradients_and_weights_go_round_once_per_step() -> None:
    layout = Parallelism(data=4, micro_batches=5)
    # 6 bytes per parameter inside a node, over 5·1000 tokens of each device; half of it shows.
    assert of(layout)["data"] == pytest.approx(0.5 * 6 * 1e9 / 1e11 / 5000)
    assert of(replace(layout, micro_batches=10))["data"] == pytest.approx(of(layout)["data"] / 2)


def test_beyond_a_node_every_device_brings_its_own_port_to_the_fabric() -> None:
    wide = of(Parallelism(data=16))["data"]
    assert wide == pytest.approx(0.5 * 6 * 1e9 / (1e10 * 8) / 1000)
    # Devices that split the layers want different things: half of the ports for each half of the parameters, over half
    # of the tokens.
    split = of(Parallelism(tensor=2, data=16))["data"]
    assert split == pytest.approx(0.5 * 6 * 0.5e9 / (1e10 * 4) / 500)


def test_fully_sharded_weights_are_gathered_twice_and_gradients_scattered_once_for_every_pass() -> None:
    layout = Parallelism(data=4, micro_batches=5, micro_batch=50, sharding=Sharding.ZERO_3)
    gathering = 3 * 2 * 1e9 * 5 * 0.75 / 1e11 / (5 * 50 * 1000)
    assert of(layout)["data"] == pytest.approx(0.5 * gathering)


def test_gathering_that_outlasts_the_computation_shows_in_full() -> None:
    sparse = WORK._replace(parameters=1e10)
    gathering = 3 * 2 * 1e10 * 0.75 / 1e11 / 1000
    body = sum(of().values())
    assert gathering > 2 * body
    assert of(Parallelism(data=4, sharding=Sharding.ZERO_3), sparse)["data"] == pytest.approx(gathering - 0.9 * body)


def test_a_mixture_dispatches_and_combines_to_the_other_devices_of_its_experts() -> None:
    inside, outside = (of(Parallelism(data=16, expert=e), MIXTURE)["experts"] for e in (2, 16))
    # All-to-all has its own share of the bare link: 0.25 of 1e11/0.5. Of 4 experts, 2 devices hold half elsewhere.
    assert inside == pytest.approx(4 * 2 * 0.5 * 1000 * 2 * 20 / (0.25 * 1e11 / 0.5))
    assert outside == pytest.approx(4 * 4 * (15 / 16) * 1000 * 2 * 20 / (0.25 * 1e10 / 0.5))
    assert of(Parallelism(data=16), MIXTURE)["experts"] == 0


def test_experts_are_moved_about_and_narrow_ones_multiply_slower() -> None:
    found = of(work=MIXTURE)
    assert found["elementwise"] == pytest.approx(of()["elementwise"] * (1 + 0.1 * 3))
    assert of(work=MIXTURE._replace(narrow_experts=True))["matrix products"] == pytest.approx(6e9 / 0.5e14)


def test_spread_experts_send_fewer_gradients_around() -> None:
    layout = Parallelism(data=8)
    copied, spread = (of(replace(layout, expert=e), MIXTURE)["data"] for e in (1, 4))
    assert copied == pytest.approx(0.5 * 6 * 8e9 / 1e11 / 1000)
    assert spread == pytest.approx(0.5 * 6 * (0.5e9 + 7.5e9 / 4) / 1e11 / 1000)


def test_context_parallel_devices_count_as_data_parallel_ones_with_a_part_of_a_sequence() -> None:
    whole, parted = (
        Layouts.of(each) for each in (Parallelism(data=4, micro_batch=2), Parallelism(data=4, context=2, micro_batch=2))
    )
    assert (whole.data, whole.micro_batch) == (4.0, 2.0)
    assert (parted.data, parted.micro_batch) == (8.0, 1.0)


def test_layouts_in_rows_and_machines_in_columns_give_what_each_gives_alone() -> None:
    layouts = [
        Parallelism(data=16),
        Parallelism(tensor=8, pipeline=2, data=1, micro_batches=16, interleave=2),
        Parallelism(data=16, expert=4, micro_batch=2, sharding=Sharding.ZERO_3, recompute=Recompute.FULL),
    ]
    machines = [MACHINE, MACHINE._replace(node_devices=16.0, link_bytes_per_s=5e11)]
    rows = Layouts(*np.array([list(_fields(Layouts.of(each))) for each in layouts]).T[:, np.newaxis, :])
    columns = Machine(**{name: np.array([[getattr(m, name)] for m in machines]) for name in Machine._fields})
    grid = np.asarray(seconds_per_token(MIXTURE, columns, rows, KNOWN, modern=True))
    for i, machine in enumerate(machines):
        for k, layout in enumerate(layouts):
            alone = seconds_per_token(MIXTURE, machine, Layouts.of(layout), KNOWN, modern=True)
            assert grid[i, k] == pytest.approx(float(alone))


def _fields(layout: Layouts) -> list[float]:
    return [float(np.asarray(getattr(layout, name))) for name in Layouts._fields]


class TestMachine:
    SHARES = table(
        {"step.matrix.ampere": 0.5, "step.fp8": 1.5, "step.attention": 4.0, "step.link_share": 0.25},
        {"step.fabric_share": 0.5, "step.matrix.hopper": 0.5, "step.attention.bent": 8.0},
    )

    def made(self, precision: Precision = Precision.BF16, **changes: object) -> Machine:
        device = replace(BIG, **changes)
        return machine_of(device, precision, Cluster(fabric_gb_per_s=20.0), self.SHARES, peak16_tflops=400.0)

    def test_a_device_gives_its_shares_of_its_peaks(self) -> None:
        found = self.made()
        assert found.matrix_flops_per_s == pytest.approx(200e12)
        assert found.attention_flops_per_s == pytest.approx(50e12)
        assert found.bytes_per_s == pytest.approx(2000e9)
        assert found.link_bytes_per_s == pytest.approx(600e9 / 2 * 0.25)  # one way
        assert found.fabric_bytes_per_s == pytest.approx(20e9 * 0.5)
        assert self.made(generation="hopper").attention_flops_per_s == pytest.approx(25e12)

    def test_narrow_products_are_faster_where_the_device_multiplies_them_faster(self) -> None:
        assert self.made(Precision.FP8).matrix_flops_per_s == pytest.approx(300e12)
        even = self.made(Precision.FP8, peak_tflops=((Precision.BF16, 400.0), (Precision.FP8, 400.0)))
        assert even.matrix_flops_per_s == pytest.approx(200e12)

    def test_a_device_without_links_talks_over_pcie(self) -> None:
        assert self.made(link="", link_gb_s=0.0).link_bytes_per_s == pytest.approx(16e9 * 0.25)
