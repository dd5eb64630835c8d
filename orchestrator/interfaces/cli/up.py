"""`isoflop up`: starts the control plane."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.interfaces.api import host
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said


def run(
    *,
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="Join this Ray cluster instead of an own one.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port of the HTTP API on loopback; 0: a free one.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the foreground and log there; Ctrl-C ends it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start the control plane.

    One for each state folder (ISOFLOP_HOME); where one runs already, says so and changes nothing.

    Exit codes: 0 it runs, 2 it cannot start (a port in use, the `run` extra missing, a folder not writable).
    """
    app = session.open_app()
    before = host.running(app.settings)
    if foreground and before is None:
        host.start(app.settings, address=address, port=port, foreground=True)
    with waiting("starting the control plane"):
        known = host.start(app.settings, address=address, port=port)
    word = "runs already" if before is not None else "runs"
    sentence = f"the control plane of {app.settings.home} {word}: {known.url}, pid {known.pid}"
    fields = {"url": known.url, "pid": known.pid, "started_at": known.started_at, "started": before is None}
    choose(as_json).show(Said((good(sentence),), fields))
