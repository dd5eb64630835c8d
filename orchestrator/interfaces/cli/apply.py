"""`isoflop apply`: checks saved plans against the market of now, and hands them to the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.domain.errors import Infeasible, StalePlan, UserError
from orchestrator.domain.plan import Plan
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.said_view import said_of
from orchestrator.planning.validity import still_valid


def run(
    plan_files: Annotated[
        list[Path], typer.Argument(metavar="PLAN...", help="Plans saved with `isoflop plan -o`: all are run, or none.")
    ],
    *,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Apply only once: the same key gives the same run.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the runs until they end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for every change.")] = False,
) -> None:
    """Run saved plans, if their prices and capacity still hold.

    Starts a control plane where none runs; the failover order of a run is its plan's. Several plans, such as the pools
    of a service over many sites, are checked together before the first is handed in.

    Exit codes: 0 handed in, 2 bad input, 3 a plan without placements, 5 the market moved: plan again; with --watch 6
    where a run failed or was cancelled.
    """
    app = session.open_app()
    plans = {path: session.load_plan(path)[0] for path in plan_files}
    _check(app, plans)
    view = choose(as_json)
    with control.started(app) as client:
        keys = {path: _key(key, plan, alone=len(plans) == 1) for path, plan in plans.items()}
        accepted = [(client.apply(plan, key=keys[path]), keys[path]) for path, plan in plans.items()]
        if not (watch and as_json):
            view.show(said_of([control.handed_in(client, each, key=given) for each, given in accepted]))
        if watch:
            control.watch_these(client, [each.run_id for each, _ in accepted], view, app.clock.sleep)


def _key(key: str, plan: Plan, *, alone: bool) -> str:
    """Of several plans each has a key of its own."""
    return key if alone or not key else f"{key}/{plan.workload.name}"


def _check(app: App, plans: Mapping[Path, Plan]) -> None:
    for path, plan in plans.items():
        if plan.best is None:
            raise Infeasible(plan)
        if plan.workload.program is None:
            raise UserError(f"{path}: the job says nothing to run: it can be planned, not applied")
    with waiting("asking the providers"):
        fresh = app.snapshot()
    stale = {path: reasons for path, plan in plans.items() if (reasons := still_valid(plan, fresh))}
    if stale:
        told = [f"  {reason.code}: {reason.detail}" for reasons in stale.values() for reason in reasons]
        names = ", ".join(map(str, stale))
        verb = "holds" if len(stale) == 1 else "hold"
        raise StalePlan(f"{names} no longer {verb}; plan again with `isoflop plan`:\n" + "\n".join(told))
