"""What `validate` and `calibrate` share: files of observed runs in, judged predictions and every row's fate out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.app import App
from orchestrator.catalog.devices import resolver
from orchestrator.domain.accelerator import Accelerator
from orchestrator.interfaces.views.accuracy_view import FileVerdict
from orchestrator.interfaces.views.choose import waiting
from orchestrator.sizing.accuracy import Skipped, judge
from orchestrator.sizing.calibration import PREFIX
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.predict import predict_inference, predict_training
from orchestrator.spec.history.reader import History, read


def verdicts(app: App, paths: Sequence[Path], parameters: Parameters) -> tuple[FileVerdict, ...]:
    """Read files and judge what is predicted of their rows.

    Raises: UserError, ConfigError and SpecError as `spec.history.reader.read`.
    """
    devices = app.accelerators()
    with waiting(f"reading {', '.join(map(str, paths))}"):
        histories = read(paths, resolver(devices))
    with waiting("predicting"):
        known = {device.name: device for device in devices}
        return tuple(verdict(history, known, parameters) for history in histories)


def verdict(history: History, devices: Mapping[str, Accelerator], parameters: Parameters) -> FileVerdict:
    """The rows of one file, judged."""
    found = judge(history.runs, devices, parameters, training=predict_training, inference=predict_inference)
    refused = tuple(
        Skipped(history.file, history.lines[position], history.runs[position].id, "", reason)
        for position, reason in found.refused
    )
    return FileVerdict(
        file=history.file,
        layout=history.layout.value,
        rows=history.rows,
        used=len(history.runs) + len(history.models) - len(refused),
        judged=found.judged,
        skipped=(*history.skipped, *refused),
        assumed=history.assumed,
        left=found.left,
        ignored_columns=history.ignored_columns,
    )


def named_numbers(parameters: Parameters) -> str:
    """Which numbers a prediction rests on, in words."""
    origins = {parameters.row(name).origin.split(":")[0] for name in parameters if name.startswith(f"{PREFIX}.")}
    return ", ".join(sorted(origins)) or "as released, no calibration"
