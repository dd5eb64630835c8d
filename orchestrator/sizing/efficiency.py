"""Efficiency: how far off predictions may be, and the assumptions that are shown with them."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.sizing import calibration
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.engine import GENERATIONS, NARROW, memory_kind
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.utilisation import family

SERVED: Final = frozenset({"ampere", "ada", "hopper", "blackwell", "gaudi", "cdna3"})  # published measurements exist
STEPPED: Final = frozenset({"ampere", "hopper", "blackwell", "gaudi"})  # published step times exist
TRAINED: Final = {"cpu": "cpu", "other": "unpublished"}  # kinds of device without published training runs
SERVING: Final = (Kind.TTFT, Kind.TPOT, Kind.THROUGHPUT)


def spread(name: str, parameters: Parameters) -> Band:
    """True over predicted: "run", "benchmark", "step", "tpot", "ttft", "throughput", "unpublished" or "cpu"."""
    return Band(parameters[f"band.{name}.p10"], 1.0, parameters[f"band.{name}.p90"])


def training_band(kind: Kind, device: Accelerator, parameters: Parameters, *, benchmark: bool = False) -> Band:
    """True over predicted time of training on `device`, corrected by the user's calibration.

    `kind` is TRAINING, from the device count alone, or STEP, from the layout.
    """
    name = TRAINED.get(family(device.generation), "benchmark" if benchmark else "run")
    if kind is Kind.STEP and device.generation in STEPPED:
        name = "step"
    return calibration.calibrated(spread(name, parameters), parameters, kind, device)


def serving_band(kind: Kind, device: Accelerator, parameters: Parameters) -> Band:
    """True over predicted TTFT, TPOT or throughput on `device`, corrected by the user's calibration."""
    name = kind.value if device.generation in SERVED else "unpublished"
    if device.generation == "cpu":
        name = "cpu"
    return calibration.calibrated(spread(name, parameters), parameters, kind, device)


def inverse(rate: Band) -> Band:
    """The band of a time, true over predicted, where that of the rate it follows from is known."""
    return Band(1.0 / rate.p90, 1.0 / rate.p50, 1.0 / rate.p10)


def calibrations(kinds: tuple[Kind, ...], device: Accelerator, parameters: Parameters) -> tuple[Assumption, ...]:
    """The calibrations in use, to be shown."""
    found = (calibration.assumption(parameters, kind, device) for kind in kinds)
    return tuple(each for each in found if each is not None)


def serving_assumptions(used: Precision, device: Accelerator, parameters: Parameters) -> tuple[Assumption, ...]:
    """The shares of the device's peaks that its serving times rest on."""
    memory = memory_kind(device)
    generation = "cdna" if memory == "cdna" else device.generation
    names = ["serving.compute." + NARROW.get(used, "16"), "serving.bandwidth." + memory]
    if generation in GENERATIONS:
        names.append("serving.generation." + generation)
    return (*(parameters.assumption(name) for name in names), *calibrations(SERVING, device, parameters))
