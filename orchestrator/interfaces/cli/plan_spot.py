"""`isoflop plan --on-spot`: what the job is expected to cost on spot by its deadline, and what to do on the way."""

from __future__ import annotations

from orchestrator.app import App
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.views.spot_view import SpotReport
from orchestrator.planning.spot.of_plan import spot_plan


def report(app: App, workload: Workload, market: Snapshot, *, buyable_only: bool) -> SpotReport:
    """The decision table of a job. Raises: as `spot_plan`."""
    return SpotReport(spot_plan(workload, market, app.policies(), buyable_only=buyable_only))
