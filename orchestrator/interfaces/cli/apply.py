"""`isoflop apply`: checks a saved plan against the market of now, and hands it to the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.domain.errors import Infeasible, StalePlan, UserError
from orchestrator.domain.plan import Plan
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.planning.validity import still_valid


def run(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan saved with `isoflop plan -o`.")],
    *,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Apply only once: the same key gives the same run.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the run until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for every change.")] = False,
) -> None:
    """Run a saved plan, if its prices and capacity still hold.

    Starts a control plane where none runs; its failover order is the plan's.

    Exit codes: 0 handed in, 2 bad input, 3 a plan without placements, 5 the market moved: plan again; with --watch 6
    where the run failed or was cancelled.
    """
    app = session.open_app()
    plan, _ = session.load_plan(plan_file)
    _check(app, plan, plan_file)
    view = choose(as_json)
    with control.started(app) as client:
        accepted = client.apply(plan, key=key)
        if not (watch and as_json):
            view.show(control.handed_in(client, accepted, key=key))
        if watch:
            control.watch_run(client, accepted.run_id, view, app.clock.sleep)


def _check(app: App, plan: Plan, plan_file: Path) -> None:
    if plan.best is None:
        raise Infeasible(plan)
    if plan.workload.program is None:
        raise UserError(f"{plan_file}: the job says nothing to run: it can be planned, not applied")
    with waiting("asking the providers"):
        fresh = app.snapshot()
    reasons = still_valid(plan, fresh)
    if reasons:
        said = "\n".join(f"  {reason.code}: {reason.detail}" for reason in reasons)
        raise StalePlan(f"{plan_file} no longer holds; make it again with `isoflop plan`:\n{said}")
