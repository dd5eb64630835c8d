"""`isoflop offers`: the market as a list."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.catalog import pricebook, query
from orchestrator.catalog.query import OfferFilter, Order
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.snapshot import Gap
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.offers_view import OffersReport
from orchestrator.interfaces.views.page import Report
from orchestrator.spec import quantity

HISTORY, PATHS = "orchestrator.catalog.history", "orchestrator.catalog.paths"
VIEW = "orchestrator.interfaces.views.history_view"


def run(
    *,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", "-g", metavar="NAME", help="H100, A100-80GB, 'MI*'; repeatable.")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", "-r", metavar="NAME", help="us-east-1, 'eu-*', 'aws/eu-*'.")
    ] = None,
    provider: Annotated[list[str] | None, typer.Option("--provider", "-p", metavar="NAME", help="aws, gcp.")] = None,
    instance_type: Annotated[
        list[str] | None, typer.Option("--instance-type", metavar="NAME", help="p5.48xlarge, 'p5*'.")
    ] = None,
    billing: Annotated[
        list[Billing] | None, typer.Option("--billing", "-b", help="Kinds of billing; repeatable.")
    ] = None,
    max_price: Annotated[
        str | None, typer.Option("--max-price", metavar="USD", help="At most this for a node and hour.")
    ] = None,
    max_gpu_price: Annotated[
        str | None, typer.Option("--max-gpu-price", metavar="USD", help="At most this for a GPU and hour.")
    ] = None,
    min_gpus: Annotated[float | None, typer.Option("--min-gpus", min=0, help="At least so many in one node.")] = None,
    available: Annotated[bool, typer.Option("--available", help="Only what is known to be in stock.")] = False,
    max_age: Annotated[
        str | None, typer.Option("--max-price-age", metavar="AGE", help="Only prices younger than this: 90d.")
    ] = None,
    sort: Annotated[Order, typer.Option("--sort", "-s", help="What comes first.")] = Order.GPU_PRICE,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows to show; 0 shows all.")] = 50,
    edition: Annotated[
        str | None, typer.Option("--edition", metavar="NAME", help=f"Price book: {', '.join(pricebook.EDITIONS)}.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the configured providers too.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="What these offers cost since when, instead of what they cost now.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List and filter the market: what is sold where, for how much.

    Prices are in US dollars; each shows its age and its source.

    Exit codes: 0 (also where nothing matches), or 2 for bad input.
    """
    app = session.open_app()
    settings = app.settings
    if edition:
        app = replace(app, settings=replace(settings, edition=edition))
    oldest_s = session.read_option("--max-price-age", max_age, quantity.duration_s)
    wanted = OfferFilter(
        gpus=tuple(gpu or ()),
        providers=tuple(provider or ()),
        regions=tuple(region or ()),
        instance_types=tuple(instance_type or ()),
        billing=tuple(billing or ()),
        max_usd_per_hour=session.read_option("--max-price", max_price, quantity.money_usd),
        max_usd_per_gpu_hour=session.read_option("--max-gpu-price", max_gpu_price, quantity.money_usd),
        min_gpus=min_gpus,
        available_only=available,
        max_age_s=oldest_s,
    )
    now = app.clock.now()
    if history and (live or available):
        raise UserError("--history shows what was kept of past prices: it goes without --live and --available")
    if history:
        choose(as_json).show(_history(app, wanted, limit))
        return
    market, gaps = _market(app, live=live)
    matching = query.select(market, wanted, now=now)
    rows = query.order(matching, sort)
    report = OffersReport(
        offers=tuple(matching.take(rows[:limit] if limit else rows)),
        matching=len(matching),
        market=len(market),
        now=now,
        max_price_age_s=settings.max_price_age_s if oldest_s is None else oldest_s,
        gaps=gaps,
        hints=() if len(matching) else _hints(market, wanted),
    )
    choose(as_json).show(report)


def _history(app: App, wanted: OfferFilter, limit: int) -> Report:
    """The price paths that refreshes and imports have left; loaded here, because most lists have no use for them."""
    paths, view = importlib.import_module(PATHS), importlib.import_module(VIEW)
    now = app.clock.now()
    found = paths.select(importlib.import_module(HISTORY).load(app.settings.catalog_dir), wanted, now=now)
    report: Report = view.HistoryReport(
        paths=tuple(found[:limit] if limit else found),
        matching=len(found),
        now=now,
        hints=() if found else _hints(app.market(), wanted),
    )
    return report


def _market(app: App, *, live: bool) -> tuple[OfferBook, tuple[Gap, ...]]:
    if not live:
        return app.market(), ()
    with waiting("asking the providers"):
        snapshot = app.snapshot()
    return snapshot.book, snapshot.gaps


def _hints(market: OfferBook, wanted: OfferFilter) -> tuple[str, ...]:
    """Words of the filter that no offer has, with what may have been meant."""
    hints = []
    for word in wanted.gpus:
        if not query.matching_gpus(word, market.accelerator.vocab):
            hints.append(_hint("GPU", word, market.accelerator.vocab))
    for what, words, vocab in (
        ("provider", wanted.providers, market.provider.vocab),
        ("region", wanted.regions, market.region.vocab),
        ("instance type", wanted.instance_types, market.instance_type.vocab),
    ):
        folded = {known.casefold() for known in vocab}
        plain = [word for word in words if not set(word) & set("*?[/")]
        hints += [_hint(what, word, vocab) for word in plain if word.casefold() not in folded]
    return tuple(hints)


def _hint(what: str, word: str, vocab: tuple[str, ...]) -> str:
    near = query.suggest(word, vocab)
    return f"no {what} is called {word!r}" + (f": did you mean {', '.join(near)}?" if near else "")
