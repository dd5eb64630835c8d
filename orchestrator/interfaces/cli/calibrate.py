"""`isoflop calibrate`: what the user's own history says about predictions, kept for `size` and `plan` to use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.app import DEFAULT_CALIBRATION, App
from orchestrator.catalog import calibrations
from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import files as own_files
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.cli.judging import verdict, verdicts
from orchestrator.interfaces.views.accuracy_view import FileVerdict
from orchestrator.interfaces.views.calibration_view import CalibrationReport, CalibrationsReport
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said
from orchestrator.measure import rows
from orchestrator.measure.session import Measured
from orchestrator.measure.session import measure as measure_here
from orchestrator.sizing.learning import calibrate
from orchestrator.sizing.parameters import Parameters, bundled
from orchestrator.spec import quantity
from orchestrator.spec.history.layout import Layout
from orchestrator.spec.history.reader import History


def run(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="CSVs of your training or inference runs, and of model shapes."),
    ] = None,
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to keep it under.")] = DEFAULT_CALIBRATION,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train and decode on the accelerator at hand, and add what was seen.")
    ] = False,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="For --measure: how long about, such as 2min.")
    ] = "60s",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="For --measure: where its rows go as CSV."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the calibration and keep nothing.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show what is kept, and which is used.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the calibration called --name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn from runs of your own, for size and plan to use.

    What is learned are factors on predicted times, and bands around them.

    Exit codes: 0, or 2 where a file cannot be read or there is too little to learn from.
    """
    app = session.open_app()
    kept = app.settings.calibrations_dir
    calibrations.place(kept, name)  # a name that cannot be kept is refused before minutes of measuring
    if show + remove + bool(files or measure) != 1:
        raise UserError("give FILE... or --measure (or both), or --show, or --remove")
    if show:
        choose(as_json).show(_kept(app))
    elif remove:
        _forget(app, name, as_json=as_json)
    else:
        parameters = bundled()
        found = list(verdicts(app, files, parameters)) if files else []
        if measure:
            folder = output or (None if dry_run else app.settings.home / "measured" / name)
            found.append(_measured(app, parameters, budget, folder))
        judged = [row for file in found for row in file.judged]
        try:
            made = calibrate(
                judged,
                parameters,
                name=name,
                made_on=app.clock.now().date().isoformat(),
                sources=[file.file for file in found],
            )
        except (
            UserError
        ) as error:  # after minutes of measuring, why there is so little is worth more than that there is
            raise UserError("\n  ".join((str(error), *(note for file in found for note in file.notes)))) from error
        if not dry_run:
            calibrations.store(made, kept)
        used = app.settings.calibration or DEFAULT_CALIBRATION
        choose(as_json).show(CalibrationReport(made=made, files=tuple(found), kept=not dry_run, used=used == name))


def _kept(app: App) -> CalibrationsReport:
    folder = app.settings.calibrations_dir
    found = [calibrations.load(folder, each) for each in calibrations.names(folder)]
    kept = tuple(each for each in found if each is not None)
    return CalibrationsReport(kept=kept, used=app.settings.calibration or DEFAULT_CALIBRATION)


def _forget(app: App, name: str, *, as_json: bool) -> None:
    folder = app.settings.calibrations_dir
    if not calibrations.remove(folder, name):
        known = ", ".join(calibrations.names(folder))
        raise UserError(f"no calibration is called {name!r} (kept: {known or 'none'})")
    choose(as_json).show(Said((good(f"forgot {name}"),), {"forgotten": name}))


def _measured(app: App, parameters: Parameters, budget: str, folder: Path | None) -> FileVerdict:
    """What the accelerator at hand did, judged; its rows written to `folder`, if that is given."""
    budget_s = session.read_option("--budget", budget, quantity.duration_s) or 0.0
    with waiting("measuring the accelerator at hand"):
        seen = measure_here(app.accelerators(), budget_s=budget_s, clock=app.clock, progress=_quiet)
    history = History(
        file=seen.source or f"measured on {seen.device.name}",
        layout=Layout.TRAINING,
        rows=len(seen.runs),
        runs=seen.runs,
        lines=tuple(range(1, len(seen.runs) + 1)),
    )
    if folder is not None:
        _write(folder, seen)
    judged = verdict(history, {seen.device.name: seen.device}, parameters)
    return replace(judged, layout="measured runs", notes=seen.notes)


def _write(folder: Path, seen: Measured) -> None:
    """The rows as the CSVs that `validate` reads. Raises: UserError where they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    own_files.write(folder / "training_runs.csv", rows.training_csv(seen.runs, source=seen.source))
    own_files.write(folder / "inference_runs.csv", rows.inference_csv(seen.runs, source=seen.source))


def _quiet(said: str) -> None:
    """Progress goes nowhere: the wheel turns."""
