"""`isoflop plan --relax`: what loosening each limit would save; where nothing is feasible, what would make it so."""

from __future__ import annotations

from orchestrator.app import App
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.interfaces.views.page import Report
from orchestrator.interfaces.views.relax_view import Relaxed
from orchestrator.planning.relax import Case, relaxations


def with_relaxations(app: App, plan: Plan, market: Snapshot, report: Report, *, buyable_only: bool) -> Relaxed:
    """`report` with what to relax behind it."""
    found = relaxations(Case(plan.workload, market, app.policies(), buyable_only))
    return Relaxed(report.page(), report.document(), found)
