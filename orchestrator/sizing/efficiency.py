"""Efficiency: how much of a device's peak real work gets, every number with its origin; the one place to calibrate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.sizing import Assumption, Band


@dataclass(frozen=True, slots=True)
class Spread:
    """The 10th and 90th percentile of (true / predicted); the 50th is 1."""

    p10: float
    p90: float

    def around(self, value: float) -> Band:
        """The band of an estimate."""
        return Band(value * self.p10, value, value * self.p90)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A utilisation in (0, 1] with its origin, and how far the time predicted with it can be off."""

    utilisation: Assumption
    spread: Spread


# Spread of effective MFU over published runs of like model and device.
PUBLISHED = Spread(0.71, 1.41)
# No published run on such devices stands behind the constant.
UNPUBLISHED = Spread(0.5, 2.0)
# A CPU's peak is measured here, but what the program makes of it is anybody's guess.
CPU = Spread(0.4, 2.5)

_FITTED = "planning constant for {}: published end-to-end training runs, downtime included"
_PLAIN = "planning constant: no published training run on {}; a constant 30 % is a fair guess elsewhere"

_GENERATIONS: Final[Mapping[str, tuple[float, Spread, str]]] = {
    "volta": (0.24, PUBLISHED, _FITTED.format("volta")),
    "ampere": (0.37, PUBLISHED, _FITTED.format("ampere")),
    "hopper": (0.26, PUBLISHED, _FITTED.format("hopper")),
    "blackwell": (0.30, PUBLISHED, _FITTED.format("blackwell")),
    "tpu": (0.36, PUBLISHED, _FITTED.format("tpu")),
    "cdna2": (0.21, PUBLISHED, _FITTED.format("cdna2")),
    "cpu": (0.25, CPU, "planning constant: a small model in plain code against the measured peak of matrix products"),
}
_DEFAULT_MFU = 0.30

# Narrow formats raise the peak more than the speed: published FP8 training is 1.3 times as fast as BF16 at twice the
# peak, FP4 1.6 times at four times the peak.
_NARROW: Final[Mapping[Precision, float]] = {Precision.FP8: 0.65, Precision.FP4: 0.4}


def _table() -> dict[tuple[str, float], Efficiency]:
    """Every generation at every scale, built once: making them per device would be most of the time of a sizing."""
    table: dict[tuple[str, float], Efficiency] = {}
    for generation, (mfu, spread, origin) in _GENERATIONS.items():
        table[generation, 1.0] = Efficiency(Assumption("mfu", mfu, origin), spread)
        for precision, scale in _NARROW.items():
            narrow = Assumption(
                "mfu", mfu * scale, f"{origin}, times {scale} because {precision} raises peak over speed"
            )
            table[generation, scale] = Efficiency(narrow, spread)
    return table


_TABLE: Final[Mapping[tuple[str, float], Efficiency]] = _table()


def training_efficiency(generation: str, used: Precision, stated: float | None) -> Efficiency:
    """Model FLOP/s utilisation of training: `stated` by the user, or the planning constant of the generation.

    Counted against the dense peak of the format used, with 6·N·D as the work: time lost to communication, recompute,
    checkpoints and failures lowers it.
    """
    if stated is not None:
        return Efficiency(Assumption("mfu", stated, "stated in the job file"), PUBLISHED)
    scale = _NARROW.get(used, 1.0)
    known = _TABLE.get((generation, scale))
    if known is not None:
        return known
    origin = _PLAIN.format(generation or "this device")
    return Efficiency(Assumption("mfu", _DEFAULT_MFU * scale, origin), UNPUBLISHED)


# Serving: shares of the peaks that large matrix products and long reads get on published inference runs, and the host's
# own time between two steps. They hold for one pass over the model; queueing comes on top.
BANDWIDTH_SHARE = Assumption("bandwidth_share", 0.92, "planning constant: published inference runs")
HOST_STEP_S = Assumption("host_step_s", 0.003, "planning constant: serving stacks spend 2.5 to 5 ms between two steps")
TARGET_LOAD = Assumption("target_load", 0.7, "planning constant: replicas are planned for 70 % of what they can do")
MOST_SEQUENCES = Assumption("most_sequences", 256.0, "planning constant: schedulers run up to 256 sequences at once")
NETWORK_SHARE = Assumption(
    "network_share", 0.2, "planning constant: a fifth of the first-token and total limits is left to the network"
)

_COMPUTE: Final[Mapping[Precision, Assumption]] = {
    **dict.fromkeys(
        Precision, Assumption("compute_share", 0.69, "planning constant: published inference runs at 16 bit")
    ),
    Precision.FP8: Assumption("compute_share", 0.59, "planning constant: published inference runs in fp8"),
    Precision.INT8: Assumption("compute_share", 0.59, "planning constant: that of fp8"),
    Precision.FP4: Assumption("compute_share", 0.46, "planning constant: published inference runs in nvfp4"),
    Precision.INT4: Assumption("compute_share", 0.46, "planning constant: that of nvfp4"),
}

# Of (measured / predicted) on published runs of known models: TPOT 0.91 to 1.63 on 21, TTFT of a lone request 0.69 to
# 1.95 on 18. Wider on the fast side, because software gets faster.
TPOT_SPREAD = Spread(0.75, 1.6)
TTFT_SPREAD = Spread(0.6, 2.0)


def compute_share(used: Precision) -> Assumption:
    """The share of the dense peak that the matrix products of inference get."""
    return _COMPUTE[used]
