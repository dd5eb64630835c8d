"""Tables of round trips and bandwidths as others publish them, read into links: the layout is known by the header.

- links: `src_region,dst_region,throughput_gbps,rtt_ms`, regions as `provider:region`; further columns are passed over;
- skyplane: `src_region,src_tier,dst_region,dst_tier` with `avg_rtt` (ms) or `throughput_sent` (bit/s), as Skyplane's
  measurements of 2022 have them; the standard tier of a provider's network is left out;
- azure: a matrix of medians in ms with region names as columns, as Azure publishes its round trips;
- isoflop: `a,b,rtt_ms,gbit_s`, ends as `provider/region` or a place's name: for measurements of one's own.

Every file may be compressed by gzip. Several rows about a pair, in either direction, become one link: the mean round
trip and the least bandwidth.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import fsum, isfinite
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Link, Place, great_circle_km

LARGEST = 64 << 20  # bytes of a file, uncompressed
VACUUM_KM_PER_MS = 299.792458
SLACK_KM = 200.0  # by which two places may be nearer than our coordinates say: regions are areas
LONGEST_MS = 10_000.0  # no path on Earth; a timeout that somebody wrote down
FASTEST_GBIT_S = 100_000.0
GOOGLE_ZONE = re.compile(r"(gcp/.+-.+\d)-[a-z]")
BIT_PER_GBIT = 1e9


class Fault(NamedTuple):
    """A row or a cell that was left out."""

    line: int
    message: str


class Reading(NamedTuple):
    """What a file says."""

    layout: str
    links: tuple[Link, ...]
    rows: int
    faults: tuple[Fault, ...]
    left_out: int  # rows that are about something else: a pair with itself, a network's other tier
    strangers: tuple[str, ...]  # ends that are no known place: links to them count once a provider tells where they are


class _Said(NamedTuple):
    """One measurement: `rtt_ms` and `gbit_s` as text, empty where there is none."""

    line: int
    a: str
    b: str
    rtt_ms: str
    gbit_s: str
    gbit_unit: float = 1.0


_Rows = Iterator[list[str]]
_Reader = Callable[[list[str], _Rows], Iterator[_Said | None]]


def read(path: Path, places: Sequence[Place], told: str) -> Reading:
    """The links of a file, with the origin `told`.

    Raises: UserError where it cannot be read, has no known layout, or no usable row.
    """
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        head = [name.strip() for name in next(rows, [])]
        layout, reader = _layout(path, head)
        known = {place.key: place for place in reversed(places)}
        found = _Found(known, told)
        for said in reader(head, rows):
            found.add(said)
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: it is no CSV: {error}") from error
    links = found.links()
    if not links:
        first = f"; line {found.faults[0].line}: {found.faults[0].message}" if found.faults else ""
        raise UserError(f"{path} holds no usable measurement ({found.rows} rows read as {layout}{first})")
    ends = {end for link in links for end in (link.a, link.b)}
    return Reading(layout, links, found.rows, tuple(found.faults), found.left_out, tuple(sorted(ends - known.keys())))


class _Found:
    """The measurements so far, by pair."""

    def __init__(self, places: Mapping[str, Place], told: str) -> None:
        self._places, self._told = places, told
        self._rtt_ms: dict[tuple[str, str], list[float]] = {}
        self._gbit_s: dict[tuple[str, str], list[float]] = {}
        self.faults: list[Fault] = []
        self.rows = self.left_out = 0

    def add(self, said: _Said | None) -> None:
        """Take a measurement, or say what is wrong with it; None is one that is about something else."""
        self.rows += 1
        if said is None or said.a == said.b:
            self.left_out += 1
            return
        if not said.a or not said.b:
            self.faults.append(Fault(said.line, "it does not say between which places"))
            return
        pair = (said.a, said.b) if said.a < said.b else (said.b, said.a)
        rtt_ms = self._figure(said.line, "round trip", said.rtt_ms, 1.0, LONGEST_MS)
        if rtt_ms is not None and self._too_fast(pair, rtt_ms):
            self.faults.append(Fault(said.line, f"{rtt_ms:g} ms between {pair[0]} and {pair[1]} is faster than light"))
            rtt_ms = None
        gbit_s = self._figure(said.line, "bandwidth", said.gbit_s, said.gbit_unit, FASTEST_GBIT_S)
        if rtt_ms is not None:
            self._rtt_ms.setdefault(pair, []).append(rtt_ms)
        if gbit_s is not None:
            self._gbit_s.setdefault(pair, []).append(gbit_s)

    def links(self) -> tuple[Link, ...]:
        """One link for each pair, by its ends."""
        made = []
        for pair in sorted({*self._rtt_ms, *self._gbit_s}):
            trips = self._rtt_ms.get(pair)
            rtt_ms = round(fsum(trips) / len(trips), 3) if trips else 0.0
            gbit_s = min(self._gbit_s.get(pair, (0.0,)))
            made.append(Link(a=pair[0], b=pair[1], rtt_ms=rtt_ms, gbit_s=gbit_s, origin=self._told))
        return tuple(made)

    def _figure(self, line: int, what: str, text: str, unit: float, most: float) -> float | None:
        """The number, None where there is none; a fault where it is not above 0 and at most `most`."""
        if not text:
            return None
        try:
            figure = float(text) / unit
        except ValueError:
            self.faults.append(Fault(line, f"the {what} {text[:40]!r} is no number"))
            return None
        if not isfinite(figure) or not 0 < figure <= most:
            self.faults.append(Fault(line, f"the {what} {text[:40]} cannot be"))
            return None
        return figure

    def _too_fast(self, pair: tuple[str, str], rtt_ms: float) -> bool:
        a, b = (self._places.get(end) for end in pair)
        if a is None or b is None:
            return False
        return 2 * (great_circle_km(a, b) - SLACK_KM) / VACUUM_KM_PER_MS > rtt_ms


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST >> 20} MiB: no table of links is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: it is not UTF-8 text") from error


def _layout(path: Path, head: list[str]) -> tuple[str, _Reader]:
    columns = set(head)
    if {"a", "b"} <= columns and columns & {"rtt_ms", "gbit_s"}:
        return "isoflop", _own
    if {"src_region", "dst_region", "src_tier", "dst_tier"} <= columns and columns & {"avg_rtt", "throughput_sent"}:
        return "skyplane", _skyplane
    if {"src_region", "dst_region"} <= columns and columns & {"rtt_ms", "throughput_gbps"}:
        return "links", _of_links
    if head[:1] == ["Source"] and len(head) > 1:
        return "azure", _matrix
    told = ", ".join(head[:6]) or "nothing"
    raise UserError(
        f"{path} has no layout that is known; its first line says {told}. For measurements of your own write the "
        f"columns a, b, rtt_ms, gbit_s, with ends as provider/region or a place's name"
    )


def _records(head: list[str], rows: _Rows) -> Iterator[tuple[int, Mapping[str, str]]]:
    for line, row in enumerate(rows, 2):
        if any(row):
            yield line, {name: cell.strip() for name, cell in zip(head, row, strict=False)}


def _own(head: list[str], rows: _Rows) -> Iterator[_Said | None]:
    for line, row in _records(head, rows):
        yield _Said(line, row.get("a", ""), row.get("b", ""), row.get("rtt_ms", ""), row.get("gbit_s", ""))


def _of_links(head: list[str], rows: _Rows) -> Iterator[_Said | None]:
    for line, row in _records(head, rows):
        a, b = (_region(row.get(name, "")) for name in ("src_region", "dst_region"))
        yield _Said(line, a, b, row.get("rtt_ms", ""), row.get("throughput_gbps", ""))


def _skyplane(head: list[str], rows: _Rows) -> Iterator[_Said | None]:
    for line, row in _records(head, rows):
        failed = row.get("success", "True").casefold() in {"false", "0"}
        if failed or "STANDARD" in (row.get("src_tier"), row.get("dst_tier")):
            yield None
            continue
        a, b = (_region(row.get(name, "")) for name in ("src_region", "dst_region"))
        yield _Said(line, a, b, row.get("avg_rtt", ""), row.get("throughput_sent", ""), BIT_PER_GBIT)


def _matrix(head: list[str], rows: _Rows) -> Iterator[_Said | None]:
    for line, row in enumerate(rows, 2):
        for name, cell in zip(head[1:], row[1:], strict=False):
            if name and cell.strip():
                yield _Said(line, _azure(row[0]), _azure(name), cell.strip(), "")


def _region(name: str) -> str:
    """`aws:us-east-1` and `gcp:us-east1-b` as places are called here: without the zone."""
    key = name.replace(":", "/", 1)
    zone = GOOGLE_ZONE.fullmatch(key)
    return zone[1] if zone else key


def _azure(name: str) -> str:
    """`East US 2` as `azure/eastus2`."""
    return f"azure/{''.join(name.split()).casefold()}" if name.strip() else ""
