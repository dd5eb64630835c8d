"""Fits the sizing's parameters to observed runs: the values in orchestrator/sizing/parameters.csv come from here.

    python benchmarks/fit_sizing.py [FILE...] [--write]

Each group of parameters is fitted to the predictions that depend on it: the planning model to the time from the device
count alone, the step model to steps with known parallelism, the serving model to serving points. It is a maximum a
posteriori fit of the logarithms of true over predicted: every parameter has a prior as wide as its range in the file
(low and high are its 10th and 90th percentile), rows of one family or group share a weight, so that a large table does
not outvote a small one, and outliers count linearly (Huber). `--write` puts the values into the file.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import TypeAlias

import numpy as np

from orchestrator.catalog.accelerators import load
from orchestrator.catalog.devices import resolver
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason
from orchestrator.sizing.accuracy import Prediction, Quantity
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.parameters import FILE, Parameter, Parameters, bundled
from orchestrator.sizing.predict import predict_inference, predict_training
from orchestrator.spec.history.reader import read

DATA = Path(__file__).parents[2] / "shared" / "data" / "sizing"
TAIL = 1.2815515655446004  # standard deviations from the median to the 10th or 90th percentile
ROUNDS = 25

Run: TypeAlias = TrainingRun | InferenceRun


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are fitted together, and the predictions they are fitted to."""

    prefixes: tuple[str, ...]
    quantities: frozenset[Quantity]
    noise: float  # of the logarithm of one observation
    outlier: float  # from which residual on an observation counts linearly
    sharing: float  # rows of one family weigh 1/n to this power each


GROUPS = (
    Group(("planning.", "attention."), frozenset({Quantity.TRAINING_TIME}), 0.2, 0.2, 0.5),
    Group(("step.",), frozenset({Quantity.STEP_TIME}), 0.08, 0.12, 0.4),
    Group(
        ("serving.",),
        frozenset({Quantity.THROUGHPUT, Quantity.TPOT, Quantity.TTFT_ONE, Quantity.LATENCY}),
        0.08,
        0.12,
        0.5,
    ),
)


def fit(
    training: Sequence[TrainingRun], inference: Sequence[InferenceRun], start: Parameters | None = None
) -> Parameters:
    """The parameters that fit the runs best, the others as they are."""
    devices = {device.name: device for device in load()}
    found = bundled() if start is None else start
    for group in GROUPS:
        runs: Sequence[Run] = inference if group.prefixes == ("serving.",) else training
        found = _fit_group(group, runs, devices, found)
    return found


def fitted(row: Parameter) -> bool:
    """Whether the data, and not an assumption, says what `row` is."""
    return row.origin.startswith("fitted") and row.high > row.low


@dataclass(frozen=True, slots=True)
class _Prior:
    """A parameter on the scale it is fitted on: its logarithm, or itself where it may be negative."""

    row: Parameter
    centre: float
    spread: float
    logarithmic: bool

    @staticmethod
    def of(row: Parameter) -> _Prior:
        if row.low > 0:
            return _Prior(row, (log(row.low) + log(row.high)) / 2.0, (log(row.high) - log(row.low)) / 2.0 / TAIL, True)
        return _Prior(row, (row.low + row.high) / 2.0, (row.high - row.low) / 2.0 / TAIL, False)

    def value(self, x: float) -> float:
        return exp(x) if self.logarithmic else x


def _fit_group(group: Group, runs: Sequence[Run], devices: dict[str, Accelerator], start: Parameters) -> Parameters:
    priors = [
        _Prior.of(start.row(name)) for name in start if name.startswith(group.prefixes) and fitted(start.row(name))
    ]
    usable = [run for run in runs if _observed(run, group, devices[run.accelerator], start)]
    if not usable:
        return start

    def at(x: np.ndarray) -> Parameters:
        values = zip(priors, x.tolist(), strict=True)
        return start.replaced([prior.row._replace(value=prior.value(each)) for prior, each in values])

    def residuals(x: np.ndarray) -> np.ndarray:
        known = at(x)
        return np.array([r for run in usable for r in _observed(run, group, devices[run.accelerator], known)])

    weight = _weights(usable, group, devices, start)
    centre = np.array([prior.centre for prior in priors])
    spread = np.array([prior.spread for prior in priors])
    x = _solve(residuals, weight, centre, spread, group)
    return at(x)


def _solve(
    residuals: Callable[[np.ndarray], np.ndarray],
    weight: np.ndarray,
    centre: np.ndarray,
    spread: np.ndarray,
    group: Group,
) -> np.ndarray:
    """Gauss-Newton with reweighted residuals: ln(true/predicted) at x, and what changing each parameter does to it."""
    x = centre.copy()
    step = 1e-4
    for _ in range(ROUNDS):
        now = residuals(x)
        bent = np.minimum(1.0, group.outlier / np.maximum(1e-9, np.abs(now)))
        w = weight * bent / group.noise**2
        jacobian = np.stack([(residuals(x + step * unit) - now) / -step for unit in np.eye(len(x))], axis=1)
        normal = jacobian.T @ (w[:, None] * jacobian) + np.diag(1.0 / spread**2)
        change = np.linalg.solve(normal, jacobian.T @ (w * now) - (x - centre) / spread**2)
        x = x + np.clip(change, -0.3, 0.3)
        if np.abs(change).max() < 1e-4:
            break
    return x


def _observed(run: Run, group: Group, device: Accelerator, known: Parameters) -> list[float]:
    """ln(true/predicted) of what the run observed of the group's quantities."""
    if isinstance(run, TrainingRun):
        answer: tuple[Prediction, ...] | Reason = predict_training(run, device, known)
    else:
        answer = predict_inference(run, device, known)
    if isinstance(answer, Reason):
        return []
    return [log(each.true / each.predicted.p50) for each in answer if each.quantity in group.quantities]


def _weights(runs: Sequence[Run], group: Group, devices: dict[str, Accelerator], known: Parameters) -> np.ndarray:
    sizes = Counter(_kin(run) for run in runs)
    weights = []
    for run in runs:
        whole = isinstance(run, TrainingRun) and not run.benchmark
        said = 0.25 if whole and "step." in group.prefixes else 1.0  # downtime hides the step in a whole run
        each = said / sizes[_kin(run)] ** group.sharing
        weights += [each] * len(_observed(run, group, devices[run.accelerator], known))
    found = np.array(weights)
    return found / found.mean()


def _kin(run: Run) -> str:
    return run.family if isinstance(run, TrainingRun) else run.group


def write(known: Parameters, file: Path = FILE) -> None:
    """Put the values into the file; everything else in it stays as it is."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        if row["name"] in known and fitted(known.row(row["name"])):
            row["value"] = f"{known[row['name']]:.4g}"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def observed(paths: Sequence[Path]) -> tuple[list[TrainingRun], list[InferenceRun]]:
    """All runs of the files."""
    histories = read(paths, resolver(load()))
    runs = [run for history in histories for run in history.runs]
    return (
        [run for run in runs if isinstance(run, TrainingRun)],
        [run for run in runs if isinstance(run, InferenceRun)],
    )


def main() -> None:
    """Fit, print what moved, and write if asked to."""
    parser = argparse.ArgumentParser(description="Fit the sizing's parameters to observed runs.")
    names = ("training_runs.csv", "inference_runs.csv", "model_arch.csv")
    parser.add_argument("files", nargs="*", type=Path, default=[DATA / name for name in names])
    parser.add_argument("--write", action="store_true", help="put the values into parameters.csv")
    asked = parser.parse_args()
    before = bundled()
    after = fit(*observed(asked.files))
    for name in after:
        row = after.row(name)
        if fitted(row):
            prior = _Prior.of(row)
            now = log(row.value) if prior.logarithmic else row.value
            pull = (now - prior.centre) / prior.spread
            print(f"{name:36} {before[name]:10.4g} -> {row.value:10.4g}   {pull:+5.1f} prior deviations")
    if asked.write:
        write(after)


if __name__ == "__main__":
    main()
