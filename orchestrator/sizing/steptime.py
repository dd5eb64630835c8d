"""Step time: what one optimizer step takes when the layout is known, part by part, from the bottom up.

Every part is in device-seconds per token, summed over all devices that share the token, so that parts add up. Layout
numbers may be numpy arrays (of one shape, or shapes that broadcast with the machines'): a search prices all layouts on
all devices at once.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.offerbook import BoolArray, FloatArray
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.utilisation import BENT, RECOMPUTED, family
from orchestrator.sizing.work import TrainingWork

Number: TypeAlias = float | FloatArray
Truth: TypeAlias = bool | BoolArray
# Since when communication under computation and fused kernels are what users get, on the devices they are written for.
MODERN_YEAR: Final = 2025
WIDTH: Final = 2.0  # bytes of what is communicated: 16-bit numbers
PARTS: Final = ("matrix products", "attention", "elementwise", "launch", "tensor-parallel", "experts", "bubble", "data")


def modern_on(generation: str, year: float) -> bool:
    """Whether software of `year` hides communication and fuses kernels on devices of `generation`.

    Published steps of such software are of Hopper and Blackwell alone; older devices keep the older software's pace.
    """
    return year >= MODERN_YEAR and generation in BENT


class Machine(NamedTuple):
    """One or many kinds of device as rates; numbers or columns (D, 1)."""

    matrix_flops_per_s: Number  # at the format used, efficiency included
    attention_flops_per_s: Number
    bytes_per_s: Number  # of memory
    link_bytes_per_s: Number  # one way, efficiency included
    fabric_bytes_per_s: Number  # one way, efficiency included
    node_devices: Number


class Layouts(NamedTuple):
    """One or many layouts, as numbers or rows (1, K); truth values are 0 or 1."""

    tensor: Number
    pipeline: Number
    data: Number
    expert: Number
    micro_batch: Number
    micro_batches: Number
    interleave: Number
    gathers: Number  # 1: weights are sharded over the data-parallel devices and gathered for every pass
    recomputes: Number  # 1: full recompute

    @classmethod
    def of(cls, layout: Parallelism) -> Layouts:
        """The numbers of one layout; devices of context parallelism count as data-parallel ones."""
        return cls(
            tensor=float(layout.tensor),
            pipeline=float(layout.pipeline),
            data=float(layout.data * layout.context),
            expert=float(layout.expert),
            micro_batch=layout.micro_batch / layout.context,
            micro_batches=float(layout.micro_batches),
            interleave=float(layout.interleave),
            gathers=float(layout.sharding is Sharding.ZERO_3),
            recomputes=float(layout.recompute is Recompute.FULL),
        )


def machine_of(
    device: Accelerator, precision: Precision, cluster: Cluster, parameters: Parameters, *, peak16_tflops: float
) -> Machine:
    """`device` in a `cluster`, training in `precision`."""
    p = parameters
    share = p["step.matrix." + family(device.generation)]
    narrow = {Precision.FP8: p["step.fp8"], Precision.FP4: p["step.fp4"]}.get(precision, 1.0)
    # Some devices multiply narrow numbers no faster than 16-bit ones.
    faster = min(narrow, max(1.0, (device.peak(precision) or 0.0) / peak16_tflops))
    matrix = peak16_tflops * 1e12 * share
    # A device without links of its own talks over PCIe or the host; half of a bidirectional figure goes each way.
    link = max(device.link_gb_s, 32.0) / 2.0 * 1e9
    return Machine(
        matrix_flops_per_s=matrix * faster,
        attention_flops_per_s=matrix / p["step.attention.bent" if device.generation in BENT else "step.attention"],
        # Of a device whose bandwidth nobody says the elementwise work is left out, as the planning model leaves it out.
        bytes_per_s=device.memory_bandwidth_gb_s * 1e9 or inf,
        link_bytes_per_s=link * p["step.link_share"],
        fabric_bytes_per_s=cluster.fabric_gb_per_s * 1e9 * p["step.fabric_share"],
        node_devices=cluster.node_devices,
    )


def parts(
    work: TrainingWork, machine: Machine, layout: Layouts, parameters: Parameters, *, modern: Truth
) -> dict[str, Number]:
    """Device-seconds per token by part (`PARTS`), of `work` on `machine` in `layout`.

    - matrix products: 6·N_active FLOPs, 4/3 of them with full recompute, at a share of the peak.
    - attention: 12·L·d·s FLOPs at the slower pace of its kernels.
    - elementwise: norms, activations and residuals read and write memory, in proportion to L·h.
    - launch: a constant for every layer of every pass, on each tensor-parallel device.
    - tensor-parallel: four all-reduces of s·b·h per layer (six with full recompute), (t-1)/t of the bytes in and out.
    - experts: dispatch and combine, forward and backward: 4·k·h bytes·2 per layer to (e-1)/e other devices.
      Of this and the all-reduces modern software hides a part behind the computation.
    - bubble: (p-1)/(m·v) of all that (Narayanan et al. 2021, arXiv:2104.04473), the activations handed from stage to
      stage, and the wait for the fullest stage.
    - data: gradients and weights over the fabric, as far as they do not hide behind the computation.
    """
    p = parameters
    redo = 1.0 + (RECOMPUTED - 1.0) * layout.recomputes
    leaner = np.where(modern, p["step.modern.kernels"], 1.0)
    split = p["step.experts.matrix"] if work.narrow_experts else 1.0
    matrix = work.matrix_flops * redo / (machine.matrix_flops_per_s * split)
    attention = leaner * work.attention_flops * redo / machine.attention_flops_per_s
    routed = 1.0 + p["step.experts.elementwise"] * max(0.0, work.experts_per_token - 1.0)
    moved = p["step.elementwise_bytes"] * work.layers * work.hidden * routed
    elementwise = leaner * moved * redo / machine.bytes_per_s
    tokens_per_pass = layout.micro_batch * work.sequence_length
    launch = p["step.launch_s"] * work.layers * 3.0 * redo / tokens_per_pass * layout.tensor
    exposed = np.where(modern, p["step.modern.tensor"], 1.0)
    reduces = 4.0 + 2.0 * layout.recomputes
    slice_bytes = reduces * WIDTH * (layout.tensor - 1.0) * work.hidden * WIDTH * work.layers
    tensor = exposed * slice_bytes / machine.link_bytes_per_s
    experts = exposed * _experts(work, machine, layout, parameters)
    body = matrix + attention + elementwise + launch + tensor + experts
    handed = _handed(work, machine, layout) * exposed
    idle = (layout.pipeline - 1.0) / (layout.micro_batches * layout.interleave)
    bubble = (body * (1.0 + idle) + handed) * _uneven(work, layout, p["step.imbalance"]) - body
    data = _data(work, machine, layout, parameters, body=body)
    values = (matrix, attention, elementwise, launch, tensor, experts, bubble, data)
    return dict(zip(PARTS, values, strict=True))


def _experts(work: TrainingWork, machine: Machine, layout: Layouts, parameters: Parameters) -> Number:
    if not work.experts_per_token:
        return 0.0
    sent = np.minimum(work.experts_per_token, layout.expert) * (1.0 - 1.0 / layout.expert)
    inside = layout.expert <= machine.node_devices
    # The shares of links and fabric are those of rings; all-to-all has its own, of the bare rates.
    bare_link = machine.link_bytes_per_s / parameters["step.link_share"]
    bare_fabric = machine.fabric_bytes_per_s / parameters["step.fabric_share"]
    rate = np.where(inside, bare_link, bare_fabric) * parameters["step.alltoall_share"]
    return 4.0 * sent * work.hidden * WIDTH * work.layers / rate


def _handed(work: TrainingWork, machine: Machine, layout: Layouts) -> Number:
    """Activations and their gradients from each chunk of layers to the next, over the fabric beyond a node."""
    cuts = layout.pipeline * layout.interleave * (layout.pipeline > 1.0)
    inside = layout.tensor * layout.pipeline <= machine.node_devices
    rate = np.where(inside, machine.link_bytes_per_s, machine.fabric_bytes_per_s)
    return 2.0 * WIDTH * work.hidden * cuts / rate


def _uneven(work: TrainingWork, layout: Layouts, share: float) -> Number:
    """How much longer the fullest stage takes than the mean: whole layers, and the output layer on the last stage, as
    far as (`share`) layers are not moved to make up for it.
    """
    whole = np.ceil(work.layers / layout.pipeline) * layout.pipeline / work.layers
    head = work.head_share * (layout.pipeline - 1.0)
    return np.where(np.asarray(layout.pipeline) > 1.0, np.maximum(whole, 1.0 + share * head), 1.0)


def _data(work: TrainingWork, machine: Machine, layout: Layouts, parameters: Parameters, *, body: Number) -> Number:
    """Fully sharded: weights gathered twice and gradients scattered once per pass, of which a share shows, and all that
    outlasts nine tenths of the computation. Otherwise gradients (4 bytes) and weights (2 bytes) once per step.
    """
    p = parameters
    devices = layout.tensor * layout.pipeline * layout.data
    tokens_per_device = layout.micro_batch * layout.micro_batches * work.sequence_length
    tokens_per_device = tokens_per_device / (layout.tensor * layout.pipeline)
    # What every device of a node needs enters the node once, over the fabric ports of all its devices, and goes round
    # inside over the links: the devices that split a layer want different things and share the ports.
    ports = np.maximum(1.0, machine.node_devices / layout.tensor)
    outside = np.minimum(machine.fabric_bytes_per_s * ports, machine.link_bytes_per_s)
    ring = np.where(devices <= machine.node_devices, machine.link_bytes_per_s, outside)
    share = layout.tensor * layout.pipeline
    gathered = 3.0 * WIDTH * work.parameters / share * layout.micro_batches * (1.0 - 1.0 / layout.data)
    gathering = gathered / ring / tokens_per_device
    shown = np.maximum(p["step.gather_exposed"] * gathering, gathering - 0.9 * body)
    once = 6.0 * _replicated(work, layout) / share * (layout.data > 1.0)
    reducing = p["step.reduce_exposed"] * once / ring / tokens_per_device
    return np.where(np.asarray(layout.gathers) > 0, shown, reducing)


def _replicated(work: TrainingWork, layout: Layouts) -> Number:
    """Parameters that one copy of the model sends around: experts are spread over the expert-parallel devices."""
    if not work.experts_per_token:
        return work.parameters
    common = work.active_parameters / 2.0
    return common + (work.parameters - common) / layout.expert


def seconds_per_token(
    work: TrainingWork, machine: Machine, layout: Layouts, parameters: Parameters, *, modern: Truth
) -> Number:
    """Device-seconds of one token, all parts."""
    total: Number = 0.0
    for value in parts(work, machine, layout, parameters, modern=modern).values():
        total = total + value
    return total
