"""OfferBook: many offers as one value of numpy columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from math import isnan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offer import Billing, Offer, Tier

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

UNKNOWN = -1  # in the columns `available` and `quota_nodes`


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A dictionary-encoded column of strings: `vocab` is sorted and unique, so codes sort as their words do."""

    codes: npt.NDArray[np.int32]  # shape (n,)
    vocab: tuple[str, ...]

    @classmethod
    def encode(cls, words: Sequence[str]) -> Words:
        """Encode `words`, one per row."""
        vocab = tuple(sorted(set(words)))
        index = {word: code for code, word in enumerate(vocab)}
        return cls(np.fromiter((index[word] for word in words), np.int32, len(words)), vocab)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.vocab[int(self.codes[row])]

    def take(self, rows: IntArray) -> Words:
        """The column restricted to `rows`; the vocabulary is kept whole."""
        return Words(self.codes[rows], self.vocab)

    def isin(self, wanted: frozenset[str]) -> BoolArray:
        """Shape (n,): True where the word is one of `wanted`."""
        return np.fromiter((word in wanted for word in self.vocab), np.bool_, len(self.vocab))[self.codes]

    def compact(self) -> Words:
        """The same words with the vocabulary cut to those in use; the form in which equal columns are equal."""
        used, codes = np.unique(self.codes, return_inverse=True)
        if len(used) == len(self.vocab):
            return self
        return Words(codes.astype(np.int32), tuple(self.vocab[code] for code in used))


def _concat(columns: Sequence[Words]) -> Words:
    vocab = tuple(sorted(set().union(*(column.vocab for column in columns))))
    index = {word: code for code, word in enumerate(vocab)}
    parts = [
        np.fromiter((index[word] for word in column.vocab), np.int32, len(column.vocab))[column.codes]
        for column in columns
    ]
    return Words(np.concatenate(parts), vocab)


Column: TypeAlias = Words | FloatArray | IntArray


def _sortable(column: Column) -> npt.NDArray[np.float64 | np.int64 | np.int32]:
    return column.codes if isinstance(column, Words) else column


class _Part:
    """What a book taken from another remembers: a column is copied when somebody first asks for it."""

    __slots__ = ("_rows", "_whole")

    _rows: IntArray
    _whole: OfferBook


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OfferBook(_Part):
    """Columns of shape (n,), rows in the order of `KEY` then price; build one with `of`, `merge` or `sort`.

    Units as in `Offer`; `available` is -1 and `interruption_rate` NaN where unknown; `observed_at` is whole seconds
    since the epoch. A hundred thousand offers are one value that loads in milliseconds.

    The columns of `OPTIONAL` are None where nothing is known of any offer, and then cost nothing: `quota_nodes` is -1,
    `obtainability` and `max_lease_s` NaN where unknown.
    """

    provider: Words
    region: Words
    zone: Words
    instance_type: Words
    billing: Words
    accelerator: Words
    tier: Words
    fabric: Words
    source: Words
    gpus: FloatArray
    usd_per_hour: FloatArray
    available: IntArray
    vcpus: FloatArray
    host_memory_gib: FloatArray
    interruption_rate: FloatArray
    boot_s: FloatArray
    min_billing_s: FloatArray
    observed_at: IntArray
    quota_nodes: IntArray | None = None
    obtainability: FloatArray | None = None
    max_lease_s: FloatArray | None = None

    if not TYPE_CHECKING:  # only columns are ever missing, and their types are above

        def __getattr__(self, name: str) -> Column | None:
            column = getattr(object.__getattribute__(self, "_whole"), name)
            taken = None if column is None else column.take(self._rows)
            object.__setattr__(self, name, taken)
            return taken

    @classmethod
    def of(cls, offers: Sequence[Offer]) -> OfferBook:
        """A book of `offers`, sorted; the order given does not matter."""
        words = {name: Words.encode([str(getattr(o, name)) for o in offers]) for name in WORD_COLUMNS}
        numbers = {
            name: np.array([getattr(o, name) for o in offers], np.float64)
            for name in FLOAT_COLUMNS
            if name != "interruption_rate"
        }
        unknown = float("nan")
        hazards = [unknown if o.interruption_rate is None else o.interruption_rate for o in offers]
        stock = [UNKNOWN if o.available is None else o.available for o in offers]
        columns: dict[str, Column] = {
            **words,
            **numbers,
            "interruption_rate": np.array(hazards, np.float64),
            "available": np.array(stock, np.int64),
            "observed_at": np.array([int(o.observed_at.timestamp()) for o in offers], np.int64),
        }
        if any(o.quota_nodes is not None for o in offers):
            quotas = [UNKNOWN if o.quota_nodes is None else o.quota_nodes for o in offers]
            columns["quota_nodes"] = np.array(quotas, np.int64)
        for name in OPTIONAL_FLOATS:
            told = [getattr(o, name) for o in offers]
            if any(value is not None for value in told):
                columns[name] = np.array([unknown if value is None else value for value in told], np.float64)
        return cls.from_columns(columns).sort()

    @classmethod
    def from_columns(cls, columns: Mapping[str, Column]) -> OfferBook:
        """A book of ready columns, in the order they stand: `sort` it unless they were written sorted.

        Those of `OPTIONAL` may be left out.

        Raises: ValueError where a column is missing, unknown, or of another length than the rest.
        """
        if set(columns) - set(OPTIONAL) != {field.name for field in fields(cls)} - set(OPTIONAL):
            raise ValueError(f"an offer book has the columns {', '.join(field.name for field in fields(cls))}")
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("the columns of an offer book have one length")
        return cls(**cast(dict[str, Any], dict(columns)))

    def columns(self) -> dict[str, Column]:
        """Every column that it has by its name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in found.items() if column is not None}

    @property
    def most_nodes(self) -> IntArray:
        """Shape (n,): how many nodes can be bought, by stock and quota; UNKNOWN where neither is known."""
        quota = self.quota_nodes
        if quota is None:
            return self.available
        tighter = (self.available == UNKNOWN) | ((quota != UNKNOWN) & (quota < self.available))
        return np.where(tighter, quota, self.available)

    @classmethod
    def empty(cls) -> OfferBook:
        """The book of no offers."""
        return cls.of(())

    @classmethod
    def merge(cls, books: Sequence[OfferBook]) -> OfferBook:
        """One sorted book; of offers with the same key, the one observed last (then the cheapest) stays."""
        books = [book for book in books if len(book)]
        if not books:
            return cls.empty()
        words = {name: _concat([getattr(book, name) for book in books]) for name in WORD_COLUMNS}
        numbers = {
            name: np.concatenate([getattr(book, name) for book in books]) for name in FLOAT_COLUMNS + INT_COLUMNS
        }
        joined = cls.from_columns({**words, **numbers, **_optional(books)})
        rest = [name for name in joined.columns() if name not in (*KEY, "usd_per_hour")]
        order = np.lexsort(
            (
                *(_sortable(getattr(joined, name)) for name in rest),  # ties too have one order, whatever the books'
                joined.usd_per_hour,
                -joined.observed_at,
                *(getattr(joined, name).codes for name in reversed(KEY)),
            )
        )
        joined = joined._copied(order)
        fresh = np.ones(len(joined), np.bool_)
        if len(joined) > 1:
            same = np.ones(len(joined) - 1, np.bool_)
            for name in KEY:
                codes = getattr(joined, name).codes
                same &= codes[1:] == codes[:-1]
            fresh[1:] = ~same
        return joined._copied(np.flatnonzero(fresh)).sort()

    def sort(self) -> OfferBook:
        """The same offers in the book's one order: by `KEY`, then every other column."""
        book = self._compact()
        keys = [getattr(book, name) for name in OPTIONAL if getattr(book, name) is not None]
        keys += [getattr(book, name) for name in (*INT_COLUMNS, *FLOAT_COLUMNS)]
        keys += [getattr(book, name).codes for name in reversed(WORD_COLUMNS)]
        return book._copied(np.lexsort(keys)) if len(book) else book

    def _compact(self) -> OfferBook:
        words = {name: getattr(self, name).compact() for name in WORD_COLUMNS}
        columns = {name: column for name, column in self.columns().items() if name not in OPTIONAL or _says(column)}
        return OfferBook.from_columns({**columns, **words})

    def take(self, rows: IntArray) -> OfferBook:
        """The rows named, in the order given: rows in rising order keep a sorted book sorted.

        Nothing is copied yet: who looks at a few columns of many offers does not wait for the others.
        """
        part = object.__new__(OfferBook)
        partial = hasattr(self, "_whole")
        object.__setattr__(part, "_whole", self._whole if partial else self)
        object.__setattr__(part, "_rows", self._rows[rows] if partial else np.asarray(rows, np.int64))
        return part

    def _copied(self, rows: IntArray) -> OfferBook:
        """As `take`, apart from the book that it is taken from."""
        return OfferBook.from_columns({name: column.take(rows) for name, column in self.columns().items()})

    def where(self, mask: BoolArray) -> OfferBook:
        """The rows where `mask` is True."""
        return self.take(np.flatnonzero(mask))

    def __len__(self) -> int:
        return len(self._rows) if hasattr(self, "_whole") else len(self.usd_per_hour)

    def __iter__(self) -> Iterator[Offer]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Offer:
        hazard = float(self.interruption_rate[row])
        stock = int(self.available[row])
        return Offer(
            provider=self.provider[row],
            region=self.region[row],
            zone=self.zone[row],
            instance_type=self.instance_type[row],
            accelerator=self.accelerator[row],
            gpus=float(self.gpus[row]),
            billing=Billing(self.billing[row]),
            usd_per_hour=float(self.usd_per_hour[row]),
            available=None if stock == UNKNOWN else stock,
            tier=Tier(self.tier[row]),
            fabric=self.fabric[row],
            vcpus=float(self.vcpus[row]),
            host_memory_gib=float(self.host_memory_gib[row]),
            interruption_rate=None if isnan(hazard) else hazard,
            boot_s=float(self.boot_s[row]),
            min_billing_s=float(self.min_billing_s[row]),
            observed_at=datetime.fromtimestamp(int(self.observed_at[row]), UTC),
            source=self.source[row],
            quota_nodes=self._quota(row),
            obtainability=_known(self.obtainability, row),
            max_lease_s=_known(self.max_lease_s, row),
        )

    def _quota(self, row: int) -> int | None:
        if self.quota_nodes is None:
            return None
        quota = int(self.quota_nodes[row])
        return None if quota == UNKNOWN else quota


def _known(column: FloatArray | None, row: int) -> float | None:
    if column is None:
        return None
    value = float(column[row])
    return None if isnan(value) else value


def _optional(books: Sequence[OfferBook]) -> dict[str, Column]:
    """The columns of `OPTIONAL` that any of `books` has, over all of them."""
    found: dict[str, Column] = {}
    for name, blank in OPTIONAL.items():
        columns = [getattr(book, name) for book in books]
        if any(column is not None for column in columns):
            pairs = zip(books, columns, strict=True)
            found[name] = np.concatenate([np.full(len(book), blank) if c is None else c for book, c in pairs])
    return found


def _says(column: Column) -> bool:
    """Whether anything is known in an optional column."""
    numbers = cast(FloatArray, column)
    return bool(((numbers != UNKNOWN) & ~np.isnan(numbers)).any())


KEY = ("provider", "region", "zone", "instance_type", "billing")  # what makes an offer the same offer
WORD_COLUMNS = (*KEY, "accelerator", "tier", "fabric", "source")
FLOAT_COLUMNS = (
    "gpus",
    "usd_per_hour",
    "vcpus",
    "host_memory_gib",
    "interruption_rate",
    "boot_s",
    "min_billing_s",
)
INT_COLUMNS = ("available", "observed_at")
OPTIONAL_FLOATS = ("obtainability", "max_lease_s")
OPTIONAL: Mapping[str, int | float] = MappingProxyType(
    {"quota_nodes": UNKNOWN, **dict.fromkeys(OPTIONAL_FLOATS, float("nan"))}
)
"""Columns that a book may lack, with what stands for unknown."""
