"""A fleet plan on one page: every job's place, who is left out and why, what is scarce, and how good it is at least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.fleetplan import FleetPlan, Move, PlacedJob, Resource, Scarcity, UnplacedJob
from orchestrator.domain.sizing import Service
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
    code,
    dim,
    good,
    left,
    line,
    right,
    strong,
    trimmed,
    warn,
)

SCARCE_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """A fleet plan, its exact form, and what to type next: a command for each job that can start at once."""

    plan: FleetPlan
    exact: Mapping[str, object]
    commands: tuple[str, ...]
    later: tuple[str, ...]  # those that wait for others to end

    def page(self) -> Page:
        """The whole plan."""
        plan = self.plan
        blocks: list[Block] = [*self._header()]
        if plan.placed:
            blocks += [*_placed(plan), *_terms(plan)]
        if plan.moves:
            blocks += _moves(plan.moves)
        if plan.unplaced:
            blocks += _unplaced(plan.unplaced)
        blocks += [*_scarce(plan.scarce), *_remarks(plan), *self._next()]
        return trimmed(blocks)

    def document(self) -> object:
        """The plan and the commands."""
        return {**self.exact, "commands": list(self.commands), "later": list(self.later)}

    def _header(self) -> list[Block]:
        plan = self.plan
        seen = f"{fmt.plural(plan.considered, 'offer')}; snapshot {plan.snapshot_id} of {fmt.moment(plan.made_at)}"
        placed = f"{fmt.count(len(plan.placed))} of {fmt.count(len(plan.jobs))}"
        rows: list[tuple[str, Text]] = [
            ("placed", warn(placed) if plan.unplaced else good(placed)),
            ("cost", strong(fmt.usd(plan.cost_usd))),
            ("with all terms", fmt.usd(plan.objective_usd - plan.unplaced_usd)),
        ]
        if plan.unplaced:
            rows.append(("left out", f"counted as {fmt.usd(plan.unplaced_usd)} on top, so that leaving out never pays"))
        rows += [
            ("proven", _proven(plan)),
            ("ends", f"{fmt.hours(plan.ends_h)} from now, expected"),
            ("market", seen),
        ]
        return [Title(f"Plan for {fmt.plural(len(plan.jobs), 'job')}"), Facts(tuple(rows)), Line()]

    def _next(self) -> list[Block]:
        blocks: list[Block] = []
        if self.commands:
            blocks.append(line("To run it, hand each job in; the control plane plans each anew, by itself:"))
            blocks += [line(code(command), indent=2) for command in self.commands]
        if self.later:
            blocks.append(line("and when those have ended whose results they read:"))
            blocks += [line(code(command), indent=2) for command in self.later]
        return blocks


def _proven(plan: FleetPlan) -> Text:
    if plan.gap <= 1e-9:
        return f"the optimum ({plan.bound.method})"
    lower = fmt.usd(plan.bound.lower_usd)
    least = f"at most {fmt.percent(plan.gap)} above the best: none is below {lower} ({plan.bound.method})"
    return f"{least}; stopped by: {plan.stopped_by}"


def _placed(plan: FleetPlan) -> list[Block]:
    waits = any(one.starts_h > 0 for one in plan.placed)
    columns = [left("job"), left("placement"), right("GPUs")]
    columns += [right("starts")] if waits else []
    columns += [left("time"), left("cost"), right("with all terms"), right("alone")]
    rows = tuple(_row(one, waits=waits) for one in plan.placed)
    return [Title("Where each job runs"), Table(tuple(columns), rows), Line()]


def _row(one: PlacedJob, *, waits: bool) -> tuple[Text, ...]:
    placement = one.placement
    effort = placement.sizing.effort
    time = (
        fmt.band(effort.ttft_s, fmt.duration) if isinstance(effort, Service) else fmt.band(placement.hours, fmt.hours)
    )
    cells: list[Text] = [strong(one.job), placement.label, fmt.count(placement.gpus)]
    cells += [f"+{fmt.hours(one.starts_h)}" if one.starts_h > 0 else "now"] if waits else []
    # What sharing costs a job: beside what it would take on this market by itself.
    same = abs(one.least_usd - placement.objective_usd) < 0.005
    alone: Text = dim("same") if same else fmt.usd(one.least_usd)
    cells += [time, fmt.band(placement.cost_usd, fmt.usd_short), fmt.usd(placement.objective_usd), alone]
    return tuple(cells)


def _terms(plan: FleetPlan) -> list[Block]:
    total: dict[tuple[str, str], float] = {}
    for one in plan.placed:
        for term in one.placement.terms:
            total[term.name, term.by] = total.get((term.name, term.by), 0.0) + term.usd
    amounts, whole = fmt.sum_of(list(total.values()))
    rows: list[tuple[Text, ...]] = [
        (name, dim(by), text) for (name, by), text in zip(total, amounts, strict=True) if text.strip("$0.,-")
    ]
    rows.append((strong("sum"), "", strong(whole)))
    return [Table((left("what all cost"), left("priced by"), right("USD")), tuple(rows)), Line()]


def _moves(moves: Sequence[Move]) -> list[Block]:
    columns = (
        left("job"),
        left("runs on"),
        left("considered"),
        right("saves"),
        right("disrupts"),
        right("score"),
        left("decision"),
    )
    rows = tuple(
        (
            strong(move.job),
            move.origin,
            move.to,
            fmt.usd(move.saving_usd),
            fmt.usd(move.disruption_usd),
            "" if move.why or not move.disruption_usd else f"{move.score:,.2f}",
            _decision(move),
        )
        for move in moves
    )
    return [Title("Running jobs"), Table(columns, rows), Line()]


def _decision(move: Move) -> Text:
    if move.why:
        return warn(move.why)
    if move.moved:
        return warn("moves" if move.saving_usd >= move.disruption_usd else "moves, to make room")
    return "stays: others hold it" if move.score > 1 else good("stays")


def _unplaced(unplaced: Sequence[UnplacedJob]) -> list[Block]:
    blocks: list[Block] = [Title(f"No place: {fmt.plural(len(unplaced), 'job')}")]
    for one in unplaced:
        blocks.append(line(bad(one.job), f" ({one.why.value}): {one.detail}"))
        blocks += [line(hint, indent=2) for hint in one.hints]
        blocks += [
            line(f"{fmt.plural(refusal.count, 'offer')}: {refusal.code.value} (by {refusal.by})", indent=2)
            for refusal in one.refusals
        ]
    return [*blocks, Line()]


def _scarce(scarce: Sequence[Scarcity]) -> list[Block]:
    if not scarce:
        return []
    blocks: list[Block] = [Title("What is scarce")]
    blocks += [line(_said(one)) for one in scarce[:SCARCE_SHOWN]]
    if len(scarce) > SCARCE_SHOWN:
        blocks.append(line(dim(f"and {fmt.count(len(scarce) - SCARCE_SHOWN)} more (--json)")))
    return [*blocks, Line()]


def _said(one: Scarcity) -> str:
    use = f"{fmt.count(one.used)} of {fmt.count(one.limit)} {one.unit}s used"
    if one.kind is Resource.BUDGET:
        use = f"{fmt.usd(one.used)} of {fmt.usd(one.limit)} spent"
        return f"the budget of {one.name} binds ({use}): $1.00 more saves {fmt.usd(one.saves_usd)}"
    of = "one more node of" if one.kind is Resource.OFFER else f"one more {one.unit} of the quota"
    return f"{of} {one.name} saves {fmt.usd(one.saves_usd)} ({use})"


def _remarks(plan: FleetPlan) -> list[Block]:
    blocks: list[Block] = [line(warn("not seen: "), f"{gap.provider}: {gap.detail}") for gap in plan.gaps]
    blocks += [line(dim("note: "), note) for note in plan.notes]
    return [*blocks, Line()] if blocks else []
