"""`isoflop logs`: what the program wrote, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views import machine
from orchestrator.interfaces.views.choose import write


def run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or how it begins.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only this attempt.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for every piece.")] = False,
) -> None:
    """Print what a run's program wrote.

    Exit codes: 0, or 2 where there is no such run or attempt.
    """
    app = session.open_app()
    with control.reader(app) as source:
        for data in _pieces(source, run_id, attempt, app, follow=follow):
            text = data.decode(errors="replace")
            write(sys.stdout, machine.line({"run": run_id, "text": text}) if as_json else data)


def _pieces(source: control.Reader, run_id: str, attempt: int | None, app: App, *, follow: bool) -> Iterator[bytes]:
    piece = source.logs(run_id, attempt=attempt)
    while True:
        if piece.data:
            yield piece.data
        elif piece.ended or not follow:
            return
        else:
            app.clock.sleep(control.EVERY_S)
        piece = source.logs(run_id, cursor=piece.cursor, attempt=attempt)
