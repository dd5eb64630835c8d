"""The market before anybody is asked: price book, imports and refreshed prices as one book, cached whole."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from orchestrator.catalog import cache
from orchestrator.catalog.framing import Damaged
from orchestrator.domain.offerbook import OfferBook

SITE_KEY = ("provider", "region", "instance_type", "billing")  # an offer without its zone
INPUTS = "inputs"
LIVE = "live"  # the folder of refreshed prices


def read(folder: Path, edition: str) -> OfferBook:
    """The price book of `edition` with the imports and the refreshed prices stored in `folder`.

    Of one offer in two sources the one observed last stays; what a provider said at the last refresh stands in place of
    all that is older of it in the regions that answered. The result is kept in `folder` and read back while its
    inputs (imports, refreshed prices, bundled data and code) are unchanged; where the folder cannot be written the
    merge is simply done each time.

    Raises: ConfigError for an unknown edition, an import or refreshed prices that are damaged.
    """
    imports, live = cache.stored(folder), cache.stored(folder / LIVE)
    inputs = "\n".join(_fingerprints((*_bundled(), *imports, *live)))
    kept = folder / f".{edition}{cache.SUFFIX}"
    merged = _kept(kept, inputs)
    if merged is None:
        pricebook = importlib.import_module("orchestrator.catalog.pricebook")  # seldom needed, and never once kept
        merged = merge(pricebook.load(edition), cache.load(folder))
        if live:
            refreshed = importlib.import_module("orchestrator.catalog.refreshed")
            merged = refreshed.supersede(merged, refreshed.load(folder))
        if imports or live:  # the price book alone is read in a few milliseconds: not worth a file
            with suppress(OSError):  # a cache is no promise: read-only and full disks plan all the same
                cache.write(kept, merged, {INPUTS: inputs})
    return merged


def merge(base: OfferBook, imports: Sequence[OfferBook]) -> OfferBook:
    """`base` and `imports` as one book, whatever the order of `imports`.

    An offer of the price book stands for all zones of its region: it gives way to imported offers of the same
    provider, region, instance type and billing that were observed no earlier.
    """
    imported = OfferBook.merge(imports)
    newest: dict[tuple[str, ...], int] = {}
    for key, observed_at in zip(_site_keys(imported), imported.observed_at.tolist(), strict=True):
        newest[key] = max(observed_at, newest.get(key, observed_at))
    stays = np.fromiter(
        (
            observed_at > newest.get(key, observed_at - 1)
            for key, observed_at in zip(_site_keys(base), base.observed_at.tolist(), strict=True)
        ),
        np.bool_,
        len(base),
    )
    return OfferBook.merge([base.where(stays), imported])


def _site_keys(book: OfferBook) -> Iterator[tuple[str, ...]]:
    columns = (getattr(book, name) for name in SITE_KEY)
    return zip(*([column.vocab[code] for code in column.codes.tolist()] for column in columns), strict=True)


def _kept(path: Path, inputs: str) -> OfferBook | None:
    try:
        stored = cache.read(path)
    except (OSError, Damaged):
        return None  # never written, or worth nothing: the inputs are the truth
    return stored.book if stored.notes.get(INPUTS) == inputs else None


def _bundled() -> tuple[Path, ...]:
    package = Path(__file__).parent
    return tuple(sorted((*package.glob("*.py"), *(package / "data").glob("*.csv"))))


def _fingerprints(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue  # removed since it was listed
        yield f"{path.name} {facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"
