"""Writes a workload as the job file that reads back as the same workload."""

from __future__ import annotations

from typing import Any, TypeAlias

import yaml

from orchestrator.domain.parallelism import Parallelism
from orchestrator.domain.workload import (
    BatchInference,
    DataSet,
    FineTune,
    Inference,
    LatencyTarget,
    Limits,
    Method,
    Model,
    Program,
    Setting,
    Training,
    Workload,
)
from orchestrator.spec.models import find_model

Fields: TypeAlias = dict[str, Any]  # what YAML holds: of the job file alone, never past this module

SHAPE = (
    *("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary"),
    *("feed_forward", "gated", "experts", "experts_per_token", "context_length"),
)


def job_text(workload: Workload) -> str:
    """The YAML of a job file; `parse(job_text(w))` is `w`, but for the source of a model that is given by its numbers.

    Secrets stay references, and `run.workdir` is written as it stands in the workload.
    """
    fields: Fields = {"kind": workload.KIND, "name": workload.name, "model": _model(workload.model)}
    match workload:
        case Training() | FineTune():
            fields |= _gradient(workload)
        case Inference():
            fields |= _service(workload)
        case BatchInference():
            fields |= {"requests": _number(workload.requests), **_answer(workload)}
    fields |= _some(data=_data(workload.data), limits=_limits(workload.limits), policies=_settings(workload.settings))
    fields |= _some(after=list(workload.after), team=workload.team)
    if workload.program is not None:
        fields["run"] = _program(workload.program)
    if workload.priority:
        fields["priority"] = workload.priority
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)


def _some(**fields: object) -> Fields:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _number(value: float) -> int | str:
    """In base units, exactly; as text where YAML of version 1.1 would not take it for a number."""
    return int(value) if value == int(value) and value < 1e15 else repr(value)


def _of(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{_number(value)}{unit}"


def _model(model: Model) -> str | Fields:
    if find_model(model.name) == model:
        return model.name
    numbers = {"parameters": _number(model.parameters), "active_parameters": _number(model.active_parameters)}
    return {"name": model.name, **numbers, **_some(**{name: getattr(model, name) for name in SHAPE})}


def _gradient(job: Training | FineTune) -> Fields:
    fields: Fields = {"tokens": _number(job.tokens), "precision": job.precision.value}
    if isinstance(job, FineTune):
        fields["method"] = job.method.value
        if job.method is not Method.FULL:
            fields["lora_rank"] = job.lora_rank
    fields |= {"sequence_length": job.sequence_length, "micro_batch": job.micro_batch}
    if job.global_batch_tokens is not None:
        fields["global_batch"] = _number(job.global_batch_tokens)
    if job.mfu is not None:
        fields["mfu"] = job.mfu
    if job.recompute is not None:
        fields["recompute"] = job.recompute.value
    if job.parallelism is not None:
        fields["parallelism"] = _layout(job.parallelism)
    return fields


def _layout(layout: Parallelism) -> Fields:
    sizes = ("tensor", "pipeline", "data", "context", "expert", "interleave")
    return {**{name: getattr(layout, name) for name in sizes}, "sharding": layout.sharding.value}


def _service(job: Inference) -> Fields:
    fields: Fields = {
        "users": [{"place": users.place, "rate": _of(users.requests_per_s, "/s")} for users in job.users],
        "duration": _of(job.duration_s, "s"),
    }
    if job.peak_over_mean != 1.0:
        fields["peak_over_mean"] = job.peak_over_mean
    return {**fields, **_answer(job)}


def _answer(job: Inference | BatchInference) -> Fields:
    return {
        "prompt_tokens": job.prompt_tokens,
        "output_tokens": job.output_tokens,
        "precision": job.precision.value,
        "kv_precision": job.kv_precision.value,
        "stack": job.stack.value,
        **_some(quantise=[precision.value for precision in job.quantise]),
    }


def _data(data: DataSet) -> Fields:
    fields = _some(location=data.location, deliver_to=data.deliver_to)
    if data.size_gib:
        fields["size"] = _of(data.size_gib, "GiB")
    if data.result_gib:
        fields["result"] = _of(data.result_gib, "GiB")
    if data.stays:
        fields["stays"] = True
    return fields


def _limits(limits: Limits) -> Fields:
    deadline = _of(limits.deadline_s, "s") if limits.finish_by is None else limits.finish_by.isoformat()
    return _some(
        budget=None if limits.budget_usd is None else _of(limits.budget_usd, " USD"),
        deadline=deadline,
        latency=_latency(limits.latency),
        regions=list(limits.regions),
        residency=list(limits.residency),
        providers=list(limits.providers),
        accelerators=list(limits.accelerators),
        billing=[billing.value for billing in limits.billing],
    )


def _latency(target: LatencyTarget) -> Fields:
    return _some(
        first_token=_of(target.first_token_s, "s"),
        per_token=_of(target.per_token_s, "s"),
        total=_of(target.total_s, "s"),
    )


def _settings(settings: tuple[Setting, ...]) -> Fields:
    policies: dict[str, Fields] = {}
    for setting in settings:
        policies.setdefault(setting.policy, {})[setting.name] = setting.value
    return dict(policies)


def _program(program: Program) -> Fields:
    checkpoint = {"interval": _of(program.checkpoint.interval_s, "s"), "grace": _of(program.checkpoint.grace_s, "s")}
    return {
        "command": list(program.command),
        **_some(image=program.image, workdir=program.workdir, env=dict(program.env), secrets=dict(program.secrets)),
        "checkpoint": checkpoint,
        "max_attempts": program.max_attempts,
        **_some(framework=program.framework and program.framework.value, port=program.port),
    }
