"""`isoflop cancel`: ends a run."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.page import Text, good, warn
from orchestrator.interfaces.views.said_view import Said


def run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or how it begins.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stop a run and give its machines back.

    The program is asked to stop and given its grace; a run that has ended stays as it is.

    Exit codes: 0, or 2 where there is no such run or no control plane runs.
    """
    app = session.open_app()
    with Client.connect(app.settings.home) as client:
        seen = client.cancel(run_id)
    said: Text = (
        warn(f"run {seen.id} has ended already: {seen.state}")
        if seen.state.final
        else good(f"run {seen.id} is being cancelled; its machines are given back as its program ends")
    )
    fields = {"run_id": seen.id, "state": seen.state.value, "ended_already": seen.state.final}
    choose(as_json).show(Said((said,), fields, () if seen.state.final else (f"isoflop status {seen.id} --watch",)))
