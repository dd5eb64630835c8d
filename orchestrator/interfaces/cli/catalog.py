"""`isoflop catalog`: prices from providers, from catalogues that others keep and of one's own, for plans to look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.catalog import cache, dates, history, intake, refreshed
from orchestrator.catalog.changes import changes_since, last_changes
from orchestrator.catalog.importer import BadRows
from orchestrator.catalog.intake import Wishes
from orchestrator.domain.errors import ProviderError, UserError
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.spelling import hint
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.catalog_view import Import, ImportedReport, ImportsReport
from orchestrator.interfaces.views.changes_view import ChangesReport, RefreshReport, progress_page
from orchestrator.interfaces.views.choose import choose, progress, waiting
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said
from orchestrator.inventory.refresh import IMPORT, LIVE
from orchestrator.spec import quantity


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, plain or gzipped, or a zip or a folder of them.")],
    *,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Whose catalogue it is; default: as the file or folder says."),
    ] = None,
    on_bad: Annotated[
        BadRows, typer.Option("--on-bad", help="Skip bad rows and report them, or refuse the file.")
    ] = BadRows.SKIP,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name to keep it under; default: the file's.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="Date of prices that have none."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read offers into the cache, so that plans run over them: a CSV of yours, gpuhunt's catalogue or SkyPilot's.

    The format is recognised by the header. An import of the same name is replaced.

    Exit codes: 0, or 2 where the file cannot be read or a row is refused.
    """
    app = session.open_app()
    dated = as_of.replace(tzinfo=UTC) if as_of is not None else None
    with waiting(f"reading {file}"):
        done = intake.read(file, Wishes(on_bad=on_bad, provider=provider, as_of=dated, now=app.clock.now()))
        kept = name or _name(file)
        cache.store(done.book, app.settings.catalog_dir, kept)
        history.record(app.settings.catalog_dir, f"{IMPORT}{kept}", done.book, app.clock.now())
    choose(as_json).show(ImportedReport(done, kept))


def refresh(
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", "-p", metavar="NAME", help="Whom to ask; repeatable; default: all that are on."),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option("--from", metavar="FEED", help="Not the providers but gpuhunt's public catalogues, or a URL."),
    ] = None,
    wait: Annotated[str, typer.Option("--wait", metavar="TIME", help="How long to wait for answers.")] = "2min",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the providers for their prices, and keep them for plans and lists.

    All are asked at once. What a provider or a region said before is kept where it does not answer. With --from
    gpuhunt no account is needed: the public catalogues are fetched and kept as imports.

    Exit codes: 0 where any provider answered, 2 for bad input, 4 where none did.
    """
    app = session.open_app()
    patience_s = session.read_option("--wait", wait, quantity.duration_s)
    if not patience_s:
        raise UserError("--wait: without any time nobody can answer")
    begun = app.clock.now()
    with progress() as draw:
        asked = partial(app.refresh_from, feed) if feed else app.refresh
        outcomes = asked(
            tuple(dict.fromkeys(provider or ())),
            patience_s=patience_s,
            watch=lambda standing: draw(progress_page(standing)),
        )
    choose(as_json).show(RefreshReport(outcomes, (app.clock.now() - begun).total_seconds()))
    problems = [outcome for outcome in outcomes if outcome.problem]
    if problems and all(outcome.told is None for outcome in outcomes):
        raise ProviderError(problems[0].provider, f"{problems[0].problem}; no provider told any prices")


def diff(
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="A date, or how long ago: 7d; default: the refresh before."),
    ] = None,
    provider: Annotated[
        list[str] | None, typer.Option("--provider", "-p", metavar="NAME", help="Whose prices; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Changes to show; 0 shows all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the last refresh or import changed: prices, what is new, gone, sold out or back.

    Exit codes: 0 (also where nothing changed), or 2 for bad input.
    """
    app = session.open_app()
    moment = _since(since, app.clock.now())
    found = []
    kept = history.load(app.settings.catalog_dir)
    names = {name for known in kept.values() for name in known.offers["provider"].vocab}
    for name in provider or ():
        if name not in names:
            raise UserError(f"no prices of {name!r} are kept ({hint(name, names)})")
    for source, known in kept.items():
        if provider and set(provider).isdisjoint(known.offers["provider"].vocab):
            continue
        changes = last_changes(source, known) if moment is None else changes_since(source, known, moment)
        if provider:
            changes = replace(changes, changes=tuple(each for each in changes.changes if each.provider in provider))
        found.append(changes)
    choose(as_json).show(ChangesReport(sources=tuple(found), limit=limit))


def list_imports(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what is imported and what was refreshed, with the age of its prices.

    Exit codes: 0, or 2 where an import is damaged.
    """
    app = session.open_app()
    folder = app.settings.catalog_dir
    names = [path.name.removesuffix(cache.SUFFIX) for path in cache.stored(folder)]
    books = cache.load(folder)
    imports = [_summary(kept, book) for kept, book in zip(names, books, strict=True)]
    imports += [_summary(f"{refreshed.PREFIX}{each.provider}", each.book) for each in refreshed.load(folder)]
    choose(as_json).show(ImportsReport(tuple(imports), app.clock.now()))


def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `isoflop catalog list` shows it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove an import, or a provider's refreshed prices, with their history.

    Exit codes: 0, or 2 where there is none of that name.
    """
    folder = session.open_app().settings.catalog_dir
    provider = name.removeprefix(refreshed.PREFIX)
    live = name != provider
    if not (refreshed.remove(folder, provider) if live else cache.remove(folder, name)):
        known = [path.name.removesuffix(cache.SUFFIX) for path in cache.stored(folder)]
        known += [refreshed.PREFIX + path.name.removesuffix(cache.SUFFIX) for path in refreshed.stored(folder)]
        raise UserError(f"nothing is imported as {name!r} (imported: {', '.join(known) or 'nothing'})")
    history.remove(folder, f"{LIVE}{provider}" if live else f"{IMPORT}{name}")
    choose(as_json).show(Said((good(f"forgot {name}"),), {"forgotten": name}))


RUNS = {"refresh": refresh, "import": import_file, "diff": diff, "list": list_imports, "forget": forget}


def _name(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".zip") or "offers"


def _since(text: str | None, now: datetime) -> datetime | None:
    """Raises: UserError where it is neither a date nor a duration."""
    if text is None:
        return None
    moment = dates.earliest(text)
    if moment is not None:
        return moment
    try:
        return now - timedelta(seconds=quantity.duration_s(text))
    except (quantity.QuantityError, OverflowError) as error:
        raise UserError(f"--since: {text!r} is neither a date such as 2026-11-20 nor a duration such as 7d") from error


def _summary(name: str, book: OfferBook) -> Import:
    empty = not len(book)
    return Import(
        name=name,
        offers=len(book),
        providers=tuple(book.provider.compact().vocab),
        oldest=None if empty else datetime.fromtimestamp(int(book.observed_at.min()), UTC),
        newest=None if empty else datetime.fromtimestamp(int(book.observed_at.max()), UTC),
    )
