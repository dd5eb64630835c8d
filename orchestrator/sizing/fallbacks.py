"""Fallbacks: what a sizing takes for granted that is not as the job asks, said as assumptions."""

from __future__ import annotations

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.context import longest_sequence
from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import BatchInference, Inference, Workload
from orchestrator.sizing.arithmetic import BYTES


def beyond_context(job: Workload) -> tuple[Assumption, ...]:
    """That the model's context is extended, where the job's sequences are longer than what it was made for."""
    longest, length = job.model.context_length, longest_sequence(job)
    if longest is None or length <= longest:
        return ()
    origin = f"tokens of context, {length:,} asked: sized as if the context of {job.model.name} were extended"
    return (Assumption("context_length", float(longest), origin),)


def widened_cache(job: Inference | BatchInference, device: Accelerator) -> tuple[Assumption, ...]:
    """That a key-value cache in a format which `device` does not compute in is widened as it is read.

    It takes the memory of the format asked for: a cache is stored in any format, and only the arithmetic needs the
    hardware.
    """
    asked = job.kv_precision
    if (device.peak(asked) or 0.0) > 0:
        return ()
    origin = f"bytes per number: {device.name} does not compute in {asked}, so the cache is widened as it is read"
    return (Assumption("kv_cache", BYTES[asked], origin),)
