"""`isoflop size`: the FLOP model alone; a job file's workload, or a model and a number of tokens."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.errors import UserError
from orchestrator.domain.offerbook import FloatArray, OfferBook
from orchestrator.domain.workload import Model, Training, Workload
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.size_view import Prices, Quote, SizeReport
from orchestrator.sizing.size import size
from orchestrator.spec import models, quantity


def run(
    job_file: Annotated[Path | None, typer.Argument(metavar="[JOB]", help="Job file; or give --model.")] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="A known model, a Hugging Face config.json, or a size such as 7B."
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option("--tokens", metavar="N", help="Tokens to train --model on, such as 300B.")
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="Of --model's arithmetic.")] = Precision.BF16,
    mfu: Annotated[
        str | None, typer.Option("--mfu", metavar="SHARE", help="Utilisation you measured, such as 0.45 or 100%.")
    ] = None,
    accelerator: Annotated[
        str | None, typer.Option("--accelerator", metavar="NAMES", help="Only these, such as H100-SXM,A100-80GB.")
    ] = None,
    usd_per_gpu_hour: Annotated[
        list[str] | None,
        typer.Option("--usd-per-gpu-hour", metavar="PRICE", help="Price instead of the market's; twice for a range."),
    ] = None,
    inference_tokens: Annotated[
        str, typer.Option("--inference-tokens", metavar="N", help="Length of the one inference shown.")
    ] = "1024",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Size a model: FLOPs, memory, devices, hours, energy and cost.

    Exit codes: 0, or 2 for bad input.
    """
    app = session.open_app()
    share = session.read_option("--mfu", mfu, quantity.ratio)
    amount = session.read_option("--tokens", tokens, quantity.count)
    stated = [session.read_option("--usd-per-gpu-hour", each, quantity.money_usd) for each in usd_per_gpu_hour or ()]
    given = [price for price in stated if price is not None]
    length = session.read_option("--inference-tokens", inference_tokens, quantity.count) or 1024.0
    subject, workload = _asked(job_file, model, amount, precision, share)
    devices = _chosen(app.accelerators(), accelerator)
    report = SizeReport(
        model=subject,
        workload=workload,
        precision=workload.precision if workload is not None else precision,
        sizings=size(workload, devices) if workload is not None else {},
        accelerators=devices,
        prices=_given(devices, given) if given else quotes(app.market()),
        inference_tokens=length,
        now=app.clock.now(),
    )
    choose(as_json).show(report)


def _asked(
    job_file: Path | None, name: str | None, tokens: float | None, precision: Precision, mfu: float | None
) -> tuple[Model, Workload | None]:
    if (job_file is None) == (name is None):
        raise UserError("give a job file, or --model NAME (with --tokens to train it on), and not both")
    if job_file is not None:
        if tokens is not None or mfu is not None:
            raise UserError("--tokens and --mfu belong to --model: a job file says its own")
        workload = session.load_job(job_file)
        return workload.model, workload
    found = _model(name or "")
    if not tokens:
        return found, None
    return found, Training(name=found.name, model=found, tokens=tokens, precision=precision, mfu=mfu or None)


def _model(name: str) -> Model:
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


def _chosen(known: tuple[Accelerator, ...], names: str | None) -> tuple[Accelerator, ...]:
    """The accelerators named, in the order named; all where none is."""
    if names is None:
        return known
    by_name = {device.name.casefold(): device for device in known}
    chosen = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name.casefold() not in by_name:
            near = difflib.get_close_matches(name.casefold(), by_name, n=1)
            hint = f"did you mean {by_name[near[0]].name}?" if near else f"known: {', '.join(d.name for d in known)}"
            raise UserError(f"no accelerator is called {name!r} ({hint})")
        chosen.append(by_name[name.casefold()])
    return tuple(dict.fromkeys(chosen))


def _given(devices: Sequence[Accelerator], usd: Sequence[float]) -> dict[str, Prices]:
    low, high = (Quote(usd_per_gpu_hour=end, offer="as given", source="") for end in (min(usd), max(usd)))
    return {device.name: Prices(low=low, high=high) for device in devices}


def quotes(book: OfferBook) -> dict[str, Prices]:
    """The cheapest and the dearest offer of every accelerator by the GPU-hour, sold-out ones left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        per_gpu = book.usd_per_hour / book.gpus
    usable = np.isfinite(per_gpu) & (per_gpu > 0) & (book.available != 0)
    found: dict[str, Prices] = {}
    for code, name in enumerate(book.accelerator.vocab):
        rows = np.flatnonzero(usable & (book.accelerator.codes == code))
        if len(rows):
            low, high = rows[np.argmin(per_gpu[rows])], rows[np.argmax(per_gpu[rows])]
            found[name] = Prices(low=_quote(book, per_gpu, int(low)), high=_quote(book, per_gpu, int(high)))
    return found


def _quote(book: OfferBook, per_gpu: FloatArray, row: int) -> Quote:
    offer = book[row]
    return Quote(
        usd_per_gpu_hour=float(per_gpu[row]), offer=offer.label, source=offer.source, observed_at=offer.observed_at
    )
