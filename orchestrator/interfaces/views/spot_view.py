"""A job on spot by its deadline: expected cost beside on-demand, the regions, and what to do at any time."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.sizing import Band
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    dim,
    good,
    left,
    line,
    right,
    strong,
    trimmed,
)
from orchestrator.planning.spot.of_plan import SpotPlan
from orchestrator.spec.documents import to_jsonable


@dataclass(frozen=True, slots=True)
class SpotReport:
    """One decision table with what it is expected to cost."""

    plan: SpotPlan

    def page(self) -> Page:
        """Cost, regions, the table twice, notes."""
        plan = self.plan
        blocks: list[Block] = [
            Title(f"On spot by the deadline: {plan.workload.name} ({plan.workload.KIND})"),
            _summary(plan),
            Line(),
            Facts(_facts(plan)),
            Line(),
            _regions(plan),
            Line(),
            line(strong("What to do without a machine"), ", by work left (rows) and time beyond it (columns):"),
            Line(),
            line("Spot has capacity in every region:"),
            _sheet(plan, plan.with_capacity),
            Line(),
            line("Spot has capacity nowhere:"),
            _sheet(plan, plan.without),
            Line(),
            *(line(dim("note: "), note) for note in plan.notes),
        ]
        return trimmed(blocks)

    def document(self) -> object:
        """The same, unrounded: USD, hours and GiB."""
        plan = self.plan
        return {
            "job": plan.workload.name,
            "snapshot": plan.snapshot_id,
            "nodes": plan.nodes,
            "work_h": plan.work,
            "left_h": plan.left,
            "slot_h": plan.slot,
            "checkpoint_gib": plan.checkpoint_gib,
            "expected": plan.expected._asdict(),
            "regions": [{**region._asdict(), "offer": to_jsonable(region.offer)} for region in plan.regions],
            "egress_usd": [list(row) for row in plan.egress_usd],
            "table": {
                "work_h": list(plan.work_h),
                "spare_h": list(plan.spare_h),
                "with_capacity": [list(row) for row in plan.with_capacity],
                "without": [list(row) for row in plan.without],
            },
            "notes": list(plan.notes),
        }


def _summary(plan: SpotPlan) -> Line:
    cost = plan.expected
    saved = 1.0 - cost.usd / cost.on_demand_usd
    return line(
        strong(f"{fmt.usd(cost.usd)} expected"),
        f", {fmt.usd(cost.on_demand_usd)} on demand only: {fmt.percent(saved)} less.",
    )


def _facts(plan: SpotPlan) -> tuple[tuple[str, Text], ...]:
    cost, offer = plan.expected, plan.regions[0].offer
    size = f"{fmt.gib(plan.checkpoint_gib)} a checkpoint" if plan.checkpoint_gib else "no checkpoint to move"
    return (
        ("machines", f"{fmt.plural(plan.nodes, 'node')} of {fmt.count(offer.gpus)}x {offer.accelerator}"),
        ("cost", f"{fmt.band(Band(cost.low_usd, cost.usd, cost.high_usd), fmt.usd)}, with half and twice the hazards"),
        ("hours", f"{fmt.hours(cost.spot_h)} on spot, {fmt.hours(cost.on_demand_h)} on demand, expected"),
        ("work", f"{fmt.hours(plan.work)}, {fmt.hours(plan.left)} to the deadline; {size}"),
        ("decided", f"every {fmt.hours(plan.slot)} in this table"),
    )


def _regions(plan: SpotPlan) -> Table:
    columns = (left("offer"), right("spot"), right("on demand"), right("change-over"), right("move there, at most"))
    rows = tuple(
        (
            region.offer.label,
            fmt.usd_per_hour(region.spot_usd_per_hour),
            fmt.usd_per_hour(region.on_demand_usd_per_hour),
            fmt.hours(region.change_over_h),
            fmt.usd(max(row[index] for row in plan.egress_usd)),
        )
        for index, region in enumerate(plan.regions)
    )
    return Table(columns, rows)


def _sheet(plan: SpotPlan, cells: tuple[tuple[str, ...], ...]) -> Table:
    columns = (right("work left"), *(left(f"+{fmt.hours(hours)}") for hours in plan.spare_h))
    rows = zip(plan.work_h, cells, strict=True)
    return Table(columns, tuple((fmt.hours(work), *(_word(cell) for cell in row)) for work, row in rows))


def _word(cell: str) -> Text:
    return {"spot": good(cell), "late": bad(cell)}.get(cell, cell)
