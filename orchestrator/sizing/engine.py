"""Engines: a model on devices under a serving stack, as the rates that the time formulas use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import Model, Stack
from orchestrator.sizing import memory
from orchestrator.sizing.flops import inference_flops
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.shape import Shape
from orchestrator.sizing.throughput import Engine

OTHER: Final = "other"  # software that is none of the stacks: plain frameworks, older servers
GDDR_BELOW_GB_S: Final = 1200.0  # of the generations that have devices of both kinds
SLOW_KERNELS_ABOVE_GB_S: Final = 1200.0
_GRAPHICS: Final = frozenset({"ada", "turing", "pascal", "maxwell", "kepler", "rdna1", "rdna3"})
_MIXED: Final = frozenset({"ampere", "blackwell"})
GENERATIONS: Final = frozenset({"ampere", "ada", "blackwell", "gaudi", "cdna"})
NARROW: Final = {Precision.FP8: "8", Precision.INT8: "8", Precision.FP4: "4", Precision.INT4: "4"}


@dataclass(frozen=True, slots=True)
class StackRates:
    """What a stack on a device adds and takes, looked up once per device."""

    bandwidth: float  # share
    matrix: float  # share of the peak, by the format computed in
    attention: float
    link_bytes_per_s: float
    host_step_s: float


def memory_kind(device: Accelerator) -> str:
    """What `device` has for memory: "hbm", "gddr", "cdna" (HBM behind AMD's fabric) or "shared" with its host."""
    if device.generation.startswith("cdna"):
        return "cdna"
    if not device.link and device.generation != "cpu":
        return "shared"
    small = device.generation in _MIXED and device.memory_bandwidth_gb_s < GDDR_BELOW_GB_S
    return "gddr" if device.generation in _GRAPHICS or small else "hbm"


def kv_pool_bytes(device: Accelerator, devices: float, weights: float, parameters: Parameters) -> float:
    """Bytes that are left for KV cache on `devices`: a stack's share of the memory, less weights and overhead."""
    room = device.memory_gib * memory.GIB * parameters["serving.kv_pool"] - memory.overhead_bytes(device)
    return room * devices - weights


def rates_of(device: Accelerator, used: Precision, stack: str, parameters: Parameters) -> StackRates:
    """The shares and times of `stack` on `device` computing in `used`."""
    p = parameters
    kind = memory_kind(device)
    bandwidth = p["serving.bandwidth." + kind]
    family = "cdna" if kind == "cdna" else device.generation
    generation = p["serving.generation." + family] if family in GENERATIONS else 1.0
    matrix = p["serving.compute." + NARROW.get(used, "16")] * generation
    if stack == Stack.LLAMA_CPP:
        slow = p["serving.llama_cpp.hbm"] if device.memory_bandwidth_gb_s > SLOW_KERNELS_ABOVE_GB_S else 1.0
        bandwidth = p["serving.llama_cpp.bandwidth"] * slow if kind != "shared" else bandwidth
        matrix *= p["serving.llama_cpp.compute"]
    elif stack == OTHER:
        matrix *= p["serving.other.compute"]
    pcie = "pcie" in device.link or not device.link
    return StackRates(
        bandwidth=bandwidth,
        matrix=matrix,
        attention=p["serving.compute.attention"] * generation,
        link_bytes_per_s=max(device.link_gb_s, 32.0)
        / 2.0
        * 1e9
        * p["serving.link.pcie" if pcie else "serving.link.nvlink"],
        host_step_s=p["serving.host_s." + stack],
    )


def experts_chosen(model: Model) -> float:
    """The share of a layer's experts that one token passes; where experts are not given, that of the parameters."""
    if model.experts and model.experts_per_token:
        return model.experts_per_token / model.experts
    return min(1.0, model.active_parameters / model.parameters)


def engine_of(
    model: Model,
    shape: Shape,
    device: Accelerator,
    *,
    devices: int,
    peak_tflops: float,
    peak16_tflops: float,
    used: Precision,
    weight_bytes: float,
    kv_bytes_per_token: float,
    stack: str,
    prompt_tokens: float,
    output_tokens: float,
    parameters: Parameters,
    stages: int = 1,
) -> Engine:
    """`model` on `devices` of one kind under `stack`, or `stages` times as many; `weight_bytes` is of all weights."""
    p = parameters
    rates = rates_of(device, used, stack, parameters)
    chosen = experts_chosen(model)
    mixture = model.active_parameters < 0.95 * model.parameters
    matrix = rates.matrix * (p["serving.experts.compute"] if mixture else 1.0)
    passed = 2.0 * shape.layers  # all-reduces of one pass: after attention and after the feed-forward
    talks = devices > 1
    between = passed * 2.0 * (devices - 1.0) / devices * shape.hidden * 2.0 / rates.link_bytes_per_s
    attention_width = shape.heads * (model.head_dim or shape.hidden / shape.heads)
    return Engine(
        flops_per_token=inference_flops(model.active_parameters, 1.0),
        attention_flops=2.0 * shape.layers * attention_width * prompt_tokens * prompt_tokens,
        flops_per_s=devices * peak_tflops * 1e12 * matrix,
        attention_flops_per_s=devices * peak16_tflops * 1e12 * rates.attention,
        bytes_per_s=devices * device.memory_bandwidth_gb_s * 1e9 * rates.bandwidth,
        weight_bytes=weight_bytes,
        spared_bytes=weight_bytes * (1.0 - model.active_parameters / model.parameters),
        missed_share=1.0 - chosen,
        kv_bytes_per_token=kv_bytes_per_token,
        collective_s=passed * p["serving.collective_s"] if talks else 0.0,
        collective_s_per_token=between if talks else 0.0,
        layers_s=shape.layers * p["serving.layer_s"],
        host_step_s=rates.host_step_s,
        sequence_s=p["serving.sequence_s"],
        first_token_s=p["serving.first_token_s"],
        prompt_tokens=prompt_tokens,
        output_tokens=max(1.0, output_tokens),
        stages=float(stages),
        closed_loop=p["serving.closed_loop"],
    )
