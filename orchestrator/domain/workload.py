"""Workloads: what the user wants done, as a tagged union; no field is optional in one kind and required in another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypeAlias

from orchestrator.domain import consistency
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.offer import Billing
from orchestrator.domain.parallelism import Parallelism, Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A transformer by its numbers.

    `active_parameters` is what one token passes through: less than `parameters` for a mixture of experts, of which
    every token passes `experts_per_token` of `experts` in a layer. The shape is None where the user gave only a
    parameter count; sizing then says which terms it had to estimate.

    Raises: Contradicted for numbers that are not finite or below 1, and for those that cannot go together.
    """

    name: str
    parameters: float
    active_parameters: float
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    feed_forward: int | None = None  # width of one feed-forward network, of one expert in a mixture
    gated: bool | None = None  # whether the feed-forward has three matrices (SwiGLU) or two
    experts: int | None = None
    experts_per_token: int | None = None
    context_length: int | None = None  # the longest sequence it was made for
    source: str = ""  # where the numbers come from: a table's row, a config.json's path, "job file"

    def __post_init__(self) -> None:
        consistency.refuse("model", consistency.of_model(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTarget:
    """Upper limits in seconds at the 95th percentile; None is no limit."""

    first_token_s: float | None = None  # network round trip + TTFT
    per_token_s: float | None = None  # TPOT
    total_s: float | None = None  # the whole answer

    def __post_init__(self) -> None:
        limits = (("first_token_s", self.first_token_s), ("per_token_s", self.per_token_s), ("total_s", self.total_s))
        consistency.refuse("limits", consistency.above_zero(*limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hard limits; None or empty is no limit. `deadline_s` counts from the snapshot, `finish_by` is a moment."""

    budget_usd: float | None = None
    deadline_s: float | None = None
    finish_by: datetime | None = None
    latency: LatencyTarget = LatencyTarget()
    regions: tuple[str, ...] = ()  # region names or globs: "eu-*", "us-east-1"
    residency: tuple[str, ...] = ()  # jurisdictions the data may be in: "EU", "US", ISO country codes
    providers: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    billing: tuple[Billing, ...] = ()  # empty: on-demand, spot and owned

    def __post_init__(self) -> None:
        limits = (("budget_usd", self.budget_usd), ("deadline_s", self.deadline_s))
        consistency.refuse("limits", consistency.above_zero(*limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """The job's input: where it lies ("aws/us-east-1", a place, "" = comes with the job) and its size in GiB.

    `result_gib` is what the job leaves behind and brings to `deliver_to` ("" = back to `location`). Data that `stays`
    may not leave the jurisdictions of the place where it lies.
    """

    location: str = ""
    size_gib: float = 0.0
    result_gib: float = 0.0
    deliver_to: str = ""
    stays: bool = False

    def __post_init__(self) -> None:
        consistency.refuse("data", consistency.of_data(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointing:
    """How the job saves its work: it writes into `$ISOFLOP_CHECKPOINT_DIR` about every `interval_s` seconds."""

    interval_s: float = 900.0
    grace_s: float = 30.0  # from the request to stop until it is made to


class Framework(StrEnum):
    """What forms one cluster of a lease's machines for a program; the launcher of its name does."""

    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What runs on the machines; `secrets` maps variables to credential *references*, resolved at the launch alone."""

    command: tuple[str, ...]
    image: str = ""
    workdir: str = ""  # a folder on the submitting machine
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    checkpoint: Checkpointing = Checkpointing()
    max_attempts: int = 10  # leases tried before the run is given up
    framework: Framework | None = None  # None: the command runs as it is, once per node
    port: int | None = None  # where a service listens on every machine: it is told as `$ISOFLOP_PORT`


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of one policy: ("latency", "usd_per_ms", 0.5)."""

    policy: str
    name: str
    value: float | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What every kind of workload has."""

    name: str
    model: Model
    limits: Limits = Limits()
    data: DataSet = DataSet()
    program: Program | None = None  # None: plan only
    settings: tuple[Setting, ...] = ()
    after: tuple[str, ...] = ()  # names of the jobs whose results this one reads
    priority: float = 0.0  # the higher goes first where not all jobs can be placed
    team: str = ""  # whose purse pays

    def setting(self, policy: str, name: str, default: float) -> float:
        """The numeric setting `name` of `policy`, or `default`."""
        for setting in self.settings:
            if setting.policy == policy and setting.name == name:
                return float(setting.value)
        return default


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Brief):
    """Train from scratch on `tokens` tokens."""

    KIND: ClassVar[str] = "Training"

    tokens: float
    precision: Precision = Precision.BF16
    sequence_length: int = 4096
    micro_batch: int = 1  # sequences per device and step
    mfu: float | None = None  # the user's own measurement, in (0, 1]
    global_batch_tokens: float | None = None  # tokens of one optimizer step; None: a usual one for the model's size
    parallelism: Parallelism | None = None  # None: the best that is found
    recompute: Recompute | None = None  # None: the best that is found

    def __post_init__(self) -> None:
        consistency.refuse("training", consistency.of_gradient(self))


class Method(StrEnum):
    """How a model is fine-tuned."""

    FULL = "full"
    LORA = "lora"
    QLORA = "qlora"


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune(Brief):
    """Adapt a trained model on `tokens` tokens (all epochs counted).

    The batch, the parallelism and the recompute are those of Training, and are for the method `full` alone.
    """

    KIND: ClassVar[str] = "FineTune"

    tokens: float
    method: Method = Method.LORA
    lora_rank: int = 16
    precision: Precision = Precision.BF16
    sequence_length: int = 4096
    micro_batch: int = 1
    mfu: float | None = None
    global_batch_tokens: float | None = None
    parallelism: Parallelism | None = None
    recompute: Recompute | None = None

    def __post_init__(self) -> None:
        consistency.refuse("fine-tuning", consistency.of_fine_tune(self))


class Stack(StrEnum):
    """The software that serves a model."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TENSORRT_LLM = "tensorrt-llm"
    LLAMA_CPP = "llama.cpp"

    @property
    def lacks(self) -> frozenset[Precision]:
        """Formats that it holds no weights in."""
        return frozenset({Precision.FP8}) if self is Stack.LLAMA_CPP else frozenset()

    @property
    def lacks_for_cache(self) -> frozenset[Precision]:
        """Formats that it holds no key-value cache in."""
        return frozenset({Precision.FP8, Precision.FP4}) if self is Stack.LLAMA_CPP else frozenset()


@dataclass(frozen=True, slots=True)
class Population:
    """Users in one place ("Frankfurt", "aws/eu-central-1", "48.1,11.6") and their request rate."""

    place: str
    requests_per_s: float

    def __post_init__(self) -> None:
        consistency.refuse("users", consistency.not_negative(("requests_per_s", self.requests_per_s)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference(Brief):
    """Serve a model online to `users` for `duration_s`, the horizon that costs are compared over."""

    KIND: ClassVar[str] = "Inference"

    users: tuple[Population, ...]
    prompt_tokens: int = 1024
    output_tokens: int = 256
    precision: Precision = Precision.BF16  # of the weights and the arithmetic
    kv_precision: Precision = Precision.BF16
    duration_s: float = 30 * 86400.0
    stack: Stack = Stack.VLLM
    peak_over_mean: float = 1.0  # of the request rate: `users` give the mean, replicas are for the peak
    quantise: tuple[Precision, ...] = ()  # narrower weights that the planner may propose

    def __post_init__(self) -> None:
        consistency.refuse("inference", consistency.of_service(self))

    @property
    def requests_per_s(self) -> float:
        """The rate over all populations."""
        return sum(population.requests_per_s for population in self.users)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInference(Brief):
    """Answer `requests` requests, in any order, by the deadline."""

    KIND: ClassVar[str] = "BatchInference"

    requests: float
    prompt_tokens: int = 1024
    output_tokens: int = 256
    precision: Precision = Precision.BF16
    kv_precision: Precision = Precision.BF16
    stack: Stack = Stack.VLLM
    quantise: tuple[Precision, ...] = ()

    def __post_init__(self) -> None:
        consistency.refuse("batch inference", consistency.of_batch(self))


Workload: TypeAlias = Training | FineTune | Inference | BatchInference
