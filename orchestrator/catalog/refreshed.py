"""Prices that providers told at the last refresh: one offer book each on disk, and their place in the market."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from orchestrator.catalog import cache, market
from orchestrator.catalog.framing import Damaged
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OPTIONAL, UNKNOWN, OfferBook, Words

FOLDER = market.LIVE
PREFIX = "live:"  # how `isoflop catalog list` and `forget` name a provider's refreshed prices
AT, ALL, GAPS = "refreshed_at", "everything", "gaps"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refreshed:
    """What `provider` sold when it was last asked, at `at`.

    `everything` says that it answered without gaps: what is not in the book is not sold. Offers of regions that did not
    answer then are older than `at`; each offer says when it was observed.
    """

    provider: str
    book: OfferBook
    at: datetime
    everything: bool
    gaps: tuple[str, ...] = ()


def store(folder: Path, refreshed: Refreshed) -> Path:
    """Write `refreshed` into `folder` of the catalogue in place of what the provider said before, whole or not at all.

    Raises: ConfigError where the folder cannot be written.
    """
    if not cache.NAME.fullmatch(refreshed.provider):
        raise ConfigError(f"{refreshed.provider!r} cannot name a file of prices")
    path = _path(folder, refreshed.provider)
    notes = {
        AT: refreshed.at.isoformat(),
        ALL: "yes" if refreshed.everything else "no",
        GAPS: json.dumps(list(refreshed.gaps)),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cache.write(path, refreshed.book, notes)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def stored(folder: Path) -> tuple[Path, ...]:
    """The files that `load` reads, by provider. Raises: ConfigError where the folder is there and cannot be listed."""
    return cache.stored(folder / FOLDER)


def load(folder: Path) -> tuple[Refreshed, ...]:
    """What every provider told us last, by name; no folder is none.

    Raises: ConfigError naming a file that is damaged, and the remedy.
    """
    found = (_load(path) for path in stored(folder))
    return tuple(each for each in found if each is not None)


def last(folder: Path, provider: str) -> Refreshed | None:
    """What `provider` told us last; None where it was never asked, or where what it said is damaged."""
    try:
        return _load(_path(folder, provider))
    except ConfigError:
        return None


def remove(folder: Path, provider: str) -> bool:
    """Forget what `provider` told us; whether there was anything. Raises: ConfigError where it cannot be removed."""
    return cache.remove(folder / FOLDER, provider)


def brought_up(former: Refreshed | None, told: Refreshed) -> Refreshed:
    """`told`, with what `former` knew of the regions that did not answer this time.

    A region with any offer has answered; where nothing is missing from an answer, all have.
    """
    if former is None or told.everything:
        return told
    silent = ~former.book.region.isin(frozenset(told.book.region.compact().vocab))
    book = OfferBook.merge([told.book, former.book.where(silent)])
    return Refreshed(provider=told.provider, book=book, at=told.at, everything=False, gaps=told.gaps)


def priced(book: OfferBook) -> tuple[OfferBook, int]:
    """The offers of `book` that somebody sells for a price, and how many others were left out for want of a usable one.

    Machines of one's own have no price that could be refreshed; they are neither.
    """
    sold = book.billing.codes != _code(book.billing, Billing.OWNED.value)
    usable = np.isfinite(book.usd_per_hour) & (book.usd_per_hour > 0) & (book.gpus > 0)
    return book.where(sold & usable), int((sold & ~usable).sum())


def supersede(listed: OfferBook, refreshed: Sequence[Refreshed]) -> OfferBook:
    """`listed` with the refreshed offers in place of what is older of the same provider in the regions that answered.

    Stock, quota and advice are not taken over: they hold for minutes, and a plan that looks asks for them again.
    """
    books = [listed]
    for each in refreshed:
        own = listed.provider.isin(frozenset({each.provider}))
        answered = np.ones(len(listed), np.bool_)
        if not each.everything:
            answered = listed.region.isin(frozenset(each.book.region.compact().vocab))
        older = listed.observed_at <= int(each.at.timestamp())
        listed = listed.where(~(own & answered & older))
        books[0] = listed
        books.append(_lasting(each.book))
    return OfferBook.merge(books)


LASTING = "max_lease_s"  # of the columns that a book may lack: a rule of the place, not of the hour


def _lasting(book: OfferBook) -> OfferBook:
    """What stays true of offers for longer than a few minutes."""
    columns = {name: column for name, column in book.columns().items() if name not in OPTIONAL or name == LASTING}
    columns["available"] = np.full(len(book), UNKNOWN, np.int64)
    return OfferBook.from_columns(columns)


def _path(folder: Path, provider: str) -> Path:
    return folder / FOLDER / f"{provider}{cache.SUFFIX}"


def _load(path: Path) -> Refreshed | None:
    try:
        found = cache.read(path)
        at, gaps = _moment(found.notes), json.loads(found.notes.get(GAPS, "[]"))
    except FileNotFoundError:
        return None  # never asked, or forgotten since it was listed
    except (Damaged, OSError, ValueError) as error:
        remedy = "Run `isoflop catalog refresh` again, or remove the file"
        raise ConfigError(f"{path} cannot be read as refreshed prices: {error}. {remedy}") from error
    return Refreshed(
        provider=path.name.removesuffix(cache.SUFFIX),
        book=found.book,
        at=at,
        everything=found.notes.get(ALL) == "yes",
        gaps=tuple(str(gap) for gap in gaps),
    )


def _moment(notes: Mapping[str, str]) -> datetime:
    """Raises: ValueError where there is none."""
    return datetime.fromisoformat(notes.get(AT, "")).astimezone(UTC)


def _code(words: Words, word: str) -> int:
    return words.vocab.index(word) if word in words.vocab else -1
