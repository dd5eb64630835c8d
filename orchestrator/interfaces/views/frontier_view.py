"""The frontier of a job: what it takes to be cheaper, faster or greener, as a table and as a chart."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.workload import Workload
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.chart import Chart, Dots, Line, Panel, Tone
from orchestrator.interfaces.views.page import Block, Page, Table, Text, Title, dim, good, left, line, right, trimmed
from orchestrator.interfaces.views.page import Line as Blank
from orchestrator.planning.frontier import CHEAPEST, CHOICE, FASTEST, GREENEST, Frontier, Point
from orchestrator.spec.documents import to_jsonable

TITLES = (CHEAPEST, FASTEST, GREENEST, CHOICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierReport:
    """The frontier of one job over one snapshot."""

    frontier: Frontier
    workload: Workload
    snapshot_id: str

    def page(self) -> Page:
        """The named extremes and what lies between them, cheapest first."""
        found = self.frontier
        if not found.points:
            return (line("No feasible placement: there is no frontier. isoflop plan says why."),)
        rows = tuple(_row(found.points[index], service=found.service) for index in found.shown)
        time = right("first token") if found.service else right("time")
        columns = (left("placement"), right("GPUs"), right("cost"), time, right("CO2"), left(""))
        hidden = len(found.points) - len(found.shown)
        more = f"; {fmt.count(hidden)} more between these (--json, --chart)" if hidden else ""
        blocks: list[Block] = [
            Title(f"Cheapest, fastest, greenest: {self.workload.name} ({self.workload.KIND})"),
            line(
                f"Of {fmt.plural(found.considered, 'shape')} of {fmt.plural(found.offers, 'feasible offer')}, "
                f"{fmt.count(len(found.points))} are on the frontier: no other is as good in cost, time and CO2 "
                f"and better in one{more}."
            ),
            Blank(),
            Table(columns, rows),
            Blank(),
        ]
        if any(not found.points[index].kg_known for index in found.shown):
            blocks.append(line(dim("note: "), "~ is a grid of unknown intensity, taken for the world's average"))
        if any(not found.points[index].stock_known and found.points[index].nodes > 1 for index in found.shown):
            blocks.append(
                line(dim("note: "), "some do not say how many nodes are on sale; they are taken to have enough")
            )
        if self.frontier.titled(CHEAPEST) != self.frontier.titled(CHOICE):
            blocks.append(line(dim("note: "), "the plan's choice has the least objective, which is more than money"))
        return trimmed(blocks)

    def document(self) -> object:
        """Every point, unrounded, and the placements of those shown."""
        return {
            "job": self.workload.name,
            "snapshot_id": self.snapshot_id,
            "offers": self.frontier.offers,
            "considered": self.frontier.considered,
            "time": "first token" if self.frontier.service else "whole job",
            "points": [{**_fields(point), "titles": list(point.titles)} for point in self.frontier.points],
            "placements": to_jsonable(self.frontier.placements),
        }


def frontier_chart(found: Frontier, name: str) -> Chart:
    """Cost against time, and CO2 against time, of every point of the frontier, the extremes named."""
    return Chart(
        title=f"Cheapest, fastest, greenest: {name}",
        subtitle="every dot is a way to run it that no other beats in cost, time and CO2 at once",
        panels=(
            _panel(found, "Cost against time", "USD", Tone.BLUE, cost=True),
            _panel(found, "CO2 against time", "kg CO2", Tone.GREEN, cost=False),
        ),
        source="isoflop plan --frontier; expected values (50th percentile)",
    )


def _panel(found: Frontier, title: str, unit: str, tone: Tone, *, cost: bool) -> Panel:
    def at(point: Point) -> tuple[float, float]:
        time = point.hours * 3600.0 if found.service else point.hours
        return time, point.usd if cost else point.kg_co2

    rest = tuple((*at(point), "") for point in found.points if not point.titles)
    named = tuple((*at(point), ", ".join(point.titles)) for point in found.points if point.titles)
    values = [at(point) for point in found.points]
    return Panel(
        title=title,
        y_label=unit,
        x_label="seconds to the first token" if found.service else "hours",
        log_x=_wide([x for x, _ in values]),
        log_y=_wide([y for _, y in values]),
        lines=(Line(label="", points=_stairs(values), tone=Tone.GREY, thin=True),) if len(values) > 1 else (),
        dots=tuple(
            dots
            for dots in (
                Dots(label="on the frontier", points=rest, tone=tone),
                Dots(label="extremes and the choice", points=named, tone=Tone.ORANGE),
            )
            if dots.points
        ),
    )


def _stairs(values: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The lower left of the points: what is not beaten in these two alone."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(set(values)):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return tuple(found)


def _wide(values: list[float]) -> bool:
    """Whether a logarithmic axis shows them better."""
    return min(values) > 0 and max(values) > 5 * min(values)


def _row(point: Point, *, service: bool) -> tuple[Text, ...]:
    time = fmt.duration(point.hours * 3600.0) if service else fmt.hours(point.hours)
    kg = f"{'' if point.kg_known else '~'}{point.kg_co2:,.3g} kg"
    said = ", ".join(title for title in TITLES if title in point.titles)
    return (point.label, fmt.count(point.gpus), fmt.usd_short(point.usd), time, kg, good(said) if said else "")


def _fields(point: Point) -> dict[str, object]:
    fields = to_jsonable(point._asdict())
    return dict(fields) if isinstance(fields, dict) else {}
