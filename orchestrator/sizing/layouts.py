"""Layouts: the step time of a stated layout, and the search for the fastest one that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.sizing import Step
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.steptime import (
    MODERN_YEAR,
    Cluster,
    Layouts,
    Machine,
    machine_of,
    parts,
    seconds_per_token,
)
from orchestrator.sizing.training_memory import MemoryModel
from orchestrator.sizing.work import TrainingWork

TENSOR: Final = (1, 2, 4, 8, 16, 32, 64)
PIPELINE: Final = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 32, 48, 64)
EXPERT: Final = (1, 2, 4, 8, 16, 32, 64)
MICRO_BATCH: Final = (1, 2, 4, 8)
MOST_CHUNKS: Final = 6
RACK: Final = 72.0  # devices behind the fast links of a GB200 or GB300 rack


def step_tokens(layout: Parallelism, sequence_length: float) -> float:
    """Tokens of one optimizer step."""
    return layout.data * layout.micro_batch * layout.micro_batches * sequence_length


def wired(device: Accelerator, cluster: Cluster) -> Cluster:
    """`cluster` as `device` is sold: those of GB200 and GB300 come in racks of 72 behind one switch."""
    if device.name.startswith("GB"):
        return Cluster(node_devices=RACK, fabric_gb_per_s=cluster.fabric_gb_per_s)
    return cluster


@dataclass(frozen=True, slots=True)
class Stepper:
    """Steps of one kind of work on one kind of cluster."""

    work: TrainingWork
    cluster: Cluster
    parameters: Parameters
    modern: bool

    def machine(self, device: Accelerator, precision: Precision, peak16_tflops: float) -> Machine:
        """`device` as rates."""
        wiring = wired(device, self.cluster)
        return machine_of(device, precision, wiring, self.parameters, peak16_tflops=peak16_tflops)

    def step(self, device: Accelerator, chosen: Arithmetic, layout: Parallelism, peak16_tflops: float) -> Step:
        """One optimizer step in `layout`."""
        machine = self.machine(device, chosen.precision, peak16_tflops)
        found = parts(self.work, machine, Layouts.of(layout), self.parameters, modern=self.modern)
        tokens = step_tokens(layout, self.work.sequence_length)
        shares = tuple((name, float(value) * tokens / layout.devices) for name, value in found.items())
        seconds = sum(each for _, each in shares)
        mfu = self.work.matrix_flops * tokens / (seconds * layout.devices * chosen.peak_tflops * 1e12)
        return Step(parallelism=layout, seconds=seconds, mfu=mfu, parts=shares)


def stepper(work: TrainingWork, cluster: Cluster, parameters: Parameters) -> Stepper:
    """With the software of a job that starts now."""
    return Stepper(work, cluster, parameters, parameters["planning.software_year"] >= MODERN_YEAR)


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device in a search: how it computes, and the bytes that a job may use on it."""

    accelerator: Accelerator
    arithmetic: Arithmetic
    peak16_tflops: float
    room: float


def fastest(
    stepping: Stepper,
    memory: MemoryModel,
    devices: Sequence[Device],
    *,
    gpus: int,
    global_batch_tokens: float,
    recompute: Recompute | None = None,
) -> dict[str, Step]:
    """The fastest layout of `gpus` devices that fits, by device name; a device on which none fits is left out.

    All of `devices` compute in the format of `memory`. Every layout is priced on every device at once. Layouts: tensor
    parallelism inside a node, pipeline stages and experts where they divide the model, ZeRO-1 or fully sharded without
    a pipeline, selective or full recompute (or the one stated), and the global batch to the nearest whole number of
    passes. Equal times go to the first layout in that order.
    """
    found = tuple(_layouts(memory, stepping.work, gpus, global_batch_tokens, recompute))
    if not found or not devices:
        return {}
    held = np.array([memory.total(layout) for layout in found])
    rows = _rows(found)
    column = _column([stepping.machine(d.accelerator, d.arithmetic.precision, d.peak16_tflops) for d in devices])
    seconds = seconds_per_token(stepping.work, column, rows, stepping.parameters, modern=stepping.modern)
    room = np.array([[device.room] for device in devices])
    nodes = np.asarray(column.node_devices)
    usable = (held <= room) & (np.asarray(rows.tensor) <= nodes)
    priced = np.where(usable, seconds, np.inf)
    best = np.argmin(priced, axis=1)
    return {
        device.accelerator.name: stepping.step(device.accelerator, device.arithmetic, found[k], device.peak16_tflops)
        for device, k, row in zip(devices, best.tolist(), priced, strict=True)
        if np.isfinite(row[k])
    }


def _layouts(
    memory: MemoryModel, work: TrainingWork, gpus: int, global_batch_tokens: float, recompute: Recompute | None
) -> Iterator[Parallelism]:
    sequences = max(1, round(global_batch_tokens / work.sequence_length))
    heads, layers = round(memory.parts.shape.heads), round(memory.parts.shape.layers)
    kept = (recompute,) if recompute is not None else (Recompute.SELECTIVE, Recompute.FULL)
    for tensor in TENSOR:
        if heads % tensor or gpus % tensor:
            continue
        for pipeline in PIPELINE:
            data, rest = divmod(gpus, tensor * pipeline)
            if rest or layers % pipeline or data > sequences:
                continue
            for expert in _experts(work, data, memory.parts.experts > 0):
                shardings = (Sharding.ZERO_1, Sharding.ZERO_3) if pipeline == 1 else (Sharding.ZERO_1,)
                for sharding in shardings:
                    for mode in kept:
                        for micro_batch in MICRO_BATCH:
                            passes = round(sequences / data / micro_batch)
                            if passes < 1:
                                break
                            yield Parallelism(
                                tensor=tensor,
                                pipeline=pipeline,
                                data=data,
                                expert=expert,
                                micro_batch=micro_batch,
                                micro_batches=passes,
                                interleave=min(MOST_CHUNKS, layers // pipeline) if pipeline > 1 else 1,
                                sharding=sharding,
                                recompute=mode,
                            )


def _experts(work: TrainingWork, data: int, mixture: bool) -> tuple[int, ...]:
    if not mixture or not work.experts_per_token:
        return (1,)
    return tuple(expert for expert in EXPERT if data % expert == 0)


def _rows(found: Sequence[Parallelism]) -> Layouts:
    each = [Layouts.of(layout) for layout in found]
    return Layouts(**{name: np.array([[getattr(one, name) for one in each]]) for name in Layouts.__slots__})


def _column(machines: Sequence[Machine]) -> Machine:
    return Machine(**{name: np.array([[getattr(one, name)] for one in machines]) for name in Machine.__slots__})
