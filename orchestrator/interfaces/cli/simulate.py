"""`isoflop simulate`: replays jobs, spot markets, requests, queues and grids in virtual time, and serves clouds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from orchestrator.catalog import importer
from orchestrator.catalog.importer import BadRows
from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Service
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.interfaces.cli import files, session
from orchestrator.interfaces.cli.simulate_serve import serve
from orchestrator.interfaces.views import machine
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.study_view import StudyReport
from orchestrator.planning.autoscale.queueing import of_service
from orchestrator.simulation import (
    inputs,
    queue_trace,
    shift_replay,
    study_carbon,
    study_jobs,
    study_queue,
    study_serve,
    study_spot,
    weather,
)
from orchestrator.simulation.engine import Scenario
from orchestrator.simulation.study_carbon import ShiftCase
from orchestrator.simulation.study_serve import ServeCase
from orchestrator.simulation.study_spot import SpotCase
from orchestrator.spec import quantity
from orchestrator.spec.documents import to_jsonable
from orchestrator.spec.edits import edited

HOUR_S, DAY_S = 3600.0, 86_400.0
QUEUE_LOAD = 0.95

Days = Annotated[float, typer.Option("--days", metavar="N", min=0.1, max=366.0, help="How long it goes on.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same answer.")]
Alone = Annotated[bool, typer.Option("--alone", help="Leave the baselines out: quicker.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpotTrace = Annotated[
    Path | None,
    typer.Option("--spot-trace", metavar="DIR", help="Recorded availability of spot machines; generated otherwise."),
]


def jobs(
    job_files: Annotated[
        list[Path] | None, typer.Argument(metavar="[JOB]...", help="Job files; three examples without any.")
    ] = None,
    *,
    arrivals: Annotated[
        Path | None, typer.Option("--arrivals", metavar="FILE", help="CSV of `at` (36h) and `job` (a file beside it).")
    ] = None,
    each: Annotated[int, typer.Option("--each", metavar="N", min=1, max=100_000, help="Copies of each job file.")] = 4,
    spot_trace: SpotTrace = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="CSV of offers in place of the price book.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", metavar="FILE", help="A saved market in place of the price book.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option("--start", formats=["%Y-%m-%d"], metavar="DATE", help="When it begins; default: the prices' day."),
    ] = None,
    days: Days = 14.0,
    seed: Seed = 1,
    stock: Annotated[
        int, typer.Option("--stock", metavar="N", min=1, help="Nodes of a spot offer that does not say.")
    ] = 8,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME.SETTING=N", help="As deadline.usd_per_hour=100. Repeatable."),
    ] = None,
    bill: Annotated[
        Path | None, typer.Option("--bill", metavar="FILE", help="Save isoflop's bill and every event as JSON.")
    ] = None,
    alone: Alone = False,
    as_json: Json = False,
) -> None:
    """Run jobs through the planner and the control plane, in virtual time.

    Exit codes: 0, or 2 for bad input.
    """
    app = session.open_app()
    market = _market(app.snapshot(live=False), prices, snapshot, start)
    if arrivals is not None:
        if job_files:
            raise UserError("--arrivals names the job files: give either, not both")
        coming = inputs.arrivals(arrivals, session.load_job, quantity.duration_s)
    else:
        loaded = [session.load_job(path) for path in job_files or ()] or inputs.examples()
        coming = inputs.scattered(loaded, each, days, seed)
    coming = tuple(arrival._replace(workload=_with(arrival.workload, policy or ())) for arrival in coming)
    late = [arrival for arrival in coming if arrival.at_s >= days * DAY_S]
    if late:
        raise UserError(f"{len(late)} jobs arrive after the end: give more --days")
    sky = weather.generated(market.book, days, seed)
    if spot_trace is not None:
        sky = weather.recorded(market.book, inputs.spot_folder(spot_trace))
    scenario = Scenario(coming, market, sky, days, seed, stock)
    with waiting("simulating"):
        done = study_jobs.study(scenario, app.policies(), baselines=not alone)
    if bill is not None:
        document = {"bill": to_jsonable(done.own.tally.bill), "jobs": to_jsonable(done.own.tally.jobs)}
        files.write(bill, machine.document({**document, "events": to_jsonable(done.own.events)}))
    choose(as_json).show(StudyReport(done.study))


def spot(
    *,
    spot_trace: SpotTrace = None,
    work: Annotated[str, typer.Option("--work", metavar="TIME", help="Hours of work of a job, such as 24h.")] = "24h",
    deadline: Annotated[str, typer.Option("--deadline", metavar="TIME", help="From its start.")] = "48h",
    count: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=10_000, help="Spread over the trace.")] = 12,
    change_over: Annotated[
        str, typer.Option("--change-over", metavar="TIME", help="From a machine to work: boot and restore.")
    ] = "12min",
    egress_usd: Annotated[float, typer.Option("--egress-usd", metavar="N", min=0.0, help="Of a move.")] = 1.0,
    spot_price: Annotated[
        float, typer.Option("--spot-price", metavar="N", min=0.0, help="USD/h, where the trace has none.")
    ] = 12.0,
    on_demand_price: Annotated[float, typer.Option("--on-demand-price", metavar="N", min=0.0, help="Likewise.")] = 38.0,
    days: Days = 14.0,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Run jobs with a deadline on spot machines, beside the optimum.

    Exit codes: 0, or 2 for bad input.
    """
    case = SpotCase(
        work_h=_time_s("--work", work) / HOUR_S,
        deadline_h=_time_s("--deadline", deadline) / HOUR_S,
        jobs=count,
        change_over_h=_time_s("--change-over", change_over) / HOUR_S,
        egress_usd=egress_usd,
        spot_usd_per_hour=spot_price,
        on_demand_usd_per_hour=on_demand_price,
        days=days,
        seed=seed,
    )
    zones = inputs.spot_folder(spot_trace) if spot_trace is not None else None
    with waiting("simulating"):
        done = study_spot.study(case, zones)
    choose(as_json).show(StudyReport(done))


def requests(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="[JOB]", help="A service; a 7B model on one H100 without it.")
    ] = None,
    *,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", metavar="FILE", help="A trace: CSV of Azure's layout, or .jsonl of Mooncake's."),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, max=20_000_000, help="Requests to generate.")
    ] = 200_000,
    days: Days = 0.125,
    seed: Seed = 1,
    promise: Annotated[str, typer.Option("--first-token", metavar="TIME", help="Promised.")] = "2s",
    boot: Annotated[str, typer.Option("--boot", metavar="TIME", help="Of a replica, billed.")] = "120s",
    usd_per_hour: Annotated[float, typer.Option("--usd-per-hour", metavar="N", min=0.0, help="Of a replica.")] = 4.0,
    alone: Alone = False,
    as_json: Json = False,
) -> None:
    """Send requests through a service that is scaled by forecast.

    Exit codes: 0, 2 for bad input or where the job can run nowhere.
    """
    case = ServeCase(
        first_token_s=_time_s("--first-token", promise), boot_s=_time_s("--boot", boot), usd_per_hour=usd_per_hour
    )
    if job_file is not None:
        case = _sized(case, job_file)
    if requests is not None:
        trace, source = inputs.requests(requests), requests.name
    else:
        trace, source = study_serve.day(count, days, seed), f"generated, seed {seed}"
    with waiting("simulating"):
        done = study_serve.study(case, trace, source, baselines=not alone)
    rate = done.requests / max(done.seconds, 1e-9)
    typer.echo(f"{done.requests:,} requests in {done.seconds:.1f} CPU-s: {rate:,.0f} a second", err=True)
    choose(as_json).show(StudyReport(done.study))


def queue(
    *,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="CSV of timestamp, duration (s) and num_gpus; generated without."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", min=1, help="Of the cluster; default: for a load of 0.95.")
    ] = None,
    count: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=1_000_000, help="To generate.")] = 2_000,
    restart: Annotated[str, typer.Option("--restart", metavar="TIME", help="Redone by what is preempted.")] = "300s",
    seed: Seed = 1,
    alone: Alone = False,
    as_json: Json = False,
) -> None:
    """Order the jobs of a cluster without knowing how long they run.

    Exit codes: 0, or 2 for bad input.
    """
    if trace is None:
        found, source = queue_trace.generated(count, 60.0, np.random.default_rng(seed)), f"generated, seed {seed}"
    else:
        files.read(trace)  # an unreadable file has one message
        found, source = queue_trace.read(trace), trace.name
    offered = float(found.run_s @ found.gpus) / max(float(found.arrived_s[-1]), 1.0)
    size = gpus if gpus is not None else max(int(found.gpus.max()), round(offered / QUEUE_LOAD))
    with waiting("simulating"):
        done = study_queue.study(found, size, _time_s("--restart", restart), source, baselines=not alone)
    choose(as_json).show(StudyReport(done))


def carbon(
    *,
    series: Annotated[
        Path | None,
        typer.Option("--series", metavar="FILE", help="CSV of a time and g CO2/kWh, or a price, by the hour."),
    ] = None,
    grid: Annotated[str, typer.Option("--grid", metavar="NAME", help="Generated otherwise.")] = "wind and gas",
    work: Annotated[str, typer.Option("--work", metavar="TIME", help="Of a job.")] = "12h",
    slack: Annotated[str, typer.Option("--slack", metavar="TIME", help="How much longer it may take.")] = "24h",
    days: Days = 120.0,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Put off work that can wait to cleaner, or cheaper, hours.

    Exit codes: 0, or 2 for bad input.
    """
    case = ShiftCase(_time_s("--work", work) / HOUR_S, _time_s("--slack", slack) / HOUR_S)
    if series is not None:
        files.read(series)
        hourly, source = shift_replay.read(series), series.name
    elif grid not in shift_replay.GRIDS:
        raise UserError(f"--grid {grid}: one of {', '.join(shift_replay.GRIDS)}")
    else:
        hourly = shift_replay.generated(shift_replay.GRIDS[grid], round(days), np.random.default_rng(seed))
        source = f"generated: {grid}, {days:g} days, seed {seed}"
    with waiting("simulating"):
        done = study_carbon.study(case, hourly, source)
    choose(as_json).show(StudyReport(done))


RUNS: dict[str, Callable[..., None]] = {
    "jobs": jobs,
    "spot": spot,
    "requests": requests,
    "queue": queue,
    "carbon": carbon,
    "serve": serve,
}


def _market(listed: Snapshot, prices: Path | None, saved: Path | None, start: datetime | None) -> Snapshot:
    """The market at the start: by default the day of its newest price, so that the same book gives the same answer."""
    if prices is not None and saved is not None:
        raise UserError("--prices and --snapshot are two markets: give one")
    market = listed if saved is None else session.load_snapshot(saved)
    if prices is not None:
        done = importer.read_csv(prices, on_bad=BadRows.REFUSE, now=listed.taken_at)
        market = replace(listed, book=done.book)
    if not len(market.book):
        raise UserError("the market is empty: there is nothing to buy in it")
    newest = datetime.fromtimestamp(int(market.book.observed_at.max()), UTC)
    begin = start.replace(tzinfo=UTC) if start is not None else newest.replace(hour=0, minute=0, second=0)
    return replace(market, taken_at=begin)


def _with(workload: Workload, settings: Sequence[str]) -> Workload:
    for text in settings:
        path, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--policy {text}: write NAME.SETTING=N, such as deadline.usd_per_hour=100")
        workload = edited(workload, f"policies.{path.strip()}", value.strip())
    return workload


def _sized(case: ServeCase, path: Path) -> ServeCase:
    """The replica and its price of the best placement of a service."""
    workload = session.load_job(path)
    if not isinstance(workload, Inference):
        raise UserError(f"{path} is no service (kind: Inference)")
    app = session.open_app()
    best = app.plan(workload, app.snapshot(live=False)).best
    if best is None or not isinstance(best.sizing.effort, Service):
        raise UserError(f"{path} can run nowhere: isoflop plan {path} says why")
    service = best.sizing.effort
    replica = of_service(service, float(workload.prompt_tokens), float(workload.output_tokens))
    return case._replace(replica=replica, usd_per_hour=best.usd_per_hour / max(1, service.replicas))


def _time_s(option: str, text: str) -> float:
    seconds = session.read_option(option, text, quantity.duration_s)
    return 0.0 if seconds is None else seconds
