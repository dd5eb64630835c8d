"""What a workload asks for, in the words and the arithmetic of the field."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.workload import BatchInference, FineTune, Inference, Limits, Method, Model, Training, Workload
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Text
from orchestrator.sizing.flops import inference_flops, training_flops


def model_line(model: Model) -> str:
    """`Mixtral 8x7B: 46.7B parameters, 12.9B active per token (source)`."""
    active = (
        ""
        if model.active_parameters == model.parameters
        else f", {fmt.quantity(model.active_parameters)} active per token"
    )
    source = f" ({model.source})" if model.source else ""
    return f"{model.name}: {fmt.quantity(model.parameters)} parameters{active}{source}"


def work_line(workload: Workload) -> str:
    """What is to be done, in one line."""
    if isinstance(workload, Training):
        return f"train on {fmt.quantity(workload.tokens)} tokens in {workload.precision}"
    if isinstance(workload, FineTune):
        rank = "" if workload.method.value == "full" else f" of rank {workload.lora_rank}"
        return f"fine-tune ({workload.method}{rank}) on {fmt.quantity(workload.tokens)} tokens in {workload.precision}"
    tokens = f"{fmt.count(workload.prompt_tokens)} + {fmt.count(workload.output_tokens)} tokens"
    lengths = f"{tokens} each, in {workload.precision}"
    if isinstance(workload, BatchInference):
        return f"answer {fmt.quantity(workload.requests)} requests of {lengths}"
    users = ", ".join(f"{user.place} {user.requests_per_s:g}/s" for user in workload.users)
    return f"serve {workload.requests_per_s:g} requests/s of {lengths}; users: {users}"


def flops_line(workload: Workload, flops: float) -> str:
    """The FLOP arithmetic of `Sizing.flops`: `6·N·D = 6 × 1.75e+11 × 3e+11 = 3.15e+23 FLOP`."""
    per_token = 2.0 * workload.model.active_parameters
    size = fmt.scientific(workload.model.active_parameters)
    if isinstance(workload, Training | FineTune):
        factor = f"{flops / (workload.model.active_parameters * workload.tokens):.3g}"
        product = f"{factor} × {size} × {fmt.scientific(workload.tokens)}"
        return f"{factor}·N·D = {product} = {fmt.scientific(flops)} FLOP"
    tokens = workload.prompt_tokens + workload.output_tokens
    one = f"2·N·tokens = 2 × {size} × {fmt.count(tokens)} = {fmt.engineering(per_token * tokens)} FLOP a request"
    if isinstance(workload, Inference):
        return one
    return f"{one}, × {fmt.quantity(workload.requests)} requests = {fmt.scientific(flops)} FLOP"


def flops_of(workload: Workload | None) -> float | None:
    """FLOPs of a workload that fits no device, by the same rules: of all finite work, or of one request.

    None where the device decides (an adapter's own parameters) or there is no work.
    """
    if isinstance(workload, Training) or (isinstance(workload, FineTune) and workload.method is Method.FULL):
        return training_flops(workload.model.active_parameters, workload.tokens)
    if isinstance(workload, Inference | BatchInference):
        requests = workload.requests if isinstance(workload, BatchInference) else 1.0
        tokens = workload.prompt_tokens + workload.output_tokens
        return inference_flops(workload.model.active_parameters, tokens * requests)
    return None


def limits_line(limits: Limits, made_at: datetime) -> str:
    """Every hard limit that is set; `none` where there is none."""
    said = [*_money_and_time(limits, made_at), *_latency(limits), *_places(limits)]
    return "; ".join(said) or "none"


def _money_and_time(limits: Limits, made_at: datetime) -> list[str]:
    said = []
    if limits.budget_usd is not None:
        said.append(f"at most {fmt.usd(limits.budget_usd)}")
    if limits.deadline_s is not None:
        said.append(f"within {fmt.duration(limits.deadline_s)}")
    if limits.finish_by is not None:
        left = (limits.finish_by - made_at).total_seconds()
        said.append(f"by {fmt.moment(limits.finish_by)} (in {fmt.duration(left)})")
    return said


def _latency(limits: Limits) -> list[str]:
    target = limits.latency
    named = (("first token", target.first_token_s), ("each token", target.per_token_s), ("answer", target.total_s))
    return [f"{what} within {fmt.duration(seconds)}" for what, seconds in named if seconds is not None]


def _places(limits: Limits) -> list[str]:
    named = (
        ("regions", limits.regions),
        ("data stays in", limits.residency),
        ("providers", limits.providers),
        ("accelerators", limits.accelerators),
        ("billing", tuple(str(billing) for billing in limits.billing)),
    )
    return [f"{what} {', '.join(words)}" for what, words in named if words]


def data_line(workload: Workload) -> str:
    """Where the input lies; empty where it comes with the job."""
    if not workload.data.location:
        return ""
    return f"{fmt.gib(workload.data.size_gib)} at {workload.data.location}"


def facts(workload: Workload, flops: float | None, made_at: datetime) -> tuple[tuple[str, Text], ...]:
    """The header of a plan: names and values."""
    rows: list[tuple[str, Text]] = [("model", model_line(workload.model)), ("work", work_line(workload))]
    if flops is not None:
        rows.append(("compute", flops_line(workload, flops)))
    rows.append(("limits", limits_line(workload.limits, made_at)))
    if data := data_line(workload):
        rows.append(("data", data))
    return tuple(rows)
