"""`isoflop simulate serve`: five clouds on this machine, for a newcomer without an account and for tests."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.catalog import importer, pricebook
from orchestrator.catalog.importer import BadRows
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.interfaces.cli import files, session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.clouds_view import CloudsReport

if TYPE_CHECKING:
    from orchestrator.simulation.clouds.market import Market

CLOUDS = "orchestrator.simulation.clouds"
SPECS = "ISOFLOP_SPECS"


def serve(
    *,
    clouds: Annotated[
        list[str] | None, typer.Option("--cloud", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="A CSV of offers; the bundled book otherwise.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write the settings there as well, as TOML.")
    ] = None,
    specs: Annotated[
        Path | None,
        typer.Option("--specs", metavar="DIR", envvar=SPECS, help="Vendors' API descriptions to check calls against."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", min=0.0, help="Times real time; 0 stands until it is moved.")
    ] = 1.0,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Of the levers; 0 is a free one.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Decides stock and price paths.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Serve five simulated clouds until interrupted, and print the settings that point isoflop at them.

    Exit codes: 0 after an interrupt, or 2 for bad input, a port that is taken, or a missing extra.
    """
    app = session.open_app()
    try:
        starting = importlib.import_module(f"{CLOUDS}.serve")
        market = _market(prices, seed, speed)
        unknown = sorted(set(clouds or ()) - set(starting.VENDORS))
        if unknown:
            raise UserError(f"no cloud is called {', '.join(unknown)} (known: {', '.join(starting.VENDORS)})")
        serving = starting.Clouds(
            market,
            app.settings.home / "simulated-clouds",
            names=clouds or list(starting.VENDORS),
            specs=specs,
            ports={starting.CONTROL: port},
        )
    except ModuleNotFoundError as error:
        raise ConfigError(f"simulated clouds need {error.name}: pip install 'isoflop[clouds]'") from error
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror or error}") from error
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError):  # not in the main thread: then whoever runs us stops us
            signal.signal(number, lambda *_: stop.set())
    with serving:
        served = serving.served()
        if write is not None:
            files.write(write, served.configuration())
        choose(as_json).show(CloudsReport(served, str(write) if write else "", os.getpid()))
        stop.wait()


def _market(prices: Path | None, seed: int, speed: float) -> Market:
    book = pricebook.load()
    if prices is not None:
        book = importer.read_csv(prices, on_bad=BadRows.SKIP, now=datetime.now(UTC)).book
    pools = importlib.import_module(f"{CLOUDS}.pools")
    clock = importlib.import_module(f"{CLOUDS}.clock")
    markets = importlib.import_module(f"{CLOUDS}.market")
    google = importlib.import_module(f"{CLOUDS}.gcp.parts")  # Google's price list is of parts: prices must be sums
    sold = google.priced_by_parts(pools.of_book(book, seed=seed))
    if not sold:
        raise UserError(f"none of the offers is of {', '.join(pools.CLOUDS)}")
    made: Market = markets.Market(sold, seed=seed, clock=clock.MarketClock(datetime.now(UTC), scale=speed))
    return made
