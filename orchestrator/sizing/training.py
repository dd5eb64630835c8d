"""Training and fine-tuning on one kind of device: memory, device-hours and energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, FiniteWork, MemoryTerm, Sizing
from orchestrator.domain.workload import FineTune, Method, Training
from orchestrator.sizing import arithmetic, efficiency, energy, flops, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.shape import shape_of
from orchestrator.sizing.throughput import device_hours

MOST_DEVICES = 16_384  # of one job: the largest published training runs

Sized: TypeAlias = Sizing | Reason
Terms: TypeAlias = tuple[tuple[str, float], ...]  # name and bytes, summed over all devices

_SPLITS = {
    split: Assumption(
        "tensor_parallel",
        float(split),
        f"each sequence's activations are split over {split} devices of a node so that they fit",
    )
    for split in memory.TENSOR_PARALLEL[1:]
}
_ADAM = Assumption(
    "state_bytes",
    memory.MIXED.total,
    "bytes per trained parameter, Adam: 2 weights + 2 gradients + 12 FP32 states, or 4 + 4 + 8 in FP32; sharded over"
    " all devices",
)


@dataclass(frozen=True, slots=True)
class _Task:
    """What does not depend on the device, computed once per workload."""

    flops: float
    asked: Precision
    stated_mfu: float | None
    choose: Callable[[Accelerator, Precision], Arithmetic | None]
    state: Callable[[Precision], Terms]  # by the format used
    activations_bytes: float  # of one micro-batch at 16 bit
    assumptions: tuple[Assumption, ...]


def training_sizer(job: Training) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device."""
    return _sizer(_full(job))


def fine_tune_sizer(job: FineTune) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device."""
    return _sizer(_full(job) if job.method is Method.FULL else _adapter(job))


def _full(job: Training | FineTune) -> _Task:
    """Every weight is trained: 6·N·D FLOPs and 16 bytes per parameter."""
    parameters = job.model.parameters
    shape, guessed = shape_of(job.model)

    def state(used: Precision) -> Terms:
        per = memory.state_bytes(used)
        return (
            ("weights", parameters * per.weights),
            ("gradients", parameters * per.gradients),
            ("optimizer", parameters * per.optimizer),
        )

    return _Task(
        flops=flops.training_flops(job.model.active_parameters, job.tokens),
        asked=job.precision,
        stated_mfu=job.mfu,
        choose=arithmetic.training_arithmetic,
        state=state,
        activations_bytes=memory.activation_bytes(
            shape, sequence_length=job.sequence_length, micro_batch=job.micro_batch
        ),
        assumptions=(_ADAM, memory.RECOMPUTE, memory.RESERVE, energy.POWER_SHARE, *guessed),
    )


def _adapter(job: FineTune) -> _Task:
    """A frozen model and a trained adapter: 4·N·D FLOPs, the weights' own bytes, and 16 bytes per adapter parameter."""
    parameters = job.model.parameters
    shape, guessed = shape_of(job.model)
    adapter = memory.adapter_parameters(shape, job.lora_rank)
    quantised = job.method is Method.QLORA
    asked = job.precision
    if quantised and arithmetic.BYTES[asked] < arithmetic.BYTES[Precision.BF16]:
        asked = Precision.BF16  # QLoRA widens its 4-bit weights to compute

    def state(used: Precision) -> Terms:
        width = arithmetic.BYTES[Precision.INT4] if quantised else arithmetic.weight_bytes(asked, used)
        return (("weights", parameters * width), ("adapter", adapter * memory.state_bytes(used).total))

    notes = (
        Assumption("adapter_parameters", adapter, f"rank {job.lora_rank} on all linear layers: 18·h·r per layer"),
        Assumption(
            "flops_per_parameter",
            4.0,
            "per token: forward and through the activations; frozen weights need no gradients of their own",
        ),
    )
    return _Task(
        flops=flops.adapter_training_flops(job.model.active_parameters, adapter, job.tokens),
        asked=asked,
        stated_mfu=job.mfu,
        choose=arithmetic.serving_arithmetic,
        state=state,
        activations_bytes=memory.activation_bytes(
            shape, sequence_length=job.sequence_length, micro_batch=job.micro_batch
        ),
        assumptions=(*notes, memory.RECOMPUTE, memory.RESERVE, energy.POWER_SHARE, *guessed),
    )


def _sizer(task: _Task) -> Callable[[Accelerator], Sized]:
    states: dict[Precision, tuple[Terms, float]] = {}  # there are a handful of formats and a hundred devices

    def sized(device: Accelerator) -> Sized:
        chosen = task.choose(device, task.asked)
        if chosen is None:
            return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, task.asked))
        if chosen.precision not in states:
            terms = task.state(chosen.precision)
            states[chosen.precision] = (terms, sum(size for _, size in terms))
        terms, total = states[chosen.precision]
        wide = chosen.precision in (Precision.FP32, Precision.TF32)
        activations = task.activations_bytes * (2.0 if wide else 1.0)
        fit = memory.least_devices(
            state=total,
            activations=activations,
            fixed=memory.overhead_bytes(device),
            capacity=memory.capacity_bytes(device),
            most=MOST_DEVICES,
        )
        if fit is None:
            return Reason("sizing", ReasonCode.NO_FIT, _no_fit(device, total, activations))
        return _sizing(task, device, chosen, fit, terms=terms, activations=activations)

    return sized


def _sizing(
    task: _Task, device: Accelerator, chosen: Arithmetic, fit: memory.Fit, *, terms: Terms, activations: float
) -> Sizing:
    known = efficiency.training_efficiency(device.generation, chosen.precision, task.stated_mfu)
    n = fit.devices
    held = (
        *terms,
        ("activations", activations / fit.split * n),
        ("overhead", memory.overhead_bytes(device) * n),
    )
    hours = known.spread.around(device_hours(task.flops, chosen.peak_tflops, known.utilisation.value))
    split = (_SPLITS[fit.split],) if fit.split > 1 else ()
    return Sizing(
        accelerator=device.name,
        precision=chosen.precision,
        min_gpus=n,
        flops=task.flops,
        memory=tuple([MemoryTerm(name, size / GIB) for name, size in held]),
        memory_per_gpu_gib=sum([size for _, size in held]) / n / GIB,
        capacity_per_gpu_gib=memory.capacity_bytes(device) / GIB,
        mfu=known.utilisation,
        effort=FiniteWork(gpu_hours=hours, energy_kwh=hours.scaled(energy.device_energy_kwh(1.0, device.tdp_w))),
        assumptions=(*chosen.assumptions, *split, *energy.gaps(device.tdp_w), *task.assumptions),
    )


def _no_fit(device: Accelerator, state: float, activations: float) -> str:
    split = memory.TENSOR_PARALLEL[-1]
    room = memory.capacity_bytes(device) - memory.overhead_bytes(device)
    held = (
        f"{device.name} has {room / GIB:,.1f} GiB to use and one micro-batch's activations take"
        f" {activations / split / GIB:,.1f} GiB of them even when split over {split} devices"
    )
    if room <= activations / split:
        return f"{held}: shorten the sequence or the micro-batch"
    needed = state / (room - activations / split)
    return (
        f"{held}, so the state of {state / GIB:,.1f} GiB needs {needed:,.0f} devices and a job gets"
        f" {MOST_DEVICES:,} at most"
    )
