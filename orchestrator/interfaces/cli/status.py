"""`isoflop status`: one run, or all."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.runs_view import RunReport, RunsReport


def run(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id, or how it begins.")] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until the run, or every run, has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for every change.")] = False,
) -> None:
    """Show runs: state, progress, time left and cost so far.

    Exit codes: 0; 2 where there is no such run; with RUN and --watch 6 where it failed or was cancelled, 3 where
    nothing could be bought for it.
    """
    app = session.open_app()
    view = choose(as_json)
    with control.reader(app) as source:
        if run_id is not None and watch:
            control.watch_run(source, source.run(run_id).id, view, app.clock.sleep)
        elif run_id is not None:
            view.show(RunReport(source.run(run_id)))
        elif watch:
            control.watch_runs(source, view, app.clock.sleep)
        else:
            view.show(RunsReport(tuple(source.runs())))
