"""What `isoflop size` is asked: a workload of a job file or of options, its sizings, and where the devices stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import grid
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Network, Place
from orchestrator.domain.offer import Tier
from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Assumption, FiniteWork, Sizing
from orchestrator.domain.workload import (
    FineTune,
    Inference,
    Method,
    Model,
    Population,
    Stack,
    Training,
    Workload,
)
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.size_figures import Location
from orchestrator.sizing import energy
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.size import size
from orchestrator.spec import models, quantity

_BINARY = re.compile(r"([0-9]{1,5})[kK]")
SEQUENCE_LENGTH = 4096  # tokens, where nobody says and the model's context is not shorter
SEARCHED = 8  # accelerators up to which a layout is searched for each: without --gpus every one has a count of its own
ANYWHERE = "anywhere"  # the users of a service that is sized without asking where


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the options say about --model; None is not given."""

    tokens: str | None = None
    fine_tune: Method | None = None
    serve: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    peak_over_mean: float | None = None
    stack: Stack | None = None
    precision: Precision | None = None
    mfu: str | None = None
    global_batch: str | None = None
    sequence_length: str | None = None

    def given(self) -> list[str]:
        """The options used, as they are typed."""
        names = (
            "tokens",
            "fine_tune",
            "serve",
            "prompt_tokens",
            "output_tokens",
            "peak_over_mean",
            "stack",
            "precision",
            "mfu",
            "global_batch",
            "sequence_length",
        )
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the options say about nodes and fabric; None is not given."""

    node_gpus: int | None = None
    fabric: str | None = None

    def given(self) -> str:
        """The options used, as they are typed; empty where none is."""
        used = (("--node-gpus", self.node_gpus), ("--fabric", self.fabric))
        return ", ".join(option for option, value in used if value is not None)


def subject(job_file: Path | None, name: str | None, wish: Wish) -> tuple[Model, Workload | None]:
    """The model, and the work if any is asked for. Raises: UserError where the options contradict each other."""
    if (job_file is None) == (name is None):
        raise UserError("give a job file, or --model NAME (with --tokens or --serve), and not both")
    if job_file is None:
        model = known_model(name or "")
        return model, _work(model, wish)
    if wish.given():
        raise UserError(f"{', '.join(wish.given())}: only with --model, since a job file says its own")
    workload = session.load_job(job_file)
    return workload.model, workload


def known_model(name: str) -> Model:
    """The model called `name`, of a config.json, or of so many parameters. Raises: UserError."""
    known = models.find_model(name)
    if known is not None:
        return known
    if name.endswith(".json") or ("/" in name and Path(name).exists()):
        return models.from_config_json(Path(name))
    try:
        parameters = quantity.count(name)
    except quantity.QuantityError:
        near = models.nearest_models(name)
        hint = f"did you mean {', '.join(near)}?" if near else "a name, a config.json, or a size such as 7B"
        raise UserError(f"no model is called {name!r} ({hint})") from None
    if not parameters:
        raise UserError("--model 0: a model has parameters")
    return Model(name=name, parameters=parameters, active_parameters=parameters, source="--model")


def _work(model: Model, wish: Wish) -> Workload | None:
    tokens = session.read_option("--tokens", wish.tokens, quantity.count)
    mfu = session.read_option("--mfu", wish.mfu, quantity.ratio)
    rate = session.read_option("--serve", wish.serve, quantity.rate_per_s)
    for option, number in (("--tokens", tokens), ("--serve", rate), ("--mfu", mfu)):
        if number == 0:
            raise UserError(f"{option} 0: there is no work to size")
    _refuse_strays(wish)
    precision = wish.precision or Precision.BF16
    if rate is not None:
        return _service(model, wish, rate, precision)
    return None if tokens is None else _training(model, wish, tokens, precision, mfu)


def _training(model: Model, wish: Wish, tokens: float, precision: Precision, mfu: float | None) -> Training | FineTune:
    batch = session.read_option("--global-batch", wish.global_batch, quantity.count)
    stated = session.read_option("--sequence-length", wish.sequence_length, _length)
    for option, number in (("--global-batch", batch), ("--sequence-length", stated)):
        if number == 0:
            raise UserError(f"{option} 0: a step trains on something")
    length = min(SEQUENCE_LENGTH, model.context_length or SEQUENCE_LENGTH) if stated is None else int(stated)
    if wish.fine_tune is None:
        return Training(
            name=model.name,
            model=model,
            tokens=tokens,
            precision=precision,
            mfu=mfu,
            global_batch_tokens=batch,
            sequence_length=length,
        )
    if batch is not None and wish.fine_tune is not Method.FULL:
        raise UserError(f"--global-batch is for training all weights, and --fine-tune {wish.fine_tune} does not")
    return FineTune(
        name=model.name,
        model=model,
        tokens=tokens,
        method=wish.fine_tune,
        precision=precision,
        mfu=mfu,
        global_batch_tokens=batch,
        sequence_length=length,
    )


def _length(text: str) -> float:
    """A sequence's tokens; `8k` is 8 192, as everybody means it of a context. Raises: QuantityError."""
    found = _BINARY.fullmatch(text.strip())
    return int(found[1]) * 1024.0 if found else float(quantity.whole(text))


def notes(wish: Wish) -> tuple[str, ...]:
    """How the options were understood where that is not what they say."""
    text = (wish.sequence_length or "").strip()
    return (f"--sequence-length {text} is taken as {_length(text):,.0f} tokens",) if _BINARY.fullmatch(text) else ()


def _refuse_strays(wish: Wish) -> None:
    """Raises: UserError for options that belong to another kind of work than the one asked for."""
    given = wish.given()
    if wish.serve is not None and wish.tokens is not None:
        raise UserError("--tokens trains and --serve answers requests: size one at a time")
    training = {"--fine-tune", "--mfu", "--global-batch", "--sequence-length"}
    trains = [option for option in given if option in training]
    if trains and wish.tokens is None:
        raise UserError(f"{', '.join(trains)} needs --tokens N, what it is trained on")
    serving = {"--prompt-tokens", "--output-tokens", "--peak-over-mean", "--stack"}
    serves = [option for option in given if option in serving]
    if serves and wish.serve is None:
        raise UserError(f"{', '.join(serves)} needs --serve RATE, such as --serve 20/s")


def _service(model: Model, wish: Wish, rate: float, precision: Precision) -> Inference:
    plain = Inference(name=model.name, model=model, users=(Population(ANYWHERE, rate),), precision=precision)
    return Inference(
        name=model.name,
        model=model,
        users=plain.users,
        precision=precision,
        prompt_tokens=wish.prompt_tokens or plain.prompt_tokens,
        output_tokens=wish.output_tokens or plain.output_tokens,
        peak_over_mean=wish.peak_over_mean or plain.peak_over_mean,
        stack=wish.stack or plain.stack,
    )


def sized(
    workload: Workload | None,
    devices: Sequence[Accelerator],
    parameters: Parameters,
    gpus: int | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Sizing | Reason]:
    """The sizings of `workload`, empty where there is none; of finite work on `gpus` devices where that is given.

    With a `cluster` the fastest layout on it is searched for as well.
    Raises: UserError where `gpus` is given for a service, whose devices follow from its load.
    """
    if workload is None:
        if gpus is not None:
            raise UserError("--gpus needs work to share out: give --tokens N or a job file")
        return {}
    if gpus is not None and isinstance(workload, Inference):
        raise UserError("--gpus is for work that ends: a service gets the replicas that its load takes")
    found = size(workload, devices, parameters, gpus=gpus, cluster=cluster, layouts=cluster is not None)
    return found if gpus is None else {name: _on(answer, gpus) for name, answer in found.items()}


def clustered(
    workload: Workload | None, devices: Sequence[Accelerator], gpus: int | None, terms: Wiring
) -> Cluster | None:
    """How the devices are wired where a layout is searched for, or is stated; None where there is none.

    Raises: UserError where the wiring is given and means nothing.
    """
    fabric = session.read_option("--fabric", terms.fabric, quantity.bandwidth_gbit_s)
    if fabric == 0:
        raise UserError("--fabric 0: nodes without a network train nothing together")
    given = terms.given()
    if not isinstance(workload, Training | FineTune) or not _whole(workload):
        if given:
            raise UserError(f"{given} is of the layout of training all weights: there is none here")
        return None
    if workload.parallelism is None and gpus is None and len(devices) > SEARCHED:
        if given:
            raise UserError(
                f"{given} is of a layout, and of {len(devices)} accelerators none is searched for:"
                f" give --gpus N, or name up to {SEARCHED}"
            )
        return None
    usual = Cluster()
    return Cluster(
        node_devices=usual.node_devices if terms.node_gpus is None else float(terms.node_gpus),
        fabric_gb_per_s=usual.fabric_gb_per_s if fabric is None else fabric / 8.0,
    )


def _whole(workload: Training | FineTune) -> bool:
    """Whether all weights are trained."""
    return isinstance(workload, Training) or workload.method is Method.FULL


def _on(answer: Sizing | Reason, gpus: int) -> Sizing | Reason:
    if isinstance(answer, Reason) or not isinstance(answer.effort, FiniteWork) or answer.min_gpus <= gpus:
        return answer
    detail = (
        f"the job's state of {answer.memory_gib:,.1f} GiB takes at least {answer.min_gpus:,} x {answer.accelerator},"
        f" and --gpus gives it {gpus:,}"
    )
    return Reason("sizing", ReasonCode.NO_FIT, detail)


def located(place: str | None, pue: float | None, network: Callable[[], Network]) -> Location | None:
    """Where the devices stand, if it was said. Raises: UserError where the place is unknown, or its grid."""
    if place is None:
        return None if pue is None else Location(pue=_stated_pue(pue))
    found = _place(place, network())
    grid_of = grid.intensity(found) if found is not None else grid.zone_intensity(place.upper())
    if grid_of is None:
        known = "its grid's CO2 is not in our table" if found is not None else "no place or country is called so"
        raise UserError(f"--region {place!r}: {known}; give a region such as aws/eu-west-1, a city or a country's code")
    name = found.key if found is not None else place.upper()
    provider = name.split("/", maxsplit=1)[0] if "/" in name else ""
    usual = grid.pue(provider) or energy.pue(Tier.CLOUD)
    return Location(place=name, pue=usual if pue is None else _stated_pue(pue), g_co2_per_kwh=grid_of)


def _stated_pue(pue: float) -> Assumption:
    return Assumption("pue", pue, "--pue")


def _place(name: str, network: Network) -> Place | None:
    """A place by its key, or by its region's name alone where every provider's region of that name is on one grid."""
    found = network.place(name)
    if found is not None:
        return found
    regions = [place for place in network.places if place.key.casefold().endswith(f"/{name.casefold()}")]
    if len({grid.intensity(place) for place in regions}) > 1:
        listed = ", ".join(place.key for place in regions)
        raise UserError(f"--region {name!r} may mean {listed}: name one")
    return regions[0] if regions else None
