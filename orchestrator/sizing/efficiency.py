"""Efficiency: how far off predicted times of training may be, and the calibrations that are in use."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.sizing import calibration
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.utilisation import family

STEPPED: Final = frozenset({"ampere", "hopper", "blackwell", "gaudi"})  # published step times exist
TRAINED: Final = {"cpu": "cpu", "other": "unpublished"}  # kinds of device without published training runs


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


def calibrations(kinds: tuple[Kind, ...], device: Accelerator, parameters: Parameters) -> tuple[Assumption, ...]:
    """The calibrations in use, to be shown."""
    found = (calibration.assumption(parameters, kind, device) for kind in kinds)
    return tuple(each for each in found if each is not None)
