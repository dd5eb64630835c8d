"""Training and fine-tuning on one kind of device: memory, device-hours, energy and what failures cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Parallelism, Sharding
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, Band, Checkpoints, FiniteWork, MemoryTerm, Sizing, Step
from orchestrator.domain.workload import FineTune, Method, Training
from orchestrator.sizing import arithmetic, efficiency, energy, fallbacks, flops, goodput, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.fit import MOST_DEVICES, TENSOR_PARALLEL, Fit, Fits
from orchestrator.sizing.layouts import Searched, fastest, step_tokens, stepper, usual_batch
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.recipes import recipe, usual_framework
from orchestrator.sizing.steptime import Cluster
from orchestrator.sizing.throughput import device_hours
from orchestrator.sizing.training_memory import MemoryModel, Terms
from orchestrator.sizing.utilisation import Circumstances, PlanningModel, family, growth
from orchestrator.sizing.work import TrainingWork, work_of

Sized: TypeAlias = Sizing | Reason

WIDE: Final = (Precision.FP32, Precision.TF32)

_SPLIT = "devices of a node that split every layer, so that its activations fit"
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


@dataclass(frozen=True, slots=True)
class _Generation:
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
    checkpoints: dict[int, Checkpoints] = field(default_factory=dict)
    generations: dict[tuple[str, Kind], _Generation] = field(default_factory=dict)

    def terms_of(self, used: Precision, fit: Fit) -> Terms:
        """Bytes on one of the devices of `fit`."""
        if (used, fit) not in self.held:
            self.held[used, fit] = self.fit_of(used).terms(fit)
        return self.held[used, fit]

    def state_of(self, used: Precision) -> tuple[Assumption, ...]:
        """What is said of the state and the activations on the fewest devices."""
        if used not in self.states:
            self.states[used] = (*_state(self, used, Sharding.ZERO_3), memory.RECOMPUTE)
        return self.states[used]

    def checkpoints_of(self, gpus: int) -> Checkpoints:
        """What surviving failures takes on `gpus` devices."""
        if gpus not in self.checkpoints:
            self.checkpoints[gpus] = goodput.checkpointing(
                parameters=self.trained_parameters, devices=gpus, table=self.parameters
            )
        return self.checkpoints[gpus]

    def generation_of(self, device: Accelerator, kind: Kind) -> _Generation:
        """What is known of devices of one generation."""
        known = self.generations.get((device.generation, kind))
        if known is None:
            known = self.generations[device.generation, kind] = _Generation(
                efficiency.training_band(kind, device, self.parameters), _notes(self.parameters, device, kind)
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


def size_training(
    job: Training | FineTune,
    accelerators: Sequence[Accelerator],
    parameters: Parameters,
    *,
    gpus: int | None = None,
    cluster: Cluster | None = None,
    layouts: bool = False,
) -> dict[str, Sized]:
    """Size `job` on every device: on `gpus` of them, or on the fewest that hold it.

    With `layouts` the fastest parallelism of all weights' training is searched for as well and shown as the step; the
    hours stay those of the planning model, which knows what jobs get in practice and not only what the best layout
    could.
    """
    task = task_of(job, parameters, gpus=gpus, cluster=cluster or Cluster())
    found = {device.name: _sized(task, device) for device in accelerators}
    whole = not isinstance(job, FineTune) or job.method is Method.FULL
    if layouts and whole and job.parallelism is None:  # an adapter's step is not that of the whole model
        return _with_layouts(task, accelerators, found)
    return found


def _sized(task: Task, device: Accelerator) -> Sized:
    chosen = task.choose(device, task.asked)
    if chosen is None:
        return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, task.asked))
    room = memory.capacity_bytes(device) - memory.overhead_bytes(device)
    if task.job.parallelism is not None:
        return _laid_out(task, device, chosen, task.job.parallelism, room)
    fits = task.fit_of(chosen.precision)
    fit = fits.least(room)
    if fit is None:
        return Reason("sizing", ReasonCode.NO_FIT, _no_fit(device, fits, room))
    if task.gpus is not None and task.gpus < fit.devices:
        detail = f"{fit.devices:,} x {device.name} hold it at the least, and {task.gpus:,} are asked for"
        return Reason("sizing", ReasonCode.NO_FIT, detail)
    return _planned(task, device, chosen, fit)


def _with_layouts(task: Task, accelerators: Sequence[Accelerator], found: dict[str, Sized]) -> dict[str, Sized]:
    """The fastest layout of every device that fits, all devices of one count and format priced together."""
    groups: defaultdict[tuple[int, Precision], list[Searched]] = defaultdict(list)
    for device in accelerators:
        sizing, chosen = found[device.name], task.choose(device, task.asked)
        if isinstance(sizing, Sizing) and isinstance(sizing.effort, FiniteWork) and chosen is not None:
            room = memory.capacity_bytes(device) - memory.overhead_bytes(device)
            searched = Searched(device, chosen, reference_tflops(device, chosen), room)
            groups[sizing.effort.gpus, chosen.precision].append(searched)
    steps: dict[str, Step] = {}
    for (gpus, used), devices in groups.items():
        steps |= fastest(
            stepper(task.work, task.cluster, task.parameters),
            task.fit_of(used).memory,
            devices,
            gpus=gpus,
            global_batch_tokens=task.work.global_batch_tokens or usual_batch(task.work, gpus, task.parameters),
            recompute=task.job.recompute,
        )
    return {name: _with_step(sizing, steps.get(name)) for name, sizing in found.items()}


def _with_step(sizing: Sized, step: Step | None) -> Sized:
    if step is None or isinstance(sizing, Reason) or not isinstance(sizing.effort, FiniteWork):
        return sizing
    return replace(sizing, effort=replace(sizing.effort, step=step))


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
        ),
    )


def reference_tflops(device: Accelerator, chosen: Arithmetic) -> float:
    """The peak that utilisations are counted against: that of 16 bits, or of the wider format that is computed in."""
    if chosen.precision in WIDE:
        return chosen.peak_tflops
    return device.peak(Precision.BF16) or device.peak(Precision.FP16) or chosen.peak_tflops


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """The device-hours of a job on a device, and what they rest on."""

    hours: float
    mfu: Assumption
    band: Band  # true over predicted
    notes: tuple[Assumption, ...]
    least: int  # devices
    terms: Terms  # bytes on each of them
    growth: float  # of device-hours with their number, as an exponent
    step: Step | None = None


def _planned(task: Task, device: Accelerator, chosen: Arithmetic, fit: Fit) -> Sizing:
    """From the device count alone."""
    n = task.gpus or fit.devices
    job, p = task.job, task.parameters
    notes = task.state_of(chosen.precision)
    if fit.tensor > 1:
        notes += (Assumption("tensor_parallel", float(fit.tensor), _SPLIT),)
    grows = 0.0  # a stated MFU is that of the job, whatever its devices
    if job.mfu is not None:
        hours = device_hours(task.flops, chosen.peak_tflops, job.mfu)
        mfu, band = Assumption("mfu", job.mfu, "stated in the job file"), efficiency.spread("run", p)
    else:
        around = Circumstances(gpus=float(n), recompute=job.recompute)
        each = task.planning.seconds_per_token(
            device.generation, reference_tflops(device, chosen), device.memory_bandwidth_gb_s, around
        )
        known = task.generation_of(device, Kind.TRAINING)
        band, notes = known.band, (*known.notes, *notes)
        hours = each * task.flops / task.work.matrix_flops / 3600.0
        # Beyond its published runs the regression still does not beat the peak, not by rounding either.
        hours = max(hours, device_hours(task.flops, chosen.peak_tflops, 1.0 - 1e-12) / band.p50)
        mfu = _mfu(task, chosen, hours * band.p50, _origin(device))
        grows = growth(task.work, device.generation, p)
    terms = task.terms_of(chosen.precision, fit)
    estimate = _Estimate(hours=hours, mfu=mfu, band=band, notes=notes, least=fit.devices, terms=terms, growth=grows)
    return _sizing(task, device, chosen, estimate)


def _laid_out(task: Task, device: Accelerator, chosen: Arithmetic, layout: Parallelism, room: float) -> Sized:
    """From the layout that the job states."""
    n, p = layout.devices, task.parameters
    layout, batch = _with_batch(task, layout)
    if task.gpus is not None and task.gpus != n:
        detail = f"the job's parallelism is of {n:,} devices, and {task.gpus:,} are asked for"
        return Reason("sizing", ReasonCode.NO_FIT, detail)
    terms = task.fit_of(chosen.precision).memory.terms(layout)
    if terms.total > room:
        detail = (
            f"the job's parallelism takes {terms.total / GIB:,.1f} GiB on the fullest device and {device.name} has"
            f" {room / GIB:,.1f} GiB to use: more tensor or pipeline stages, sharding zero-3, or full recompute"
        )
        return Reason("sizing", ReasonCode.NO_FIT, detail)
    step = stepper(task.work, task.cluster, p).step(device, chosen, layout, reference_tflops(device, chosen))
    done = step_tokens(layout, task.work.sequence_length)
    share = task.flops / task.work.matrix_flops / task.job.tokens  # adapters train less
    hours = step.seconds * n / done * task.job.tokens * share / 3600.0 / p["step.run"]
    known = task.generation_of(device, Kind.STEP)
    band = known.band
    estimate = _Estimate(
        hours=hours,
        mfu=_mfu(task, chosen, hours * band.p50, "from the bottom up, by the parallelism stated in the job file"),
        band=band,
        notes=(
            *batch,
            *known.notes,
            *_state(task, chosen.precision, layout.sharding),
        ),
        least=n,
        terms=terms,
        growth=growth(task.work, device.generation, p),
        step=step,
    )
    return _sizing(task, device, chosen, estimate)


def _state(task: Task, used: Precision, sharding: Sharding) -> tuple[Assumption, ...]:
    """What is held per parameter where all of them are trained."""
    if isinstance(task.job, FineTune) and task.job.method is not Method.FULL:
        return ()
    framework = usual_framework(sharding)
    rates = recipe(framework, used).states[sharding]
    weights, gradients = rates.weights + rates.weights_shared, rates.gradients + rates.gradients_shared
    states = rates.optimizer + rates.optimizer_shared
    origin = (
        f"bytes per trained parameter, Adam as {framework.upper()} keeps it: {weights:g} weights + {gradients:g}"
        f" gradients + {states:g} of its states; {_SHARED[sharding]}"
    )
    return (Assumption("state_bytes", weights + gradients + states, origin),)


def _with_batch(task: Task, layout: Parallelism) -> tuple[Parallelism, tuple[Assumption, ...]]:
    """The layout with as many passes per step as its global batch takes; a usual batch where the job says none."""
    if task.job.global_batch_tokens is not None or layout.micro_batches > 1:
        return layout, ()
    usual = usual_batch(task.work, layout.devices, task.parameters)
    passes = max(1, round(usual / step_tokens(layout, task.work.sequence_length)))
    found = replace(layout, micro_batches=passes)
    said = "tokens of one step: the job's global batch is not given, this is a usual one for the model's size"
    return found, (Assumption("global_batch", step_tokens(found, task.work.sequence_length), said),)


def _mfu(task: Task, chosen: Arithmetic, hours: float, origin: str) -> Assumption:
    """6·N·D (or what an adapter takes) over the dense peak of the format used."""
    return Assumption("mfu", task.flops / (hours * 3600.0 * chosen.peak_tflops * 1e12), origin)


def _origin(device: Accelerator) -> str:
    kind = family(device.generation)
    if kind == "other":
        return f"planning model; no published training run on {device.generation or 'this device'}"
    if kind == "cpu":
        return "planning constant: a small model in plain code against the measured peak of matrix products"
    return f"planning model of published runs on {kind} by size, count, batch and memory bandwidth; downtime included"


def _notes(parameters: Parameters, device: Accelerator, kind: Kind) -> tuple[Assumption, ...]:
    if kind is Kind.STEP:
        names = ["step.run"]
    else:
        generation = family(device.generation)
        names = ["planning.utilisation." + generation]
        if generation != "cpu":
            names += ["planning.software_year", "planning.run"]
    return (*map(parameters.assumption, names), *efficiency.calibrations((kind,), device, parameters))


def _sizing(task: Task, device: Accelerator, chosen: Arithmetic, estimate: _Estimate) -> Sizing:
    overhead = memory.overhead_bytes(device)
    least, terms = estimate.least, estimate.terms
    held = (*zip(Terms._fields, terms, strict=True), ("overhead", overhead))
    gpus = task.gpus or least
    band = estimate.band.scaled(estimate.hours)
    effort = FiniteWork(
        gpu_hours=band,
        energy_kwh=band.scaled(energy.device_it_watts(device, table=task.parameters) / 1e3),
        gpus=gpus,
        growth=estimate.growth,
        step=estimate.step,
        checkpoints=task.checkpoints_of(gpus),
    )
    return Sizing(
        accelerator=device.name,
        precision=chosen.precision,
        min_gpus=least,
        flops=task.flops,
        memory=tuple([MemoryTerm(name, size * least / GIB) for name, size in held]),
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


def _no_fit(device: Accelerator, fits: Fits, room: float) -> str:
    fixed, state = fits.smallest()
    held = (
        f"{device.name} has {room / GIB:,.1f} GiB to use and one micro-batch's activations and buffers take"
        f" {fixed / GIB:,.1f} GiB of them even when split over {TENSOR_PARALLEL[-1]} devices"
    )
    if room <= fixed:
        return f"{held}: shorten the sequence or the micro-batch"
    needed = state / (room - fixed)
    return (
        f"{held}, so the state of {state / GIB:,.1f} GiB needs {needed:,.0f} devices and a job gets"
        f" {MOST_DEVICES:,} at most"
    )
