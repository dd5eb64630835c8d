"""`isoflop plan --write-jobs`: a job file for each part of a batch that is shared out over several offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from orchestrator.domain.errors import UserError
from orchestrator.domain.plan import Part, Plan
from orchestrator.domain.workload import BatchInference
from orchestrator.interfaces.cli import files
from orchestrator.spec.reading import read


def write(plan: Plan, job_file: Path, folder: Path) -> None:
    """Write `<name>-part-1.json` and so on into `folder`, each a job of its own.

    A part is pinned to its provider, region, device and billing, and has its share of the requests, of the data and of
    the budget: that of the whole in the ratio of the expected costs. Nothing is written where the best placement is on
    one offer.

    Raises: UserError for work whose parts cannot run by themselves.
    """
    best, job = plan.best, plan.workload
    if best is None or len(best.parts) < 2:
        typer.echo(f"{job_file}: the best placement is on one offer; no job files written", err=True)
        return
    if not isinstance(job, BatchInference):
        raise UserError(f"--write-jobs: the parts of a {job.KIND} job train one model together and cannot run alone")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error
    whole: Any = read(files.read(job_file), str(job_file)).data
    for number, part in enumerate(best.parts, 1):
        budget = job.limits.budget_usd
        if budget is not None and part.cost_usd is not None and best.cost_usd.p50 > 0:
            budget *= part.cost_usd.p50 / best.cost_usd.p50
        document = _document(whole, job, part, job_file.absolute().parent)
        document["name"] = f"{job.name}-part-{number}"
        if budget is not None:
            document["limits"]["budget"] = round(budget, 2)
        path = folder / f"{job.name}-part-{number}.json"
        files.write(path, json.dumps(document, indent=2) + "\n")
        typer.echo(f"{path}: {document['requests']:,} requests on {part.nodes}x {part.offer.label}", err=True)


def _document(whole: dict[str, Any], job: BatchInference, part: Part, base: Path) -> dict[str, Any]:
    offer = part.offer
    limits = {
        **whole.get("limits", {}),
        "providers": [offer.provider],
        "regions": [f"{offer.provider}/{offer.region}"],
        "accelerators": [offer.accelerator],
        "billing": [str(offer.billing)],
    }
    document = {**whole, "requests": round(part.share * job.requests), "limits": limits}
    if job.data.size_gib or job.data.result_gib:
        document["data"] = dict(whole["data"])
        for name, gib in (("size", job.data.size_gib), ("result", job.data.result_gib)):
            if gib:
                document["data"][name] = f"{gib * part.share:.6f}GiB"
    workdir = whole.get("run", {}).get("workdir")
    if workdir:
        document["run"] = {**whole["run"], "workdir": str(base / workdir)}
    model = whole.get("model")
    if isinstance(model, str) and (base / model).exists():
        document["model"] = str(base / model)
    return document
