"""Imports of offers from whatever a file, zip or folder holds: our own CSV, gpuhunt's catalogue or SkyPilot's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from orchestrator.catalog import archive, community, gpuhunt, importer, sheet, skypilot
from orchestrator.catalog.accelerators import canonical
from orchestrator.catalog.archive import Text
from orchestrator.catalog.builder import Canonical
from orchestrator.catalog.community import Listing
from orchestrator.catalog.importer import BadRow, BadRows, ImportReport
from orchestrator.catalog.sheet import Sheet
from orchestrator.domain.errors import Problem, SpecError, UserError
from orchestrator.domain.offerbook import OfferBook

VERSION = re.compile(r"v(\d+)")
PROVIDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MOST_HEADER = 1 << 14  # characters


class Layout(NamedTuple):
    """A format that a header is recognised as: its name, the columns that it must have, and how to read it."""

    name: str
    required: tuple[str, ...]
    listing: Callable[[Sheet, str], Listing]


LAYOUTS = (
    Layout(gpuhunt.NAME, gpuhunt.REQUIRED, gpuhunt.listing),
    Layout(skypilot.NAME, skypilot.REQUIRED, skypilot.listing),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to read: what to do about bad rows, whose prices they are and of when, where the files do not say."""

    on_bad: BadRows
    provider: str | None = None  # of catalogues; by default as the file or its folder is called
    as_of: datetime | None = None  # of prices without a date; of catalogues by default the file's date
    now: datetime | None = None  # later dates are faults
    names: Canonical = canonical


def read(path: Path, wishes: Wishes) -> ImportReport:
    """Read every offer in `path`, each CSV by the format that its header shows.

    In a zip or a folder, CSVs of no known format are passed over and named in the report, and of a provider's
    catalogues in several versions (`v7/`, `v8/`) all but the newest.

    Raises: ConfigError where it cannot be read; SpecError where nothing in it can be trusted, where it holds no offers
    of a known format, and, with `on_bad` REFUSE, where any row is bad; UserError where the provider is unknown.
    """
    if wishes.provider is not None and not PROVIDER.fullmatch(wishes.provider):
        raise UserError(f"--provider: {wishes.provider!r} names no provider: use lower-case letters, digits and '-'")
    several = archive.holds_several(path)
    reports: list[ImportReport] = []
    passed: list[str] = []
    newest: dict[tuple[str, str], tuple[int, ImportReport]] = {}
    for text in archive.texts(path):
        layout = recognised(text)
        if layout is None and several and not _is_ours(text):
            passed.append(text.path.name if path.is_dir() else str(text.path))
            continue
        if layout is None:
            reports.append(_own(text, wishes))
            continue
        report = _catalogue(text, layout, wishes)
        [provider] = report.providers
        key, version = (layout.name, provider), _version(text)
        earlier = newest.get(key)
        if earlier is not None and earlier[0] == version:
            message = f"{earlier[1].file} and {text.name} both hold a {layout.name} of {provider}: import one of them"
            raise UserError(message)
        if earlier is None or version > earlier[0]:
            newest[key] = (version, report)
        if earlier is not None:
            passed.append(min((version, text.name), (earlier[0], earlier[1].file))[1])
    reports += [report for _, report in newest.values()]
    if not reports:
        names = ", ".join(layout.name for layout in LAYOUTS)
        raise SpecError(str(path), (Problem(0, 0, "", f"no CSV in it is an offers CSV, a {names}"),))
    return replace(_together(str(path), reports), passed_over=tuple(passed))


def recognised(text: Text) -> Layout | None:
    """The catalogue that the header is of; None where it is none: it may be our own CSV."""
    names = _header(text)
    return next((layout for layout in LAYOUTS if names.issuperset(layout.required)), None)


def _header(text: Text) -> frozenset[str]:
    line = text.text[:MOST_HEADER].split("\n", 1)[0]
    return frozenset(name.strip().strip('"').casefold() for name in line.split(","))


def _is_ours(text: Text) -> bool:
    return _header(text).issuperset(("provider", "region", "instance_type"))


def _own(text: Text, wishes: Wishes) -> ImportReport:
    return importer.read_text(
        text.name,
        text.text,
        whole=text.whole,
        on_bad=wishes.on_bad,
        reading=importer.Reading(as_of=wishes.as_of, now=wishes.now, names=wishes.names),
    )


def _catalogue(text: Text, layout: Layout, wishes: Wishes) -> ImportReport:
    provider = wishes.provider or community.provider_of(text.path)
    if provider is None:
        hint = "give --provider: neither the file's nor its folder's name is that of a provider"
        raise SpecError(text.name, (Problem(0, 0, "", f"whose {layout.name} is it?", hint=hint),))
    if wishes.now is not None and text.dated > wishes.now and wishes.as_of is None:
        moment = wishes.now  # a clock that goes wrong must not make prices younger than today
    else:
        moment = wishes.as_of or text.dated
    rows = sheet.read(text.text.split("\n"), whole=text.whole)
    _check_columns(text.name, rows)
    listing = layout.listing(rows, provider)
    made = community.make(listing, observed_at=moment, source=f"{layout.name} {moment:%Y-%m-%d}", names=wishes.names)
    report = ImportReport(
        file=text.name,
        book=made.book,
        rows=rows.rows,
        good=made.good,
        priceless=made.priceless,
        bad=tuple(BadRow(fault.line, fault.column, fault.message) for fault in sorted(made.faults)),
        ignored_columns=(),
        unknown_gpus=tuple(sorted(made.unknown_gpus)),
        formats=(layout.name,),
        providers=(provider,),
        left_out=tuple(made.left_out.items()),
        file_dated=None if wishes.as_of else moment,
    )
    if report.bad and wishes.on_bad is BadRows.REFUSE:
        raise SpecError(text.name, tuple(Problem(bad.line, 1, bad.column, bad.message) for bad in report.bad))
    return report


def _check_columns(name: str, rows: Sheet) -> None:
    problems = [Problem(1, 1, column, f"the column {column!r} stands here more than once") for column in rows.twice]
    if problems:
        raise SpecError(name, tuple(problems))


def _version(text: Text) -> int:
    found = [VERSION.fullmatch(part) for part in text.path.parts]
    return max((int(match.group(1)) for match in found if match), default=0)


def _together(file: str, reports: Sequence[ImportReport]) -> ImportReport:
    """One report of several files."""
    if len(reports) == 1:
        return reports[0]
    left_out: dict[str, int] = {}
    for report in reports:
        for reason, count in report.left_out:
            left_out[reason] = left_out.get(reason, 0) + count
    return ImportReport(
        file=file,
        book=OfferBook.merge([report.book for report in reports]),
        rows=sum(report.rows for report in reports),
        good=sum(report.good for report in reports),
        priceless=sum(report.priceless for report in reports),
        bad=tuple(replace(bad, file=report.file) for report in reports for bad in report.bad),
        ignored_columns=_union(report.ignored_columns for report in reports),
        unknown_gpus=tuple(sorted(_union(report.unknown_gpus for report in reports))),
        formats=_union(report.formats for report in reports),
        providers=tuple(sorted(_union(report.providers for report in reports))),
        left_out=tuple(left_out.items()),
        file_dated=min((report.file_dated for report in reports if report.file_dated), default=None),
    )


def _union(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Every word of the groups once, in the order of its first."""
    return tuple(dict.fromkeys(word for group in groups for word in group))
