"""`isoflop catalog`: offers of the user's own, read from CSV files into the cache that plans look at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.catalog import cache, intake
from orchestrator.catalog.importer import BadRows
from orchestrator.catalog.intake import Wishes
from orchestrator.domain.errors import UserError
from orchestrator.domain.offerbook import OfferBook
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.catalog_view import Import, ImportedReport, ImportsReport
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said


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
    choose(as_json).show(ImportedReport(done, kept))


def list_imports(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what is imported.

    Exit codes: 0, or 2 where an import is damaged.
    """
    app = session.open_app()
    folder = app.settings.catalog_dir
    names = [path.name.removesuffix(cache.SUFFIX) for path in cache.stored(folder)]
    books = cache.load(folder)
    imports = tuple(_summary(kept, book) for kept, book in zip(names, books, strict=True))
    choose(as_json).show(ImportsReport(imports, app.clock.now()))


def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `isoflop catalog list` shows it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove an import from the cache.

    Exit codes: 0, or 2 where there is none of that name.
    """
    app = session.open_app()
    if not cache.remove(app.settings.catalog_dir, name):
        known = ", ".join(path.name.removesuffix(cache.SUFFIX) for path in cache.stored(app.settings.catalog_dir))
        raise UserError(f"nothing is imported as {name!r} (imported: {known or 'nothing'})")
    choose(as_json).show(Said((good(f"forgot {name}"),), {"forgotten": name}))


RUNS = {"import": import_file, "list": list_imports, "forget": forget}


def _name(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".zip") or "offers"


def _summary(name: str, book: OfferBook) -> Import:
    empty = not len(book)
    return Import(
        name=name,
        offers=len(book),
        providers=tuple(book.provider.compact().vocab),
        oldest=None if empty else datetime.fromtimestamp(int(book.observed_at.min()), UTC),
        newest=None if empty else datetime.fromtimestamp(int(book.observed_at.max()), UTC),
    )
