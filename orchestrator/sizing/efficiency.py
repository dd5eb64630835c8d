"""Efficiency: bands and factors on predicted times, and the assumptions that are shown with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption, Band
from orchestrator.sizing.engine import GENERATIONS, NARROW, memory_kind
from orchestrator.sizing.parameters import Parameters

SERVED: Final = frozenset({"ampere", "ada", "hopper", "blackwell", "gaudi", "cdna3"})  # published measurements exist


@dataclass(frozen=True, slots=True)
class Spread:
    """The 10th and 90th percentile of (true / predicted); the 50th is 1."""

    p10: float
    p90: float

    def around(self, value: float) -> Band:
        """The band of an estimate."""
        return Band(value * self.p10, value, value * self.p90)

    def around_time(self, value: float) -> Band:
        """The band of a time, where the spread is that of the rate it follows from."""
        return Band(value / self.p90, value, value / self.p10)


def calibrated(kind: str, generation: str, parameters: Parameters) -> float:
    """The factor on the time of `kind` ("training", "tpot", "ttft", "throughput") that the user's own history gives."""
    prefix = f"calibration.{kind}."
    return parameters.get(prefix + generation, parameters.get(prefix + "all", 1.0))


def calibration_notes(kinds: tuple[str, ...], generation: str, parameters: Parameters) -> tuple[Assumption, ...]:
    """The calibrations in use, to be shown."""
    names = [f"calibration.{kind}.{part}" for kind in kinds for part in (generation, "all")]
    return tuple(parameters.assumption(name) for name in names if name in parameters)


def spread(kind: str, parameters: Parameters) -> Spread:
    """The spread of `kind`: "run", "benchmark", "step", "tpot", "ttft", "throughput", "unpublished" or "cpu"."""
    return Spread(parameters[f"band.{kind}.p10"], parameters[f"band.{kind}.p90"])


def serving_spread(kind: str, generation: str, parameters: Parameters) -> Spread:
    """Of "ttft", "tpot" or "throughput" on devices of `generation`."""
    if generation == "cpu":
        return spread("cpu", parameters)
    return spread(kind if generation in SERVED else "unpublished", parameters)


def serving_assumptions(used: Precision, device: Accelerator, parameters: Parameters) -> tuple[Assumption, ...]:
    """The shares of the device's peaks that its serving times rest on."""
    kind = memory_kind(device)
    family = "cdna" if kind == "cdna" else device.generation
    names = ["serving.compute." + NARROW.get(used, "16"), "serving.bandwidth." + kind]
    if family in GENERATIONS:
        names.append("serving.generation." + family)
    kinds = ("ttft", "tpot", "throughput")
    return (
        *(parameters.assumption(name) for name in names),
        *calibration_notes(kinds, device.generation, parameters),
    )
