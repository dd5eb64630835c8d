"""The capacity gap as a chart: training against the largest systems, and answers against edge nodes, 2024 to 2035."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.chart import Chart, Distance, Line, Panel, Ribbon, Tone
from orchestrator.interfaces.views.gap_view import prefixed, times
from orchestrator.sizing.gap import (
    FIRST_YEAR,
    HORIZON,
    LAST_YEAR,
    Device,
    Gap,
    Kind,
    Outlook,
    Region,
    Scenario,
    YearGap,
    capacity_gap,
)

YEARS = tuple(range(FIRST_YEAR, LAST_YEAR + 1))
TONES = {Region.US: Tone.BLUE, Region.EU: Tone.ORANGE}
ASIDE = {Region.US: 0.1, Region.EU: -0.1}  # of a year: two arrows at one year do not cover each other


def gap_chart(
    assumed: Outlook, regions: Sequence[Region], scenarios: Sequence[Scenario], *, device: Device, edge_device: Device
) -> Chart:
    """Every year of the outlook for the regions and scenarios, on two panels."""
    rows = capacity_gap(assumed, YEARS, device=device, edge_device=edge_device)
    shown = tuple(row for row in rows if row.scenario in scenarios)
    share = fmt.percent(assumed.supply_share)
    return Chart(
        title="Compute for frontier AI: what is wanted and what is expected",
        subtitle=f"{FIRST_YEAR} to {LAST_YEAR}; after {HORIZON} everything goes on at the rate of the years before",
        panels=(_training(shown, regions), _edge(assumed, shown, regions, edge_device)),
        source=f"isoflop gap: every assumption and its origin is in its table; systems at {share} of their rated speed",
    )


def _training(rows: Sequence[YearGap], regions: Sequence[Region]) -> Panel:
    demand = [_demand(rows, scenario, edge=False) for scenario in _scenarios(rows)]
    return Panel(
        title="One training run against the largest systems of a region, HPC to cloud",
        y_label="FLOP/s",
        y_prefixed=True,
        x_whole=True,
        lines=(*demand, *(line for region in regions for line in _systems(rows, region))),
        ribbons=tuple(_ribbon(rows, region) for region in regions),
        distances=tuple(_distances(rows, regions)),
    )


def _edge(assumed: Outlook, rows: Sequence[YearGap], regions: Sequence[Region], device: Device) -> Panel:
    demand = [_demand(rows, scenario, edge=True) for scenario in _scenarios(rows)]
    supply = {region: tuple((x, gap.supply_flops) for x, gap in _gaps(rows, region, Kind.EDGE)) for region in regions}
    alike = len(supply) > 1 and len(set(supply.values())) == 1
    lines = [
        Line(
            label=f"edge node of {assumed.edge_gpus(region):g} {device.name}, {'US and EU' if alike else region}",
            points=points,
            tone=Tone.GREEN if alike else TONES[region],
            end=f"edge node {'' if alike else region + ' '}{prefixed(points[-1][1], 'FLOP/s')}",
        )
        for region, points in (list(supply.items())[:1] if alike else supply.items())
    ]
    return Panel(
        title="Answers: what one edge node has to do, and what one is expected to do",
        y_label="FLOP/s per edge node",
        x_label="year",
        y_prefixed=True,
        x_whole=True,
        lines=(*demand, *lines),
    )


def _scenarios(rows: Sequence[YearGap]) -> tuple[Scenario, ...]:
    return tuple(dict.fromkeys(row.scenario for row in rows))


def _demand(rows: Sequence[YearGap], scenario: Scenario, *, edge: bool) -> Line:
    points = tuple(
        (float(row.year), row.answer.flops if edge else row.training.flops) for row in rows if row.scenario is scenario
    )
    return Line(
        label=f"demand, {scenario} scenario",
        points=points,
        tone=Tone.INK if scenario is Scenario.PEAK else Tone.PURPLE,
        dashed=scenario is not Scenario.PEAK,
        end=f"{scenario} {prefixed(points[-1][1], 'FLOP/s')}",
    )


def _gaps(rows: Sequence[YearGap], region: Region, kind: Kind) -> list[tuple[float, Gap]]:
    """Year by year; supply is the same in every scenario."""
    first = rows[0].scenario
    return [
        (float(row.year), gap)
        for row in rows
        if row.scenario is first
        for gap in row.gaps
        if gap.region is region and gap.kind is kind
    ]


def _systems(rows: Sequence[YearGap], region: Region) -> list[Line]:
    """The edges of the region's ribbon; only the ribbon is in the legend."""
    found = []
    for kind, word in ((Kind.CLOUD, "cloud"), (Kind.HPC, "HPC")):
        points = tuple((x, gap.supply_flops) for x, gap in _gaps(rows, region, kind))
        end = f"{region} {word} {prefixed(points[-1][1], 'FLOP/s')}"
        found.append(Line(label="", points=points, tone=TONES[region], thin=True, dashed=kind is Kind.HPC, end=end))
    return found


def _ribbon(rows: Sequence[YearGap], region: Region) -> Ribbon:
    pairs = zip(_gaps(rows, region, Kind.HPC), _gaps(rows, region, Kind.CLOUD), strict=True)
    points = ((x, one.supply_flops, other.supply_flops) for (x, one), (_, other) in pairs)
    return Ribbon(
        label=f"expected in the {region}: largest HPC and cloud system",
        points=tuple((x, min(low, high), max(low, high)) for x, low, high in points),
        tone=TONES[region],
    )


def _distances(rows: Sequence[YearGap], regions: Sequence[Region]) -> list[Distance]:
    """The gaps of the source documents: the peak scenario at their horizon."""
    found = []
    for row in rows:
        if row.year != HORIZON or row.scenario is not Scenario.PEAK:
            continue
        for region in regions:
            gap = row.largest(region)
            if gap.factor > 1:
                found.append(
                    Distance(
                        x=row.year + ASIDE[region],
                        low=gap.supply_flops,
                        high=row.training.flops,
                        text=times(gap.factor).text,
                        tone=TONES[region],
                        text_left=ASIDE[region] < 0,
                    )
                )
    return found
