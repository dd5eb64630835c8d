"""Price paths: a line of blocks for each offer, and every change of a single one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.catalog.history import State
from orchestrator.catalog.paths import Path
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    code,
    dim,
    left,
    line,
    right,
    strong,
    trimmed,
)

BLOCKS = "▁▂▃▄▅▆▇█"
NO_PRICE, SOLD_OUT = " ", "·"
WIDTH = 24  # blocks in a line
COLUMNS = (
    left("provider"),
    left("region"),
    left("instance type"),
    left("billing"),
    left("since"),
    right("changes"),
    right("least"),
    right("most"),
    right("now"),
    left("path"),
    left("from"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReport:
    """The paths to show of all that match."""

    paths: tuple[Path, ...]
    matching: int
    now: datetime
    hints: tuple[str, ...] = ()

    def page(self) -> Page:
        """A row per offer; of a single offer every change."""
        if not self.paths:
            learn = line("No history of such an offer is kept; it begins with ", code("isoflop catalog refresh"))
            return (learn, *(line(hint) for hint in self.hints))
        blocks: list[Block] = [Table(COLUMNS, tuple(self._row(path) for path in self.paths))]
        if len(self.paths) == 1:
            blocks += [Line(), *self._changes(self.paths[0])]
        if len(self.paths) < self.matching:
            rest = f"{fmt.count(len(self.paths))} of {fmt.plural(self.matching, 'offer')}; --limit 0 shows all."
            blocks += [Line(), line(rest)]
        return trimmed(blocks)

    def document(self) -> object:
        """Every change of every path."""
        return {"matching": self.matching, "paths": [_fields(path) for path in self.paths], "hints": list(self.hints)}

    def _row(self, path: Path) -> tuple[Text, ...]:
        prices, last = path.prices, path.points[-1]
        return (
            path.provider,
            f"{path.region}/{path.zone}" if path.zone and path.zone != path.region else path.region,
            strong(path.instance_type),
            path.billing,
            fmt.moment(path.points[0].at),
            fmt.count(len(path.points) - 1),
            fmt.usd(min(prices)) if prices else "",
            fmt.usd(max(prices)) if prices else "",
            _said(last.usd_per_hour, last.state),
            spark(path, self.now),
            dim(path.source.replace("-", ": ", 1)),
        )

    def _changes(self, path: Path) -> list[Block]:
        rows: list[tuple[Text, ...]] = []
        before: float | None = None
        for point in path.points:
            usd = point.usd_per_hour
            moved = usd is not None and before not in (None, usd)
            change = fmt.percent_change(100.0 * (usd / before - 1.0)) if moved and usd and before else ""
            rows.append((fmt.moment(point.at), _said(usd, point.state), change))
            before = usd if usd is not None else before
        return [Title("Changes"), Table((left("when"), right("per hour"), right("change")), tuple(rows))]


def spark(path: Path, now: datetime, width: int = WIDTH) -> str:
    """The price since the first change in `width` blocks of equal time, scaled from its least to its most."""
    first = path.points[0].at
    span = max(1.0, (now - first).total_seconds())
    low, high = min(path.prices, default=0.0), max(path.prices, default=0.0)
    drawn, current = [], 0
    for block in range(width):
        end = span * (block + 1) / width
        while current + 1 < len(path.points) and (path.points[current + 1].at - first).total_seconds() <= end:
            current += 1
        point = path.points[current]
        if point.usd_per_hour is None:
            drawn.append(NO_PRICE)
        elif point.state is State.SOLD_OUT:
            drawn.append(SOLD_OUT)
        else:
            height = (point.usd_per_hour - low) / (high - low) if high > low else 0.0
            drawn.append(BLOCKS[round(height * (len(BLOCKS) - 1))])
    return "".join(drawn)


def _said(usd: float | None, state: State) -> Text:
    if usd is None:
        return bad("gone")
    return bad(f"{fmt.usd(usd)} sold out") if state is State.SOLD_OUT else fmt.usd(usd)


def _fields(path: Path) -> dict[str, object]:
    return {
        "source": path.source,
        "provider": path.provider,
        "region": path.region,
        "zone": path.zone,
        "instance_type": path.instance_type,
        "billing": path.billing,
        "accelerator": path.accelerator,
        "gpus": path.gpus,
        "points": _points(path),
    }


def _points(path: Path) -> Sequence[dict[str, object]]:
    return [
        {"at": point.at.isoformat(), "usd_per_hour": point.usd_per_hour, "state": point.state.name.lower()}
        for point in path.points
    ]
