"""`isoflop plan --continuum`: one service over many sites."""

from __future__ import annotations

import glob
import shlex
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
from orchestrator.planning.continuum.plans import plans_of
from orchestrator.planning.continuum.result import ContinuumPlan
from orchestrator.planning.plan import PlanOptions
from orchestrator.spec import documents
from orchestrator.spec.job_text import job_text


class Asked(NamedTuple):
    """What the command line says beside the job and the market."""

    buyable: bool
    survive: bool
    output: Path | None  # a folder
    save_snapshot: Path | None
    write_jobs: Path | None = None  # a folder
    job_file: Path = Path("job.yaml")


def show(app: App, workload: Workload, market: Snapshot, asked: Asked, *, as_json: bool) -> None:
    """Print the plan. Raises: UserError for another kind of job, Unplaced where somebody cannot be served."""
    if not isinstance(workload, Inference):
        raise UserError(f"--continuum is for services; '{workload.name}' is a {workload.KIND} job")
    if asked.save_snapshot is not None:
        files.write(asked.save_snapshot, documents.dump_snapshot(market))
    ask = Ask(survive=asked.survive, buyable_only=asked.buyable)
    plan = plan_continuum(workload, market, app.policies(), ask)
    saved = _save(app, plan, market, asked.output) if asked.output is not None and plan.pools else ()
    words = ("isoflop", "apply", *map(str, saved))
    choose(as_json).show(ContinuumReport(plan, shlex.join(words) if saved else ""))
    if not plan.pools:
        raise Unplaced(f"not everybody can be served: {plan.unserved[0]}")
    if asked.write_jobs is not None:
        _write(plan, asked.job_file, asked.write_jobs)


def _save(app: App, plan: ContinuumPlan, market: Snapshot, folder: Path) -> tuple[Path, ...]:
    """A plan for each pool, to apply. Raises: UserError where one cannot be written or bought."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output of a --continuum plan is a folder, for a plan of each pool: {folder} is a file")
    options = PlanOptions(approval=app.settings.approval)
    plans = plans_of(plan, market, app.policies(), options)
    _folder(folder)
    paths = tuple(folder / f"{each.workload.name}.json" for each in plans)
    earlier = sorted(set(folder.glob(f"{glob.escape(plan.workload.name)}-part-*.json")) - set(paths))
    if earlier:
        raise UserError(f"{folder} has pools of an earlier plan: {earlier[0].name}; remove them or name another folder")
    for path, each in zip(paths, plans, strict=True):
        files.write(path, documents.dump_plan(each, market))
    return paths


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error


def _write(plan: ContinuumPlan, job_file: Path, folder: Path) -> None:
    """A job file for each pool. Raises: UserError where it cannot be written or would replace the job's own."""
    written = {folder / f"{job.name}.yaml": job for job in jobs_of(plan)}
    if job_file.resolve() in {path.resolve() for path in written}:
        raise UserError(f"--write-jobs would replace {job_file}: name another folder")
    _folder(folder)
    for (path, job), pool in zip(written.items(), plan.pools, strict=True):
        files.write(path, job_text(job))
        typer.echo(f"{path}: {job.requests_per_s:,.3g} requests/s on {pool.nodes}x {pool.offer.label}", err=True)
