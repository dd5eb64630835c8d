"""Online and batch inference on one kind of device: replica, batch, latency and throughput."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, Effort, FiniteWork, MemoryTerm, Service, Sizing
from orchestrator.domain.workload import BatchInference, Inference, LatencyTarget
from orchestrator.sizing import arithmetic, efficiency, energy, flops, memory
from orchestrator.sizing.arithmetic import Arithmetic
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.shape import shape_of
from orchestrator.sizing.throughput import Engine

MOST_DEVICES = 64  # of one replica: the largest domains that tensor parallelism is run over

Sized: TypeAlias = Sizing | Reason

_MIXTURE = (
    "share of the weights that one token touches, from active over all parameters: experts are chosen independently"
)
_ONLINE_BATCH = "sequences at once: as many as the load needs within what memory and latency limits allow"
_OFFLINE_BATCH = "sequences at once: the most that memory allows"
_POWERS = Assumption(
    "tensor_parallel", 2.0, "a replica has a power of two of devices, because they share out the attention heads"
)


@dataclass(frozen=True, slots=True)
class _Task:
    """What does not depend on the device, computed once per workload."""

    job: Inference | BatchInference
    flops_per_request: float
    kv_per_token: float  # bytes
    kv_per_sequence: float  # bytes of a finished answer with its prompt
    active_share: float
    load: float  # of the full rate that replicas are planned for
    batch_origin: str
    assumptions: tuple[Assumption, ...]


@dataclass(frozen=True, slots=True)
class _Replica:
    """A task on the least devices that hold it."""

    device: Accelerator
    arithmetic: Arithmetic
    devices: int
    most_sequences: int
    weights: float  # bytes
    engine: Engine


def inference_sizer(job: Inference) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device: replicas for its request rate within its latency limits."""
    task = _task(job, efficiency.TARGET_LOAD.value)

    def sized(device: Accelerator) -> Sized:
        replica = _replica(task, device)
        if isinstance(replica, Reason):
            return replica
        batch = _batch(replica, job.limits.latency, task.load)
        if isinstance(batch, Reason):
            return batch
        engine = replica.engine
        replicas = max(1, ceil(job.requests_per_s / (task.load * engine.requests_per_s(batch)) - 1e-9))
        batch = _enough(engine, batch, job.requests_per_s / replicas / task.load)
        rate = task.load * engine.requests_per_s(batch)
        service = Service(
            replicas=replicas,
            requests_per_s_per_replica=rate,
            ttft_s=efficiency.TTFT_SPREAD.around(engine.ttft_s(batch, task.load)),
            tpot_s=efficiency.TPOT_SPREAD.around(engine.tpot_s(batch)),
            watts_per_replica=replica.devices * energy.device_watts(device.tdp_w),
        )
        return _sizing(task, replica, service, batch=batch, rate=rate, whole=task.flops_per_request)

    return sized


def batch_sizer(job: BatchInference) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device: device-hours at the largest throughput."""
    task = _task(job, 1.0)
    whole = job.requests * task.flops_per_request

    def sized(device: Accelerator) -> Sized:
        replica = _replica(task, device)
        if isinstance(replica, Reason):
            return replica
        batch = replica.most_sequences
        rate = replica.engine.requests_per_s(batch)
        hours = efficiency.TPOT_SPREAD.around(job.requests / rate * replica.devices / 3600.0)
        work = FiniteWork(gpu_hours=hours, energy_kwh=hours.scaled(energy.device_energy_kwh(1.0, device.tdp_w)))
        return _sizing(task, replica, work, batch=batch, rate=rate, whole=whole)

    return sized


def _task(job: Inference | BatchInference, load: float) -> _Task:
    model = job.model
    shape, guessed = shape_of(model)
    context = float(job.prompt_tokens + job.output_tokens)
    per_token = memory.kv_bytes_per_token(shape, job.kv_precision)
    share = min(1.0, model.active_parameters / model.parameters)
    mixture = (Assumption("active_share", share, _MIXTURE),) if share < 1.0 else ()
    online = (efficiency.TARGET_LOAD, efficiency.NETWORK_SHARE) if isinstance(job, Inference) else ()
    return _Task(
        job=job,
        flops_per_request=flops.inference_flops(model.active_parameters, context),
        kv_per_token=per_token,
        kv_per_sequence=per_token * context,
        active_share=share,
        load=load,
        batch_origin=_ONLINE_BATCH if isinstance(job, Inference) else _OFFLINE_BATCH,
        assumptions=(
            *online,
            efficiency.MOST_SEQUENCES,
            efficiency.BANDWIDTH_SHARE,
            efficiency.HOST_STEP_S,
            memory.RESERVE,
            energy.POWER_SHARE,
            *mixture,
            *(guess for guess in guessed if guess.name != "vocabulary"),  # no term of inference uses it
        ),
    )


def _replica(task: _Task, device: Accelerator) -> _Replica | Reason:
    job = task.job
    chosen = arithmetic.serving_arithmetic(device, job.precision)
    if chosen is None:
        return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, job.precision))
    if not device.memory_bandwidth_gb_s > 0:
        detail = f"the memory bandwidth of {device.name} is not known, and decoding is bound by it"
        return Reason("sizing", ReasonCode.UNKNOWN_ACCELERATOR, detail)
    weights = job.model.parameters * arithmetic.weight_bytes(job.precision, chosen.precision)
    room = memory.capacity_bytes(device) - memory.overhead_bytes(device)
    devices = 1
    while devices <= MOST_DEVICES and weights + task.kv_per_sequence > room * devices:
        devices *= 2
    if devices > MOST_DEVICES:
        return Reason("sizing", ReasonCode.NO_FIT, _no_fit(task, device, weights, room))
    held = (room * devices - weights) / task.kv_per_sequence
    return _Replica(
        device=device,
        arithmetic=chosen,
        devices=devices,
        most_sequences=max(1, floor(min(held, efficiency.MOST_SEQUENCES.value))),
        weights=weights,
        engine=Engine(
            flops_per_token=flops.inference_flops(job.model.active_parameters, 1.0),
            flops_per_s=devices * chosen.peak_tflops * 1e12 * efficiency.compute_share(chosen.precision).value,
            bytes_per_s=devices * device.memory_bandwidth_gb_s * 1e9 * efficiency.BANDWIDTH_SHARE.value,
            weight_bytes=weights,
            active_share=task.active_share,
            kv_bytes_per_token=task.kv_per_token,
            host_step_s=efficiency.HOST_STEP_S.value,
            prompt_tokens=float(job.prompt_tokens),
            output_tokens=max(1.0, float(job.output_tokens)),
        ),
    )


def _batch(replica: _Replica, limits: LatencyTarget, load: float) -> int | Reason:
    """The largest batch whose latencies keep the limits at the 90th percentile of the estimate.

    Latencies grow with the batch. A fifth of the limits that the network shares in is left to it where that is
    possible: a batch that used them up would be refused for every user who is not next door.
    """
    refusal = _misses(replica, limits, load, 1, left=1.0)
    if refusal is not None:
        return Reason("sizing", ReasonCode.LATENCY, refusal)
    left = 1.0 - efficiency.NETWORK_SHARE.value
    good, bad = 1, replica.most_sequences + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _misses(replica, limits, load, middle, left=left) is None:
            good = middle
        else:
            bad = middle
    return good


def _enough(engine: Engine, most: int, rate: float) -> int:
    """The least batch up to `most` that answers `rate` requests per second: more would only be slower and larger."""
    short, good = 0, most
    while good - short > 1:
        middle = (short + good) // 2
        if engine.requests_per_s(middle) < rate:
            short = middle
        else:
            good = middle
    return good


def _misses(replica: _Replica, limits: LatencyTarget, load: float, batch: int, *, left: float) -> str | None:
    """Which limit `batch` misses, as a sentence, or None; `left` is the share of the limits that the engine may use."""
    if limits.first_token_s is None and limits.per_token_s is None and limits.total_s is None:
        return None
    engine = replica.engine
    first = engine.ttft_s(batch, load) * efficiency.TTFT_SPREAD.p90
    each = engine.tpot_s(batch) * efficiency.TPOT_SPREAD.p90
    whole = first + each * engine.output_tokens
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


def _sizing(task: _Task, replica: _Replica, effort: Effort, *, batch: int, rate: float, whole: float) -> Sizing:
    device, n = replica.device, replica.devices
    held = (
        ("weights", replica.weights),
        ("kv-cache", batch * task.kv_per_sequence),
        ("overhead", memory.overhead_bytes(device) * n),
    )
    share = rate * task.flops_per_request / (n * replica.arithmetic.peak_tflops * 1e12)
    return Sizing(
        accelerator=device.name,
        precision=replica.arithmetic.precision,
        min_gpus=n,
        flops=whole,
        memory=tuple([MemoryTerm(name, size / GIB) for name, size in held]),
        memory_per_gpu_gib=sum([size for _, size in held]) / n / GIB,
        capacity_per_gpu_gib=memory.capacity_bytes(device) / GIB,
        mfu=Assumption("mfu", share, f"follows from the planned rate at a batch of {batch}"),
        effort=effort,
        assumptions=(
            *replica.arithmetic.assumptions,
            Assumption("batch", float(batch), task.batch_origin),
            efficiency.compute_share(replica.arithmetic.precision),
            *((_POWERS,) if n > 1 else ()),
            *energy.gaps(device.tdp_w),
            *task.assumptions,
        ),
    )


def _no_fit(task: _Task, device: Accelerator, weights: float, room: float) -> str:
    return (
        f"weights of {weights / GIB:,.1f} GiB and {task.kv_per_sequence / GIB:,.2f} GiB of KV cache for one sequence do"
        f" not fit {MOST_DEVICES} x {device.name} with {room / GIB:,.1f} GiB each to use"
    )
