"""`isoflop submit`: hands a job file to the control plane, starting one if none runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose


def run(
    job_file: Annotated[Path, typer.Argument(metavar="JOB", help="Job file, YAML or JSON.")],
    *,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Submit only once: the same key gives the same run.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the run until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for every change.")] = False,
) -> None:
    """Hand a job to the control plane, which buys, runs and bills it.

    Starts a control plane where none runs.

    Exit codes: 0 handed in, 2 bad input; with --watch 6 where the run failed or was cancelled, 3 where nothing could
    be bought for it.
    """
    app = session.open_app()
    workload = session.load_job(job_file)
    if workload.program is None:
        raise UserError(
            f"{job_file}: the job says nothing to run: it can be planned, not submitted (add `run: command:`)"
        )
    view = choose(as_json)
    with control.started(app) as client:
        accepted = client.submit(workload, key=key)
        if not (watch and as_json):  # JSON lines of one kind: the first line of the watch names the run
            view.show(control.handed_in(client, accepted, key=key))
        if watch:
            control.watch_run(client, accepted.run_id, view, app.clock.sleep)
