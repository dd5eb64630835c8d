"""Training and fine-tuning on one kind of device: memory, device-hours, energy and what failures cost."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final, TypeAlias

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, Sizing
from orchestrator.domain.workload import FineTune, Method, Training
from orchestrator.sizing import arithmetic, efficiency, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.fit import MOST_DEVICES, TENSOR_PARALLEL, Fit, Fits
from orchestrator.sizing.flops import device_hours
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.training_task import Estimate, Task, mfu_of, reference_tflops, sizing_of, task_of
from orchestrator.sizing.utilisation import Circumstances, Growth, family, growth

Sized: TypeAlias = Sizing | Reason

LAYOUTS: Final = "orchestrator.sizing.training_layout"  # loaded where a layout is stated or searched for
_SPLIT = "devices of a node that split every layer, so that its activations fit"


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
        searched: dict[str, Sized] = importlib.import_module(LAYOUTS).with_layouts(task, accelerators, found)
        return searched
    return found


def _sized(task: Task, device: Accelerator) -> Sized:
    chosen = task.choose(device, task.asked)
    if chosen is None:
        return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, task.asked))
    room = memory.room_bytes(device)
    if task.job.parallelism is not None:
        sizing: Sized = importlib.import_module(LAYOUTS).laid_out(task, device, chosen, task.job.parallelism, room)
        return sizing
    fits = task.fit_of(chosen.precision)
    fit = fits.least(room)
    if fit is None:
        return Reason("sizing", ReasonCode.NO_FIT, _no_fit(device, fits, room))
    if task.gpus is not None and task.gpus < fit.devices:
        detail = f"{fit.devices:,} x {device.name} hold it at the least, and {task.gpus:,} are asked for"
        return Reason("sizing", ReasonCode.NO_FIT, detail)
    return _planned(task, device, chosen, fit)


def _planned(task: Task, device: Accelerator, chosen: Arithmetic, fit: Fit) -> Sizing:
    """From the device count alone."""
    n = task.gpus or fit.devices
    job, p = task.job, task.parameters
    notes = task.state_of(chosen.precision)
    if fit.tensor > 1:
        notes += (Assumption("tensor_parallel", float(fit.tensor), _SPLIT),)
    grows = Growth(0.0, 0.0, (1.0, 1.0))  # a stated MFU is that of the job, whatever its devices
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
        mfu = mfu_of(task, chosen, hours * band.p50, _origin(device))
        grows = growth(task.work, device.generation, p)
    terms = task.terms_of(chosen.precision, fit)
    estimate = Estimate(hours=hours, mfu=mfu, band=band, notes=notes, least=fit.devices, terms=terms, growth=grows)
    return sizing_of(task, device, chosen, estimate)


def _origin(device: Accelerator) -> str:
    kind = family(device.generation)
    if kind == "other":
        return f"planning model; no published training run on {device.generation or 'this device'}"
    if kind == "cpu":
        return "planning constant: a small model in plain code against the measured peak of matrix products"
    return f"planning model of published runs on {kind} by size, count, batch and memory bandwidth; downtime included"


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
