"""Layouts: the step time of a stated layout, and the search for the fastest one that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import floor
from typing import Final, NamedTuple

import numpy as np

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.domain.sizing import Step
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.steptime import (
    Layouts,
    Machine,
    Number,
    machine_of,
    modern_on,
    parts,
)
from orchestrator.sizing.training_memory import MemoryModel
from orchestrator.sizing.work import TrainingWork

TENSOR: Final = (1, 2, 4, 8, 16, 32, 64)
PIPELINE: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
EXPERT: Final = (1, 4, 8, 16, 32, 64)
MICRO_BATCH: Final = (1, 2, 4)
MOST_CHUNKS: Final = 6
RACK: Final = 72.0  # devices behind the fast links of a GB200 or GB300 rack


def step_tokens(layout: Parallelism, sequence_length: float) -> float:
    """Tokens of one optimizer step."""
    return layout.data * layout.micro_batch * layout.micro_batches * sequence_length


def usual_batch(work: TrainingWork, gpus: int, parameters: Parameters) -> float:
    """Tokens of one optimizer step where nobody says: 2 million for a 1 B model, with the cube root of the size.

    Through Llama 2 7B (4 M), Llama 2 70B (4 M to 8 M) and Llama 3.1 405B (16 M); one sequence per device at the least.
    """
    usual: float = parameters["step.batch_tokens"] * pow(work.active_parameters / 1e9, 1.0 / 3.0)
    return max(usual, gpus * work.sequence_length)


def chunks(layers: float, pipeline: int) -> int:
    """Model chunks per pipeline stage: as many as the layers give, up to six."""
    return max(1, floor(min(MOST_CHUNKS, layers / pipeline))) if pipeline > 1 else 1


def wired(device: Accelerator, cluster: Cluster) -> Cluster:
    """`cluster` as `device` is sold: those of GB200 and GB300 come in racks of 72 behind one switch."""
    if device.in_racks:
        return Cluster(node_devices=RACK, fabric_gb_per_s=cluster.fabric_gb_per_s)
    return cluster


class Stepper(NamedTuple):
    """Steps of one kind of work on one kind of cluster."""

    work: TrainingWork
    cluster: Cluster
    parameters: Parameters
    year: float  # of the software

    def machine(self, device: Accelerator, precision: Precision, peak16_tflops: float) -> Machine:
        """`device` as rates."""
        wiring = wired(device, self.cluster)
        return machine_of(device, precision, wiring, self.parameters, peak16_tflops=peak16_tflops)

    def step(self, device: Accelerator, chosen: Arithmetic, layout: Parallelism, peak16_tflops: float) -> Step:
        """One optimizer step in `layout`."""
        machine = self.machine(device, chosen.precision, peak16_tflops)
        found = parts(
            self.work, machine, Layouts.of(layout), self.parameters, modern=modern_on(device.generation, self.year)
        )
        return self.summed({name: float(value) for name, value in found.items()}, chosen, layout)

    def summed(self, found: Mapping[str, float], chosen: Arithmetic, layout: Parallelism) -> Step:
        """The step whose parts are `found`, in device-seconds per token."""
        tokens = step_tokens(layout, self.work.sequence_length)
        shares = tuple((name, value * tokens / layout.devices) for name, value in found.items())
        seconds = sum(each for _, each in shares)
        mfu = self.work.matrix_flops * tokens / (seconds * layout.devices * chosen.peak_tflops * 1e12)
        return Step(parallelism=layout, seconds=seconds, mfu=mfu, parts=shares)


def stepper(work: TrainingWork, cluster: Cluster, parameters: Parameters) -> Stepper:
    """With the software of a job that starts now."""
    return Stepper(work, cluster, parameters, parameters["planning.software_year"])


class Searched(NamedTuple):
    """One kind of device in a search: how it computes, and the bytes that a job may use on it."""

    accelerator: Accelerator
    arithmetic: Arithmetic
    peak16_tflops: float
    room: float


def fastest(
    stepping: Stepper,
    memory: MemoryModel,
    devices: Sequence[Searched],
    *,
    gpus: int,
    global_batch_tokens: float,
    recompute: Recompute | None = None,
) -> dict[str, Step]:
    """The fastest layout of `gpus` devices that fits, by device name; a device on which none fits is left out.

    All of `devices` compute in the format of `memory`. Every layout is priced on every device at once; memory is asked
    for in the order of time, until a layout fits. Layouts: tensor parallelism inside a node where it divides the heads,
    pipeline stages, experts, ZeRO-1 or fully sharded without a pipeline, selective or full recompute (or the one
    stated), as many chunks per stage as the layers give up to six, and the global batch to the nearest whole number of
    passes. Of equal times the first in that order is it.
    """
    work = stepping.work
    found = tuple(_layouts(memory, work, gpus, global_batch_tokens, recompute))
    if not found or not devices:
        return {}
    rows = Layouts(*np.array(found).T[:, np.newaxis, :])
    column = _column([stepping.machine(d.accelerator, d.arithmetic.precision, d.peak16_tflops) for d in devices])
    modern = np.array([[modern_on(device.accelerator.generation, stepping.year)] for device in devices])
    priced = parts(work, column, rows, stepping.parameters, modern=modern)
    shape = (len(devices), len(found))
    table = np.stack([np.broadcast_to(np.asarray(value), shape) for value in priced.values()])
    seconds = table.sum(axis=0)
    room = np.array([[device.room] for device in devices])
    possible = (rows.tensor <= column.node_devices) & (_weights(memory, rows) <= room)
    order = np.argsort(np.where(possible, seconds, np.inf), axis=1, kind="stable")
    layouts: dict[int, Parallelism] = {}  # made, and their memory asked for, only as far as needed
    held: dict[int, float] = {}
    steps: dict[str, Step] = {}
    for row, device in enumerate(devices):
        for k in order[row, : possible[row].sum()].tolist():
            if k not in layouts:
                layouts[k] = _layout(found[k], recompute)
                held[k] = memory.total(layouts[k])
            if held[k] <= device.room:
                each = dict(zip(priced, table[:, row, k].tolist(), strict=True))
                steps[device.accelerator.name] = stepping.summed(each, device.arithmetic, layouts[k])
                break
    return steps


def _weights(memory: MemoryModel, rows: Layouts) -> Number:
    """The least bytes of a layout: 16-bit weights, or where all is shared out, the state of training.

    It only spares asking for the memory of layouts that cannot fit; of adapters, nothing is ruled out.
    """
    if memory.adapter is not None:
        return np.zeros_like(rows.tensor)
    split = rows.tensor * rows.pipeline
    whole = 2.0 * (memory.parts.dense + memory.parts.experts / rows.expert) / split
    shared = 12.0 * (memory.parts.dense + memory.parts.experts) / (split * rows.data)
    return np.where(np.asarray(rows.gathers) > 0, shared, whole)


def _layouts(
    memory: MemoryModel, work: TrainingWork, gpus: int, global_batch_tokens: float, recompute: Recompute | None
) -> Iterator[tuple[int, ...]]:
    """The fields of `Layouts`, in order."""
    sequences = max(1, round(global_batch_tokens / work.sequence_length))
    heads, layers = round(memory.parts.shape.heads), round(memory.parts.shape.layers)
    mixture = memory.parts.experts > 0 and work.experts_per_token > 0
    kept = (0, 1) if recompute is None else (int(recompute is Recompute.FULL),)
    for tensor in TENSOR:
        if heads % tensor or gpus % tensor:
            continue
        for pipeline in PIPELINE:
            data, rest = divmod(gpus, tensor * pipeline)
            if rest or pipeline > layers or data > sequences:
                continue
            interleave = chunks(layers, pipeline)
            # 0 experts, of a model that does not say, are shared by any number of devices.
            experts = [e for e in EXPERT if data % e == 0 and work.experts % e == 0] if mixture else [1]
            passes = [(each, round(sequences / data / each)) for each in MICRO_BATCH]
            shardings = (0, 1) if pipeline == 1 else (0,)
            for expert, sharded, full in product(experts, shardings, kept):
                for micro_batch, count in passes:
                    if count > 0:
                        yield (tensor, pipeline, data, expert, micro_batch, count, interleave, sharded, full)


def _layout(found: tuple[int, ...], recompute: Recompute | None) -> Parallelism:
    tensor, pipeline, data, expert, micro_batch, passes, interleave, sharded, full = found
    return Parallelism(
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        expert=expert,
        micro_batch=micro_batch,
        micro_batches=passes,
        interleave=interleave,
        sharding=Sharding.ZERO_3 if sharded else Sharding.ZERO_1,
        recompute=Recompute.FULL if full else recompute or Recompute.SELECTIVE,
    )


def _column(machines: Sequence[Machine]) -> Machine:
    return Machine(*np.array(machines).T[:, :, np.newaxis])
