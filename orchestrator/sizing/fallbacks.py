"""Fallbacks: where a device or a model cannot do as the job asks, a refusal or an assumption; never a silent number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.context import longest_sequence
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import BatchInference, FineTune, Inference, Method, Stack, Workload
from orchestrator.sizing.arithmetic import BYTES

# Generations that a stack has no kernels for, as its own list of supported hardware says; others are taken to do.
_OTHERS: Final = frozenset(
    {"vega", "rdna1", "rdna3", "cdna", "cdna2", "cdna3", "cdna4", "gaudi", "neuron", "tpu", "cpu"}
)
_OLD: Final = frozenset({"kepler", "maxwell", "pascal"})  # NVIDIA's below compute capability 7.0
_CLOSED: Final = frozenset({"gaudi", "neuron", "tpu"})  # reached through a compiler of the vendor's own
_LACKS: Final[Mapping[Stack, frozenset[str]]] = {
    Stack.TENSORRT_LLM: _OTHERS | _OLD,
    Stack.SGLANG: _OLD | (_CLOSED - {"tpu"}) | {"vega", "rdna1", "rdna3"},
    Stack.LLAMA_CPP: _CLOSED,
    Stack.VLLM: _OLD | {"vega", "rdna1"},
}


def refusal(job: Workload, device: Accelerator) -> Reason | None:
    """Why the job's serving stack does not run on `device`.

    vLLM is never refused: it is what a job has that names no stack, and `other_stack` says where another stands in.
    """
    if not isinstance(job, Inference | BatchInference) or job.stack is Stack.VLLM:
        return None
    if device.generation not in _LACKS[job.stack]:
        return None
    detail = f"{job.stack} does not run on {device.name} ({device.generation}): choose another stack or device"
    return Reason("sizing", ReasonCode.STACK, detail)


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
    if asked is job.precision or (device.peak(asked) or 0.0) > 0:  # the weights' own format is told with them
        return ()
    halves = (Precision.FP16, Precision.BF16)
    stand_in = next((each for each in halves if asked in halves and (device.peak(each) or 0.0) > 0), None)
    done = f"{stand_in} stands in" if stand_in else "so the cache is widened as it is read"
    origin = f"bytes per number: {device.name} does not compute in {asked}, {done}"
    return (Assumption("kv_cache", BYTES[asked], origin),)


def other_stack(job: Inference | BatchInference, device: Accelerator) -> tuple[Assumption, ...]:
    """That other software serves on `device`, which the job's stack does not run on."""
    if device.generation not in _LACKS[job.stack]:
        return ()
    origin = f"{job.stack} does not run on {device.generation} devices: other software stands in, taken to do as well"
    return (Assumption("stack", 1.0, origin),)


def unused_precision(job: FineTune) -> tuple[Assumption, ...]:
    """That QLoRA does not compute in the narrow format asked for: it widens its 4-bit weights to 16 bits."""
    if job.method is not Method.QLORA or job.precision.bits >= 16:
        return ()
    origin = f"bytes per number of the arithmetic: qlora widens its 4-bit weights to bf16, {job.precision} is not used"
    return (Assumption("qlora_arithmetic", 2.0, origin),)
