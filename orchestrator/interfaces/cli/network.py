"""`isoflop network`: round trips and bandwidth between regions and users, measured or imported, for plans to count."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.egress import End, Tariffs, locate
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Place, great_circle_km
from orchestrator.domain.sites import Atlas
from orchestrator.domain.snapshot import Snapshot
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.network_view import PathReport, ReadReport, TablesReport
from orchestrator.interfaces.views.page import good
from orchestrator.interfaces.views.said_view import Said
from orchestrator.inventory import link_files, links
from orchestrator.inventory.links import LinkTable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(
    ends: Annotated[
        list[str] | None, typer.Argument(metavar="[FROM TO]", help="Two places: provider/region, or a city.")
    ] = None,
    *,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", metavar="FILE", help="The network of a saved plan or snapshot.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider: imports and estimates alone.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Measured links to show; 0 shows all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what is known of the network, or of the path between two places, as plans count it, and whence.

    Exit codes: 0, or 2 where a place is unknown or an import is damaged.
    """
    app, named = session.open_app(), list(ends or ())
    if len(named) not in {0, 2}:
        raise UserError("name two places, or none for all that is known")
    market = session.look(app, saved=snapshot, live=not offline)
    if named:
        choose(as_json).show(_path(market, *named))
        return
    tables = () if snapshot is not None else links.load(app.settings.network_dir)
    imported = {link.origin for table in tables for link in table.links}
    measured = tuple(link for link in market.network.links if link.origin not in imported)
    gaps = market.gaps
    choose(as_json).show(TablesReport(tables=tables, measured=measured, gaps=gaps, now=app.clock.now(), limit=limit))


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, plain or gzipped.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name to keep it under; default: the file's.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="When they were measured; default: today."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read round trips and bandwidths into the state folder, so that plans count with them.

    The layout is recognised by the header. An import of the same name is replaced. What cannot be is left
    out and told. Of two imports about one pair the newer counts.

    Exit codes: 0, or 2 where the file cannot be read or holds nothing usable.
    """
    app = session.open_app()
    dated = as_of is not None
    at = as_of.replace(tzinfo=UTC) if as_of is not None else app.clock.now()
    with waiting(f"reading {file}"):
        read = link_files.read(file, app.network().places, links.origin(file.name, at, dated=dated))
        kept = name or file.name.removesuffix(".gz").removesuffix(".csv") or "links"
        table = LinkTable(name=kept, source=file.name, at=at, links=read.links, dated=dated)
        links.store(app.settings.network_dir, table)
    choose(as_json).show(ReadReport(file=str(file), name=kept, read=read))


def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `isoflop network show` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove an import of links.

    Exit codes: 0, or 2 where there is none of that name.
    """
    folder = session.open_app().settings.network_dir
    if not links.remove(folder, name):
        known = ", ".join(table.name for table in links.load(folder)) or "nothing"
        raise UserError(f"no links are imported as {name!r} (imported: {known})")
    choose(as_json).show(Said((good(f"forgot {name}"),), {"forgotten": name}))


RUNS = {"show": show, "import": import_file, "forget": forget}


def _path(market: Snapshot, a: str, b: str) -> PathReport:
    """The path between the places called `a` and `b`. Raises: UserError where one is unknown."""
    network = market.network
    atlas, tariffs = Atlas(network), Tariffs(network)
    here, there = _place(atlas, a), _place(atlas, b)
    pair = {here.key, there.key}
    ends = [locate(place.key, network, market.book) for place in (here, there)]
    return PathReport(
        a=here.key,
        b=there.key,
        trip=atlas.round_trip(here, there),
        links=tuple(link for link in network.links if {link.a, link.b} == pair),
        there=_usd_per_gib(tariffs, ends[0], ends[1]),
        back=_usd_per_gib(tariffs, ends[1], ends[0]),
        km=great_circle_km(here, there),
        gaps=market.gaps,
    )


def _usd_per_gib(tariffs: Tariffs, source: End, destination: End) -> float | None:
    """What the first GiB of a month is billed that anything is billed for: vendors begin with some that are free."""
    tiers = tariffs.tiers(source, destination)
    return None if tiers is None else next((usd for _, usd in tiers if usd), 0.0)


def _place(atlas: Atlas, key: str) -> Place:
    found = atlas.place(key)
    if found is None:
        close = " or ".join(atlas.similar(key))
        raise UserError(
            f"the place {key!r} is unknown; {f'did you mean {close}?' if close else 'give latitude,longitude'}"
        )
    return found
