"""`isoflop endpoints`: where services are reached, and whether they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import httpx
import typer

from orchestrator.domain.errors import JobFailed, UserError
from orchestrator.interfaces.api.messages import RunView
from orchestrator.interfaces.cli import control, session
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.endpoints_view import Answer, Endpoint, EndpointsReport

PATIENCE_S = 5.0
AT_ONCE = 32


def run(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="How the ids of the runs begin: `chat` is every part of it.")
    ] = "",
    *,
    check: Annotated[bool, typer.Option("--check", help="Ask each, and say how long its answer takes.")] = False,
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="What --check asks for.")] = "/",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show at which URLs services that run now are reached.

    Of runs whose job file says `run: port`. A machine behind a jump host, or in a Slurm allocation, is reached by
    nobody from outside and is not listed.

    Exit codes: 0; 2 where no run is called so; with --check 6 where one does not answer.
    """
    if not path.startswith("/"):
        raise UserError(f"--path begins with a slash, such as /health, not {path!r}")
    app = session.open_app()
    with control.reader(app) as source:
        runs = [each for each in source.runs() if each.id.startswith(name)]
    if name and not runs:
        raise UserError(f"no run's id begins with {name!r}: `isoflop status` lists them")
    found = _found(runs)
    if check and found:
        with waiting("asking the services"):
            found = _asked(found, path)
    choose(as_json).show(EndpointsReport(found, checked=check))
    silent = [each.url for each in found if each.answer is not None and not each.answer.ok]
    if silent:
        raise JobFailed(f"{len(silent)} of {fmt.plural(len(found), 'endpoint')} do not answer: {', '.join(silent)}")


def _found(runs: Sequence[RunView]) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(run_id=each.id, offer=attempt.offer, url=url)
        for each in runs
        for attempt in each.attempts
        for url in attempt.urls
    )


def _asked(endpoints: Sequence[Endpoint], path: str) -> tuple[Endpoint, ...]:
    """All at once; the time is that of a request over a connection that stands, as a client has it."""
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(endpoints))) as pool:
        answers = list(pool.map(lambda each: _ask(each.url + path), endpoints))
    return tuple(each.with_answer(answer) for each, answer in zip(endpoints, answers, strict=True))


def _ask(url: str) -> Answer:
    try:
        with httpx.Client(timeout=PATIENCE_S, trust_env=False) as client:
            client.get(url)
            began = time.monotonic()
            status = client.get(url).status_code
            return Answer(status=status, seconds=time.monotonic() - began)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(status=0, seconds=0.0, trouble=str(error) or type(error).__name__)
