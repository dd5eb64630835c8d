"""Sizings: how much of one accelerator a workload takes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.accelerator import Precision


@dataclass(frozen=True, slots=True)
class Band:
    """An estimate with its range: the 10th, 50th and 90th percentile, in the unit of the field that holds it."""

    p10: float
    p50: float
    p90: float

    def scaled(self, factor: float) -> Band:
        """Every percentile times `factor` (at least 0)."""
        return Band(self.p10 * factor, self.p50 * factor, self.p90 * factor)


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number that the arithmetic rests on and where it comes from."""

    name: str
    value: float
    origin: str


@dataclass(frozen=True, slots=True)
class MemoryTerm:
    """One part of the memory the job's state takes, summed over all devices of one replica, in GiB."""

    name: str  # weights, gradients, optimizer, activations, kv-cache, adapter, overhead
    gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteWork:
    """Work that ends: training, fine-tuning, batch inference.

    `gpu_hours` is device-hours at any count (this model scales linearly); `energy_kwh` is the devices' own, without
    host and PUE.
    """

    gpu_hours: Band
    energy_kwh: Band


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Work that goes on: online inference by `replicas` copies, each on `Sizing.min_gpus` devices."""

    replicas: int
    requests_per_s_per_replica: float
    ttft_s: Band
    tpot_s: Band
    watts_per_replica: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """One workload on one kind of accelerator.

    `flops` is for the whole finite work, or for one request of a service. `min_gpus` is the least whole number of
    devices whose memory holds the state: the size of one replica.
    """

    accelerator: str
    precision: Precision
    min_gpus: int
    flops: float
    memory: tuple[MemoryTerm, ...]
    memory_per_gpu_gib: float  # the terms' sum over min_gpus
    capacity_per_gpu_gib: float  # usable, after the reserve
    mfu: Assumption  # model FLOP/s utilisation in (0, 1]
    effort: FiniteWork | Service
    assumptions: tuple[Assumption, ...] = ()

    @property
    def memory_gib(self) -> float:
        """All terms."""
        return sum(term.gib for term in self.memory)


Effort: TypeAlias = FiniteWork | Service
