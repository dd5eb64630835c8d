"""Devices, models and parameters with round numbers, so that tests can state a formula's outcome by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import FiniteWork, Service, Sizing
from orchestrator.domain.workload import BatchInference, Inference, Model, Population, Training, Workload
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.parameters import Parameter, Parameters, bundled
from orchestrator.sizing.size import size

LLAMA_7B = Model(
    name="Llama 2 7B",
    parameters=6.74e9,
    active_parameters=6.74e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=32,
    vocabulary=32000,
    feed_forward=11008,
    gated=True,
)
MIXTRAL = Model(
    name="Mixtral 8x7B",
    parameters=46.7e9,
    active_parameters=12.9e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    vocabulary=32000,
    feed_forward=14336,
    gated=True,
    experts=8,
    experts_per_token=2,
)
BIG = Accelerator(
    name="big",
    vendor="x",
    memory_gib=80.0,
    memory_bandwidth_gb_s=2000.0,
    peak_tflops=((Precision.FP32, 20.0), (Precision.BF16, 400.0), (Precision.FP8, 800.0)),
    tdp_w=500.0,
    link="nvlink",
    link_gb_s=600.0,
    generation="ampere",
)
OLD = replace(BIG, name="old", peak_tflops=((Precision.FP32, 10.0),), generation="kepler")
VOLTA = replace(BIG, name="volta", peak_tflops=((Precision.FP32, 15.0), (Precision.FP16, 125.0)), generation="volta")
SMALL = replace(BIG, name="small", memory_gib=4.0)

TRAINING = Training(name="train", model=LLAMA_7B, tokens=1e12)
SERVING = Inference(name="chat", model=LLAMA_7B, users=(Population("Paris", 2.0), Population("Rome", 3.0)))
BATCH = BatchInference(name="label", model=LLAMA_7B, requests=1e6)

# Half of the peak whatever the job; attention costs nothing.
PLAIN_TRAINING: Mapping[str, float] = {
    "planning.utilisation.ampere": 0.5,
    **dict.fromkeys(("planning.size", "planning.scale", "planning.sparsity", "planning.fp8", "planning.fp4"), 0.0),
    **dict.fromkeys(("planning.batch", "planning.slow_fabric", "planning.run", "planning.year"), 0.0),
    **dict.fromkeys(("planning.balance", "attention.cost"), 0.0),
    "planning.software_year": 2023.0,
}
# Half of the bandwidth and of the peak, and nothing that does not grow with the bytes or the FLOPs.
PLAIN_SERVING: Mapping[str, float] = {
    **dict.fromkeys(("serving.bandwidth.hbm", "serving.compute.16", "serving.link.nvlink"), 0.5),
    **dict.fromkeys(("serving.generation.ampere", "serving.experts.compute", "serving.compute.attention"), 1.0),
    **dict.fromkeys(("serving.host_s.vllm", "serving.layer_s", "serving.sequence_s", "serving.collective_s"), 0.0),
    "serving.first_token_s": 0.0,
    "serving.kv_pool": 0.9,
    "serving.sequences.vllm": 256.0,
    "serving.target_load": 0.5,
    "serving.network_share": 0.2,
    "band.ttft.p90": 1.5,
    "band.tpot.p90": 1.25,
}


def table(*settings: Mapping[str, float]) -> Parameters:
    """The bundled parameters with these values instead."""
    rows = [
        Parameter(name=name, value=value, low=value, high=value, unit="", origin="test")
        for values in settings
        for name, value in values.items()
    ]
    return bundled().replaced(rows)


def sized(job: Workload, device: Accelerator = BIG, parameters: Parameters | None = None) -> Sizing:
    answer = size(job, [device], parameters)[device.name]
    assert isinstance(answer, Sizing), answer
    return answer


def refused(job: Workload, device: Accelerator = BIG) -> Reason:
    answer = size(job, [device])[device.name]
    assert isinstance(answer, Reason), answer
    assert answer.by == "sizing"
    return answer


def terms(answer: Sizing) -> dict[str, float]:
    """Bytes by name."""
    return {term.name: term.gib * GIB for term in answer.memory}


def said(answer: Sizing) -> dict[str, str]:
    """Origins of the assumptions by name."""
    return {assumption.name: assumption.origin for assumption in answer.assumptions}


def served(answer: Sizing) -> Service:
    assert isinstance(answer.effort, Service)
    return answer.effort


def finite(answer: Sizing) -> FiniteWork:
    assert isinstance(answer.effort, FiniteWork)
    return answer.effort
