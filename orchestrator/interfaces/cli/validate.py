"""`isoflop validate`: the predictions of the sizing beside the user's own history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.cli.judging import named_numbers, verdicts
from orchestrator.interfaces.views.accuracy_view import AccuracyReport
from orchestrator.interfaces.views.choose import choose


def run(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="CSVs of training or inference runs, and of model shapes.")
    ],
    *,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", metavar="NAME", help="The calibration to use instead of the settings', or none."),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Show the rows that are furthest off; with --json, all.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check predictions against runs of your own.

    Prints error, bias and the coverage of the band per quantity and GPU generation, and every row's fate.

    Exit codes: 0, or 2 where a file cannot be read or holds no row that can be judged.
    """
    app = session.open_app()
    parameters = app.parameters(calibration)
    found = verdicts(app, files, parameters)
    report = AccuracyReport(files=found, numbers=named_numbers(parameters), worst=rows)
    choose(as_json).show(report)
    if not report.judged:
        raise UserError("no row can be judged: the reasons are above")
