"""Prices without any account: the catalogues that gpuhunt's maintainers publish, fetched and kept as imports.

Layout of the feed as in gpuhunt 0.1.34 (October 2026): for each provider a file `version` with one word, and a zip
`VERSION/catalog.zip` with one CSV.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import httpx

from orchestrator.catalog import cache, history, intake
from orchestrator.catalog.changes import last_changes
from orchestrator.catalog.community import ALIASES
from orchestrator.catalog.importer import BadRows, ImportReport
from orchestrator.catalog.intake import Wishes
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.contracts import Clock, Survey
from orchestrator.domain.errors import ProviderError, TransientError, UserError
from orchestrator.domain.spelling import hint
from orchestrator.inventory.refresh import IMPORT, Asking, Outcome, Source
from orchestrator.kit.rest import retry_after_s

NAME = "gpuhunt"
FEEDS: Mapping[str, str] = MappingProxyType({NAME: "https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com/v3"})
PROVIDERS = (
    "aws",
    "azure",
    "cloudrift",
    "gcp",
    "lambdalabs",
    "nebius",
    "oci",
    "runpod",
    "verda",
)  # as the feed calls them
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
LARGEST = 64 << 20  # bytes of one answer; the largest catalogue has a few hundred thousand
TOLD = 3  # kinds of bad rows that are named


def sources(
    feed: str, names: Sequence[str], *, clock: Clock, transport: httpx.BaseTransport | None = None
) -> dict[str, Source]:
    """What to ask for the catalogues of the providers `names`, by default all: by the name of the import it becomes.

    `feed` is a name in FEEDS or the address of such a feed. Raises: UserError where it is neither, and for a provider
    that the feed has not.
    """
    address = FEEDS.get(feed, feed).rstrip("/")
    if not address.startswith(("https://", "http://")):
        raise UserError(f"--from: {feed!r} is neither {' nor '.join(FEEDS)} nor the address of such a feed")
    ours = {ALIASES.get(name, name): name for name in PROVIDERS}
    for name in names:
        if name not in ours:
            raise UserError(f"--from {feed}: it has no catalogue of {name!r} ({hint(name, ours)})")
    return {
        f"{NAME}-{name}": partial(_fetch, f"{address}/{ours[name]}", name, clock, transport) for name in names or ours
    }


def keep(name: str, answer: Survey, asking: Asking) -> Outcome:
    """Keep a catalogue as the import `name`. Raises: ConfigError where it cannot be written."""
    if not len(answer.book):
        return Outcome(provider=name, told=None, changes=None, gaps=answer.gaps, problem="there are no offers in it")
    now = asking.clock.now()
    cache.store(answer.book, asking.folder, name)
    grown = history.record(asking.folder, f"{IMPORT}{name}", answer.book, now)
    told = Refreshed(provider=name, book=answer.book, at=now, everything=not answer.gaps, gaps=answer.gaps)
    return Outcome(provider=name, told=told, changes=last_changes(f"{IMPORT}{name}", grown), gaps=answer.gaps)


def _fetch(address: str, provider: str, clock: Clock, transport: httpx.BaseTransport | None) -> Survey:
    """The newest catalogue. Raises: TransientError, ProviderError."""
    with httpx.Client(timeout=TIMEOUT, transport=transport, follow_redirects=False) as client:
        said = _get(client, f"{address}/version", provider, clock)
        version = said[:100].decode("ascii", errors="replace").strip()
        if not VERSION.fullmatch(version):
            raise ProviderError(provider, f"{address}/version holds no version but {version[:40]!r}")
        packed = _get(client, f"{address}/{version}/catalog.zip", provider, clock)
    with tempfile.TemporaryDirectory(prefix="isoflop-") as folder:
        path = Path(folder) / "catalog.zip"
        path.write_bytes(packed)
        try:
            report = intake.read(path, Wishes(on_bad=BadRows.SKIP, provider=provider, now=clock.now()))
        except UserError as error:
            problem = str(error).replace(f"{folder}/", "").splitlines()[0]
            raise ProviderError(
                provider, f"what {address} publishes as {version} is no catalogue: {problem}"
            ) from error
    return Survey(report.book, _gaps(report))


def _gaps(report: ImportReport) -> tuple[str, ...]:
    """What is missing of a catalogue, by kind of fault."""
    kinds = report.faults()
    gaps = [f"{count} bad rows: {bad.column}: {bad.message} (line {bad.line})" for bad, count in kinds[:TOLD]]
    if len(kinds) > TOLD:
        gaps.append(f"{len(kinds) - TOLD} more kinds of bad rows")
    return tuple(gaps)


def _get(client: httpx.Client, url: str, provider: str, clock: Clock) -> bytes:
    """The body of an answer. Raises: TransientError where asking again may help, else ProviderError."""
    pieces, total = [], 0
    try:
        with client.stream("GET", url) as answer:
            _judge(answer, url, provider, clock)
            for piece in answer.iter_bytes():
                pieces.append(piece)
                total += len(piece)
                if total > LARGEST:
                    raise ProviderError(provider, f"{url} is larger than {LARGEST >> 20} MiB")
    except httpx.TimeoutException as error:
        raise TransientError(provider, f"{url}: no answer in time") from error
    except httpx.TransportError as error:
        raise TransientError(provider, f"{url}: {error or type(error).__name__}", 2.0) from error
    except (httpx.InvalidURL, httpx.DecodingError) as error:
        raise ProviderError(provider, f"{url}: {error}") from error
    return b"".join(pieces)


def _judge(answer: httpx.Response, url: str, provider: str, clock: Clock) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        wait_s = retry_after_s(answer.headers.get("retry-after"), clock.now())
        raise TransientError(provider, f"{url}: failed with {status}", 1.0 if wait_s is None else wait_s)
    raise ProviderError(provider, f"{url}: failed with {status}: is the address right?")
