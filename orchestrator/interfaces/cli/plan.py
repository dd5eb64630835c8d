"""`isoflop plan`: a dry run; reads the job and the market, prints the plan, buys nothing."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import Infeasible, UserError
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.interfaces.cli import files, session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.plan_view import TOP, PlanReport
from orchestrator.planning.plan import PlanOptions
from orchestrator.spec import documents, quantity

LAYOUT = "orchestrator.interfaces.cli.plan_layout"  # loaded where it is asked for: a plan is quick
FLEET = "orchestrator.interfaces.cli.plan_fleet"  # loaded for several jobs
FRONTIER = "orchestrator.interfaces.cli.plan_frontier"  # likewise
CONTINUUM = "orchestrator.interfaces.cli.plan_continuum"  # likewise: it loads a solver
PARTS = "orchestrator.interfaces.cli.plan_parts"  # likewise
SPOT = "orchestrator.interfaces.cli.plan_spot"  # likewise
RELAX = "orchestrator.interfaces.cli.plan_relax"  # a dozen plans: for those who ask, and where nothing is feasible


def run(
    job_files: Annotated[
        list[Path], typer.Argument(metavar="JOB...", help="Job files, YAML or JSON: several share one plan.")
    ],
    *,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", metavar="FILE", help="Plan over a saved market instead of today's.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Save the plan, to explain or apply it; with --continuum a folder."
        ),
    ] = None,
    save_snapshot: Annotated[
        Path | None, typer.Option("--save-snapshot", metavar="FILE", help="Save the market the plan is made from.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=1000, help="Placements to show.")] = TOP,
    max_price_age: Annotated[
        str | None,
        typer.Option("--max-price-age", metavar="AGE", help="Mark prices older than this, such as 90d or 24h."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider: bundled and imported prices.")] = False,
    buyable: Annotated[
        bool, typer.Option("--buyable", help="Refuse what no configured provider could buy for you.")
    ] = False,
    layout: Annotated[
        bool, typer.Option("--layout", help="Look for the fastest parallelism of the choice, for training.")
    ] = False,
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Show the cheapest, fastest and greenest ways, and those between.")
    ] = False,
    chart: Annotated[
        Path | None, typer.Option("--chart", metavar="FILE", help="Draw the frontier as .svg or .png.")
    ] = None,
    on_spot: Annotated[
        bool, typer.Option("--on-spot", help="Show what spot costs by the deadline, and what to do on the way.")
    ] = False,
    relax: Annotated[bool, typer.Option("--relax", help="Show what loosening each limit would save.")] = False,
    continuum: Annotated[
        bool, typer.Option("--continuum", help="Spread a service over many sites, near to its users.")
    ] = False,
    survive_site_loss: Annotated[
        bool, typer.Option("--survive-site-loss", help="With --continuum: keep every limit when any one site fails.")
    ] = False,
    current: Annotated[
        Path | None,
        typer.Option("--current", metavar="FILE", help="Move what runs by this fleet plan only if it pays."),
    ] = None,
    move_threshold: Annotated[
        float | None,
        typer.Option("--move-threshold", min=1.0, metavar="K", help="A move saves K times what it disturbs (1)."),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", help="Answer within it, of several jobs: 30s (10s)."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, metavar="N", help="Plan several jobs in N processes (extra `run`).")
    ] = 1,
    write_jobs: Annotated[
        Path | None,
        typer.Option(
            "--write-jobs", metavar="DIR", help="Write a job file for each part of a batch, or each --continuum pool."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where a job would run, what it costs and why; buy nothing.

    The same job over the same --snapshot gives the same plan, byte for byte.

    Several jobs share one plan: capacity, quotas, budgets and the data that they hand on.

    Exit codes: 0 a plan, 2 bad input, 3 no feasible placement (the refusals are printed).
    """
    app = session.open_app()
    if len(job_files) > 1 or current is not None:
        if layout or frontier or on_spot or relax or any(one is not None for one in (chart, max_price_age, write_jobs)):
            told = "--layout, --frontier, --chart, --on-spot, --relax, --max-price-age and --write-jobs"
            raise UserError(f"{told} are of one job: plan it alone")
        fleet = importlib.import_module(FLEET)
        fleet.run(
            app,
            fleet.Asked(
                job_files=job_files,
                snapshot=snapshot,
                output=output,
                save_snapshot=save_snapshot,
                current=current,
                time_limit=time_limit,
                threshold=move_threshold,
                workers=workers,
                offline=offline,
                buyable=buyable,
                as_json=as_json,
            ),
        )
        return
    (job_file,) = job_files
    _check_one(workers, chart, on_spot=on_spot, other=frontier or chart is not None or continuum)
    oldest_s = session.read_option("--max-price-age", max_price_age, quantity.duration_s)
    oldest_s = app.settings.max_price_age_s if oldest_s is None else oldest_s
    workload = session.load_job(job_file)
    market = session.look(app, saved=snapshot, live=not offline)
    if continuum or survive_site_loss:
        spread = importlib.import_module(CONTINUUM)
        asked = spread.Asked(buyable, survive_site_loss, output, save_snapshot, write_jobs, job_file)
        spread.show(app, workload, market, asked, as_json=as_json)
        return
    options = PlanOptions(keep=max(top, 20), buyable_only=buyable, max_price_age_s=oldest_s)
    plan = app.plan(workload, market, options)
    _save(plan, market, output, save_snapshot)
    _write_jobs(plan, job_file, write_jobs)
    if frontier or chart is not None:
        shown = importlib.import_module(FRONTIER).report(app, workload, market, buyable_only=buyable, chart_file=chart)
        choose(as_json).show(shown)
        if plan.best is None:
            raise Infeasible(plan)
        return
    if on_spot and plan.best is not None:
        choose(as_json).show(importlib.import_module(SPOT).report(app, workload, market, buyable_only=buyable))
        return
    words = ["isoflop", "apply", str(output)] if output is not None else ["isoflop", "submit", str(job_file)]
    report = PlanReport(
        plan=plan,
        exact=documents.plan_json(plan) if as_json else {},
        command=shlex.join(words),
        max_price_age_s=oldest_s,
        top=top,
        run=importlib.import_module(LAYOUT).as_run(plan, market) if layout else None,
    )
    if relax or plan.best is None:
        report = importlib.import_module(RELAX).with_relaxations(app, plan, market, report, buyable_only=buyable)
    choose(as_json).show(report)
    if plan.best is None:
        raise Infeasible(plan)


def _check_one(workers: int, chart: Path | None, *, on_spot: bool, other: bool) -> None:
    """What does not go together for one job. Raises: UserError, and ConfigError where nothing is installed to draw."""
    if workers > 1:
        raise UserError("--workers is of several jobs: one takes milliseconds")
    if on_spot and other:
        raise UserError("--on-spot, --frontier and --continuum are different answers: ask for one")
    if chart is not None:
        importlib.import_module(FRONTIER).check(chart)


def _save(plan: Plan, market: Snapshot, output: Path | None, save_snapshot: Path | None) -> None:
    if save_snapshot is not None:
        files.write(save_snapshot, documents.dump_snapshot(market))
    if output is not None:
        files.write(output, documents.dump_plan(plan, market))


def _write_jobs(plan: Plan, job_file: Path, folder: Path | None) -> None:
    if folder is not None:
        importlib.import_module(PARTS).write(plan, job_file, folder)
