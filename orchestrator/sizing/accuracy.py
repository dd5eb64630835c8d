"""Accuracy: how far predictions are from what was observed, per quantity and per generation of devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.sizing import Band


class Quantity(StrEnum):
    """What is predicted. Training is in device-hours (runs) or device-seconds per 1e6 tokens (benchmarks)."""

    TRAINING_TIME = "training time (device count known)"
    STEP_TIME = "step time (parallelism known)"
    THROUGHPUT = "throughput at largest load"  # output tokens per second of all devices
    TPOT = "TPOT"  # s
    TTFT_ONE = "TTFT, one request"  # s
    TTFT_LOAD = "TTFT, under concurrency"  # s
    LATENCY = "request latency"  # s, from arrival to the last token


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One observed number beside what sizing says it is, in the unit of the quantity."""

    quantity: Quantity
    true: float
    predicted: Band
