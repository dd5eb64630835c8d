"""`isoflop events`: the log of facts that everything else is a fold over."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.events_view import EventsReport


def run(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id; all runs without it.")] = None,
    *,
    full: Annotated[bool, typer.Option("--all", help="Every report of progress too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: always every event.")] = False,
) -> None:
    """Print everything that happened to a run.

    Exit codes: 0, or 2 where there is no such run.
    """
    app = session.open_app()
    with control.reader(app) as source:
        names = [source.run(run_id).id] if run_id is not None else [each.id for each in source.runs()]
        recorded = sorted((each for name in names for each in source.events(name)), key=lambda each: each.seq)
    choose(as_json).show(EventsReport(tuple(recorded), full))
