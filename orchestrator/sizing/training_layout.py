"""Training by layout: jobs that state their parallelism, and the fastest layout for those that do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Parallelism
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, FiniteWork, Sizing, Step
from orchestrator.sizing import efficiency, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.flops import device_hours
from orchestrator.sizing.layouts import Searched, fastest, step_tokens, stepper, usual_batch
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.training_task import (
    Estimate,
    Task,
    memory_terms,
    mfu_of,
    reference_tflops,
    sizing_of,
    state_notes,
)
from orchestrator.sizing.utilisation import growth

Sized: TypeAlias = Sizing | Reason


def laid_out(task: Task, device: Accelerator, chosen: Arithmetic, layout: Parallelism, room: float) -> Sized:
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
    alone = stepper(task.work, task.cluster, p).step(device, chosen, layout, reference_tflops(device, chosen))
    step = replace(alone, memory=memory_terms(terms, device))
    done = step_tokens(layout, task.work.sequence_length)
    share = task.flops / task.work.matrix_flops / task.job.tokens  # adapters train less
    hours = step.seconds * n / done * task.job.tokens * share / 3600.0 / p["step.run"]
    known = task.generation_of(device, Kind.STEP)
    band, notes = known.band, (*batch, *known.notes)
    mfu = mfu_of(task, chosen, hours * band.p50, "from the bottom up, by the parallelism stated in the job file")
    if task.job.mfu is not None:  # a measurement goes before the model; the step shown stays the model's
        hours = device_hours(task.flops, chosen.peak_tflops, task.job.mfu)
        mfu, band, notes = Assumption("mfu", task.job.mfu, "stated in the job file"), efficiency.spread("run", p), batch
    estimate = Estimate(
        hours=hours,
        mfu=mfu,
        band=band,
        notes=(*notes, *state_notes(task, chosen.precision, layout.sharding)),
        least=n,
        terms=terms,
        growth=growth(task.work, device.generation, p),
        step=step,
    )
    return sizing_of(task, device, chosen, estimate)


def with_layouts(task: Task, accelerators: Sequence[Accelerator], found: dict[str, Sized]) -> dict[str, Sized]:
    """The fastest layout of every device that fits, all devices of one count and format priced together."""
    groups: defaultdict[tuple[int, Precision], list[Searched]] = defaultdict(list)
    for device in accelerators:
        sizing, chosen = found[device.name], task.choose(device, task.asked)
        if isinstance(sizing, Sizing) and isinstance(sizing.effort, FiniteWork) and chosen is not None:
            searched = Searched(device, chosen, reference_tflops(device, chosen), memory.room_bytes(device))
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
    by_name = {device.name: device for device in accelerators}
    return {name: _with_step(task, by_name[name], sizing, steps.get(name)) for name, sizing in found.items()}


def _with_step(task: Task, device: Accelerator, sizing: Sized, step: Step | None) -> Sized:
    if step is None or isinstance(sizing, Reason) or not isinstance(sizing.effort, FiniteWork):
        return sizing
    terms = task.fit_of(sizing.precision).memory.terms(step.parallelism)
    laid = replace(step, memory=memory_terms(terms, device))
    return replace(sizing, effort=replace(sizing.effort, step=laid))


def _with_batch(task: Task, layout: Parallelism) -> tuple[Parallelism, tuple[Assumption, ...]]:
    """The layout with as many passes per step as its global batch takes; a usual batch where the job says none."""
    if task.job.global_batch_tokens is not None or layout.micro_batches > 1:
        return layout, ()
    usual = usual_batch(task.work, layout.devices, task.parameters)
    passes = max(1, round(usual / step_tokens(layout, task.work.sequence_length)))
    found = replace(layout, micro_batches=passes)
    said = "tokens of one step: the job's global batch is not given, this is a usual one for the model's size"
    return found, (Assumption("global_batch", step_tokens(found, task.work.sequence_length), said),)
