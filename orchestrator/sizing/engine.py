"""Engines: a model on devices under a serving stack, as the rates that the time formulas use."""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import Model, Stack
from orchestrator.sizing import memory
from orchestrator.sizing.flops import inference_flops
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.shape import Shape, attention_width
from orchestrator.sizing.throughput import Engine

OTHER: Final = "other"  # software that is none of the stacks: plain frameworks, older servers
GDDR_BELOW_GB_S: Final = 1200.0  # of the generations that have devices of both kinds
SLOW_KERNELS_ABOVE_GB_S: Final = 1200.0
_GRAPHICS: Final = frozenset({"ada", "turing", "pascal", "maxwell", "kepler", "rdna1", "rdna3"})
_MIXED: Final = frozenset({"ampere", "blackwell"})
GENERATIONS: Final = frozenset({"ampere", "ada", "blackwell", "gaudi", "cdna"})
NARROW: Final = {Precision.FP8: "8", Precision.INT8: "8", Precision.FP4: "4", Precision.INT4: "4"}


class StackRates(NamedTuple):
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


class Mount:
    """A model under a stack on one kind of device, ready to be spread over any number of them.

    What does not depend on their number is computed once: a sizing asks for several numbers on each of many devices.
    """

    __slots__ = ("_collective_s", "_common", "_device_rates", "_passed", "_talk")

    def __init__(
        self,
        model: Model,
        shape: Shape,
        device: Accelerator,
        *,
        peak_tflops: float,
        peak16_tflops: float,
        used: Precision,
        weight_bytes: float,
        kv_bytes_per_token: float,
        stack: str,
        prompt_tokens: float,
        output_tokens: float,
        parameters: Parameters,
    ) -> None:
        """`weight_bytes` is of all weights, `kv_bytes_per_token` of all layers; `used` is the format computed in."""
        p, rates = parameters, rates_of(device, used, stack, parameters)
        mixture = model.active_parameters < 0.95 * model.parameters
        matrix = rates.matrix * (p["serving.experts.compute"] if mixture else 1.0)
        width = attention_width(model, shape)
        self._passed = 2.0 * shape.layers  # all-reduces of one pass: after attention and after the feed-forward
        self._talk = self._passed * 2.0 * shape.hidden * 2.0 / rates.link_bytes_per_s
        self._device_rates = (
            peak_tflops * 1e12 * matrix,
            peak16_tflops * 1e12 * rates.attention,
            device.memory_bandwidth_gb_s * 1e9 * rates.bandwidth,
        )
        self._common = {
            "flops_per_token": inference_flops(model.active_parameters, 1.0),
            "attention_flops": 2.0 * shape.layers * width * prompt_tokens * prompt_tokens,
            "weight_bytes": weight_bytes,
            "spared_bytes": weight_bytes * (1.0 - model.active_parameters / model.parameters),
            "missed_share": 1.0 - experts_chosen(model),
            "kv_bytes_per_token": kv_bytes_per_token,
            "layers_s": shape.layers * p["serving.layer_s"],
            "host_step_s": rates.host_step_s,
            "sequence_s": p["serving.sequence_s"],
            "first_token_s": p["serving.first_token_s"],
            "prompt_tokens": prompt_tokens,
            "output_tokens": max(1.0, output_tokens),
            "closed_loop": p["serving.closed_loop"],
        }
        self._collective_s = p["serving.collective_s"]

    def on(self, devices: int, stages: int = 1) -> Engine:
        """On `devices` that split every layer, or on `stages` times as many that hold consecutive layers."""
        matrix, attention, memory_rate = self._device_rates
        talks = devices > 1
        return Engine(
            flops_per_s=devices * matrix,
            attention_flops_per_s=devices * attention,
            bytes_per_s=devices * memory_rate,
            collective_s=self._passed * self._collective_s if talks else 0.0,
            collective_s_per_token=self._talk * (devices - 1.0) / devices if talks else 0.0,
            stages=float(stages),
            **self._common,
        )
