"""The price history of one source: what every offer cost since when, of which only changes are written down.

A file holds a table of offers (`KEYS`, accelerator, GPUs), the times at which prices were learned (batches), and the
changes in the order of batches: which offer, in which batch, its price, when that was observed, and whether it was
listed, sold out or gone. It keeps at most `MOST_CHANGES`: beyond that the oldest batches are folded into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path

import numpy as np

from orchestrator.catalog import framing
from orchestrator.catalog.framing import Damaged
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offerbook import (
    FLOAT_COLUMNS,
    KEY,
    UNKNOWN,
    WORD_COLUMNS,
    Column,
    FloatArray,
    IntArray,
    OfferBook,
    Words,
)

MAGIC = b"isoflop prices 1\n"
SUFFIX = ".prices"
FOLDER = "history"  # in the folder of the catalogue
MOST_CHANGES = 500_000  # 29 bytes each: 14 MB
KEPT_CHANGES = 375_000  # of them after folding, so that it is seldom done
MOST_BATCHES = 20_000
FACTS = (*KEY, "accelerator")


class State(IntEnum):
    """How an offer stood after a change."""

    LISTED = 0
    SOLD_OUT = 1
    GONE = 2  # no longer listed; it has no price


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class History:
    """`offers` has a row per offer ever seen, in the order of `key`; the changes are sorted by batch, then by offer."""

    batches: IntArray  # seconds since the epoch, rising
    offers: Mapping[str, Words]  # the columns FACTS
    gpus: FloatArray
    key: IntArray  # row of `offers`
    batch: IntArray  # row of `batches`
    usd_per_hour: FloatArray  # NaN where it is gone
    observed_at: IntArray  # seconds since the epoch
    state: IntArray

    def __len__(self) -> int:
        return len(self.key)

    def latest(self, batches: int) -> IntArray:
        """For every offer the row of its last change in the first `batches` batches, -1 where there is none."""
        rows = np.full(len(self.gpus), -1, np.int64)
        until = int(np.searchsorted(self.batch, batches, "left"))
        np.maximum.at(rows, self.key[:until], np.arange(until))
        return rows

    def until(self, moment: datetime) -> int:
        """How many batches had been learned by `moment`."""
        return int(np.searchsorted(self.batches, int(moment.timestamp()), "right"))


def empty() -> History:
    """The history of nothing."""
    none = np.zeros(0, np.int64)
    return History(
        batches=none,
        offers={name: Words.encode(()) for name in FACTS},
        gpus=np.zeros(0),
        key=none,
        batch=none,
        usd_per_hour=np.zeros(0),
        observed_at=none,
        state=none,
    )


def added(history: History, book: OfferBook, at: datetime) -> History:
    """`history` with what changed in `book`, which was learned at `at` and holds all that the source lists.

    A batch is added also where nothing changed. A batch never lies before the one that it follows.
    """
    book = OfferBook.merge([book])  # each offer once, in one order
    offers, gpus, old, new = _together(history, book)
    now = int(at.timestamp())
    if len(history.batches):
        now = max(now, int(history.batches[-1]))
    before = _spread(history.latest(len(history.batches)), old, len(gpus))
    usd, state = _values(history.usd_per_hour, before, np.nan), _values(history.state, before, State.GONE)
    fresh_usd, fresh_state = np.full(len(gpus), np.nan), np.full(len(gpus), int(State.GONE), np.int64)
    fresh_usd[new] = book.usd_per_hour
    fresh_state[new] = np.where(book.available == 0, State.SOLD_OUT, State.LISTED)
    observed = np.full(len(gpus), now, np.int64)
    observed[new] = book.observed_at
    differs = (state != fresh_state) | ~((usd == fresh_usd) | (np.isnan(usd) & np.isnan(fresh_usd)))
    changed = np.flatnonzero(differs)
    return _bounded(
        History(
            batches=np.append(history.batches, now),
            offers=offers,
            gpus=gpus,
            key=np.concatenate([old[history.key], changed]),
            batch=np.concatenate([history.batch, np.full(len(changed), len(history.batches), np.int64)]),
            usd_per_hour=np.concatenate([history.usd_per_hour, fresh_usd[changed]]),
            observed_at=np.concatenate([history.observed_at, observed[changed]]),
            state=np.concatenate([history.state, fresh_state[changed]]),
        )
    )


def record(folder: Path, source: str, book: OfferBook, at: datetime) -> History:
    """Add what changed in `book` to the history of `source` in `folder` of the catalogue; the history after it.

    A history that is damaged begins anew: it says nothing that a purchase depends on.

    Raises: ConfigError where the folder cannot be written.
    """
    path = _path(folder, source)
    try:
        known = read(path)
    except Damaged:
        known = None
    grown = added(empty() if known is None else known, book, at)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        framing.replace(path, _encode(grown))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return grown


def load(folder: Path) -> dict[str, History]:
    """Every history in `folder` of the catalogue by its source.

    Raises: ConfigError naming a file that is damaged, and the remedy.
    """
    found: dict[str, History] = {}
    try:
        paths = sorted((folder / FOLDER).glob(f"*{SUFFIX}"))
    except OSError as error:
        raise ConfigError(f"{folder / FOLDER} cannot be read: {error.strerror or error}") from error
    for path in paths:
        if path.name.startswith("."):
            continue
        try:
            history = read(path)
        except Damaged as error:
            remedy = "Remove the file: the next refresh or import begins a new one"
            raise ConfigError(f"{path} cannot be read as a history of prices: {error}. {remedy}") from error
        if history is not None:
            found[path.name.removesuffix(SUFFIX)] = history
    return found


def remove(folder: Path, source: str) -> None:
    """Forget the history of `source`. Raises: ConfigError where it is there and cannot be removed."""
    path = _path(folder, source)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror or error}") from error


def read(path: Path) -> History | None:
    """The history at `path`, None where there is none. Raises: Damaged, ConfigError where it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    header, offset = framing.unpack(MAGIC, data)
    offers, batches, changes = int(header["offers"]), int(header["batches"]), int(header["changes"])
    columns: list[IntArray | FloatArray] = []
    for dtype, length in (("<f8", offers), ("<i8", batches), ("<f8", changes), ("<i8", changes)):
        columns.append(np.frombuffer(data, dtype, length, offset))
        offset += columns[-1].nbytes
    gpus, times, usd, observed = columns
    words = {}
    for name in FACTS:
        codes = np.frombuffer(data, "<i4", offers, offset)
        offset += codes.nbytes
        words[name] = Words(codes, tuple(header["vocab"][name]))
    key, batch = (np.frombuffer(data, "<i4", changes, offset + 4 * changes * place) for place in (0, 1))
    state = np.frombuffer(data, "<i1", changes, offset + 8 * changes)
    return History(
        batches=times.astype(np.int64),
        offers=words,
        gpus=gpus.astype(np.float64),
        key=key.astype(np.int64),
        batch=batch.astype(np.int64),
        usd_per_hour=usd.astype(np.float64),
        observed_at=observed.astype(np.int64),
        state=state.astype(np.int64),
    )


def _encode(history: History) -> list[bytes]:
    header = {
        "offers": len(history.gpus),
        "batches": len(history.batches),
        "changes": len(history),
        "vocab": {name: list(words.vocab) for name, words in history.offers.items()},
    }
    columns: list[framing.Column] = [
        history.gpus.astype("<f8"),
        history.batches.astype("<i8"),
        history.usd_per_hour.astype("<f8"),
        history.observed_at.astype("<i8"),
        *(history.offers[name].codes.astype("<i4") for name in FACTS),
        history.key.astype("<i4"),
        history.batch.astype("<i4"),
        history.state.astype("<i1"),
    ]
    return framing.pack(MAGIC, header, columns)


def _together(history: History, book: OfferBook) -> tuple[dict[str, Words], FloatArray, IntArray, IntArray]:
    """The offers of both, each once and in one order; their GPUs; and where those of `history` and of `book` stand.

    What `book` says of an offer's device counts.
    """
    columns: dict[str, Words] = {}
    code = np.zeros(len(history.gpus) + len(book), np.int64)
    for name in FACTS:
        past, present = history.offers[name], getattr(book, name)
        vocab = tuple(sorted({*past.vocab, *present.vocab}))
        place = {word: number for number, word in enumerate(vocab)}
        codes = np.concatenate([_recoded(past, place), _recoded(present, place)])
        columns[name] = Words(codes, vocab)
        if name in KEY:
            code = code * max(1, len(vocab)) + codes
    # The book stands last: of one offer in both it is the last row that is taken.
    _, first, rows = np.unique(code[::-1], return_index=True, return_inverse=True)
    chosen = len(code) - 1 - first
    rows = rows.ravel()[::-1].astype(np.int64)
    gpus = np.concatenate([history.gpus, book.gpus])[chosen]
    offers = {name: Words(words.codes[chosen], words.vocab).compact() for name, words in columns.items()}
    return offers, gpus, rows[: len(history.gpus)], rows[len(history.gpus) :]


def _recoded(words: Words, place: Mapping[str, int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    table = np.array([place[word] for word in words.vocab], np.int32)
    return table[words.codes] if len(table) else np.zeros(len(words), np.int32)


def _spread(values: IntArray, places: IntArray, length: int) -> IntArray:
    spread = np.full(length, -1, np.int64)
    spread[places] = values
    return spread


def _values(column: FloatArray | IntArray, rows: IntArray, none: float) -> FloatArray:
    """The column at `rows`, `none` where a row is -1."""
    if not len(column):
        return np.full(len(rows), none)
    return np.where(rows >= 0, column[rows], none)


def _bounded(history: History) -> History:
    """`history`, or where it is too long one whose oldest batches are folded into what they left."""
    excess = len(history.batches) - MOST_BATCHES
    if len(history) <= MOST_CHANGES and excess <= 0:
        return history
    first = max(0, excess) + (MOST_BATCHES // 4 if excess > 0 else 0)
    if len(history) > MOST_CHANGES:
        first = max(first, int(history.batch[len(history) - KEPT_CHANGES]))
    first = min(first, len(history.batches) - 1)
    if first == 0:
        return history  # one batch: it is as long as what the source lists
    rows = history.latest(first)
    rows = rows[rows >= 0]
    left = np.sort(rows[history.state[rows] != State.GONE])
    kept = np.concatenate([left, np.flatnonzero(history.batch >= first)])
    batch = np.maximum(history.batch[kept] - (first - 1), 0)
    used, key = np.unique(history.key[kept], return_inverse=True)
    order = np.lexsort((key.ravel(), batch))
    offers = {name: words.take(used).compact() for name, words in history.offers.items()}
    return History(
        batches=history.batches[first - 1 :],
        offers=offers,
        gpus=history.gpus[used],
        key=key.ravel().astype(np.int64)[order],
        batch=batch[order],
        usd_per_hour=history.usd_per_hour[kept][order],
        observed_at=history.observed_at[kept][order],
        state=history.state[kept][order],
    )


def _path(folder: Path, source: str) -> Path:
    return folder / FOLDER / f"{source}{SUFFIX}"


def of_states(history: History, batches: int) -> tuple[FloatArray, IntArray]:
    """Every offer's price (NaN where it had none) and state after the first `batches` batches."""
    rows = history.latest(batches)
    return _values(history.usd_per_hour, rows, np.nan), _values(history.state, rows, State.GONE).astype(np.int64)


def last_seen(history: History) -> OfferBook:
    """A row for every offer ever seen, in the order of `offers`, at the last price that it had.

    What a history does not hold is empty or 0.
    """
    count = len(history.gpus)
    usd, observed = np.zeros(count), np.zeros(count, np.int64)
    priced = np.flatnonzero(~np.isnan(history.usd_per_hour))  # in order: of one offer the last stays
    usd[history.key[priced]] = history.usd_per_hour[priced]
    observed[history.key[priced]] = history.observed_at[priced]
    _, state = of_states(history, len(history.batches))
    blank = Words(np.zeros(count, np.int32), ("",))
    columns: dict[str, Column] = {
        **history.offers,
        **{name: blank for name in WORD_COLUMNS if name not in FACTS},
        **{name: np.zeros(count) for name in FLOAT_COLUMNS},
        "gpus": history.gpus,
        "usd_per_hour": usd,
        "observed_at": observed,
        "available": np.where(state == State.LISTED, UNKNOWN, 0),
    }
    return OfferBook.from_columns(columns)
