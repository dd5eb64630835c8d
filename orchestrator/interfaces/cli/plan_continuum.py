"""`isoflop plan --continuum`: one service over many sites."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import typer

from orchestrator.app import App
from orchestrator.domain.errors import Unplaced, UserError
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.continuum_view import ContinuumReport
from orchestrator.planning.continuum.jobs import jobs_of
from orchestrator.planning.continuum.market import Ask
from orchestrator.planning.continuum.plan import plan_continuum
from orchestrator.planning.continuum.result import ContinuumPlan
from orchestrator.spec import documents
from orchestrator.spec.job_text import job_text


class Asked(NamedTuple):
    """What the command line says beside the job and the market."""

    buyable: bool
    survive: bool
    output: Path | None
    save_snapshot: Path | None
    write_jobs: Path | None = None  # a folder
    job_file: Path = Path("job.yaml")


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
    if asked.write_jobs is not None:
        _write(plan, asked.job_file, asked.write_jobs)


def _write(plan: ContinuumPlan, job_file: Path, folder: Path) -> None:
    """A job file for each pool. Raises: UserError where it cannot be written or would replace the job's own."""
    written = {folder / f"{job.name}.yaml": job for job in jobs_of(plan)}
    if job_file.resolve() in {path.resolve() for path in written}:
        raise UserError(f"--write-jobs would replace {job_file}: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error
    for (path, job), pool in zip(written.items(), plan.pools, strict=True):
        files.write(path, job_text(job))
        typer.echo(f"{path}: {job.requests_per_s:,.3g} requests/s on {pool.nodes}x {pool.offer.label}", err=True)
