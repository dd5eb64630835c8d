"""Predictions: what sizing says of runs that somebody observed, in the terms they were observed in."""

from __future__ import annotations

from math import floor
from typing import Final

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.workload import Stack
from orchestrator.sizing import arithmetic, efficiency, memory, serving_efficiency
from orchestrator.sizing.accuracy import Prediction, Quantity
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.engine import OTHER, Mount, kv_pool_bytes
from orchestrator.sizing.layouts import chunks, wired
from orchestrator.sizing.memory import kv_bytes_per_token
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.shape import shape_of
from orchestrator.sizing.steptime import Layouts, machine_of, modern_on, seconds_per_token
from orchestrator.sizing.throughput import Engine
from orchestrator.sizing.utilisation import Circumstances, PlanningModel
from orchestrator.sizing.work import TrainingWork, work_of

SEQUENCE: Final = 2048  # of a published run that does not say: the usual one until 2023
PASS_TOKENS: Final = 16_384.0  # of one device's pass under fully sharded data parallelism, where nobody says
TOKENS: Final = 1e6  # benchmarks are judged by the device-seconds of a million tokens


def predict_training(run: TrainingRun, device: Accelerator, parameters: Parameters) -> tuple[Prediction, ...] | Reason:
    """What is said of `run` from its device count alone, and from its parallelism where that is known.

    Device-hours of a whole run; device-seconds per million tokens of a benchmark.
    """
    work = work_of(
        run.model,
        sequence_length=float(run.sequence_length or SEQUENCE),
        precision=run.precision,
        global_batch_tokens=run.global_batch_tokens,
    )
    true = _device_seconds_per_token(run, work)
    if true is None:
        return Reason("sizing", ReasonCode.NO_FIT, "neither GPU-hours, nor MFU, nor tokens per second were observed")
    scale = run.flops / work.matrix_flops / 3600.0 if not run.benchmark else TOKENS
    around = Circumstances(
        gpus=float(run.gpus) if run.gpus else None,
        recompute=run.recompute,
        fabric_gb_per_s=run.fabric_gb_per_s,
        year=float(run.year) if run.year else None,
        benchmark=run.benchmark,
    )
    alone = PlanningModel(work, parameters).seconds_per_token(
        device.generation, run.peak16_tflops, device.memory_bandwidth_gb_s, around
    )
    band = efficiency.training_band(Kind.TRAINING, device, parameters, benchmark=run.benchmark)
    found = [
        Prediction(quantity=Quantity.TRAINING_TIME, true=true * scale, predicted=band.scaled(alone * scale)),
    ]
    layout = _layout(run, work)
    if layout is not None:
        each = _step(run, work, layout, device, parameters)
        band = efficiency.training_band(Kind.STEP, device, parameters, benchmark=run.benchmark)
        found.append(Prediction(quantity=Quantity.STEP_TIME, true=true * scale, predicted=band.scaled(each * scale)))
    return tuple(found)


def _device_seconds_per_token(run: TrainingRun, work: TrainingWork) -> float | None:
    if run.gpu_hours and not run.benchmark:
        return run.gpu_hours * 3600.0 / (run.flops / work.matrix_flops)
    if run.tokens_per_s_per_gpu:
        return 1.0 / run.tokens_per_s_per_gpu
    if run.mfu:
        counted = work.matrix_flops + (work.attention_flops if run.mfu_counts_attention else 0.0)
        return counted / (run.mfu * run.peak16_tflops * 1e12)
    return None


def _layout(run: TrainingRun, work: TrainingWork) -> Parallelism | None:
    """The layout of `run` where it says enough; what it leaves out is what such runs usually have."""
    if not run.gpus or not (run.tensor or run.pipeline or run.data == run.gpus):
        return None
    tensor, pipeline = run.tensor or 1, run.pipeline or 1
    data = max(1, run.data or run.gpus // (tensor * pipeline))
    sharded = not (run.tensor or run.pipeline)
    sequences = (run.global_batch_tokens or 2.0 * work.sequence_length * run.gpus) / work.sequence_length / data
    usual = min(sequences, PASS_TOKENS / work.sequence_length) if sharded else 1.0
    micro_batch = run.micro_batch or max(1, floor(usual))
    return Parallelism(
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        expert=run.expert or 1,
        micro_batch=micro_batch,
        micro_batches=max(1, round(sequences / micro_batch)),
        interleave=chunks(work.layers, pipeline),
        sharding=Sharding.ZERO_3 if sharded else Sharding.ZERO_1,
        recompute=run.recompute or Recompute.SELECTIVE,
    )


def _step(
    run: TrainingRun, work: TrainingWork, layout: Parallelism, device: Accelerator, parameters: Parameters
) -> float:
    cluster = Cluster(fabric_gb_per_s=run.fabric_gb_per_s or (37.5 if device.generation == "gaudi" else 25.0))
    machine = machine_of(device, run.precision, wired(device, cluster), parameters, peak16_tflops=run.peak16_tflops)
    modern = modern_on(device.generation, run.year or parameters["planning.software_year"])
    each = float(seconds_per_token(work, machine, Layouts.of(layout), parameters, modern=modern))
    return each if run.benchmark else each / parameters["step.run"]


def stack_of(engine: str) -> str:
    """The stack that software called `engine` is sized as."""
    name = engine.casefold()
    if name.startswith(("trtllm", "tensorrt", "fastertransformer", "optimum-habana", "nim")):
        return Stack.TENSORRT_LLM
    for stack in (Stack.VLLM, Stack.SGLANG, Stack.LLAMA_CPP):
        if name.startswith(stack):
            return stack
    return Stack.LLAMA_CPP if name.startswith(("mlc", "llama", "ollama")) else OTHER


def predict_inference(
    run: InferenceRun, device: Accelerator, parameters: Parameters
) -> tuple[Prediction, ...] | Reason:
    """What is said of `run`: first token, time per token, throughput and latency, as far as they were observed."""
    chosen = arithmetic.serving_arithmetic(device, run.weights)
    if chosen is None:
        return Reason("sizing", ReasonCode.NO_PRECISION, arithmetic.lacks(device, run.weights))
    if not device.memory_bandwidth_gb_s > 0:
        return Reason("sizing", ReasonCode.UNKNOWN_ACCELERATOR, f"the bandwidth of {device.name} is not known")
    shape, _ = shape_of(run.model)
    width = run.weight_bytes or arithmetic.weight_bytes(run.weights, chosen.precision)
    weights = run.model.parameters * width
    per_token = kv_bytes_per_token(shape, run.kv)
    stack = stack_of(run.engine)
    mount = Mount(
        run.model,
        shape,
        device,
        peak_tflops=chosen.peak_tflops,
        peak16_tflops=device.peak16_tflops or chosen.peak_tflops,
        used=chosen.precision,
        weight_bytes=weights,
        kv_bytes_per_token=per_token,
        stack=stack,
        prompt_tokens=float(run.prompt_tokens),
        output_tokens=float(run.output_tokens),
        parameters=parameters,
    )
    engine = mount.on(run.devices)
    pool = kv_pool_bytes(device, run.devices, weights, parameters)
    held = run.concurrency or _largest(pool, per_token, engine, parameters["serving.sequences." + stack])
    if held < 1:
        return Reason(
            "sizing", ReasonCode.NO_FIT, f"weights of {weights / memory.GIB:,.1f} GiB leave no room for a sequence"
        )
    return _served(run, engine, held, device, parameters)


def _largest(pool: float, per_token: float, engine: Engine, most: float) -> float:
    """Sequences that the KV cache holds when they are half-way through their answers on the average."""
    return min(most, pool / (per_token * (engine.prompt_tokens + engine.output_tokens / 2.0)))


def _served(
    run: InferenceRun, engine: Engine, held: float, device: Accelerator, parameters: Parameters
) -> tuple[Prediction, ...]:
    at_once = run.mode in ("static", "single")
    first = engine.prefill_of(held) if at_once else engine.closed_ttft_s(held)
    each = engine.step_s(held) if at_once else engine.tpot_s(held)
    if at_once:
        rate = held * engine.output_tokens / engine.static_s(held)
    else:
        rate = engine.output_tokens * engine.requests_per_s(held)
    whole = engine.static_s(held) if at_once else engine.e2e_s(first, held)
    many = held > 1.0

    said = (
        (Quantity.TTFT_LOAD if many else Quantity.TTFT_ONE, run.ttft_s, first, Kind.TTFT),
        (Quantity.TPOT, run.tpot_s, each, Kind.TPOT),
        (Quantity.THROUGHPUT, run.output_tokens_per_s, rate, Kind.THROUGHPUT),
        (Quantity.LATENCY, run.latency_s, whole, Kind.TPOT),
    )
    return tuple(
        Prediction(
            quantity=quantity,
            true=true,
            predicted=serving_efficiency.serving_band(kind, device, parameters).scaled(value),
        )
        for quantity, true, value, kind in said
        if true is not None and true > 0
    )
