"""Online and batch inference on one kind of device: replicas, batch, latency and throughput."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Assumption, Effort, FiniteWork, MemoryTerm, Quantisation, Service, Sizing
from orchestrator.domain.workload import BatchInference, Inference
from orchestrator.sizing import energy, fallbacks, memory, serving_efficiency
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.replica import Kept, Replica, Task, enough, needed, replicas_on, task_of, within

Sized: TypeAlias = Sizing | Reason

_ONLINE_BATCH = "sequences at once: as many as the load needs within what memory and latency limits allow"
_IDLE = "of the full rate that replicas are planned for: at the usual load too many requests wait for the limits"
_OFFLINE_BATCH = "sequences at once: the most that memory and the stack allow"


def inference_sizer(job: Inference, parameters: Parameters) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device: replicas for its peak request rate within its latency limits."""
    return _sizer(job, parameters, _online)


def batch_sizer(job: BatchInference, parameters: Parameters) -> Callable[[Accelerator], Sized]:
    """A function that sizes `job` on any device: device-hours at the largest throughput."""
    return _sizer(job, parameters, _offline)


def _sizer(
    job: Inference | BatchInference, parameters: Parameters, sizing: Callable[[Task, Accelerator], Sized]
) -> Callable[[Accelerator], Sized]:
    asked = task_of(job, job.precision, parameters)
    narrower = tuple(
        task_of(job, precision, parameters) for precision in job.quantise if precision is not job.precision
    )

    def sized(device: Accelerator) -> Sized:
        answer = sizing(asked, device)
        for task in narrower:
            answer = _cheaper(answer, sizing(task, device), asked.precision, task.precision)
        return answer

    return sized


def _cheaper(known: Sized, other: Sized, asked: Precision, narrow: Precision) -> Sized:
    """The one of the two that takes less of the device; the narrower one says what it saves."""
    if isinstance(other, Reason):
        return known
    if isinstance(known, Reason):
        return replace(other, quantised=Quantisation(asked=asked, weights=narrow, saving=None))
    before, after = _amount(known), _amount(other)
    earlier = known.quantised.saving if known.quantised and known.quantised.saving else 0.0
    if known.quantised and known.quantised.saving is None:  # what was asked for does not run here at all
        return known if before <= after else replace(other, quantised=replace(known.quantised, weights=narrow))
    if after >= before:
        return known
    saving = 1.0 - (1.0 - earlier) * after / before
    return replace(other, quantised=Quantisation(asked=asked, weights=narrow, saving=saving))


def _amount(sizing: Sizing) -> float:
    effort = sizing.effort
    if isinstance(effort, Service):
        return float(effort.replicas * sizing.min_gpus)
    return effort.gpu_hours.p50


def _online(task: Task, device: Accelerator) -> Sized:
    job = task.job
    if not isinstance(job, Inference):
        raise TypeError(f"{job.name} is not served online")
    replicas = replicas_on(task, device)
    if isinstance(replicas, Reason):
        return replicas
    peak = job.requests_per_s * job.peak_over_mean
    share, most = task.parameters["serving.network_share"], task.most_sequences
    best: tuple[int, int, Kept, Replica] | None = None
    refusal: Reason | None = None
    for replica in replicas:
        if best is not None and replica.devices >= best[0]:
            break  # even one such replica takes no fewer devices
        kept = within(replica, job.limits.latency, task.load, share)
        if isinstance(kept, Reason):
            refusal = kept
            continue
        count = needed(peak, kept.load * replica.rate(kept.batch))
        if best is None or count * replica.devices < best[0]:
            best = (count * replica.devices, count, kept, replica)
        if kept.batch >= most:
            break  # more devices for a replica that is as full as the stack allows cost more
    if best is None:
        return refusal if refusal is not None else _never(task)
    _, count, kept, replica = best
    batch = enough(replica, kept.batch, peak / count / kept.load)
    return _service(job, task, replica, count, Kept(batch, kept.load))


def _never(task: Task) -> Reason:
    raise AssertionError(f"{task.job.name}: neither a replica nor a refusal")


def _service(job: Inference, task: Task, replica: Replica, count: int, kept: Kept) -> Sizing:
    batch = kept.batch
    rate = kept.load * replica.rate(batch)
    engine, spreads = replica.engine, replica.spreads
    peak = job.requests_per_s * job.peak_over_mean
    load = min(kept.load, peak / count / replica.rate(batch))  # one replica may be more than a small load needs
    first, each = engine.ttft_s(batch, load), engine.tpot_s(batch)
    share = energy.decode_share(table=task.parameters)
    service = Service(
        replicas=count,
        requests_per_s_per_replica=rate,
        ttft_s=spreads.ttft.scaled(first),
        ttft_p95_s=spreads.ttft.scaled(engine.ttft_p95_s(batch, load)),
        tpot_s=spreads.tpot.scaled(each),
        e2e_s=spreads.tpot.scaled(engine.e2e_s(first, batch)),
        watts_per_replica=replica.devices * energy.device_it_watts(replica.device, share, task.parameters),
        mean_replicas=min(float(count), max(1.0, job.requests_per_s / rate)),
        most_tokens_per_s=replica.rate(replica.most_sequences) * engine.output_tokens,
        stack=str(job.stack),
    )
    sizing = _sizing(task, replica, service, batch=batch, rate=rate, whole=task.flops_per_request)
    if kept.load < task.load:
        sizing = replace(sizing, assumptions=(Assumption("load", kept.load, _IDLE), *sizing.assumptions))
    return sizing


def _offline(task: Task, device: Accelerator) -> Sized:
    job = task.job
    if not isinstance(job, BatchInference):
        raise TypeError(f"{job.name} is not a batch")
    replicas = replicas_on(task, device)
    if isinstance(replicas, Reason):
        return replicas
    replica = _most_per_device(replicas, task.most_sequences)
    batch = replica.most_sequences
    rate = replica.rate(batch)
    # `rate` is the calibrated middle already: the band is taken of what the model alone says.
    alone = replica.engine.requests_per_s(batch)
    hours = serving_efficiency.inverse(replica.spreads.throughput).scaled(
        job.requests / alone * replica.devices / 3600.0
    )
    share = energy.decode_share(table=task.parameters)
    kwh = hours.scaled(energy.device_it_watts(device, share, task.parameters) / 1e3)
    work = FiniteWork(gpu_hours=hours, energy_kwh=kwh, gpus=replica.devices)
    return _sizing(task, replica, work, batch=batch, rate=rate, whole=job.requests * task.flops_per_request)


def _most_per_device(replicas: Iterator[Replica], most: float) -> Replica:
    """The replica that answers most per device; of equals, that with the fewest devices."""
    best = next(replicas)
    for replica in () if best.most_sequences >= most else replicas:
        if replica.rate(replica.most_sequences) / replica.devices > best.rate(best.most_sequences) / best.devices:
            best = replica
        if replica.most_sequences >= most:
            break  # more devices hold no more sequences
    return best


def _sizing(task: Task, replica: Replica, effort: Effort, *, batch: int, rate: float, whole: float) -> Sizing:
    device, n = replica.device, replica.devices
    held = (
        ("weights", replica.weights),
        ("kv-cache", batch * task.kv_per_token * task.held_tokens),
        ("overhead", memory.overhead_bytes(device) * n),
    )
    share = rate * task.flops_per_request / (n * replica.arithmetic.peak_tflops * 1e12)
    origin = _ONLINE_BATCH if isinstance(effort, Service) else _OFFLINE_BATCH
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
            Assumption("batch", float(batch), origin),
            *replica.notes(),
            *fallbacks.widened_cache(task.job, device),
            *fallbacks.other_stack(task.job, device),
            *task.shown_of(device, replica.arithmetic.precision),
            *energy.gaps(device.tdp_w),
            *task.assumptions,
        ),
    )
