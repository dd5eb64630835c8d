"""Reads our own CSV of offers, plain or gzipped, into an offer book; no line is ever lost without a word."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from orchestrator.catalog import exchange, sheet, vendors
from orchestrator.catalog.accelerators import canonical
from orchestrator.catalog.builder import BookBuilder, Canonical
from orchestrator.catalog.layout import COLUMNS, Header, read_header
from orchestrator.catalog.row import Row, RowReader
from orchestrator.catalog.sheet import CUT_OFF
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.offerbook import OfferBook
from orchestrator.spec import csv_text

OURS = "offers CSV"
DIGITS = re.compile(r"\d+(?:[.]\d+)?")


class BadRows(StrEnum):
    """What to do about lines that make no offer."""

    SKIP = "skip"  # import the rest and report them
    REFUSE = "refuse"  # import nothing


@dataclass(frozen=True, slots=True)
class BadRow:
    """One fault of one line: its number in the file (from 1), the column's name ("" is the whole line), what it is.

    `file` is said where several were read.
    """

    line: int
    column: str
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImportReport:
    """What became of a file. `rows` = `good` + `priceless` + `bad_rows` + all that `left_out` counts, always."""

    file: str
    book: OfferBook
    rows: int  # lines after the header that are not blank
    good: int  # rows that made one offer or two
    priceless: int  # rows that name a machine without any price: nothing to import, nothing wrong
    bad: tuple[BadRow, ...]  # every fault; a row may have several
    ignored_columns: tuple[str, ...]  # columns that mean nothing to isoflop
    unknown_gpus: tuple[str, ...]  # devices that keep the vendor's word: plans refuse them and say so
    formats: tuple[str, ...] = (OURS,)  # as the headers were recognised
    providers: tuple[str, ...] = ()  # of catalogues, whose rows do not say whose they are
    left_out: tuple[tuple[str, int], ...] = ()  # rows that are no fault and no offer: why, and how many
    passed_over: tuple[str, ...] = ()  # files that were not read
    file_dated: datetime | None = None  # where the file's date stands for that of its prices: the earliest

    @property
    def offers(self) -> int:
        """Offers made, on-demand and spot."""
        return len(self.book)

    @property
    def bad_rows(self) -> int:
        """Lines with at least one fault."""
        return len({(row.file, row.line) for row in self.bad})

    def faults(self) -> tuple[tuple[BadRow, int], ...]:
        """The kinds of faults, most frequent first: the first one, and how often."""
        kinds = Counter((row.column, _kind(row.message)) for row in self.bad)
        first: dict[tuple[str, str], BadRow] = {}
        for row in self.bad:
            first.setdefault((row.column, _kind(row.message)), row)
        return tuple((first[kind], count) for kind, count in kinds.most_common())


class Reading(NamedTuple):
    """How to read: `as_of` dates the prices of rows that hold no date; dates after `now` are faults.

    `names` gives our name of a vendor's device.
    """

    as_of: datetime | None = None
    now: datetime | None = None
    names: Canonical = canonical


def read_csv(
    path: Path,
    *,
    on_bad: BadRows,
    as_of: datetime | None = None,
    now: datetime | None = None,
    names: Canonical = canonical,
) -> ImportReport:
    """Read the offers in `path` (columns: `layout.COLUMNS`; plain or gzip, told apart by content); see `Reading`.

    Raises: ConfigError where the file cannot be read; SpecError as `read_text` does.
    """
    text, whole = csv_text.read(path)
    return read_text(str(path), text, whole=whole, on_bad=on_bad, reading=Reading(as_of, now, names))


def read_text(file: str, text: str, *, whole: bool, on_bad: BadRows, reading: Reading) -> ImportReport:
    """Read the offers in the `text` of `file`, the last line of which is cut off unless it is `whole`.

    Raises: SpecError with every fault where the header is wrong, where nothing can be trusted (a damaged archive), and,
    with `on_bad` REFUSE, where any row is bad.
    """
    lines = text.split("\n")
    header, problems = _header(lines)
    if problems:
        raise SpecError(file, problems)
    builder = BookBuilder(vendors.load(), reading.names)
    taken = _Reading(header, builder, as_of=reading.as_of, now=reading.now)
    for number, line in enumerate(lines[1 : None if whole else -1], start=2):
        if line.strip():
            taken.line(number, line)
    if not whole:
        taken.cut_off(len(lines))
    if taken.bad and on_bad is BadRows.REFUSE:
        raise SpecError(file, tuple(_problem(row, header, lines) for row in taken.bad))
    return taken.report(file)


class _Reading:
    """The state of one import."""

    def __init__(self, header: Header, builder: BookBuilder, *, as_of: datetime | None, now: datetime | None) -> None:
        self._builder = builder
        self._header = header
        self._reader = RowReader(header, exchange.load(), as_of=as_of, now=now)
        self._seen: dict[tuple[str, str, str, str], int] = {}
        self._rows = 0
        self._good = 0
        self._priceless = 0
        self.bad: list[BadRow] = []

    def line(self, number: int, line: str) -> None:
        """Take line `number` of the file."""
        self._rows += 1
        try:
            fields = sheet.split(line)
        except csv.Error as error:
            self.bad.append(BadRow(number, "", f"not a CSV line: {error}"))
            return
        row = self._reader.read(fields)
        faults = list(self._reader.faults)
        if row.prices and not faults:
            first = self._seen.setdefault(row.key, number)
            if first != number:
                faults.append(("instance_type", f"line {first} holds the same machine in the same place"))
        if faults:
            self.bad += [BadRow(number, column, message) for column, message in faults]
        elif row.prices:
            self._good += 1
            self._add(row)
        else:
            self._priceless += 1

    def cut_off(self, number: int) -> None:
        """Line `number` was cut off; what it seems to say is not read: `1.25` may be the beginning of `1.2584`."""
        self._rows += 1
        self.bad.append(BadRow(number, "", CUT_OFF))

    def report(self, file: str) -> ImportReport:
        """What became of the lines taken."""
        return ImportReport(
            file=file,
            book=self._builder.build(),
            rows=self._rows,
            good=self._good,
            priceless=self._priceless,
            bad=tuple(self.bad),
            ignored_columns=self._header.ignored,
            unknown_gpus=tuple(sorted(self._builder.unknown)),
        )

    def _add(self, row: Row) -> None:
        for price in row.prices:
            self._builder.add(
                provider=row.provider,
                region=row.region,
                zone=row.zone,
                instance_type=row.instance_type,
                accelerator=self._builder.accelerator(row.gpu, row.gpu_memory_gib),
                gpus=row.gpus,
                billing=price.billing,
                usd_per_hour=price.usd_per_hour,
                vcpus=row.vcpus,
                host_memory_gib=row.host_memory_gib,
                bucket=row.bucket,
                max_lease_h=row.max_lease_h,
                observed_at=price.observed_at,
                source=price.source,
            )


def _kind(message: str) -> str:
    """A message without its figures: what faults of one kind have in common."""
    return DIGITS.sub("#", message)


def _header(lines: list[str]) -> tuple[Header, tuple[Problem, ...]]:
    if not lines[0].strip():
        message = "the file is empty" if len(lines) == 1 else "the first line is empty"
        return Header({}, 0, ()), (Problem(1, 1, "", message, hint=f"expected the header {','.join(COLUMNS)}"),)
    try:
        fields = next(csv.reader((lines[0],), strict=True))
    except csv.Error as error:
        return Header({}, 0, ()), (Problem(1, 1, "", f"the header is not CSV: {error}"),)
    return read_header(fields)


def _problem(row: BadRow, header: Header, lines: list[str]) -> Problem:
    """The fault with its place in the text, for editors. Quoted commas may shift it; the line is exact."""
    position = header.index.get(row.column, 0)
    before = lines[row.line - 1].split(",")[:position] if row.line <= len(lines) else []
    return Problem(row.line, 1 + sum(len(field) + 1 for field in before), row.column, row.message)
