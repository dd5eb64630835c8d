"""`isoflop down`: ends the control plane, and says what becomes of its runs."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.api import host
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said


def run(
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel open runs first and wait for their end.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the machines of open runs running, and paid for, until `up`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stop the control plane.

    Refuses while runs are open, unless told what becomes of them.

    Exit codes: 0 it is down, 2 runs are open or it does not end.
    """
    if cancel and keep:
        raise UserError("--cancel ends the open runs, --keep leaves them running: give one")
    app = session.open_app()
    told: set[tuple[str, ...]] = set()

    def on_wait(runs: tuple[str, ...]) -> None:
        if runs not in told:
            told.add(runs)
            control.say(f"waiting for the end of {', '.join(runs)}")

    with waiting("stopping the control plane"):
        stopped = host.stop(app.settings, cancel=cancel, keep=keep, on_wait=on_wait)
    sentence = "the control plane is down" if stopped else f"no control plane runs for {app.settings.home}"
    choose(as_json).show(Said((good(sentence),), {"stopped": stopped}))
