"""Parallelism: how the devices of one training job share its work and its state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.consistency import MOST_DEVICES, of_parallelism, refuse


class Recompute(StrEnum):
    """Which activations are thrown away on the way forward and computed again on the way back."""

    NONE = "none"
    SELECTIVE = "selective"  # the attention scores alone, or a fused attention kernel that never stores them
    FULL = "full"  # all but the input of every layer


class Sharding(StrEnum):
    """What the data-parallel devices share out instead of each holding a copy (Rajbhandari et al. 2020, ZeRO)."""

    NONE = "none"
    ZERO_1 = "zero-1"  # the optimizer's states; Megatron's distributed optimizer
    ZERO_2 = "zero-2"  # and the gradients
    ZERO_3 = "zero-3"  # and the weights; PyTorch FSDP's full shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """The layout of one training job: every number counts devices, but for the batches, which count sequences.

    A job has `devices` = tensor · pipeline · context · data of them. Experts are shared out over `expert` of the data-
    parallel devices. `interleave` is the number of model chunks per pipeline stage (Narayanan et al. 2021).

    Raises: Contradicted for a count below 1, or more devices than any cluster has.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    context: int = 1
    expert: int = 1
    micro_batch: int = 1  # sequences of one pass
    micro_batches: int = 1  # passes per step of one data-parallel rank
    interleave: int = 1
    sharding: Sharding = Sharding.ZERO_1
    recompute: Recompute = Recompute.SELECTIVE
    sequence_parallel: bool = True  # the norms' activations are split over `tensor` too (Korthikanti et al. 2022)

    def __post_init__(self) -> None:
        least = min(self.tensor, self.pipeline, self.data, self.context, self.expert)
        least = min(least, self.micro_batch, self.micro_batches, self.interleave)
        if not (least >= 1 and self.devices <= MOST_DEVICES):  # a search makes thousands of layouts that are sound
            refuse("layout", of_parallelism(self))

    @property
    def devices(self) -> int:
        """All of the job's devices."""
        return self.tensor * self.pipeline * self.context * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How devices are wired: `node_devices` share the fast links, beyond them is the fabric."""

    node_devices: float = 8.0
    fabric_gb_per_s: float = 50.0  # GB/s of one device into the fabric, one way: 400 Gb/s
