"""Utilisation from the device count alone: how much of their peak real training jobs get, parallelism unknown."""

from __future__ import annotations

from math import exp, log, log2, log10
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.work import TrainingWork

KNOWN: Final = frozenset({"volta", "ampere", "hopper", "blackwell", "tpu", "gaudi", "cdna", "cpu"})
RECOMPUTED: Final = 4.0 / 3.0  # a second forward pass on top of one forward and one backward (Chen et al. 2016)
TYPICAL_TOKENS: Final = 4096.0  # of one device and step: the middle of published runs
FARTHEST: Final = 0.7  # of a balance from 200 FLOP per byte, in logarithms: devices beyond are none that was published
LEAST, MOST = -2.0, 3.0  # doublings of the typical tokens beyond which published runs say no more
SLOW_GB_PER_S: Final = 12.5  # 100 Gb/s: half of what a device of a training cluster has had since 2020
BENT: Final = frozenset({"hopper", "blackwell"})  # matrix units that outran their attention kernels


def family(generation: str) -> str:
    """The generation whose parameters stand for `generation`: all CDNA are one, and what is unknown is "other"."""
    if generation.startswith("cdna"):
        return "cdna"
    return generation if generation in KNOWN else "other"


class Circumstances(NamedTuple):
    """What is known of how a job is run; None is "not known"."""

    gpus: float | None = None
    recompute: Recompute | None = None
    fabric_gb_per_s: float | None = None  # GB/s of one device into the fabric
    year: float | None = None  # of the software
    benchmark: bool = False  # a tuned throughput measurement, not a whole run with its downtime


def attention_cost(generation: str, parameters: Parameters) -> float:
    """Time of one FLOP of attention, counted over the whole sequence, in FLOPs of a matrix product."""
    return parameters["attention.cost.bent" if generation in BENT else "attention.cost"]


def executed_flops(work: TrainingWork, generation: str, recompute: Recompute | None, parameters: Parameters) -> float:
    """FLOPs per token that the time goes into, attention weighted by its cost."""
    whole = work.matrix_flops + attention_cost(generation, parameters) * work.attention_flops
    return whole * (RECOMPUTED if recompute is Recompute.FULL else 1.0)


class Growth(NamedTuple):
    """How device-hours grow with the number n of devices: n^`exponent`, and by `batch` more between two counts."""

    exponent: float
    batch: float
    devices: tuple[float, float]


def growth(work: TrainingWork, generation: str, parameters: Parameters) -> Growth:
    """Each of more devices does a little less; with a fixed global batch they also get fewer tokens each per step.

    Of CPUs nothing is known: they do not grow.
    """
    if family(generation) == "cpu":
        return Growth(0.0, 0.0, (1.0, 1.0))
    exponent = -parameters["planning.scale"] / log(2.0)
    if not work.global_batch_tokens:
        return Growth(exponent, 0.0, (1.0, 1.0))
    tokens = work.global_batch_tokens / TYPICAL_TOKENS
    return Growth(exponent, parameters["planning.batch"] / log(2.0), (tokens / 2.0**MOST, tokens / 2.0**LEAST))


class PlanningModel:
    """Device-time of training `work`, from a regression over published runs and benchmarks.

    ln(utilisation) = u(generation) + size·log10(N/10B) + scale·log2(n/64) + sparsity·ln(N_all/N_active)
    + batch·log2(tokens per device and step / 4096) + balance·ln(FLOP per byte / 200) + year·(years after 2023)/2 + ...,
    of the executed FLOPs (6·N and attention, 4/3 of both with full recompute) against the dense 16-bit peak.
    """

    __slots__ = ("_parameters", "_work", "_work_term")

    def __init__(self, work: TrainingWork, parameters: Parameters) -> None:
        self._work = work
        self._parameters = parameters
        p = parameters
        term = p["planning.size"] * log10(work.active_parameters / 1e10)
        term += p["planning.sparsity"] * log(work.parameters / work.active_parameters)
        if work.precision in (Precision.FP8, Precision.FP4):
            term += p["planning.fp8"]
        if work.precision is Precision.FP4:
            term += p["planning.fp4"]
        self._work_term = term

    def utilisation(self, generation: str, peak16_tflops: float, bandwidth_gb_s: float, around: Circumstances) -> float:
        """Executed FLOPs over the dense 16-bit peak, in (0, ...]: above 1 is possible in narrower formats."""
        p, work = self._parameters, self._work
        kind = family(generation)
        term = log(p["planning.utilisation." + kind])
        if kind == "cpu":
            return exp(term)  # one constant: nothing of what follows was seen on one
        term += self._work_term
        if around.gpus:
            term += p["planning.scale"] * log2(around.gpus / 64.0)
            if work.global_batch_tokens:
                tokens = work.global_batch_tokens / around.gpus
                term += p["planning.batch"] * max(LEAST, min(MOST, log2(tokens / TYPICAL_TOKENS)))
        if bandwidth_gb_s > 0:
            balance = log(peak16_tflops * 1e3 / bandwidth_gb_s / 200.0)
            term += p["planning.balance"] * max(-FARTHEST, balance)
        if around.fabric_gb_per_s is not None and around.fabric_gb_per_s < SLOW_GB_PER_S:
            term += p["planning.slow_fabric"]
        year = around.year if around.year is not None else p["planning.software_year"]
        term += p["planning.year"] * (max(2017.0, year) - 2023.0) / 2.0
        if not around.benchmark:
            term += p["planning.run"]
        return exp(term)

    def seconds_per_token(
        self, generation: str, peak16_tflops: float, bandwidth_gb_s: float, around: Circumstances
    ) -> float:
        """Device-seconds of one token: over n devices a token takes an n-th of it."""
        flops = executed_flops(self._work, generation, around.recompute, self._parameters)
        share = self.utilisation(generation, peak16_tflops, bandwidth_gb_s, around)
        return flops / (peak16_tflops * 1e12 * share)
