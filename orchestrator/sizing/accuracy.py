"""Accuracy: how far predictions are from what was observed, per quantity and per generation of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Band
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.parameters import Parameters

NEAR = 0.25  # the share "within 25 %"


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


Answer: TypeAlias = tuple[Prediction, ...] | Reason
PredictTraining: TypeAlias = Callable[[TrainingRun, Accelerator, Parameters], Answer]
PredictInference: TypeAlias = Callable[[InferenceRun, Accelerator, Parameters], Answer]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that no prediction is judged by: where it stands, which column says so ("": the whole row), and why."""

    file: str
    line: int
    run_id: str
    column: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A prediction with the run it is of."""

    run_id: str
    family: str
    group: str  # rows that share it are not independent
    accelerator: str
    generation: str
    quantity: Quantity
    true: float
    predicted: Band

    @property
    def error(self) -> float:
        """The signed relative error of the median: predicted/true - 1."""
        return self.predicted.p50 / self.true - 1.0

    @property
    def covered(self) -> bool:
        """Whether what was observed lies in the p10-p90 band."""
        return self.predicted.p10 <= self.true <= self.predicted.p90


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good the predictions of one quantity are. Errors are relative: |predicted/true - 1|."""

    quantity: Quantity
    generation: str  # "" is all of them
    n: int
    groups: int  # of rows that are not independent
    median_error: float
    p90_error: float
    bias: float  # the median of predicted/true - 1
    near: float  # the share of rows with an error of at most 25 %
    covered: float  # the share of rows within the p10-p90 band


@dataclass(frozen=True, slots=True)
class Verdict:
    """Runs judged, and those that cannot be: every run is in one of the two.

    `left` counts what was observed in a run that is judged, and not predicted: ("TTFT", 3).
    """

    judged: tuple[Judged, ...]
    refused: tuple[tuple[int, str], ...]  # the position of the run, and why nothing was predicted
    left: tuple[tuple[str, int], ...] = ()


def judge(
    runs: Iterable[TrainingRun | InferenceRun],
    devices: Mapping[str, Accelerator],
    parameters: Parameters,
    *,
    training: PredictTraining,
    inference: PredictInference,
) -> Verdict:
    """Predict every run and set the answers beside what was observed.

    `devices` holds the accelerator of every run by its canonical name.
    """
    judged: list[Judged] = []
    refused: list[tuple[int, str]] = []
    left: Counter[str] = Counter()
    for position, run in enumerate(runs):
        device = devices[run.accelerator]
        if isinstance(run, TrainingRun):
            answer = training(run, device, parameters)
        else:
            answer = inference(run, device, parameters)
        reason = _unusable(answer)
        if isinstance(answer, Reason) or reason:
            refused.append((position, reason))
        else:
            judged += [_judged(run, prediction) for prediction in answer]
            left.update(_left(run, answer))
    return Verdict(tuple(judged), tuple(refused), tuple(left.most_common()))


def scores(judged: Sequence[Judged]) -> tuple[Score, ...]:
    """A score per quantity that has rows, each followed by its scores per generation."""
    found = []
    for quantity in Quantity:
        rows = [row for row in judged if row.quantity is quantity]
        if rows:
            found.append(score(rows))
            generations = sorted({row.generation for row in rows})
            found += [score([row for row in rows if row.generation == each], each) for each in generations]
    return tuple(found)


def score(rows: Sequence[Judged], generation: str = "") -> Score:
    """The score of `rows`, at least one and all of one quantity."""
    errors = sorted(abs(row.error) for row in rows)
    return Score(
        quantity=rows[0].quantity,
        generation=generation,
        n=len(rows),
        groups=len({(row.generation, row.group) for row in rows}),
        median_error=quantile(errors, 0.5),
        p90_error=quantile(errors, 0.9),
        bias=quantile(sorted(row.error for row in rows), 0.5),
        near=sum(error <= NEAR for error in errors) / len(rows),
        covered=sum(row.covered for row in rows) / len(rows),
    )


def quantile(ascending: Sequence[float], share: float) -> float:
    """The quantile of sorted numbers, at least one, interpolated linearly between neighbours."""
    place = share * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def _unusable(answer: Answer) -> str:
    """Why the answer says nothing; empty where it does."""
    if isinstance(answer, Reason):
        return answer.detail
    for each in answer:
        numbers = (each.true, each.predicted.p10, each.predicted.p50, each.predicted.p90)
        if not all(isfinite(number) and number > 0 for number in numbers):
            return f"{each.quantity}: {each.true:g} observed and {each.predicted.p50:g} predicted cannot be compared"
    return "" if answer else "nothing that was observed is predicted"


def _left(run: TrainingRun | InferenceRun, answer: Sequence[Prediction]) -> list[str]:
    """What the run observed, and the answer does not speak of."""
    if isinstance(run, TrainingRun):
        return []  # one time, however it was measured
    said = {prediction.quantity for prediction in answer}
    observed = (
        ("TTFT", run.ttft_s, {Quantity.TTFT_ONE, Quantity.TTFT_LOAD}),
        ("TPOT", run.tpot_s, {Quantity.TPOT}),
        ("output tokens per second", run.output_tokens_per_s, {Quantity.THROUGHPUT}),
        ("request latency", run.latency_s, {Quantity.LATENCY}),
    )
    return [name for name, value, quantities in observed if value is not None and not said & quantities]


def _judged(run: TrainingRun | InferenceRun, prediction: Prediction) -> Judged:
    return Judged(
        run_id=run.id,
        family=run.family,
        group=run.group,
        accelerator=run.accelerator,
        generation=run.generation,
        quantity=prediction.quantity,
        true=prediction.true,
        predicted=prediction.predicted,
    )
