"""`isoflop bill`: what was spent, and on what."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.bill_view import BillReport
from orchestrator.interfaces.views.choose import choose


def run(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id; all runs without it.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what runs cost, lease by lease.

    Exit codes: 0, or 2 where there is no such run.
    """
    app = session.open_app()
    with control.reader(app) as source:
        ledger = source.bill(run_id)
    choose(as_json).show(BillReport(ledger))
