"""Memory: what a device can hold, what its runtime takes of it, and the bytes of a KV cache."""

from __future__ import annotations

from orchestrator.domain.accelerator import Accelerator, Precision
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


def kv_bytes_per_token(shape: Shape, kv_precision: Precision) -> float:
    """2·L·n_kv·d_h·b: one key and one value per layer for every token in the context."""
    return 2.0 * shape.layers * shape.kv_width * BYTES[kv_precision]


def capacity_bytes(device: Accelerator) -> float:
    """Bytes of one device that a job can use."""
    return device.memory_gib * GIB * RESERVE.value


def overhead_bytes(device: Accelerator) -> float:
    """Bytes that driver context, communication library and workspaces take on every device."""
    known = bundled()
    return min(known["memory.overhead_gb"] * 1e9, device.memory_gib * GIB * known["memory.overhead_share"])


def room_bytes(device: Accelerator) -> float:
    """Bytes of one device that are left for a job's own state."""
    return capacity_bytes(device) - overhead_bytes(device)
