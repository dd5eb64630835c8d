"""`isoflop explain`: judges a saved plan's market again and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.explain_view import ExplainReport
from orchestrator.planning.explain import explain


def run(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan saved with `isoflop plan -o`.")],
    offer: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OFFER]...", help="Words of provider, region, type, billing or GPU; all must match."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why an offer of a saved plan is, or is not, the choice.

    Exit codes: 0, or 2 where the file is no plan or no offer matches.
    """
    app = session.open_app()
    plan, snapshot = session.load_plan(plan_file)
    told = explain(plan, snapshot, app.policies(), " ".join(offer) if offer else None)
    if told.query is not None and not told.matched:
        raise UserError(told.headline)
    choose(as_json).show(ExplainReport(told))
