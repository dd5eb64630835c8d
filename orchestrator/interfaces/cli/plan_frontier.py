"""`isoflop plan --frontier`: what it takes to be cheaper, faster or greener."""

from __future__ import annotations

from pathlib import Path

import typer

from orchestrator.app import App
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views import chart
from orchestrator.interfaces.views.frontier_view import FrontierReport, frontier_chart
from orchestrator.planning.frontier import frontier


def check(chart_file: Path) -> None:
    """Raises: UserError for a name that is no chart's, ConfigError where nothing is installed that draws."""
    chart.format_of(chart_file)
    chart.check_installed()


def report(
    app: App, workload: Workload, market: Snapshot, *, buyable_only: bool, chart_file: Path | None
) -> FrontierReport:
    """The frontier of a job, drawn into `chart_file` where one is named."""
    found = frontier(workload, market, app.policies(), buyable_only=buyable_only)
    if chart_file is not None and found.points:
        drawn = chart.render(frontier_chart(found, workload.name), chart.format_of(chart_file))
        files.write_bytes(chart_file, drawn)
        typer.echo(f"{chart_file}: the chart", err=True)
    return FrontierReport(frontier=found, workload=workload, snapshot_id=market.id)
