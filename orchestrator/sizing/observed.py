"""Observed runs: what somebody measured, in the terms that sizing predicts."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.workload import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One published or measured training run, or throughput benchmark. None is "not known"."""

    id: str
    family: str  # of like runs: a model family, or the body that measured
    group: str  # rows that share it are not independent
    benchmark: bool  # a throughput measurement; False: a whole run, downtime included
    model: Model
    encoder_decoder: bool = False
    accelerator: str  # canonical name
    generation: str  # of the accelerator, as our table has it
    peak16_tflops: float  # dense 16-bit peak of one device; MFU is counted against it whatever the precision
    gpus: int | None = None
    precision: Precision = Precision.BF16
    sequence_length: int | None = None
    global_batch_tokens: float | None = None
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: int | None = None
    micro_batch: int | None = None
    recompute: Recompute | None = None
    fabric_gb_per_s: float | None = None  # GB/s of one device into the fabric between nodes
    year: int | None = None
    flops: float  # 6·N_active·D of a run; of a benchmark 6·N_active per token
    # What was observed, one of them at least:
    gpu_hours: float | None = None  # of a run
    mfu: float | None = None  # model FLOP/s utilisation against peak16, with the FLOPs counted as `mfu_counts`
    tokens_per_s_per_gpu: float | None = None
    mfu_counts_attention: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRun:
    """One measured serving point. None is "not known"."""

    id: str
    family: str
    group: str
    engine: str  # as the source names it: "trtllm-0.17", "vllm-0.6"
    mode: str  # single | static | conc | inflight_max | mlperf_offline
    model: Model
    accelerator: str
    generation: str
    devices: int  # of one replica
    weights: Precision
    weight_bytes: float | None = None  # of one parameter with its scales; None: what the format usually takes
    kv: Precision
    concurrency: float | None = None  # batch, or requests in flight; None: as many as memory allows
    prompt_tokens: int
    output_tokens: int
    year: int | None = None
    # What was observed:
    ttft_s: float | None = None
    tpot_s: float | None = None
    output_tokens_per_s: float | None = None  # of all devices
    latency_s: float | None = None  # of one whole request
