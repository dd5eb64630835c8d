"""Memory: how many bytes the state of a job takes, and on how many devices it fits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.parameters import bundled
from orchestrator.sizing.shape import Shape

GIB = float(1 << 30)

RESERVE = Assumption(
    "usable_memory",
    bundled()["memory.usable_share"],
    "planning constant: 5 % of each device is lost to fragments; the term 'overhead' is 3 GB or 5 % per device on top",
)


RECOMPUTE = Assumption(
    "recompute",
    2.0,
    "activations at full recompute (2 bytes per token, width and layer), the least memory; runs on more devices may"
    " keep more and go up to 8/6 faster (Korthikanti et al. 2022)",
)


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes per trained parameter."""

    weights: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """All three."""
        return self.weights + self.gradients + self.optimizer


# Adam in mixed precision: 16-bit weights and gradients, and FP32 master weights with two moments (Rajbhandari et al.
# 2020, ZeRO, section 3.1). Megatron keeps FP32 gradients as well, which makes 18. FP8 recipes keep 16-bit weights.
MIXED = StateBytes(weights=2.0, gradients=2.0, optimizer=12.0)
# Adam in FP32 needs no second copy of the weights: the same 16 bytes, held differently.
FULL_WIDTH = StateBytes(weights=4.0, gradients=4.0, optimizer=8.0)


def state_bytes(used: Precision) -> StateBytes:
    """Bytes of weights, gradients and Adam states per parameter for training in `used`."""
    return FULL_WIDTH if used in (Precision.FP32, Precision.TF32) else MIXED


def activation_bytes(
    shape: Shape,
    *,
    sequence_length: float,
    micro_batch: float,
    recompute: Recompute = Recompute.FULL,
    used: Precision = Precision.BF16,
) -> float:
    """Bytes of activations of `micro_batch` sequences on one device that holds all layers.

    Per layer, with s tokens, batch b, width h and a heads: s·b·h·(34 + 5·a·s/h) with no recompute, 34·s·b·h selective,
    2·s·b·h full plus one layer's 34·s·b·h while it is computed again; and 4·s·b·v for the logits of vocabulary v.
    Source: Korthikanti et al. 2022, arXiv:2205.05198, equations 1, 4 and 6 at tensor parallelism 1. Those are 16-bit
    numbers; FP32 doubles them.
    """
    plane = sequence_length * micro_batch * shape.hidden
    if recompute is Recompute.FULL:
        layers = plane * (2.0 * shape.layers + 34.0)
    elif recompute is Recompute.SELECTIVE:
        layers = plane * 34.0 * shape.layers
    else:
        layers = plane * (34.0 + 5.0 * shape.heads * sequence_length / shape.hidden) * shape.layers
    logits = 4.0 * sequence_length * micro_batch * shape.vocabulary
    return (layers + logits) * (2.0 if used in (Precision.FP32, Precision.TF32) else 1.0)


def kv_bytes_per_token(shape: Shape, kv_precision: Precision) -> float:
    """2·L·n_kv·d_h·b: one key and one value per layer for every token in the context."""
    return 2.0 * shape.layers * shape.kv_width * BYTES[kv_precision]


def adapter_parameters(shape: Shape, rank: int) -> float:
    """Parameters of a LoRA adapter of `rank` on every linear layer: r·(inputs + outputs) per matrix.

    Four h x h matrices of attention and h x 4h and 4h x h of the feed-forward make 18·h·r per layer.
    Source: Hu et al. 2021, arXiv:2106.09685, on all linear layers as in Dettmers et al. 2023, arXiv:2305.14314.
    """
    return 18.0 * shape.hidden * rank * shape.layers


def capacity_bytes(device: Accelerator) -> float:
    """Bytes of one device that a job can use."""
    return device.memory_gib * GIB * RESERVE.value


def overhead_bytes(device: Accelerator) -> float:
    """Bytes that driver context, communication library and workspaces take on every device."""
    known = bundled()
    return min(known["memory.overhead_gb"] * 1e9, device.memory_gib * GIB * known["memory.overhead_share"])


TENSOR_PARALLEL = (1, 2, 4, 8)  # devices of one node that split a sequence's activations


@dataclass(frozen=True, slots=True)
class Fit:
    """The least number of devices that hold a training job, and over how many of them the activations are split."""

    devices: int
    split: int


def least_devices(*, state: float, activations: float, fixed: float, capacity: float, most: int) -> Fit | None:
    """The least n with state/n + activations/t + fixed <= capacity for a t of TENSOR_PARALLEL up to n, all in bytes.

    State is sharded over all devices (ZeRO stage 3: Rajbhandari et al. 2020); activations are split by tensor and
    sequence parallelism inside a node (Korthikanti et al. 2022). None where more than `most` would be needed.
    """
    best: Fit | None = None
    for split in TENSOR_PARALLEL:
        room = capacity - fixed - activations / split
        if room <= 0 or state > room * most:
            continue
        devices = max(split, ceil(state / room))
        if devices <= most and (best is None or devices < best.devices):
            best = Fit(devices, split)
    return best


def largest_trainable(memory_bytes: float, bytes_per_parameter: float) -> float:
    """Parameters of the largest model that `memory_bytes` can train when nothing but its state takes memory."""
    return memory_bytes / bytes_per_parameter
