"""`isoflop plan --continuum`: one service over many sites."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from orchestrator.app import App
from orchestrator.domain.errors import Unplaced, UserError
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.continuum_view import ContinuumReport
from orchestrator.planning.continuum.market import Ask
from orchestrator.planning.continuum.plan import plan_continuum
from orchestrator.spec import documents


class Asked(NamedTuple):
    """What the command line says beside the job and the market."""

    buyable: bool
    survive: bool
    output: Path | None
    save_snapshot: Path | None


def show(app: App, workload: Workload, market: Snapshot, asked: Asked, *, as_json: bool) -> None:
    """Print the plan. Raises: UserError for another kind of job, Unplaced where somebody cannot be served."""
    if not isinstance(workload, Inference):
        raise UserError(f"--continuum is for services; '{workload.name}' is a {workload.KIND} job")
    if asked.output is not None:
        raise UserError("--output saves plans of one placement, to apply them; print a --continuum plan with --json")
    if asked.save_snapshot is not None:
        files.write(asked.save_snapshot, documents.dump_snapshot(market))
    ask = Ask(survive=asked.survive, buyable_only=asked.buyable)
    plan = plan_continuum(workload, market, app.policies(), ask)
    choose(as_json).show(ContinuumReport(plan))
    if not plan.pools:
        raise Unplaced(f"not everybody can be served: {plan.unserved[0]}")
