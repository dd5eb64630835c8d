"""Replicas: the devices and the batch of one copy of a model that is served, within its latency limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.domain.workload import BatchInference, Inference, LatencyTarget
from orchestrator.sizing import arithmetic, fallbacks, flops, memory, serving_efficiency
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.engine import Mount, kv_pool_bytes, memory_kind
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.shape import Shape, shape_of
from orchestrator.sizing.throughput import Engine

MOST_DEVICES: Final = 64  # of one replica
MOST_HALVES: Final = 4  # of the load that replicas are planned for: at a sixteenth 95 of 100 requests find one idle
MOST_TENSOR: Final = 8  # devices that split every layer: those of one node
RACK_TENSOR: Final = 64  # of the machines whose fast links join 72 devices

_MIXTURE = "share of a layer's experts that one token passes; experts are chosen independently"
_POWERS = "devices that split every layer: a power of two, because they share out the attention heads"
_STAGES = "nodes that hold consecutive layers, each working on its own share of the batch"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What does not depend on the device, computed once per workload and format of the weights."""

    job: Inference | BatchInference
    precision: Precision  # of the weights
    parameters: Parameters
    shape: Shape
    guessed: tuple[Assumption, ...]

    @cached_property
    def most_sequences(self) -> float:
        """Sequences at once that the stack allows."""
        return self.parameters[f"serving.sequences.{self.job.stack}"]

    @cached_property
    def _spreads(self) -> dict[str, Spreads]:
        return {}

    @cached_property
    def _shown(self) -> dict[tuple[str, str, Precision], tuple[Assumption, ...]]:
        return {}

    def spreads_of(self, device: Accelerator) -> Spreads:
        """The bands of `device`: those of its generation."""
        known = self._spreads.get(device.generation)
        if known is None:
            bands = (
                serving_efficiency.serving_band(kind, device, self.parameters) for kind in serving_efficiency.SERVING
            )
            known = self._spreads[device.generation] = Spreads(*bands)
        return known

    def shown_of(self, device: Accelerator, used: Precision) -> tuple[Assumption, ...]:
        """The shares of peaks that times on `device` rest on: those of its generation and kind of memory."""
        key = (device.generation, memory_kind(device), used)
        if key not in self._shown:
            self._shown[key] = serving_efficiency.serving_assumptions(used, device, self.parameters)
        return self._shown[key]

    @cached_property
    def context(self) -> float:
        """Tokens of a finished answer with its prompt."""
        return float(self.job.prompt_tokens + self.job.output_tokens)

    @cached_property
    def held_tokens(self) -> float:
        """Tokens that are kept of one sequence: answers under way are half finished on the average."""
        return self.context - self.job.output_tokens / 2.0

    @cached_property
    def flops_per_request(self) -> float:
        """2·N per token, read or written."""
        return flops.inference_flops(self.job.model.active_parameters, self.context)

    @cached_property
    def kv_per_token(self) -> float:
        """Bytes of KV cache of one token."""
        return memory.kv_bytes_per_token(self.shape, self.job.kv_precision)

    @cached_property
    def load(self) -> float:
        """The share of their full rate that replicas are planned for."""
        return self.parameters["serving.target_load"] if isinstance(self.job, Inference) else 1.0

    @cached_property
    def assumptions(self) -> tuple[Assumption, ...]:
        """Those that hold on every device."""
        p, model = self.parameters, self.job.model
        online = ("serving.target_load", "serving.network_share") if isinstance(self.job, Inference) else ()
        stack = self.job.stack
        named = (*online, f"serving.sequences.{stack}", f"serving.host_s.{stack}", "serving.layer_s", "serving.kv_pool")
        share = 1.0 - model.active_parameters / model.parameters
        mixture = (Assumption("experts_chosen", 1.0 - share, _MIXTURE),) if share > 0.05 else ()
        return (
            *(p.assumption(name) for name in named),
            memory.RESERVE,
            p.assumption("energy.decode_share"),
            p.assumption("energy.host_w"),
            *mixture,
            *fallbacks.beyond_context(self.job),
            *(guess for guess in self.guessed if guess.name != "vocabulary"),  # no term of inference uses it
        )


def task_of(job: Inference | BatchInference, precision: Precision, parameters: Parameters) -> Task:
    """The task of `job` with its weights in `precision`."""
    shape, guessed = shape_of(job.model)
    return Task(job=job, precision=precision, parameters=parameters, shape=shape, guessed=guessed)


@dataclass(frozen=True, slots=True)
class Spreads:
    """True over predicted on one device; the middle is 1 but for the user's calibration."""

    ttft: Band
    tpot: Band
    throughput: Band


@dataclass(frozen=True, slots=True)
class _Held:
    """A task's weights on one kind of device."""

    device: Accelerator
    arithmetic: Arithmetic
    weights: float  # bytes
    mount: Mount
    spreads: Spreads


@dataclass(frozen=True, slots=True)
class Replica:
    """A task on a number of devices that holds it."""

    device: Accelerator
    arithmetic: Arithmetic
    devices: int
    tensor: int
    most_sequences: int
    weights: float  # bytes
    engine: Engine
    spreads: Spreads

    def rate(self, batch: float) -> float:
        """Requests per second with `batch` of them in flight."""
        return self.engine.requests_per_s(batch) * self.spreads.throughput.p50

    def notes(self) -> tuple[Assumption, ...]:
        """How the devices share the model."""
        found: tuple[Assumption, ...] = ()
        if self.tensor > 1:
            found += (Assumption("tensor_parallel", float(self.tensor), _POWERS),)
        if self.devices > self.tensor:
            found += (Assumption("pipeline_parallel", float(self.devices // self.tensor), _STAGES),)
        return found


def replicas_on(task: Task, device: Accelerator) -> Iterator[Replica] | Reason:
    """Every replica worth considering on `device`: the fewest devices that hold the task, and twice, four times as many
    up to a node, which answer faster and leave more memory for sequences.
    """
    job = task.job
    refused = fallbacks.refusal(job, device)
    if refused is not None:
        return refused
    chosen = arithmetic.serving_arithmetic(device, task.precision)
    if chosen is None:
        return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, task.precision))
    if not device.memory_bandwidth_gb_s > 0:
        detail = f"the memory bandwidth of {device.name} is not known, and decoding is bound by it"
        return Reason("sizing", ReasonCode.UNKNOWN_ACCELERATOR, detail)
    weights = job.model.parameters * arithmetic.weight_bytes(task.precision, chosen.precision)
    least = task.kv_per_token * task.context  # one sequence
    devices = 1
    most = 1 if single(device) else MOST_DEVICES
    while devices <= most and kv_pool_bytes(device, devices, weights, task.parameters) < least:
        devices *= 2
    if devices > most:
        return Reason("sizing", ReasonCode.NO_FIT, _no_fit(device, most, weights, least, task.parameters))
    mount = Mount(
        job.model,
        task.shape,
        device,
        peak_tflops=chosen.peak_tflops,
        peak16_tflops=device.peak16_tflops or chosen.peak_tflops,
        used=chosen.precision,
        weight_bytes=weights,
        kv_bytes_per_token=task.kv_per_token,
        stack=job.stack,
        prompt_tokens=float(job.prompt_tokens),
        output_tokens=float(job.output_tokens),
        parameters=task.parameters,
    )
    return _wider(task, _Held(device, chosen, weights, mount, task.spreads_of(device)), devices)


def _wider(task: Task, held: _Held, devices: int) -> Iterator[Replica]:
    yield _replica(task, held, devices)
    while devices < MOST_TENSOR and not single(held.device):
        devices *= 2
        yield _replica(task, held, devices)


def single(device: Accelerator) -> bool:
    """Whether `device` stands alone: it shares memory with its host, as CPUs and Jetsons do."""
    return not device.link


def tensor_devices(device: Accelerator, devices: int) -> int:
    """How many of `devices` split every layer; the rest are pipeline stages."""
    return min(devices, RACK_TENSOR if device.in_racks else MOST_TENSOR)


def _replica(task: Task, held: _Held, devices: int) -> Replica:
    p, device = task.parameters, held.device
    tensor = tensor_devices(device, devices)
    room = kv_pool_bytes(device, devices, held.weights, p) / (task.kv_per_token * task.held_tokens)
    return Replica(
        device=device,
        arithmetic=held.arithmetic,
        devices=devices,
        tensor=tensor,
        most_sequences=max(1, floor(min(room, task.most_sequences))),
        weights=held.weights,
        engine=held.mount.on(tensor, devices // tensor),
        spreads=held.spreads,
    )


class Kept(NamedTuple):
    """How a replica keeps the latency limits: sequences at once, and the share of the full rate it is planned for."""

    batch: int
    load: float


def within(replica: Replica, limits: LatencyTarget, load: float, network_share: float) -> Kept | Reason:
    """The largest batch whose latencies keep the limits for 95 of 100 requests, at the 90th percentile of the estimate.

    Latencies grow with the batch. Where one request at a time misses a limit for want of an idle replica, replicas are
    planned for half of `load`, a quarter, and so on: more of them, that fewer wait. A share of the limits that the
    network has a part in is left to it where that is possible: a batch that used them up would be refused for every
    user who is not next door.
    """
    refusal = _misses(replica, limits, load, 1, left=1.0)
    halves = 0
    while refusal is not None and halves < MOST_HALVES:
        halves, load = halves + 1, load / 2.0
        refusal = _misses(replica, limits, load, 1, left=1.0)
    if refusal is not None:
        return Reason("sizing", ReasonCode.LATENCY, refusal)
    left = 1.0 - network_share
    good, bad = 1, replica.most_sequences + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _misses(replica, limits, load, middle, left=left) is None:
            good = middle
        else:
            bad = middle
    return Kept(good, load)


def enough(replica: Replica, most: int, rate: float) -> int:
    """The least batch up to `most` that answers `rate` requests per second: more would only be slower and larger."""
    short, good = 0, most
    while good - short > 1:
        middle = (short + good) // 2
        if replica.rate(middle) < rate:
            short = middle
        else:
            good = middle
    return good


def needed(rate: float, each: float) -> int:
    """Whole replicas that answer `rate` when one answers `each`."""
    return max(1, ceil(rate / each - 1e-9))


def _misses(replica: Replica, limits: LatencyTarget, load: float, batch: int, *, left: float) -> str | None:
    """Which limit `batch` misses, as a sentence, or None; `left` is the share of the limits that the engine may use."""
    if limits.first_token_s is None and limits.per_token_s is None and limits.total_s is None:
        return None
    first, each = replica.engine.latencies_s(batch, load)
    first, each = first * replica.spreads.ttft.p90, each * replica.spreads.tpot.p90
    whole = first + each * replica.engine.output_tokens
    for name, value, limit, share in (
        ("the first token", first, limits.first_token_s, left),
        ("each further token", each, limits.per_token_s, 1.0),
        ("the whole answer", whole, limits.total_s, left),
    ):
        if limit is not None and value > limit * share:
            return (
                f"{name} takes {value * 1e3:,.1f} ms at the 90th percentile on {replica.devices} x"
                f" {replica.device.name} with a batch of {batch}, the limit is {limit * 1e3:,.1f} ms"
            )
    return None


def _no_fit(device: Accelerator, most: int, weights: float, least: float, parameters: Parameters) -> str:
    room = kv_pool_bytes(device, 1, 0.0, parameters)
    return (
        f"weights of {weights / GIB:,.1f} GiB and {least / GIB:,.2f} GiB of KV cache for one sequence do"
        f" not fit {most} x {device.name} with {room / GIB:,.1f} GiB each to use"
    )
