"""Training tasks: what of a training job does not depend on the device, and how an estimate becomes a sizing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Cluster, Sharding
from orchestrator.domain.sizing import Assumption, Band, Checkpoints, FiniteWork, MemoryTerm, Sizing, Step
from orchestrator.domain.workload import FineTune, Method, Training
from orchestrator.sizing import arithmetic, efficiency, energy, fallbacks, flops, goodput, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.fit import Fit, Fits
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.recipes import Framework, recipe, usual_framework
from orchestrator.sizing.training_memory import MemoryModel, Terms
from orchestrator.sizing.utilisation import Growth, PlanningModel, family
from orchestrator.sizing.work import TrainingWork, work_of

WIDE: Final = (Precision.FP32, Precision.TF32)

_SPELT: Final = {
    Framework.MEGATRON: "Megatron",
    Framework.ZERO: "ZeRO",
    Framework.DEEPSPEED: "DeepSpeed",
    Framework.FSDP: "FSDP",
}
_SHARED: Final = {
    Sharding.NONE: "a copy on every data-parallel device",
    Sharding.ZERO_1: "the states are sharded over the data-parallel devices",
    Sharding.ZERO_2: "gradients and states are sharded over the data-parallel devices",
    Sharding.ZERO_3: "all sharded over all devices",
}
_FROZEN = Assumption(
    "flops_per_parameter",
    4.0,
    "per token: forward and through the activations; frozen weights need no gradients of their own",
)


class Generation(NamedTuple):
    """True over predicted, and what the prediction rests on."""

    band: Band
    notes: tuple[Assumption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What does not depend on the device, computed once per workload."""

    job: Training | FineTune
    work: TrainingWork
    flops: float
    trained_parameters: float
    choose: Callable[[Accelerator, Precision], Arithmetic | None]
    asked: Precision
    parameters: Parameters
    cluster: Cluster
    gpus: int | None
    assumptions: tuple[Assumption, ...]
    planning: PlanningModel
    # Filled as devices ask: formats, counts and generations are few, and devices many.
    fits: dict[Precision, Fits] = field(default_factory=dict)
    states: dict[Precision, tuple[Assumption, ...]] = field(default_factory=dict)
    held: dict[tuple[Precision, Fit], Terms] = field(default_factory=dict)
    shown: dict[tuple[Terms, int], tuple[MemoryTerm, ...]] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoints] = field(default_factory=dict)
    generations: dict[tuple[str, Kind], Generation] = field(default_factory=dict)

    def terms_of(self, used: Precision, fit: Fit) -> Terms:
        """Bytes on one of the devices of `fit`."""
        if (used, fit) not in self.held:
            self.held[used, fit] = self.fit_of(used).terms(fit)
        return self.held[used, fit]

    def memory_of(self, terms: Terms, device: Accelerator, devices: int) -> tuple[MemoryTerm, ...]:
        """As `memory_terms`; devices that hold the same differ in their overhead."""
        if (terms, devices) not in self.shown:
            self.shown[terms, devices] = memory_terms(terms, device, devices)[:-1]
        return (*self.shown[terms, devices], overhead_term(device, devices))

    def state_of(self, used: Precision) -> tuple[Assumption, ...]:
        """What is said of the state and the activations on the fewest devices."""
        if used not in self.states:
            self.states[used] = (*state_notes(self, used, Sharding.ZERO_3), memory.RECOMPUTE)
        return self.states[used]

    def checkpoints_of(self, gpus: int) -> Checkpoints:
        """What surviving failures takes on `gpus` devices."""
        if gpus not in self.checkpoints:
            self.checkpoints[gpus] = goodput.checkpointing(
                parameters=self.trained_parameters, devices=gpus, table=self.parameters
            )
        return self.checkpoints[gpus]

    def generation_of(self, device: Accelerator, kind: Kind) -> Generation:
        """What is known of devices of one generation."""
        known = self.generations.get((device.generation, kind))
        if known is None:
            known = self.generations[device.generation, kind] = Generation(
                efficiency.training_band(kind, device, self.parameters), generation_notes(self.parameters, device, kind)
            )
        return known

    def fit_of(self, used: Precision) -> Fits:
        """The memory of the job computed in `used`."""
        if used not in self.fits:
            job = self.job
            model = MemoryModel(
                job.model,
                sequence_length=job.sequence_length,
                precision=used,
                method=job.method if isinstance(job, FineTune) else Method.FULL,
                lora_rank=job.lora_rank if isinstance(job, FineTune) else 0,
            )
            self.fits[used] = Fits(model, micro_batch=job.micro_batch)
        return self.fits[used]


class Estimate(NamedTuple):
    """The device-hours of a job on a device, and what they rest on."""

    hours: float
    mfu: Assumption
    band: Band  # true over predicted
    notes: tuple[Assumption, ...]
    least: int  # devices
    terms: Terms  # bytes on each of them
    growth: Growth  # of device-hours with their number
    step: Step | None = None


def task_of(job: Training | FineTune, parameters: Parameters, *, gpus: int | None, cluster: Cluster) -> Task:
    """The device-independent part of sizing `job`."""
    method = job.method if isinstance(job, FineTune) else Method.FULL
    asked = job.precision
    if method is Method.QLORA and arithmetic.BYTES[asked] < arithmetic.BYTES[Precision.BF16]:
        asked = Precision.BF16  # QLoRA widens its 4-bit weights to compute
    work = work_of(
        job.model,
        sequence_length=float(job.sequence_length),
        precision=asked,
        global_batch_tokens=job.global_batch_tokens,
    )
    trained, whole = job.model.parameters, flops.training_flops(work.active_parameters, job.tokens)
    notes: tuple[Assumption, ...] = ()
    if isinstance(job, FineTune) and method is not Method.FULL:
        model = MemoryModel(job.model, sequence_length=job.sequence_length, method=method, lora_rank=job.lora_rank)
        trained = model.adapter.total if model.adapter else 0.0
        whole = flops.adapter_training_flops(work.active_parameters, trained, job.tokens)
        said = f"rank {job.lora_rank} on all linear layers"
        notes = (Assumption("adapter_parameters", trained, said), _FROZEN, *fallbacks.unused_precision(job))
    return Task(
        job=job,
        work=work,
        flops=whole,
        trained_parameters=trained,
        choose=arithmetic.training_arithmetic if method is Method.FULL else arithmetic.serving_arithmetic,
        asked=asked,
        parameters=parameters,
        cluster=cluster,
        gpus=gpus,
        planning=PlanningModel(work, parameters),
        assumptions=(
            *notes,
            memory.RESERVE,
            *energy.assumptions(parameters),
            *fallbacks.beyond_context(job),
            *goodput.assumptions(parameters),
        ),
    )


def reference_tflops(device: Accelerator, chosen: Arithmetic) -> float:
    """The peak that utilisations are counted against: that of 16 bits, or of the wider format that is computed in."""
    if chosen.precision in WIDE:
        return chosen.peak_tflops
    return device.peak16_tflops or chosen.peak_tflops


def state_notes(task: Task, used: Precision, sharding: Sharding) -> tuple[Assumption, ...]:
    """What is held per parameter where all of them are trained."""
    if isinstance(task.job, FineTune) and task.job.method is not Method.FULL:
        return ()
    framework = usual_framework(sharding)
    rates = recipe(framework, used).states[sharding]
    weights, gradients = rates.weights + rates.weights_shared, rates.gradients + rates.gradients_shared
    states = rates.optimizer + rates.optimizer_shared
    origin = (
        f"bytes per trained parameter, Adam as {_SPELT[framework]} keeps it: {weights:g} weights + {gradients:g}"
        f" gradients + {states:g} of its states; {_SHARED[sharding]}"
    )
    return (Assumption("state_bytes", weights + gradients + states, origin),)


def mfu_of(task: Task, chosen: Arithmetic, hours: float, origin: str) -> Assumption:
    """6·N·D (or what an adapter takes) over the dense peak of the format used."""
    return Assumption("mfu", task.flops / (hours * 3600.0 * chosen.peak_tflops * 1e12), origin)


def generation_notes(parameters: Parameters, device: Accelerator, kind: Kind) -> tuple[Assumption, ...]:
    """What times of training by `kind` of prediction rest on, on devices of one generation."""
    if kind is Kind.STEP:
        names = ["step.run"]
    else:
        generation = family(device.generation)
        names = ["planning.utilisation." + generation]
        if generation != "cpu":
            names += ["planning.software_year", "planning.run"]
    return (*map(parameters.assumption, names), *efficiency.calibrations((kind,), device, parameters))


def memory_terms(terms: Terms, device: Accelerator, devices: int = 1) -> tuple[MemoryTerm, ...]:
    """What `devices` hold that each hold `terms`, the runtime's overhead included."""
    held = [MemoryTerm(name, size * devices / GIB) for name, size in zip(Terms._fields, terms, strict=True)]
    return (*held, overhead_term(device, devices))


def overhead_term(device: Accelerator, devices: int) -> MemoryTerm:
    """What the runtime takes on `devices`."""
    return MemoryTerm("overhead", memory.overhead_bytes(device) * devices / GIB)


def sizing_of(task: Task, device: Accelerator, chosen: Arithmetic, estimate: Estimate) -> Sizing:
    """The sizing that an estimate makes: memory on the least devices, the rest on those asked for."""
    overhead = memory.overhead_bytes(device)
    least, terms = estimate.least, estimate.terms
    gpus = task.gpus or least
    band = estimate.band.scaled(estimate.hours)
    effort = FiniteWork(
        gpu_hours=band,
        energy_kwh=band.scaled(energy.device_it_watts(device, table=task.parameters) / 1e3),
        gpus=gpus,
        growth=estimate.growth.exponent,
        batch_growth=estimate.growth.batch,
        batch_devices=estimate.growth.devices,
        step=estimate.step,
        checkpoints=task.checkpoints_of(gpus),
    )
    return Sizing(
        accelerator=device.name,
        precision=chosen.precision,
        min_gpus=least,
        flops=task.flops,
        memory=task.memory_of(terms, device, least),
        memory_per_gpu_gib=(sum(terms) + overhead) / GIB,
        capacity_per_gpu_gib=memory.capacity_bytes(device) / GIB,
        mfu=estimate.mfu,
        effort=effort,
        assumptions=(
            *chosen.assumptions,
            *estimate.notes,
            *energy.gaps(device.tdp_w),
            *task.assumptions,
            *task.fit_of(chosen.precision).memory.assumptions,
        ),
    )
