"""Consistency: what a model or a job may not say of itself, checked where the value is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.domain.errors import UserError

if TYPE_CHECKING:  # these modules check themselves with this one
    from orchestrator.domain.parallelism import Parallelism
    from orchestrator.domain.workload import BatchInference, DataSet, FineTune, Inference, Model, Training

MOST_DEVICES = 1_000_000  # of one layout: no cluster has more
SLACK = 0.9  # of the least active share of a mixture: published counts are rounded, and some leave out embeddings
Size: TypeAlias = "tuple[str, float | None]"  # a field and its value; None is "not given"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One thing that cannot be: at which field, what is wrong, and what to do."""

    field: str  # of the value that was made, with dots: "heads", "parallelism.tensor"
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class Contradicted(UserError, ValueError):
    """A value that contradicts itself; carries every contradiction found, never only the first."""

    def __init__(self, subject: str, contradictions: tuple[Contradiction, ...]) -> None:
        self.subject = subject
        self.contradictions = contradictions
        super().__init__(f"{subject}: " + "; ".join(map(str, contradictions)))

    def __reduce__(self) -> tuple[type[Contradicted], tuple[str, tuple[Contradiction, ...]]]:
        return (type(self), (self.subject, self.contradictions))


def refuse(subject: str, found: Iterator[Contradiction]) -> None:
    """Raises: Contradicted where anything is found."""
    contradictions = tuple(found)
    if contradictions:
        raise Contradicted(subject, contradictions)


def above_zero(*sizes: Size) -> Iterator[Contradiction]:
    """Those of `sizes` that are no finite number above 0."""
    for name, value in sizes:
        if value is not None and not (isfinite(value) and value > 0):
            yield Contradiction(name, f"is {value:g}", "it is a finite number above 0")


def not_negative(*sizes: Size) -> Iterator[Contradiction]:
    """Those of `sizes` that are no finite number from 0 on."""
    for name, value in sizes:
        if value is not None and not (isfinite(value) and value >= 0):
            yield Contradiction(name, f"is {value:g}", "it is a finite number, at least 0")


def whole(*sizes: Size) -> Iterator[Contradiction]:
    """Those of `sizes` that are no whole number from 1 on."""
    for name, value in sizes:
        if value is not None and not (isfinite(value) and value >= 1 and value == int(value)):
            yield Contradiction(name, f"is {value:g}", "it is a whole number, at least 1")


def of_data(data: DataSet) -> Iterator[Contradiction]:
    """What a job may not say of its data."""
    yield from not_negative(("size_gib", data.size_gib), ("result_gib", data.result_gib))
    if data.stays and not data.location:
        yield Contradiction("stays", "is true, and nobody says where the data lies", "set data.location")


def of_model(model: Model) -> Iterator[Contradiction]:
    """What `model` may not say of itself.

    Key-value heads that do not divide the heads pass: no kernel runs them, but the arithmetic holds, and records of
    the first release may have them. `uneven_groups` finds them in what a user writes.
    """
    flaws = [
        *above_zero(("parameters", model.parameters), ("active_parameters", model.active_parameters)),
        *whole(
            ("layers", model.layers),
            ("hidden", model.hidden),
            ("heads", model.heads),
            ("kv_heads", model.kv_heads),
            ("head_dim", model.head_dim),
            ("vocabulary", model.vocabulary),
            ("feed_forward", model.feed_forward),
            ("experts", model.experts),
            ("experts_per_token", model.experts_per_token),
            ("context_length", model.context_length),
        ),
    ]
    yield from flaws
    if flaws:
        return  # what follows divides by them
    if model.active_parameters > model.parameters:
        given, all_ = _billions(model.active_parameters), _billions(model.parameters)
        message = f"is {given}: more active parameters than parameters ({all_})"
        yield Contradiction("active_parameters", message, "active_parameters is at most parameters")
    yield from _attention(model)
    yield from _mixture(model)


def _attention(model: Model) -> Iterator[Contradiction]:
    heads, hidden = model.heads, model.hidden
    if heads and model.kv_heads and model.kv_heads > heads:
        message = f"is {model.kv_heads}: more kv_heads than heads ({heads})"
        yield Contradiction("kv_heads", message, "kv_heads is at most heads, and divides it")
    if heads and hidden and model.head_dim is None and hidden % heads:
        hint = "mend heads or hidden, or give head_dim where heads x head_dim differs from hidden"
        yield Contradiction("heads", f"{heads} heads do not divide the width of {hidden}", hint)


def _mixture(model: Model) -> Iterator[Contradiction]:
    experts, chosen = model.experts, model.experts_per_token
    if experts is None and chosen is None:
        return
    if experts is None:
        yield Contradiction("experts_per_token", "is given without experts", "add experts, such as 8")
    elif chosen is None:
        yield Contradiction("experts", "is given without experts_per_token", "add experts_per_token, such as 2")
    elif chosen > experts:
        message = f"a token passes {chosen} of {experts} experts"
        yield Contradiction("experts_per_token", message, "experts_per_token is at most experts")
    elif chosen < experts and model.active_parameters == model.parameters:
        message = f"are all {_billions(model.parameters)}, but a token passes {chosen} of {experts} experts"
        yield Contradiction("active_parameters", message, "give the parameters that one token passes, such as 12.9B")
    elif model.active_parameters < SLACK * model.parameters * (chosen / experts):
        least = model.parameters * (chosen / experts)
        message = (
            f"is {_billions(model.active_parameters)}, less than {chosen} of {experts} experts: {_billions(least)}"
        )
        yield Contradiction("active_parameters", message, "mend active_parameters, experts or experts_per_token")


def _billions(count: float) -> str:
    return f"{count / 1e9:.4g}B"


def uneven_groups(heads: int | None, kv_heads: int | None) -> Iterator[Contradiction]:
    """Key-value heads that do not divide the heads."""
    if heads and kv_heads and kv_heads < heads and heads % kv_heads:
        message = f"{kv_heads} key-value heads do not divide {heads} heads"
        yield Contradiction("kv_heads", message, "every key-value head serves as many heads as the next")


def of_parallelism(layout: Parallelism) -> Iterator[Contradiction]:
    """What `layout` may not say of itself."""
    flaws = [
        *whole(
            ("parallelism.tensor", layout.tensor),
            ("parallelism.pipeline", layout.pipeline),
            ("parallelism.data", layout.data),
            ("parallelism.context", layout.context),
            ("parallelism.expert", layout.expert),
            ("parallelism.micro_batch", layout.micro_batch),
            ("parallelism.micro_batches", layout.micro_batches),
            ("parallelism.interleave", layout.interleave),
        )
    ]
    yield from flaws
    if not flaws and layout.devices > MOST_DEVICES:
        message = f"makes {layout.devices:,} devices with tensor, pipeline and context; at most {MOST_DEVICES:,}"
        yield Contradiction("parallelism.data", message, "make the layout smaller")


def of_gradient(job: Training | FineTune) -> Iterator[Contradiction]:
    """What a training or fine-tuning job may not say of itself, its model being sound."""
    flaws = [
        *above_zero(("tokens", job.tokens), ("global_batch_tokens", job.global_batch_tokens), ("mfu", job.mfu)),
        *whole(("sequence_length", job.sequence_length), ("micro_batch", job.micro_batch)),
    ]
    yield from flaws
    if flaws:
        return
    if job.mfu is not None and job.mfu > 1:
        yield Contradiction("mfu", f"is {job.mfu:g}", "a utilisation is at most 1")
    batch = job.global_batch_tokens
    least = job.sequence_length * (1 if job.parallelism else job.micro_batch)
    if batch is not None and batch < least * (1 - 1e-9):
        message = f"{batch:,.0f} tokens are less than one pass of one device, which has {least:,}"
        yield Contradiction("global_batch_tokens", message, "raise it, or lower sequence_length or micro_batch")
    elif batch is not None and job.parallelism is not None:
        yield from _shares(batch, job.sequence_length, job.parallelism)
    if job.parallelism is not None:
        yield from _fits(job.parallelism, job.model)
        if job.sequence_length % job.parallelism.context:
            message = f"{job.parallelism.context} devices do not share {job.sequence_length:,} tokens evenly"
            yield Contradiction("parallelism.context", message, "use a divisor of sequence_length")


def of_fine_tune(job: FineTune) -> Iterator[Contradiction]:
    """As `of_gradient`; what is set for all weights alone is refused with an adapter."""
    yield from of_gradient(job)
    yield from whole(("lora_rank", job.lora_rank))
    if job.method == "full":
        return
    for field in ("global_batch_tokens", "parallelism", "recompute"):
        if getattr(job, field) is not None:
            hint = "leave it out, or choose full: an adapter's layout is found"
            yield Contradiction(field, f"is given, but method is {job.method}", hint)


def _shares(batch: float, sequence_length: int, layout: Parallelism) -> Iterator[Contradiction]:
    """A global batch that the data-parallel ranks cannot share in whole micro-batches."""
    each = layout.data * layout.micro_batch
    passes = batch / sequence_length / each
    if passes >= 1 and abs(passes - round(passes)) <= 1e-6:
        return
    low, high = int(passes) * each, (int(passes) + 1) * each
    near = f"{{sequences: {low}}} or {{sequences: {high}}}" if low else f"{{sequences: {high}}}"
    message = f"{batch / sequence_length:,.6g} sequences are no multiple of data x micro_batch = {each:,}"
    yield Contradiction("global_batch_tokens", message, f"the nearest that are: {near}")


def _fits(layout: Parallelism, model: Model) -> Iterator[Contradiction]:
    """A layout that the model cannot be cut into."""
    tensor, stages, expert = layout.tensor, layout.pipeline * layout.interleave, layout.expert
    if model.heads and model.heads % tensor:
        message = f"{tensor} devices do not share {model.heads} heads evenly"
        yield Contradiction("parallelism.tensor", message, f"use a divisor of {model.heads}")
    if model.layers and stages > model.layers:
        each = f" x {layout.interleave} chunks" if layout.interleave > 1 else ""
        message = f"{layout.pipeline} stages{each} are more than the model's {model.layers} layers"
        yield Contradiction("parallelism.pipeline", message, "every stage and chunk takes one layer at least")
    if layout.interleave > 1 and layout.pipeline == 1:
        hint = "leave interleave out, or raise pipeline"
        yield Contradiction("parallelism.interleave", "is given, but there is one pipeline stage", hint)
    if expert > 1 and model.experts is None and model.active_parameters == model.parameters:
        yield Contradiction("parallelism.expert", f"is {expert}, but the model has no experts", "leave expert out")
    elif model.experts and model.experts % expert:
        message = f"{expert} devices do not share {model.experts} experts evenly"
        yield Contradiction("parallelism.expert", message, f"use a divisor of {model.experts}")
    elif layout.data % expert:
        message = f"{expert} does not divide the {layout.data} data-parallel ranks that the experts are spread over"
        yield Contradiction("parallelism.expert", message, "raise data, or lower expert")


def of_answers(job: Inference | BatchInference) -> Iterator[Contradiction]:
    """What both kinds of inference may not say of themselves, the model being sound."""
    yield from whole(("prompt_tokens", job.prompt_tokens), ("output_tokens", job.output_tokens))
    for narrow in job.quantise:
        if narrow.bits >= job.precision.bits:
            message = f"{narrow} is not narrower than the job's precision, {job.precision}"
            yield Contradiction("quantise", message, "name narrower formats alone, or leave it out")
    yield from _held(job)


def of_service(job: Inference) -> Iterator[Contradiction]:
    """As `of_answers`, with what a service has besides."""
    yield from of_answers(job)
    yield from above_zero(("duration_s", job.duration_s))
    if not (isfinite(job.peak_over_mean) and job.peak_over_mean >= 1):
        yield Contradiction("peak_over_mean", f"is {job.peak_over_mean:g}", "a peak is at least the mean: 1 or more")


def of_batch(job: BatchInference) -> Iterator[Contradiction]:
    """As `of_answers`, with what a batch has besides."""
    yield from of_answers(job)
    yield from above_zero(("requests", job.requests))


def _held(job: Inference | BatchInference) -> Iterator[Contradiction]:
    """Number formats that the serving stack has no kernels for."""
    lacks = job.stack.lacks
    hint = f"choose another stack, or one of {', '.join(each for each in ('int8', 'int4') if each not in lacks)}"
    for field, formats in (("precision", (job.precision,)), ("quantise", job.quantise)):
        for each in formats:
            if each in lacks:
                yield Contradiction(field, f"{job.stack} holds no {each} weights", hint)
    if job.kv_precision in job.stack.lacks_for_cache:
        yield Contradiction("kv_precision", f"{job.stack} holds no {job.kv_precision} key-value cache", hint)
