"""The job file's shape: one pydantic model per kind, with the description and examples that editors show."""

# No postponed annotations here: pydantic would have to evaluate each of hundreds of strings at every start.

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.workload import Method, Stack
from orchestrator.spec.fields import (
    BillingWord,
    Command,
    Count,
    DeadlineField,
    EnvironmentText,
    FrameworkWord,
    Gib,
    Jurisdiction,
    MethodWord,
    Name,
    OneOrMore,
    PeakOverMean,
    PerSecond,
    Port,
    PrecisionWord,
    Ratio,
    Reference,
    Seconds,
    SecondsOrZero,
    SettingValue,
    StackWord,
    Text,
    TrainablePrecision,
    Usd,
    Variable,
    Whole,
    flaw,
)
from orchestrator.spec.layout_form import GlobalBatch, ParallelismForm, RecomputeWord
from orchestrator.spec.model_form import ModelSection
from orchestrator.spec.quantity import shown
from orchestrator.spec.section import Filled, Form, Section, base_folder


class DataForm(Form):
    """The job's input data."""

    location: Text = Field(
        "",
        description="Where the data lies: provider/region or a place. Default: it comes with the job.",
        examples=["aws/us-east-1", "Frankfurt"],
    )
    size: Gib = Field(
        0.0, json_schema_extra={"default": "0GiB"}, description="How much data there is.", examples=["500GB", "1.5TiB"]
    )
    result: Gib = Field(
        0.0,
        json_schema_extra={"default": "0GiB"},
        description="How much the job leaves behind: weights, answers. It is brought to `deliver_to`.",
        examples=["140GB"],
    )
    deliver_to: Text = Field(
        "",
        description="Where the result goes: provider/region or a place. Default: to where the data lies.",
        examples=["aws/eu-central-1", "Frankfurt"],
    )
    stays: bool = Field(
        False,
        description="Whether the data may not leave the jurisdictions of the place where it lies.",
        examples=[True],
    )


class CheckpointForm(Form):
    """How the job saves its work, into the folder $ISOFLOP_CHECKPOINT_DIR."""

    interval: Seconds = Field(
        900.0,
        json_schema_extra={"default": "15min"},
        description="Time between checkpoints: what an interruption loses at most.",
        examples=["15min"],
    )
    grace: SecondsOrZero = Field(
        30.0,
        json_schema_extra={"default": "30s"},
        description="Time between the request to stop (SIGTERM) and the end (SIGKILL).",
        examples=["30s"],
    )


class RunForm(Form):
    """What runs on the machines."""

    command: Command = Field(
        description="The program and its arguments: a list, or one line split into words as a shell would.",
        examples=[["python", "train.py", "--steps", "600"], "python train.py --steps 600"],
    )
    image: Text = Field("", description="Container image.", examples=["ghcr.io/me/train:1.2"])
    workdir: Text = Field("", description="Folder the command runs in, relative to the job file.", examples=["."])
    env: Annotated[dict[Variable, EnvironmentText], Section] = Field(
        default_factory=dict,
        description="Environment variables, as text. They are stored and shown: keep secrets under `secrets`.",
        examples=[{"BATCH_SIZE": "32"}],
    )
    secrets: Annotated[dict[Variable, Reference], Section] = Field(
        default_factory=dict,
        description="Environment variables by reference: env:NAME, file:/path, k8s:namespace/name/key, ambient.",
        examples=[{"HF_TOKEN": "env:HF_TOKEN"}],
    )
    checkpoint: Annotated[CheckpointForm, Section] = Field(
        CheckpointForm.model_construct(),
        description="How the job saves its work.",
        examples=[{"interval": "15min", "grace": "30s"}],
    )
    max_attempts: Whole = Field(10, description="Machines tried before the run is given up.", examples=[10])
    framework: FrameworkWord | None = Field(
        None,
        description="ray: a Ray cluster over all machines runs the command once, as a Ray job.",
        examples=["ray"],
    )
    port: Port | None = Field(
        None, description="Where a service listens on its machines: told to it as $ISOFLOP_PORT.", examples=[8000]
    )

    @field_validator("workdir")
    @classmethod
    def _folder(cls, value: str, info: ValidationInfo) -> str:
        path = base_folder(info) / Path(value).expanduser()
        try:
            path = path.resolve(strict=True)
            usable = path.is_dir()
        except RuntimeError:  # what pathlib makes of a loop before Python 3.13
            raise flaw(f"{shown(value)} is a loop of symbolic links", "expected a folder") from None
        except OSError as error:
            raise flaw(f"{shown(value)} cannot be used: {error.strerror}", "expected a folder") from None
        if not usable:
            raise flaw(f"{shown(value)} is not a folder", "expected a folder")
        return os.fspath(path)

    @field_validator("secrets")
    @classmethod
    def _once(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        both = sorted(set(value) & set(info.data.get("env", {})))
        if both:
            raise flaw(f"{', '.join(both)} stands under env too", "give each variable once")
        return value


class LatencyForm(Form):
    """Upper limits at the 95th percentile."""

    first_token: Seconds | None = Field(
        None, description="Until the first token reaches the user, network included.", examples=["500ms"]
    )
    per_token: Seconds | None = Field(None, description="Between one token and the next.", examples=["50ms"])
    total: Seconds | None = Field(None, description="Until the whole answer has arrived.", examples=["10s"])


class LimitsForm(Form):
    """Hard limits: no placement that breaks one is ever chosen. What is left out is not limited."""

    budget: Usd | None = Field(None, description="Most money the job may cost.", examples=["$200k", "1500 USD"])
    deadline: DeadlineField | None = Field(
        None,
        description="Time the job may take, or the moment by which it ends (a date means its end; no zone means UTC).",
        examples=["30d", "2026-12-31", "2026-12-31T18:00+01:00"],
    )
    latency: Annotated[LatencyForm, Section] = Field(
        LatencyForm.model_construct(),
        description="Upper limits of a service's answers at the 95th percentile.",
        examples=[{"first_token": "500ms", "per_token": "50ms"}],
    )
    regions: Annotated[tuple[Text, ...], OneOrMore] = Field(
        (), description="Regions allowed, by name or pattern.", examples=[["eu-*", "us-east-1"]]
    )
    residency: Annotated[tuple[Jurisdiction, ...], OneOrMore] = Field(
        (),
        description="Jurisdictions the data may be in: EU, EEA or ISO country codes.",
        examples=[["EU"], ["DE", "FR"]],
    )
    providers: Annotated[tuple[Text, ...], OneOrMore] = Field(
        (), description="Providers allowed.", examples=[["aws", "gcp", "local"]]
    )
    accelerators: Annotated[tuple[Text, ...], OneOrMore] = Field(
        (), description="Accelerators allowed.", examples=[["H100-SXM", "A100-80GB"]]
    )
    billing: Annotated[tuple[BillingWord, ...], OneOrMore] = Field(
        (),
        description="Kinds of billing allowed. Default: on-demand, spot and owned.",
        examples=[["on-demand", "spot"]],
    )


class CommonForm(Form):
    """What every kind of job has."""

    name: Name = Field(description="The job's name, as lists of runs show it.", examples=["llama-from-scratch"])
    model: ModelSection = Field(
        description="The model: a known name, a Hugging Face config.json, or its numbers.",
        examples=["llama-3.1-8b", {"config": "model/config.json"}, {"parameters": "7B", "layers": 32}],
    )
    data: Annotated[DataForm, Section] = Field(
        DataForm.model_construct(),
        description="The job's input data.",
        examples=[{"location": "aws/us-east-1", "size": "500GB"}],
    )
    run: RunForm | None = Field(
        None,
        description="What runs on the machines; without it the job can be planned only.",
        examples=[{"command": "python train.py"}],
    )
    limits: Annotated[LimitsForm, Section] = Field(
        LimitsForm.model_construct(), description="Hard limits.", examples=[{"budget": "$200k", "deadline": "30d"}]
    )
    policies: Annotated[dict[Text, dict[Text, SettingValue]], Section] = Field(
        default_factory=dict,
        description="Settings of policies, such as what a millisecond is worth to you in US dollars.",
        examples=[{"latency": {"usd_per_ms": 0.5}}],
    )
    after: Annotated[tuple[Name, ...], OneOrMore] = Field(
        (),
        description="Jobs planned together with this one whose results it reads: it starts when they have ended.",
        examples=[["pretrain"]],
    )
    priority: float = Field(
        0.0, description="Where not all jobs can be placed, the higher go first.", examples=[10], allow_inf_nan=False
    )
    team: Text = Field("", description="Whose budget pays, where the settings have budgets.", examples=["research"])


class GradientForm(CommonForm):
    """What training and fine-tuning share."""

    tokens: Count = Field(description="Tokens the model sees, all epochs counted.", examples=["2T", "300B tokens"])
    precision: TrainablePrecision = Field(
        Precision.BF16, description="Number format of the arithmetic.", examples=["bf16"]
    )
    sequence_length: Whole | None = Field(
        None,
        json_schema_extra={"default": 4096},
        description="Tokens per sequence. Default: 4096, or the model's context length where that is shorter.",
        examples=[4096],
    )
    micro_batch: Whole | None = Field(
        None, json_schema_extra={"default": 1}, description="Sequences per device and pass.", examples=[1]
    )
    global_batch: GlobalBatch | None = Field(
        None,
        description="Tokens (or sequences) of one optimizer step. Default: a usual one for the model's size.",
        examples=["4M", {"sequences": 1024}],
    )
    recompute: RecomputeWord | None = Field(
        None,
        description="Activations that are computed again instead of kept. Default: the fastest that fits.",
        examples=["selective"],
    )
    parallelism: ParallelismForm | None = Field(
        None,
        description="How the devices share the work. Default: the fastest layout that fits.",
        examples=[{"tensor": 8, "pipeline": 4, "data": 16}],
    )
    mfu: Ratio | None = Field(
        None, description="Model FLOP/s utilisation you measured yourself. Default: estimated.", examples=[0.45, "45%"]
    )


class TrainingForm(GradientForm):
    """Train a model from scratch."""

    kind: Literal["Training"] = Field(description="What the job is.", examples=["Training"])


class FineTuneForm(GradientForm):
    """Adapt a trained model."""

    kind: Literal["FineTune"] = Field(description="What the job is.", examples=["FineTune"])
    method: MethodWord = Field(
        Method.LORA, description="All weights, low-rank adapters, or those over 4-bit weights.", examples=["lora"]
    )
    lora_rank: Whole = Field(16, description="Rank of the adapters, for lora and qlora.", examples=[16])

    @field_validator("lora_rank")
    @classmethod
    def _adapted(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("method") is Method.FULL:
            raise flaw("is given, but method is full", "leave it out, or choose lora or qlora")
        return value


class AnswerForm(CommonForm):
    """What both kinds of inference share."""

    prompt_tokens: Whole | None = Field(
        None,
        json_schema_extra={"default": 1024},
        description="Tokens of an average prompt. Default: 1024, or what the model's context leaves.",
        examples=[1024],
    )
    output_tokens: Whole | None = Field(
        None,
        json_schema_extra={"default": 256},
        description="Tokens of an average answer. Default: 256, or what the model's context leaves.",
        examples=[256],
    )
    precision: PrecisionWord = Field(
        Precision.BF16, description="Number format of the weights and the arithmetic.", examples=["bf16", "fp8"]
    )
    kv_precision: PrecisionWord = Field(
        Precision.BF16, description="Number format of the key-value cache.", examples=["bf16", "fp8"]
    )
    stack: StackWord = Field(Stack.VLLM, description="The software that serves the model.", examples=["vllm"])
    quantise: Annotated[tuple[PrecisionWord, ...], OneOrMore] = Field(
        (),
        description="Narrower formats of the weights that may be proposed where they save. Default: none.",
        examples=[["fp8", "int4"]],
    )


class UsersForm(Form):
    """Users in one place."""

    place: Text = Field(
        description="A city, provider/region, or latitude,longitude.",
        examples=["Frankfurt", "aws/eu-central-1", "48.1,11.6"],
    )
    rate: PerSecond = Field(description="Their requests per time, all users together.", examples=["20/s", "100k/day"])


class InferenceForm(AnswerForm):
    """Serve a model online."""

    kind: Literal["Inference"] = Field(description="What the job is.", examples=["Inference"])
    users: Annotated[tuple[UsersForm, ...], Filled] = Field(
        description="Where the users are and how much they ask.",
        examples=[[{"place": "Frankfurt", "rate": "20/s"}]],
        json_schema_extra={"minItems": 1},
    )
    duration: Seconds = Field(
        30 * 86400.0,
        json_schema_extra={"default": "30d"},
        description="How long the service runs: what costs are compared over.",
        examples=["30d"],
    )
    peak_over_mean: PeakOverMean = Field(
        1.0,
        description="The largest rate over the mean: `users` give the mean, replicas are planned for the peak.",
        examples=[3],
    )


class BatchInferenceForm(AnswerForm):
    """Answer many requests, in any order."""

    kind: Literal["BatchInference"] = Field(description="What the job is.", examples=["BatchInference"])
    requests: Count = Field(description="Requests in all.", examples=["1M"])


class AnyForm(CommonForm):
    """The shared fields of a job whose kind cannot be told: their errors are reported too."""

    model_config = ConfigDict(extra="ignore")


JobForm = TrainingForm | FineTuneForm | InferenceForm | BatchInferenceForm
FORMS: dict[str, type[JobForm]] = {
    "Training": TrainingForm,
    "FineTune": FineTuneForm,
    "Inference": InferenceForm,
    "BatchInference": BatchInferenceForm,
}
