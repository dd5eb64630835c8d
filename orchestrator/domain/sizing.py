"""Sizings: how much of one accelerator a workload takes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Parallelism


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
class Step:
    """One optimizer step of a training job whose parallelism is known or chosen."""

    parallelism: Parallelism
    seconds: float
    mfu: float  # model FLOP/s utilisation of the step alone: no failures, no checkpoints
    parts: tuple[tuple[str, float], ...] = ()  # where the seconds go: compute, tensor-parallel, bubble, ...
    memory: tuple[MemoryTerm, ...] = ()  # of the fullest device, overhead included


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What surviving failures takes: checkpoints of `gib` every `interval_s`, written in `write_s`."""

    gib: float
    interval_s: float
    write_s: float  # during which the devices stand still
    gb_per_s: float  # of storage bandwidth, to write them in time
    mtbf_h: float  # mean time between failures of the whole job
    goodput: float  # share of the time that ends up in the model, in (0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteWork:
    """Work that ends: training, fine-tuning, batch inference.

    `gpu_hours` is device-hours of a job on `gpus` devices. On n devices it is gpu_hours·(n/gpus)^growth: with more
    devices each does a little less. Where a fixed global batch gives each fewer tokens, `batch_growth` comes on top
    between the two counts `batch_devices`. `energy_kwh` is of devices and their share of the hosts, before PUE.
    """

    gpu_hours: Band
    energy_kwh: Band
    gpus: int = 1
    growth: float = 0.0
    batch_growth: float = 0.0
    batch_devices: tuple[float, float] = (1.0, 1.0)
    step: Step | None = None
    checkpoints: Checkpoints | None = None

    def gpu_hours_on(self, gpus: float) -> Band:
        """Device-hours on `gpus` devices, more than 0."""
        low, high = self.batch_devices
        thinner = min(max(gpus, low), high) / min(max(float(self.gpus), low), high)
        return self.gpu_hours.scaled((gpus / self.gpus) ** self.growth * thinner**self.batch_growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Work that goes on: online inference by `replicas` copies, each on `Sizing.min_gpus` devices.

    `replicas` meet the peak of the load; `mean_replicas` of them are busy on the average, which is what a service that
    scales with its load pays for.
    """

    replicas: int
    requests_per_s_per_replica: float
    ttft_s: Band
    tpot_s: Band
    watts_per_replica: float
    ttft_p95_s: Band | None = None  # that 95 of 100 requests keep
    e2e_s: Band | None = None  # from arrival to the last token
    mean_replicas: float = 0.0
    most_tokens_per_s: float = 0.0  # output tokens of one replica at the largest throughput that memory allows
    stack: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Narrower weights than asked for, which the job allows; `saving` is the share of devices or device-hours that they
    save, or None where what was asked for does not run on the device at all.
    """

    asked: Precision
    weights: Precision
    saving: float | None


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
    quantised: Quantisation | None = None
    assumptions: tuple[Assumption, ...] = ()

    @property
    def memory_gib(self) -> float:
        """All terms."""
        return sum(term.gib for term in self.memory)


Effort: TypeAlias = FiniteWork | Service
