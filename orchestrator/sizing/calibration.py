"""Calibrations in use: how the parameters that one has put in place correct a prediction."""

from __future__ import annotations

from enum import StrEnum
from math import exp

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.sizing.parameters import Parameters

PREFIX = "calibration"  # of the rows `calibration.<kind>.<generation>` and `calibration.<kind>.<generation>.spread`
ALL = "all"  # generations without a factor of their own
CPU = "cpu"  # calibrated by itself


class Kind(StrEnum):
    """What is calibrated by itself."""

    TRAINING = "training"  # from the device count alone
    STEP = "step"  # parallelism known
    THROUGHPUT = "throughput"
    TPOT = "tpot"
    TTFT = "ttft"


def calibrated(band: Band, parameters: Parameters, kind: Kind, device: Accelerator) -> Band:
    """A predicted band as the calibration in `parameters` corrects it; `band` itself where there is none.

    Times are multiplied by the factor and a throughput is divided by it; the band becomes the calibrated one.
    """
    name = _name(parameters, kind, device)
    if not name:
        return band
    factor, spread = parameters[name], parameters[f"{name}.spread"]
    middle = band.p50 / factor if kind is Kind.THROUGHPUT else band.p50 * factor
    return Band(middle * exp(-spread), middle, middle * exp(spread))


def factor_on_time(parameters: Parameters, kind: Kind, device: Accelerator) -> float:
    """By what a predicted time of `kind` on `device` is multiplied; 1 without a calibration."""
    name = _name(parameters, kind, device)
    return parameters[name] if name else 1.0


def assumption(parameters: Parameters, kind: Kind, device: Accelerator) -> Assumption | None:
    """The calibration as a sizing on `device` shows it; None without one."""
    name = _name(parameters, kind, device)
    return parameters.assumption(name) if name else None


def _name(parameters: Parameters, kind: Kind, device: Accelerator) -> str:
    for generation in (device.generation,) if device.generation == CPU else (device.generation, ALL):
        name = f"{PREFIX}.{kind}.{generation}"
        if name in parameters:
            return name
    return ""
