"""A CSV of many rows as columns: every distinct text is looked at once, and every fault keeps its line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import NamedTuple, TypeAlias

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, Words

MOST_CHARACTERS = 1 << 16  # of one line: a row of a catalogue has a few hundred
CUT_OFF = "the file ends in the middle: it was cut off, and the lines after this one are lost"


class Fault(NamedTuple):
    """What is wrong with one line: its number from 1, the column ("" is the whole line), and words."""

    line: int
    column: str
    message: str


Faults: TypeAlias = Mapping[str, str]  # a word of a column -> what is wrong with it


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers, NaN where there is none, and the faults of its words."""

    values: FloatArray
    faults: Faults


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """The rows that have as many fields as the header, their line numbers, and the faults of the others.

    `texts` has one entry per name of the header, in lower case and without blanks around it.
    """

    lines: IntArray
    texts: Mapping[str, Sequence[str]]
    faults: tuple[Fault, ...]
    rows: int  # lines after the header that are not blank
    twice: tuple[str, ...] = ()  # names that several columns have
    _words: dict[str, Words] = field(default_factory=dict)  # of the columns that somebody asked for

    def __len__(self) -> int:
        return len(self.lines)

    def words(self, name: str) -> Words:
        """The column `name` without blanks around its words; empty words where the file has none."""
        found = self._words.get(name)
        if found is None:
            text = self.texts.get(name)
            whole = Words(np.zeros(len(self), np.int32), ("",)) if text is None else Words.encode(text)
            found = self._words[name] = mapped(whole, str.strip)
        return found

    def numbers(self, name: str) -> Numbers:
        """The column `name` as numbers of at least 0: NaN where a field is empty or at fault."""
        column = self.texts.get(name)
        if column is None:
            return Numbers(np.full(len(self), nan), {})
        clean = _clean(column)
        if clean is not None:
            return Numbers(clean, {})
        read = {text: _number(text.strip()) for text in set(column)}
        values = {text: value for text, (value, _) in read.items()}
        faults = {text: fault for text, (_, fault) in read.items() if fault}
        return Numbers(np.fromiter(map(values.__getitem__, column), np.float64, len(column)), faults)

    def at_fault(
        self, name: str, column: Words | Sequence[str], faults: Faults, among: BoolArray
    ) -> tuple[BoolArray, list[Fault]]:
        """Shape (n,): the rows `among` whose word is at fault; and each as a fault of the column `name`."""
        if not faults:
            return np.zeros(len(self), np.bool_), []
        texts = [column.vocab[code] for code in column.codes.tolist()] if isinstance(column, Words) else column
        mask = np.fromiter((text in faults for text in texts), np.bool_, len(self)) & among
        return mask, self.found(mask, name, lambda row: faults[texts[row]])

    def found(self, mask: BoolArray, column: str, message: Callable[[int], str]) -> list[Fault]:
        """A fault for every row of `mask`; `message` is given the row."""
        return [Fault(int(self.lines[row]), column, message(row)) for row in np.flatnonzero(mask).tolist()]


def nameless(words: Words) -> Faults:
    """What is wrong with `words`, taken as names that must be there."""
    faults = {word: f"{word!r} holds bytes that are no UTF-8 text" for word in words.vocab if not word.isprintable()}
    return faults | {word: "empty" for word in words.vocab if not word}


def mapped(words: Words, change: Callable[[str], str]) -> Words:
    """The column with `change` made to every distinct word."""
    changed = Words.encode([change(word) for word in words.vocab])
    return Words(changed.codes[words.codes], changed.vocab)


def paired(first: Words, second: Words, join: Callable[[str, str], str]) -> Words:
    """A column of what `join` makes of each row's two words, called once for every distinct pair."""
    width = max(1, len(second.vocab))
    pairs, codes = np.unique(first.codes.astype(np.int64) * width + second.codes, return_inverse=True)
    joined = Words.encode([join(first.vocab[pair // width], second.vocab[pair % width]) for pair in pairs.tolist()])
    return Words(joined.codes[codes] if len(joined) else np.zeros(0, np.int32), joined.vocab)


def read(lines: Sequence[str], *, whole: bool) -> Sheet:
    """The sheet in `lines`, whose first is the header; the last line of a file that is not `whole` is a fault."""
    header = [name.strip().casefold() for name in split(lines[0])]
    width = len(header)
    numbers: list[int] = []
    table: list[Sequence[str]] = []
    faults: list[Fault] = []
    rows = 0
    for number, line in enumerate(lines[1 : None if whole else -1], start=2):
        if not line or line.isspace():
            continue
        rows += 1
        try:
            fields = split(line)
        except csv.Error as error:
            faults.append(Fault(number, "", f"not a CSV line: {error}"))
            continue
        if len(fields) == width:
            numbers.append(number)
            table.append(fields)
        else:
            faults.append(Fault(number, "", f"{len(fields)} fields where the header has {width}"))
    if not whole:
        rows += 1
        faults.append(Fault(len(lines), "", CUT_OFF))
    columns = zip(*table, strict=True) if table else [()] * width
    named = dict(zip(header, columns, strict=True))
    twice = tuple(name for name, count in Counter(header).items() if count > 1)
    return Sheet(np.array(numbers, np.int64), named, tuple(faults), rows, twice)


def split(line: str) -> Sequence[str]:
    """The fields of one line: alone, so that a stray quote spoils its own line and not all that follow.

    Raises: csv.Error.
    """
    if len(line) > MOST_CHARACTERS:
        raise csv.Error(f"it has more than {MOST_CHARACTERS} characters")
    parts = line.split('"')
    if len(parts) == 1:
        return line.split(",")
    if len(parts) == 3:  # one quoted field without a quote in it, as nearly all that have any
        before, quoted, after = parts
        if (not before or before[-1] == ",") and (not after or after[0] == ","):
            return [*before.split(",")[:-1], quoted, *after.split(",")[1:]]
    return next(csv.reader((line,), strict=True))


def _clean(column: Sequence[str]) -> FloatArray | None:
    """The numbers of a column in which every field is one or empty, read at once; None where any needs a look."""
    try:
        values = np.fromiter((float(text or "nan") for text in column), np.float64, len(column))
    except ValueError:
        return None
    empty = np.isnan(values)
    good = int(empty.sum()) == column.count("") and bool(((values[~empty] >= 0) & np.isfinite(values[~empty])).all())
    return values if good and "_" not in "".join(column) else None


def _number(word: str) -> tuple[float, str]:
    if not word:
        return nan, ""
    try:
        number = float(word) if "_" not in word else nan
    except ValueError:
        number = nan
    if not isfinite(number):
        return nan, f"{word!r} is not a number"
    if number < 0:
        return nan, f"{word} is negative"
    return number, ""
