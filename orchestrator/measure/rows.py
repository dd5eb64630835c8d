"""Rows: observed runs written in the layout of `training_runs.csv` and `inference_runs.csv`."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.sizing.observed import InferenceRun, TrainingRun


def training_csv(runs: Iterable[TrainingRun | InferenceRun], *, source: str) -> str:
    """The training runs among `runs` with a heading; the heading alone where there are none."""
    raise NotImplementedError


def inference_csv(runs: Iterable[TrainingRun | InferenceRun], *, source: str) -> str:
    """The inference runs among `runs` with a heading; the heading alone where there are none."""
    raise NotImplementedError
