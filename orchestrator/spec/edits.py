"""Edits: one field of a workload changed as the job file would say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.domain.consistency import Contradicted
from orchestrator.domain.errors import SpecError, UserError
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import FineTune, Inference, Setting, Training, Workload
from orchestrator.spec import job
from orchestrator.spec.reading import Data, read

# Fields of the job file and those of a workload that say the same; "" lifts no limit: the field's default stands.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "limits.budget": ("limits.budget_usd",),
    "limits.deadline": ("limits.deadline_s", "limits.finish_by"),
    "limits.latency.first_token": ("limits.latency.first_token_s",),
    "limits.latency.per_token": ("limits.latency.per_token_s",),
    "limits.latency.total": ("limits.latency.total_s",),
    "limits.regions": ("limits.regions",),
    "limits.residency": ("limits.residency",),
    "limits.providers": ("limits.providers",),
    "limits.accelerators": ("limits.accelerators",),
    "limits.billing": ("limits.billing",),
    "data.location": ("data.location",),
    "data.size": ("data.size_gib",),
    "data.result": ("data.result_gib",),
    "data.deliver_to": ("data.deliver_to",),
    "data.stays": ("data.stays",),
    "model": ("model",),
    "priority": ("priority",),
    "team": ("team",),
    "tokens": ("tokens",),
    "precision": ("precision",),
    "sequence_length": ("sequence_length",),
    "micro_batch": ("micro_batch",),
    "mfu": ("mfu",),
    "global_batch": ("global_batch_tokens",),
    "recompute": ("recompute",),
    "parallelism": ("parallelism",),
    "method": ("method",),
    "lora_rank": ("lora_rank",),
    "users": ("users",),
    "duration": ("duration_s",),
    "peak_over_mean": ("peak_over_mean",),
    "prompt_tokens": ("prompt_tokens",),
    "output_tokens": ("output_tokens",),
    "kv_precision": ("kv_precision",),
    "stack": ("stack",),
    "quantise": ("quantise",),
    "requests": ("requests",),
}
NONE = frozenset({"none", "null", "~", ""})


def edited(workload: Workload, path: str, text: str) -> Workload:
    """`workload` with the job file's field `path` ("limits.budget") set to `text` ("300k"), or left out for "none".

    `text` is YAML as it would stand in the file. Raises: UserError for a field that a job of this kind does not have,
    and for a value that the job file could not have.
    """
    if path.startswith("policies."):
        return _setting(workload, path, text)
    known = {name: of for name, of in FIELDS.items() if all(_has(workload, each.split(".")) for each in of)}
    if path not in known:
        raise UserError(f"'{path}' is no field of a {workload.KIND} job that can be set here; {hint(path, known)}")
    source = _parsed(workload, path, text)
    changed = workload
    try:
        for each in known[path]:
            steps = each.split(".")
            changed = _put(changed, steps, _get(source, steps))
    except Contradicted as error:
        raise UserError(f"{path} = {text}: {error}") from error
    return changed


def _setting(workload: Workload, path: str, text: str) -> Workload:
    """A policy's setting: `policies.deadline.usd_per_hour`."""
    parts = path.split(".")
    if len(parts) != 3 or not all(parts):
        raise UserError(f"'{path}' is no setting of a policy; write policies.POLICY.SETTING")
    kept = tuple(each for each in workload.settings if (each.policy, each.name) != (parts[1], parts[2]))
    if text.strip().lower() in NONE:
        return replace(workload, settings=kept)
    value = _value(path, text)
    if not isinstance(value, str | float | int | bool):
        raise UserError(f"{path} = {text}: expected a number or a word")
    found = _source(workload, {"policies": {parts[1]: {parts[2]: value}}}, path, text).settings
    return replace(workload, settings=(*kept, *(Setting(each.policy, each.name, each.value) for each in found)))


def _parsed(workload: Workload, path: str, text: str) -> Workload:
    """A job of the same kind in which only `path` is said."""
    if text.strip().lower() in NONE:
        return _source(workload, {}, path, text)
    value: Data | dict[str, Any] = _value(path, text)
    for step in reversed(path.split(".")):
        value = {step: value}
    return _source(workload, dict(value) if isinstance(value, dict) else {}, path, text)


def _source(workload: Workload, said: dict[str, Any], path: str, text: str) -> Workload:
    least: dict[str, Any] = {"kind": workload.KIND, "name": "edit", "model": {"name": "edit", "parameters": "1B"}}
    if isinstance(workload, Training | FineTune):
        least["tokens"] = 1
        least["sequence_length"] = workload.sequence_length
    elif isinstance(workload, Inference):
        least["users"] = [{"place": "0,0", "rate": "1/s"}]
    else:
        least["requests"] = 1
    if isinstance(workload, FineTune):
        least["method"] = str(workload.method)
    if path.startswith("data."):
        least["data"] = {"location": workload.data.location or "somewhere", **said.pop("data", {})}
    try:
        return job.parse(json.dumps({**least, **said}, default=str), file="", base=Path.cwd())
    except SpecError as error:
        problem = error.problems[0]
        told = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
        raise UserError(f"{path} = {text}: {told}") from error


def _value(path: str, text: str) -> Data:
    try:
        document = read(f"value: {text}\n", path)
    except SpecError as error:
        problem = error.problems[0]
        raise UserError(f"{path} = {text}: {problem.message} ({problem.hint})") from error
    if document.problems or not isinstance(document.data, dict) or set(document.data) != {"value"}:
        raise UserError(f"{path} = {text}: not a value as a job file has them")
    return document.data["value"]


def _has(value: object, steps: list[str]) -> bool:
    for step in steps:
        if not is_dataclass(value) or step not in {field.name for field in fields(value)}:
            return False
        value = getattr(value, step)
    return True


def _get(value: object, steps: list[str]) -> object:
    for step in steps:
        value = getattr(value, step)
    return value


def _put(value: Any, steps: list[str], new: object) -> Any:
    """`value` with the field at `steps` set to `new`."""
    first, *rest = steps
    return replace(value, **{first: _put(getattr(value, first), rest, new) if rest else new})
