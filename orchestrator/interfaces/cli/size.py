"""`isoflop size`: what a workload takes on every accelerator; a job file's, or a model's with what to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from orchestrator.catalog.lookup import Chosen, look_up
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray, OfferBook
from orchestrator.interfaces.cli import session, size_asked, size_break_even, size_sites
from orchestrator.interfaces.cli import size_options as options
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.compare_view import CompareReport
from orchestrator.interfaces.views.size_figures import Prices, Quote
from orchestrator.interfaces.views.size_view import SizeReport
from orchestrator.spec import quantity


def run(
    job_file: Annotated[Path | None, typer.Argument(metavar="[JOB]", help="Job file; or give --model.")] = None,
    *,
    model: options.ModelName = None,
    tokens: options.Tokens = None,
    fine_tune: options.FineTuneBy = None,
    serve: options.Serve = None,
    prompt_tokens: options.PromptTokens = None,
    output_tokens: options.OutputTokens = None,
    peak_over_mean: options.PeakOverMean = None,
    stack: options.StackName = None,
    precision: options.Of = None,
    mfu: options.Mfu = None,
    global_batch: options.GlobalBatch = None,
    sequence_length: options.SequenceLength = None,
    gpus: options.Gpus = None,
    node_gpus: options.NodeGpus = None,
    fabric: options.Fabric = None,
    sites: options.Sites = None,
    site_bandwidth: options.SiteBandwidth = None,
    site_rtt: options.SiteRtt = None,
    exchange: options.ExchangeBy = None,
    site_egress_usd_per_gb: options.SiteEgress = None,
    accelerator: options.Accelerators = None,
    compare: options.Compare = None,
    usd_per_gpu_hour: options.UsdPerGpuHour = None,
    inference_tokens: options.InferenceTokens = "1024",
    region: options.Region = None,
    pue: options.Pue = None,
    break_even: options.BreakEven = False,
    api_price: options.ApiPrice = None,
    api_price_in: options.ApiPriceIn = None,
    api_price_out: options.ApiPriceOut = None,
    utilisation: options.Utilisation = None,
    gpu_price: options.GpuPrice = None,
    server_factor: options.ServerFactor = None,
    years: options.Years = None,
    power_price: options.PowerPrice = None,
    opex_share: options.OpexShare = None,
    cost_of_capital: options.CostOfCapital = None,
    as_json: options.AsJson = False,
) -> None:
    """Size a model: FLOPs, memory, devices, hours, energy and cost.

    Exit codes: 0, or 2 for bad input.
    """
    app = session.open_app()
    wish = size_asked.Wish(
        tokens=tokens,
        fine_tune=fine_tune,
        serve=serve,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        peak_over_mean=peak_over_mean,
        stack=stack,
        precision=precision,
        mfu=mfu,
        global_batch=global_batch,
        sequence_length=sequence_length,
    )
    wiring = size_asked.Wiring(node_gpus=node_gpus, fabric=fabric)
    over = size_sites.Terms(
        sites=sites,
        site_bandwidth=site_bandwidth,
        site_rtt=site_rtt,
        exchange=exchange,
        site_egress_usd_per_gb=site_egress_usd_per_gb,
    )
    terms = size_break_even.Terms(
        api_price=api_price,
        api_price_in=api_price_in,
        api_price_out=api_price_out,
        utilisation=utilisation,
        gpu_price=gpu_price,
        server_factor=server_factor,
        years=years,
        power_price=power_price,
        opex_share=opex_share,
        cost_of_capital=cost_of_capital,
        pue=pue,
    )
    chosen = _chosen(app.accelerators(), accelerator, compare)
    chosen = replace(chosen, notes=(*chosen.notes, *size_asked.notes(wish)))
    parameters = app.parameters()
    named = accelerator is not None or compare is not None
    given = _given(chosen.devices, usd_per_gpu_hour)
    if break_even:
        if strays := [*filter(None, [wiring.given()]), *(["--sites"] if sites else []), *over.strays()]:
            raise UserError(f"{', '.join(strays)}: not with --break-even")
        prices = given or quotes(app.market(), firm=True)
        work = None if job_file is None and model is None else size_asked.subject(job_file, model, wish)[1]
        choose(as_json).show(size_break_even.report(work, chosen, prices, terms, parameters, gpus=gpus, named=named))
        return
    if terms.given():
        raise UserError(f"{', '.join(terms.given())}: only with --break-even")
    length = session.read_option("--inference-tokens", inference_tokens, quantity.count) or 1024.0
    subject, workload = size_asked.subject(job_file, model, wish)
    cluster = size_asked.clustered(workload, chosen.devices, gpus, wiring)
    shared = size_sites.case(over, workload, gpus, parameters)
    report = SizeReport(
        model=subject,
        workload=workload,
        precision=workload.precision if workload is not None else precision or Precision.BF16,
        sizings=size_asked.sized(workload, chosen.devices, parameters, gpus, cluster),
        accelerators=chosen.devices,
        prices=given or quotes(app.market()),
        inference_tokens=length,
        now=app.clock.now(),
        gpus=gpus,
        location=size_asked.located(region, pue, app.network),
        notes=chosen.notes if shared is None else (*chosen.notes, *shared.notes),
        cluster=cluster,
    )
    if shared is not None:
        report = replace(report, sites=size_sites.answers(shared, report.fitting()))
    if compare is not None and workload is None:
        raise UserError("--compare needs work to compare on: give --tokens N, --serve RATE or a job file")
    choose(as_json).show(report if compare is None else CompareReport(report))


def _chosen(known: tuple[Accelerator, ...], names: str | None, compared: str | None) -> Chosen:
    """The accelerators named; all where none is."""
    if names is not None and compared is not None:
        raise UserError("--compare names the accelerators itself: leave --accelerator out")
    asked = compared if compared is not None else names
    return look_up(asked, known) if asked is not None else Chosen(known)


def _given(devices: Sequence[Accelerator], texts: Sequence[str] | None) -> dict[str, Prices]:
    """The prices that the user states, for every device; empty where none is stated."""
    stated = [session.read_option("--usd-per-gpu-hour", each, quantity.money_usd) for each in texts or ()]
    usd = [price for price in stated if price is not None]
    if not usd:
        return {}
    low, high = (Quote(usd_per_gpu_hour=end, offer="as given", source="") for end in (min(usd), max(usd)))
    return {device.name: Prices(low=low, high=high) for device in devices}


def quotes(book: OfferBook, *, firm: bool = False) -> dict[str, Prices]:
    """The cheapest and the dearest offer of every accelerator by the GPU-hour, sold-out ones left out.

    With `firm`, spot offers are left out too.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        per_gpu = book.usd_per_hour / book.gpus
    usable = np.isfinite(per_gpu) & (per_gpu > 0) & (book.available != 0)
    if firm:
        usable &= ~book.billing.isin(frozenset({Billing.SPOT.value}))
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
