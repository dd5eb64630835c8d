"""Reads a job file into a Workload, or says everything that is wrong with it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.consistency import Contradicted, Contradiction
from orchestrator.domain.context import beyond_context
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.parallelism import Parallelism, Recompute
from orchestrator.domain.workload import (
    BatchInference,
    Checkpointing,
    DataSet,
    FineTune,
    Inference,
    LatencyTarget,
    Limits,
    Model,
    Population,
    Program,
    Setting,
    Stack,
    Training,
    Workload,
)
from orchestrator.spec.forms import (
    FORMS,
    AnswerForm,
    AnyForm,
    BatchInferenceForm,
    CommonForm,
    DataForm,
    FineTuneForm,
    GradientForm,
    InferenceForm,
    LimitsForm,
    RunForm,
    TrainingForm,
)
from orchestrator.spec.problems import at, problem_of
from orchestrator.spec.quantity import shown
from orchestrator.spec.reading import Document, read, read_text

MOST_PROBLEMS = 100
SEQUENCE_LENGTH = 4096  # where the job says none, and the model's context is no shorter
PROMPT_TOKENS, OUTPUT_TOKENS = 1024, 256
# Fields of a workload that the job file calls otherwise.
FIELDS = {"global_batch_tokens": "global_batch", "duration_s": "duration"}


def load(path: Path) -> Workload:
    """The workload that the job file describes, in YAML or JSON; relative paths in it start at its folder.

    Raises: SpecError with every problem of the file.
    """
    return parse(read_text(path), file=str(path), base=path.absolute().parent)


def parse(text: str, *, file: str, base: Path) -> Workload:
    """As `load`, of text; `file` is for messages, relative paths start at `base`.

    Raises: SpecError with every problem of the text.
    """
    document = read(text, file)
    problems = list(document.problems)
    form: CommonForm | None = None
    if isinstance(document.data, dict):
        form = _validate(document, base, problems)
    else:
        problems.append(at(document, (), "holds no fields", "expected 'kind: Training' and so on, see 'isoflop init'"))
    if problems or form is None:
        raise SpecError(file, _ordered(problems))
    found: tuple[Contradiction, ...]
    try:
        workload = _workload(form)
        beyond = beyond_context(workload)
        found = (beyond,) if beyond else ()
    except Contradicted as error:
        found = error.contradictions
    if found:
        raise SpecError(file, _ordered([_problem(document, each) for each in found]))
    return workload


def _problem(document: Document, found: Contradiction) -> Problem:
    """A contradiction at the field that the file gives; the job's kind stands for one that the file leaves out."""
    where = tuple(FIELDS.get(step, step) for step in found.field.split("."))
    given = document.data if isinstance(document.data, dict) else {}
    if where == ("prompt_tokens",) and "prompt_tokens" not in given and "output_tokens" in given:
        where = ("output_tokens",)
    return at(document, where, found.message, found.hint)


def _validate(document: Document, base: Path, problems: list[Problem]) -> CommonForm | None:
    data = document.data if isinstance(document.data, dict) else {}
    chosen, kind = _choose(document, data.get("kind"), problems)
    try:
        # _choose has judged the kind: a misspelt one is reported once, and the fields beside it are still checked
        return chosen.model_validate({**data, "kind": kind}, context={"base": base})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems.extend(problem_of(document, chosen, detail) for detail in details)
        return None


def _choose(document: Document, kind: object, problems: list[Problem]) -> tuple[type[CommonForm], str]:
    """The form and the name of the kind; of the nearest kind, or of what all share, where the file's own is no kind."""
    if isinstance(kind, str) and kind in FORMS:
        return FORMS[kind], kind
    expected = f"expected one of {', '.join(FORMS)}"
    if not isinstance(kind, str):
        given = "kind" in (document.data if isinstance(document.data, dict) else {})
        problems.append(at(document, ("kind",), "is no word" if given else "is missing", expected))
        return AnyForm, ""
    folded = {name.lower(): name for name in FORMS}
    near = get_close_matches(kind.lower()[:64], folded, n=1, cutoff=0.5)
    mean = f"did you mean {folded[near[0]]}? " if near else ""
    problems.append(at(document, ("kind",), f"{shown(kind)} is not a kind of job", mean + expected))
    return (FORMS[folded[near[0]]], folded[near[0]]) if near else (AnyForm, "")


def _ordered(problems: list[Problem]) -> tuple[Problem, ...]:
    """As they stand in the file; after the hundredth only their number."""
    ordered = sorted(problems, key=lambda problem: (problem.line, problem.column))
    if len(ordered) <= MOST_PROBLEMS:
        return tuple(ordered)
    more = Problem(0, 0, "", f"and {len(ordered) - MOST_PROBLEMS} more problems")
    return (*ordered[:MOST_PROBLEMS], more)


class _Common(TypedDict):
    name: str
    model: Model
    limits: Limits
    data: DataSet
    program: Program | None
    settings: tuple[Setting, ...]
    after: tuple[str, ...]
    priority: float
    team: str


class _Gradient(TypedDict):
    tokens: float
    precision: Precision
    sequence_length: int
    micro_batch: int
    mfu: float | None
    global_batch_tokens: float | None
    parallelism: Parallelism | None
    recompute: Recompute | None


class _Answer(TypedDict):
    prompt_tokens: int
    output_tokens: int
    precision: Precision
    kv_precision: Precision
    stack: Stack
    quantise: tuple[Precision, ...]


def _workload(form: CommonForm) -> Workload:
    common = _common(form)
    match form:
        case TrainingForm():
            return Training(**common, **_gradient(form))
        case FineTuneForm():
            return FineTune(**common, **_gradient(form), method=form.method, lora_rank=form.lora_rank)
        case InferenceForm():
            users = tuple(Population(users.place, users.rate) for users in form.users)
            return Inference(
                **common,
                **_answer(form),
                users=users,
                duration_s=form.duration,
                peak_over_mean=form.peak_over_mean,
            )
        case BatchInferenceForm():
            return BatchInference(**common, **_answer(form), requests=form.requests)
        case _:
            raise TypeError(f"{type(form).__name__} is no kind of job")


def _common(form: CommonForm) -> _Common:
    return _Common(
        name=form.name,
        model=form.model.resolved,
        limits=_limits(form.limits),
        data=_data(form.data),
        program=_program(form.run),
        settings=tuple(
            Setting(policy, name, value) for policy, of in form.policies.items() for name, value in of.items()
        ),
        after=tuple(dict.fromkeys(form.after)),
        priority=form.priority,
        team=form.team,
    )


def _data(form: DataForm) -> DataSet:
    return DataSet(
        location=form.location,
        size_gib=form.size,
        result_gib=form.result,
        deliver_to=form.deliver_to,
        stays=form.stays,
    )


def _gradient(form: GradientForm) -> _Gradient:
    length = form.sequence_length or min(SEQUENCE_LENGTH, form.model.resolved.context_length or SEQUENCE_LENGTH)
    batch = form.global_batch.tokens if form.global_batch else None
    if form.global_batch and form.global_batch.sequences:
        batch = float(form.global_batch.sequences * length)
    layout = _parallelism(form, batch / length if batch else None)
    return _Gradient(
        tokens=form.tokens,
        precision=form.precision,
        sequence_length=length,
        micro_batch=layout.micro_batch if layout else form.micro_batch or 1,
        mfu=form.mfu,
        global_batch_tokens=batch,
        parallelism=layout,
        recompute=form.recompute,
    )


def _parallelism(form: GradientForm, sequences: float | None) -> Parallelism | None:
    """The layout with what follows from other fields; without a global batch, `micro_batches` stays 1."""
    given = form.parallelism
    if given is None:
        return None
    if None not in (given.micro_batch, form.micro_batch) and given.micro_batch != form.micro_batch:
        message = f"is {given.micro_batch}, and the job's micro_batch is {form.micro_batch}"
        raise Contradicted("job", (Contradiction("parallelism.micro_batch", message, "give it once"),))
    micro_batch = given.micro_batch or form.micro_batch or 1
    return Parallelism(
        tensor=given.tensor,
        pipeline=given.pipeline,
        data=given.data,
        context=given.context,
        expert=given.expert,
        micro_batch=micro_batch,
        micro_batches=max(1, round(sequences / (given.data * micro_batch))) if sequences else 1,
        interleave=given.interleave,
        sharding=given.sharding,
        recompute=form.recompute or Recompute.SELECTIVE,
    )


def _answer(form: AnswerForm) -> _Answer:
    context = form.model.resolved.context_length
    prompt, output = form.prompt_tokens or PROMPT_TOKENS, form.output_tokens or OUTPUT_TOKENS
    if context is not None and form.output_tokens is None:
        output = min(output, max(1, context - (form.prompt_tokens or 1)))
    if context is not None and form.prompt_tokens is None:
        prompt = min(prompt, max(1, context - output))
    return _Answer(
        prompt_tokens=prompt,
        output_tokens=output,
        precision=form.precision,
        kv_precision=form.kv_precision,
        stack=form.stack,
        quantise=tuple(dict.fromkeys(form.quantise)),
    )


def _limits(form: LimitsForm) -> Limits:
    latency = form.latency
    return Limits(
        budget_usd=form.budget,
        deadline_s=form.deadline.seconds if form.deadline else None,
        finish_by=form.deadline.moment if form.deadline else None,
        latency=LatencyTarget(first_token_s=latency.first_token, per_token_s=latency.per_token, total_s=latency.total),
        regions=form.regions,
        residency=form.residency,
        providers=form.providers,
        accelerators=form.accelerators,
        billing=form.billing,
    )


def _program(form: RunForm | None) -> Program | None:
    if form is None:
        return None
    return Program(
        command=form.command,
        image=form.image,
        workdir=form.workdir,
        env=tuple(form.env.items()),
        secrets=tuple(form.secrets.items()),
        checkpoint=Checkpointing(interval_s=form.checkpoint.interval, grace_s=form.checkpoint.grace),
        max_attempts=form.max_attempts,
        framework=form.framework,
        port=form.port,
    )
