"""Paths as plans see them: round trips, bandwidth and the price of traffic, each with how it is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.network import Link, RoundTrip
from orchestrator.domain.snapshot import Gap
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    dim,
    left,
    line,
    right,
    warn,
)
from orchestrator.inventory.link_files import Reading
from orchestrator.inventory.links import LinkTable

EXAMPLES = 5  # of places that nobody knows
FAULTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesReport:
    """What is imported, and what providers measured; `now` is when."""

    tables: tuple[LinkTable, ...]
    measured: tuple[Link, ...]
    gaps: tuple[Gap, ...]
    now: datetime
    limit: int

    def page(self) -> Page:
        """Imports with their sizes, then measured links."""
        blocks: list[Block] = []
        if self.tables:
            rows = tuple(
                (table.name, fmt.count(len(table.links)), *_counts(table.links), fmt.age(table.at, self.now))
                for table in self.tables
            )
            columns = (left("import"), right("links"), right("round trips"), right("bandwidths"), left("age"))
            blocks += [
                Title("Imported: of two about one pair the first counts"),
                Table(columns, rows),
                Line(),
            ]
        if self.measured:
            shown = self.measured[: self.limit or None]
            title = f"Measured by providers ({fmt.count(len(shown))} of {fmt.count(len(self.measured))})"
            ends = tuple((link.a, link.b, _ms(link.rtt_ms), _gbit(link.gbit_s), dim(link.origin)) for link in shown)
            columns = (left("between"), left("and"), right("round trip"), right("Gbit/s"), left("how it is known"))
            blocks += [Title(title), Table(columns, ends), Line()]
        if not blocks:
            blocks = [line("No link is measured or imported: every round trip is estimated from the distance."), Line()]
        return (*blocks, *_unseen(self.gaps))

    def document(self) -> object:
        """Imports by name, and every measured link."""
        return {
            "imports": [
                {"name": table.name, "source": table.source, "at": table.at.isoformat(), "links": len(table.links)}
                for table in self.tables
            ],
            "measured": [_fields(link) for link in self.measured],
            "gaps": [{"provider": gap.provider, "detail": gap.detail} for gap in self.gaps],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """One path: the round trip that plans use, the links behind it, USD per GiB each way (None unknown)."""

    a: str
    b: str
    trip: RoundTrip
    links: tuple[Link, ...]
    there: float | None
    back: float | None
    km: float
    gaps: tuple[Gap, ...] = ()

    def page(self) -> Page:
        """What counts, then everything that is known."""
        gbit_s = next((link for link in self.links if link.gbit_s > 0), None)
        rows: list[tuple[str, Text]] = [
            ("round trip", f"{_ms(self.trip.ms)} ({self.trip.told})"),
            ("bandwidth", f"{_gbit(gbit_s.gbit_s)} Gbit/s ({gbit_s.origin})" if gbit_s else "nobody measured it"),
            ("traffic there", _price(self.there)),
            ("traffic back", _price(self.back)),
            ("distance", f"{self.km:,.0f} km"),
        ]
        blocks: list[Block] = [Title(f"From {self.a} to {self.b}"), Facts(tuple(rows)), Line()]
        if len(self.links) > 1:
            known = tuple((_ms(link.rtt_ms), _gbit(link.gbit_s), dim(link.origin)) for link in self.links)
            columns = (right("round trip"), right("Gbit/s"), left("how it is known"))
            blocks += [Title("All that is known, what counts first"), Table(columns, known), Line()]
        return (*blocks, *_unseen(self.gaps))

    def document(self) -> object:
        """What counts, and every link."""
        trip = self.trip
        estimate = None if trip.p10_ms is None else {"p10_ms": trip.p10_ms, "p90_ms": trip.p90_ms}
        return {
            "from": self.a,
            "to": self.b,
            "rtt_ms": trip.ms,
            "origin": trip.origin,
            "estimate": estimate,
            "usd_per_gib": {"there": self.there, "back": self.back},
            "km": self.km,
            "links": [_fields(link) for link in self.links],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """What a file of links held, and the name it is kept under."""

    file: str
    name: str
    read: Reading

    def page(self) -> Page:
        """Counts, faults with their lines, places nobody knows."""
        read = self.read
        trips, widths = _counts(read.links)
        blocks: list[Block] = [
            line(
                f"imported {fmt.plural(len(read.links), 'link')} from {self.file} as {self.name} (layout {read.layout})"
            ),
            line(
                f"{trips} with a round trip, {widths} with a bandwidth, from {fmt.plural(read.rows, 'row')}", indent=2
            ),
        ]
        if read.left_out:
            blocks.append(
                line(f"left out: {fmt.count(read.left_out)} about one region alone or a slower tier", indent=2)
            )
        if read.strangers:
            named = ", ".join(read.strangers[:EXAMPLES]) + (", ..." if len(read.strangers) > EXAMPLES else "")
            told = f"{fmt.plural(len(read.strangers), 'end')} in places that nobody knows, of no use to plans: "
            blocks.append(line(warn(told), named, indent=2))
        if read.faults:
            shown = tuple((fmt.count(fault.line), fault.message) for fault in read.faults[:FAULTS])
            title = f"Left out as wrong: {fmt.count(len(read.faults))} (--json lists every one)"
            blocks += [Line(), Title(title), Table((right("line"), left("fault")), shown)]
        return tuple(blocks)

    def document(self) -> object:
        """The counts and every fault."""
        read = self.read
        return {
            "name": self.name,
            "file": self.file,
            "layout": read.layout,
            "rows": read.rows,
            "links": len(read.links),
            "left_out": read.left_out,
            "unknown_places": list(read.strangers),
            "faults": [{"line": fault.line, "message": fault.message} for fault in read.faults],
        }


def _counts(links: tuple[Link, ...]) -> tuple[str, str]:
    return fmt.count(sum(link.rtt_ms > 0 for link in links)), fmt.count(sum(link.gbit_s > 0 for link in links))


def _unseen(gaps: tuple[Gap, ...]) -> list[Block]:
    return [line(warn("not seen: "), f"{gap.provider}: {gap.detail}") for gap in gaps]


def _ms(rtt_ms: float) -> str:
    return f"{rtt_ms:.3g} ms" if 0 < rtt_ms < 100 else f"{rtt_ms:,.0f} ms" if rtt_ms else ""


def _gbit(gbit_s: float) -> str:
    return f"{gbit_s:.3g}" if gbit_s else ""


def _price(usd: float | None) -> str:
    if usd is None:
        return "its price is unknown"
    return f"${usd:.3f} per GiB, the first of a month" if usd else "free"


def _fields(link: Link) -> dict[str, object]:
    return {
        "a": link.a,
        "b": link.b,
        "rtt_ms": link.rtt_ms or None,
        "gbit_s": link.gbit_s or None,
        "origin": link.origin,
    }
