"""Exchange: how much longer training on several nodes takes because the network between them is slow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.workload import FineTune, Training

# The sizing's own numbers, which give their origins.
FAST_GB_S = 12.5  # of one device: published runs on slower fabrics are slow for it, and the hours are of the others
BATCH_TOKENS = 2e6  # of one step of a 1 B model where nobody says, with the cube root of the size
EXPOSED = 0.6288  # share of an exchange between steps that computation does not hide
HIDES = 2.0 / 3.0  # of the computation: the backward pass, behind which gradients can travel
TUNED_SEQUENCES = 128.0  # of one step of fine-tuning where nobody says: a usual batch (from memory)
# Of a parameter in each half of an all-reduce: gradients in 16 bits, as who trains over a slow network sends them.
BYTES = 2.0
WIDTH = 2.0  # bytes of an activation


class Job(NamedTuple):
    """What of a training job does not depend on where it runs."""

    tokens: float
    step_tokens: float | None  # None where the job does not say
    active_parameters: float
    parameters: float
    hidden: float
    layers: float
    sequence_tokens: float  # of one device and pass
    tuned: bool

    @classmethod
    def of(cls, workload: Training | FineTune) -> Job:
        """The numbers of `workload`; a shape that nobody gives is a usual one: N = 12·L·h² with h = 128·L."""
        model = workload.model
        hidden = float(model.hidden or (128.0 * model.parameters / 12.0) ** (1.0 / 3.0))
        return cls(
            tokens=workload.tokens,
            step_tokens=workload.global_batch_tokens,
            active_parameters=model.active_parameters,
            parameters=model.parameters,
            hidden=hidden,
            layers=float(model.layers or max(1.0, hidden / 128.0)),
            sequence_tokens=float(workload.sequence_length * workload.micro_batch),
            tuned=isinstance(workload, FineTune),
        )


def extra_hours(workload: Training | FineTune, candidates: Candidates, node_gb_s: FloatArray) -> FloatArray:
    """Hours that the candidates take beyond those of a fast fabric, shape (n,); `node_gb_s` is what a node sends.

    Of n nodes a copy of the model takes s, so that d = n/s copies exchange what they learnt, in every step:

    - data: 2·(d-1)/d · 2 bytes per trained parameter, 1/s of it by each node (a ring over nodes; Patarasuk and Yuan
      2009), at `node_gb_s`;
    - pipeline: 4·h bytes per token and cut between the s nodes of a copy, where it takes several;
    - tensor: 16·L·h·(t-1)/t bytes per token of a group of t devices that split every layer, out of each of its nodes,
      where t is more than a node has: four all-reduces of 16-bit activations per layer (Shoeybi et al. 2019).

    Of t seconds computation hides some: max(0.63·t, t - 2/3 of the step) are waited for, on this fabric and on one of
    12.5 GB/s a device, and the difference is what comes on top of the hours. The layout is taken to be the best for a
    slow network: fully sharded weights that are gathered over it cost more.
    """
    gpus = np.maximum(candidates.book.gpus, 1.0)
    extra = np.zeros(len(candidates), np.float64)
    rows = np.flatnonzero((candidates.nodes > 1) & (node_gb_s < FAST_GB_S * gpus))
    if len(rows):
        extra[rows] = _extra_hours(Job.of(workload), candidates, rows, node_gb_s[rows])
    return extra


def _extra_hours(job: Job, candidates: Candidates, rows: IntArray, node_gb_s: FloatArray) -> FloatArray:
    kinds, kind = np.unique(candidates.sizing[rows], return_inverse=True)
    facts = np.array([_facts(candidates.sizings[index], job) for index in kinds.tolist()], np.float64)
    least, trained, tensor, middle = facts[kind].T
    nodes = candidates.nodes[rows].astype(np.float64)
    gpus = np.maximum(candidates.book.gpus[rows], 1.0)
    step_tokens = _step_tokens(job, nodes * gpus)
    boot_h = candidates.book.boot_s[rows] / 3600.0
    # What the network adds does not grow with the time that the arithmetic takes: it is that of the middle estimate,
    # also at the ends of the band.
    work_h = np.maximum(candidates.hours_p10[rows] - boot_h, 0.0) * middle
    steps = job.tokens / step_tokens
    compute_s = work_h * 3600.0 / steps
    copies_nodes = np.minimum(nodes, np.ceil(least / gpus))
    copies = np.maximum(1.0, np.floor(nodes / copies_nodes))
    # Bytes that one node sends per step.
    data = 2.0 * (copies - 1.0) / copies * BYTES * trained / copies_nodes
    cuts = copies_nodes - 1.0
    pipeline = 2.0 * WIDTH * job.hidden * cuts * step_tokens / nodes
    split = np.where(tensor > gpus, (tensor - 1.0) / tensor, 0.0)
    across = 8.0 * WIDTH * job.layers * job.hidden * split * step_tokens * tensor / (nodes * gpus)
    sent = data + pipeline + across
    slow = _waited_s(sent / (node_gb_s * 1e9), compute_s)
    fast = _waited_s(sent / (FAST_GB_S * gpus * 1e9), compute_s)
    hours: FloatArray = np.maximum(slow - fast, 0.0) * steps / 3600.0
    return hours


def _waited_s(seconds: FloatArray, compute_s: FloatArray) -> FloatArray:
    return np.maximum(EXPOSED * seconds, seconds - HIDES * compute_s)


def _step_tokens(job: Job, gpus: FloatArray) -> FloatArray:
    """Tokens of one step; at least a pass of every device, at most the whole job."""
    if job.step_tokens is not None:
        usual = job.step_tokens
    elif job.tuned:
        usual = TUNED_SEQUENCES * job.sequence_tokens
    else:
        usual = BATCH_TOKENS * (job.active_parameters / 1e9) ** (1.0 / 3.0)
    least = 0.0 if job.step_tokens is not None else gpus * job.sequence_tokens
    return np.minimum(np.maximum(usual, least), job.tokens)


def _facts(sizing: Sizing, job: Job) -> tuple[float, float, float, float]:
    """Devices of one copy, trained parameters, devices that split a layer, and the 50th over the 10th percentile."""
    effort = sizing.effort
    if not isinstance(effort, FiniteWork):
        return 1.0, 0.0, 1.0, 1.0
    band = effort.gpu_hours
    middle = band.p50 / band.p10 if band.p10 > 0 else 1.0
    return float(sizing.min_gpus), _said(sizing, "adapter_parameters", job.parameters), group(sizing), middle


def group(sizing: Sizing) -> float:
    """Devices of a training job that exchange activations in every layer."""
    effort = sizing.effort
    if isinstance(effort, FiniteWork) and effort.step is not None:
        return float(effort.step.parallelism.tensor)
    return _said(sizing, "tensor_parallel", 1.0)


def _said(sizing: Sizing, name: str, usual: float) -> float:
    return next((assumption.value for assumption in sizing.assumptions if assumption.name == name), usual)
