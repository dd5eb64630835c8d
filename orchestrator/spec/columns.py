"""An OfferBook as JSON: one list per column, words dictionary-encoded, unknown numbers as null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offer import Billing, Tier
from orchestrator.domain.offerbook import FLOAT_COLUMNS, INT_COLUMNS, OPTIONAL, WORD_COLUMNS, Column, OfferBook, Words

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | dict[str, Json] | None"
Where: TypeAlias = tuple[str | int, ...]
ENUMS = {"billing": frozenset(Billing), "tier": frozenset(Tier)}  # words that become members of an enum
BIGGEST = 2**63


class Undecodable(ValueError):
    """JSON that is not the value it should be; `where` leads to it."""

    def __init__(self, where: Where, message: str) -> None:
        self.where = where
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
        super().__init__(f"{path.lstrip('.') or 'the whole'} {message}")


def encode_book(book: OfferBook) -> Json:
    """The columns by name. Raises: ValueError for a number that is infinite."""
    columns: dict[str, Json] = {}
    for name, column in book.columns().items():
        if isinstance(column, Words):
            columns[name] = {"vocab": list(column.vocab), "codes": column.codes.tolist()}
        else:
            columns[name] = _encode_numbers(name, column)
    return columns


def decode_book(value: object, where: Where) -> OfferBook:
    """The book of `encode_book`, in the same order. Raises: Undecodable."""
    if not isinstance(value, dict):
        raise Undecodable(where, "is not an object")
    given = set(map(str, value))
    unknown = sorted((given - set(OPTIONAL)) ^ {*WORD_COLUMNS, *FLOAT_COLUMNS, *INT_COLUMNS})
    if unknown:
        raise Undecodable((*where, unknown[0]), "is missing, or not a column of an offer book")
    columns: dict[str, Column] = {name: _decode_words(value[name], name, (*where, name)) for name in WORD_COLUMNS}
    for name in FLOAT_COLUMNS:
        columns[name] = np.array(_numbers(value[name], (int, float, type(None)), (*where, name)), np.float64)
    for name in INT_COLUMNS:
        columns[name] = np.array(_numbers(value[name], (int,), (*where, name)), np.int64)
    for name in given & set(OPTIONAL):
        if isinstance(OPTIONAL[name], int):
            columns[name] = np.array(_numbers(value[name], (int,), (*where, name)), np.int64)
        else:
            columns[name] = np.array(_numbers(value[name], (int, float, type(None)), (*where, name)), np.float64)
    try:
        return OfferBook.from_columns(columns)
    except ValueError as error:
        raise Undecodable(where, str(error)) from error


def _encode_numbers(name: str, column: npt.NDArray[np.generic]) -> Json:
    numbers: list[Json] = column.tolist()
    if column.dtype.kind != "f":
        return numbers
    if np.isinf(column).any():
        raise ValueError(f"the column {name} holds an infinite number")
    for row in np.flatnonzero(np.isnan(column)).tolist():
        numbers[row] = None
    return numbers


def _decode_words(value: object, name: str, where: Where) -> Words:
    if not isinstance(value, dict) or set(value) != {"vocab", "codes"}:
        raise Undecodable(where, "is not an object of vocab and codes")
    vocab, codes = value["vocab"], _numbers(value["codes"], (int,), (*where, "codes"))
    if not isinstance(vocab, list) or not all(isinstance(word, str) for word in vocab):
        raise Undecodable((*where, "vocab"), "is not a list of words")
    if vocab != sorted(set(vocab)):
        raise Undecodable((*where, "vocab"), "is not sorted")
    if any(0xD800 <= ord(mark) <= 0xDFFF for mark in "".join(vocab)):
        raise Undecodable((*where, "vocab"), "holds characters that are no text")
    if name in ENUMS and not ENUMS[name].issuperset(vocab):
        raise Undecodable((*where, "vocab"), f"has words other than {', '.join(sorted(ENUMS[name]))}")
    table = np.array(codes, np.int64)
    if len(table) and not (table.min() >= 0 and table.max() < len(vocab)):
        raise Undecodable((*where, "codes"), "points past the vocabulary")
    return Words(table.astype(np.int32), tuple(vocab))


def _numbers(value: object, kinds: tuple[type, ...], where: Where) -> list[int | float | None]:
    if not isinstance(value, list) or not set(map(type, value)) <= set(kinds):
        raise Undecodable(where, "is not a list of numbers")
    if int in set(map(type, value)) and any(type(item) is int and not -BIGGEST <= item < BIGGEST for item in value):
        raise Undecodable(where, "holds a number that is too large")
    return value
