"""Serving efficiency: how far off predicted latencies and rates may be, and the shares of peaks they rest on."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.sizing import calibration
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.efficiency import calibrations, spread
from orchestrator.sizing.engine import GENERATIONS, NARROW, memory_kind
from orchestrator.sizing.parameters import Parameters

SERVED: Final = frozenset({"ampere", "ada", "hopper", "blackwell", "gaudi", "cdna3"})  # published measurements exist
SERVING: Final = (Kind.TTFT, Kind.TPOT, Kind.THROUGHPUT)


def serving_band(kind: Kind, device: Accelerator, parameters: Parameters) -> Band:
    """True over predicted TTFT, TPOT or throughput on `device`, corrected by the user's calibration."""
    name = kind.value if device.generation in SERVED else "unpublished"
    if device.generation == "cpu":
        name = "cpu"
    return calibration.calibrated(spread(name, parameters), parameters, kind, device)


def inverse(rate: Band) -> Band:
    """The band of a time, true over predicted, where that of the rate it follows from is known."""
    return Band(1.0 / rate.p90, 1.0 / rate.p50, 1.0 / rate.p10)


def serving_assumptions(used: Precision, device: Accelerator, parameters: Parameters) -> tuple[Assumption, ...]:
    """The shares of the device's peaks that its serving times rest on."""
    memory = memory_kind(device)
    generation = "cdna" if memory == "cdna" else device.generation
    names = ["serving.compute." + NARROW.get(used, "16"), "serving.bandwidth." + memory]
    if generation in GENERATIONS:
        names.append("serving.generation." + generation)
    return (*(parameters.assumption(name) for name in names), *calibrations(SERVING, device, parameters))
