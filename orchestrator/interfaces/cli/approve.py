"""`isoflop approve`: a named approver agrees to what a run is to cost."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said
from orchestrator.spec import quantity


def run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or how it begins.")],
    *,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who agrees; without it the name you are logged in with.")
    ] = None,
    up_to: Annotated[
        str | None, typer.Option("--up-to", metavar="USD", help="Agree to more than is asked for, such as $20k.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Agree to what a run is to cost, as its approver.

    Nothing is bought for a run that waits. Later plans of it within the amount ask nobody again; to refuse, cancel it.

    Exit codes: 0, or 2 where there is no such run, it waits for nobody or somebody else, or no control plane runs.
    """
    app = session.open_app()
    usd = session.read_option("--up-to", up_to, quantity.money_usd)
    with Client.connect(app.settings.home) as client:
        seen = client.approve(run_id, as_name or getpass.getuser(), up_to_usd=usd)
    by = seen.asked.by if seen.asked is not None else ""
    said = good(f"run {seen.id} goes on: {by} agrees to up to {fmt.usd(seen.approved_usd)}")
    fields = {"run_id": seen.id, "state": seen.state.value, "by": by, "approved_usd": seen.approved_usd}
    choose(as_json).show(Said((said,), fields, (f"isoflop status {seen.id} --watch",)))
