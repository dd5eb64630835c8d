"""A plan on one page: what was asked, the choice and its arithmetic, the rest, and the command that applies it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.plan import Placement, Plan, RefusalCount
from orchestrator.domain.sizing import FiniteWork, Service
from orchestrator.interfaces.views import asked
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
    warn,
)

if TYPE_CHECKING:  # loaded where there is something to show of it: most plans are of training, without a layout
    from orchestrator.interfaces.views.plan_layout_view import AsRun

RUNS = "orchestrator.interfaces.views.plan_layout_view"
TOP = 5  # placements shown unless asked for more
SOON_H = 1.0 / 60.0  # what is less apart ends at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """A plan, how many of its placements to show, and what to type next.

    `exact` is the plan as the document that `-o` would save; `command` applies the plan; `run` is what the best
    placement's training looks like at its own number of devices.
    """

    plan: Plan
    exact: Mapping[str, object]
    command: str
    max_price_age_s: float
    top: int = TOP
    run: AsRun | None = None

    def page(self) -> Page:
        """The whole plan on one page."""
        blocks: list[Block] = [*self._header()]
        if self.plan.best is not None:
            blocks += [*self._best(self.plan.best), *self._ranked(), *self._next_best()]
        blocks += [*self._refusals(), *self._remarks(), *self._command()]
        return tuple(blocks)

    def document(self) -> object:
        """The plan, the layout of its best placement, and the command."""
        document = {**self.exact, "command": self.command if self.plan.best else None}
        ranked = document.get("ranked")
        if isinstance(ranked, list) and ranked:
            layout = importlib.import_module(RUNS).document(self.run) if self.run is not None else None
            document["ranked"] = [{**ranked[0], "layout": layout}, *ranked[1:]]
        return document

    def _header(self) -> list[Block]:
        plan = self.plan
        flops = plan.best.sizing.flops if plan.best else asked.flops_of(plan.workload)
        rows = asked.facts(plan.workload, flops, plan.made_at)
        seen = f"{fmt.plural(plan.considered, 'offer')} looked at, {fmt.count(plan.feasible)} feasible"
        about = f"snapshot {plan.snapshot_id} of {fmt.moment(plan.made_at)}"
        return [
            Title(f"Plan for {plan.workload.name} ({plan.workload.KIND})"),
            Facts((*rows, ("market", f"{seen}; {about}"))),
            Line(),
        ]

    def _best(self, best: Placement) -> list[Block]:
        rows: list[tuple[str, Text]] = [
            ("where", strong(_label(best))),
            *([("devices", _devices(best)), *_effort_rows(best)] if len(best.parts) == 1 else _in_parts(best)),
            *self._as_run(best),
            ("cost", f"{fmt.band(best.cost_usd, fmt.usd)}{self._horizon()}"),
            *_margins(self.plan, best),
            *_approval(self.plan),
            ("price", self._price(best)),
        ]
        amounts, total = fmt.sum_of([term.usd for term in best.terms])
        terms: list[tuple[Text, ...]] = [
            (term.name, dim(term.by), text) for term, text in zip(best.terms, amounts, strict=True) if term.usd
        ]
        terms.append((strong("sum"), "", strong(total)))
        return [
            Title("The choice"),
            Facts(tuple(rows)),
            Line(),
            Table((left("what it costs"), left("priced by"), right("USD")), tuple(terms)),
            Line(),
        ]

    def _horizon(self) -> str:
        duration_s = getattr(self.plan.workload, "duration_s", None)
        return f" over {fmt.duration(duration_s)}" if duration_s is not None else ""

    def _price(self, placement: Placement) -> Text:
        texts = []
        old = False
        for part in placement.parts:
            seconds = (self.plan.made_at - part.offer.observed_at).total_seconds()
            old = old or seconds > self.max_price_age_s
            age = fmt.age(part.offer.observed_at, self.plan.made_at)
            ends = part.offer.max_lease_s
            lease = "" if ends is None else f", ends after {fmt.duration(ends)}"
            price = f"{fmt.usd(part.offer.usd_per_hour)} per node-hour"
            texts.append(f"{price}, {_aged(age)} ({part.offer.source}){lease}")
        said = "; ".join(texts)
        return warn(f"{said}, OLD: older than {fmt.duration(self.max_price_age_s)}") if old else said

    def _as_run(self, best: Placement) -> list[tuple[str, Text]]:
        if len(best.parts) > 1:
            return []
        if self.run is None and isinstance(best.sizing.effort, FiniteWork) and best.sizing.quantised is None:
            return []
        rows: list[tuple[str, Text]] = importlib.import_module(RUNS).rows(best, self.run)
        return rows

    def _ranked(self) -> list[Block]:
        shown = self.plan.ranked[: self.top]
        rows = tuple(self._row(number, placement) for number, placement in enumerate(shown, 1))
        time = "first token" if isinstance(shown[0].sizing.effort, Service) else "time"
        columns = (
            right("#"),
            left("placement"),
            right("GPUs"),
            left(time),
            left("cost"),
            right("with all terms"),
            left("price age"),
            left("buy"),
        )
        several = sum(len(placement.parts) > 1 for placement in self.plan.ranked)
        of = f"{fmt.count(self.plan.feasible)} feasible" + (f" and {several} in parts" if several else "")
        title = f"Placements, best first ({fmt.count(len(shown))} of {of})"
        return [Title(title), Table(columns, rows), Line()]

    def _row(self, number: int, placement: Placement) -> tuple[Text, ...]:
        ages = [part.offer.observed_at for part in placement.parts]
        oldest = min(ages)
        old = (self.plan.made_at - oldest).total_seconds() > self.max_price_age_s
        age = fmt.age(oldest, self.plan.made_at)
        return (
            str(number),
            _label(placement),
            fmt.count(placement.gpus),
            _time(placement),
            fmt.band(placement.cost_usd, fmt.usd_short),
            fmt.usd(placement.objective_usd),
            warn(f"{age} OLD") if old else age,
            good("yes") if placement.buyable else dim("price only" if len(placement.parts) == 1 else "part by part"),
        )

    def _next_best(self) -> list[Block]:
        if len(self.plan.ranked) < 2:
            return [line("Why this: it is the only feasible placement."), Line()]
        best, other = self.plan.ranked[:2]
        text = f"Why this and not #2 ({_label(other)}): {_apart(best, other)}"
        return [line(text), Line()]

    def _refusals(self) -> list[Block]:
        refusals = sorted(self.plan.refusals, key=lambda refusal: (-refusal.count, refusal.by, refusal.code))
        if not refusals:
            return []
        total = sum(refusal.count for refusal in refusals)
        rows = tuple(_refusal_row(refusal) for refusal in refusals)
        columns = (right("offers"), left("reason"), left("by"), left("for example"))
        return [Title(f"Refused: {fmt.plural(total, 'offer')}"), Table(columns, rows), Line()]

    def _remarks(self) -> list[Block]:
        plan = self.plan
        blocks: list[Block] = [line(warn("not seen: "), f"{gap.provider}: {gap.detail}") for gap in plan.gaps]
        blocks += [line(dim("note: "), note) for note in plan.notes]
        if plan.bound is not None and plan.best is not None:
            blocks.append(line(dim("bound: "), _bound(plan)))
        return [*blocks, Line()] if blocks else []

    def _command(self) -> list[Block]:
        if not self.plan.considered:
            return [
                line(bad("No offers to choose from."), " Import some (isoflop catalog import), or set up a provider.")
            ]
        if self.plan.best is None:
            return [
                line(bad("No feasible placement."), " The refusals above say which limit to relax."),
                *(line(warn("conflict: "), conflict) for conflict in self.plan.conflicts),
            ]
        if len(self.plan.best.parts) > 1:
            what = "The control plane does not buy placements in parts."
            alone = next((one for one in self.plan.ranked if len(one.parts) == 1), None)
            if alone is None:
                return [line(what)]
            return [line(f"{what} To run the best on one offer, {alone.label}:"), line(code(self.command), indent=2)]
        before = "To run it:" if self.plan.workload.program else NO_PROGRAM
        return [line(before), line(code(self.command), indent=2)]


NO_PROGRAM = "The job has no command. To run it, say in the job file what to run (run.command), then:"


def _apart(best: Placement, other: Placement) -> str:
    """What `other` costs more than `best`, term by term: `it costs $12.00 more with all terms (compute +$14.00)`."""
    ours = {(term.by, term.name): term.usd for term in best.terms}
    theirs = {(term.by, term.name): term.usd for term in other.terms}
    names = sorted({*ours, *theirs}, key=lambda name: -abs(theirs.get(name, 0.0) - ours.get(name, 0.0)))
    texts, total = fmt.sum_of([theirs.get(name, 0.0) - ours.get(name, 0.0) for name in names])
    said = [
        f"{name} {text if text.startswith('-') else f'+{text}'}"
        for (_, name), text in zip(names, texts, strict=True)
        if any(digit in "123456789" for digit in text)
    ]
    if not said:
        return "it costs the same in every term; the order between them is risk, what can be bought, and name"
    pace = ""
    later = other.hours.p50 - best.hours.p50
    if isinstance(best.sizing.effort, FiniteWork) and abs(later) >= SOON_H:
        pace = f"; it ends {fmt.hours(abs(later))} {'later' if later > 0 else 'sooner'}"
    return f"it costs {total} more with all terms ({', '.join(said)}){pace}"


def _devices(placement: Placement) -> str:
    sizing = placement.sizing
    memory = f"{fmt.gib(sizing.memory_per_gpu_gib)} of {fmt.gib(sizing.capacity_per_gpu_gib)} each at the least count"
    least = f"at least {fmt.count(sizing.min_gpus)} to hold the state"
    return f"{fmt.count(placement.gpus)}x {sizing.accelerator} ({least}; {memory})"


def _label(placement: Placement) -> str:
    if len(placement.parts) == 1:
        return placement.label
    first = placement.parts[0]
    return f"in {len(placement.parts)} parts: {first.nodes}x {first.offer.label} and others"


def _in_parts(placement: Placement) -> list[tuple[str, Text]]:
    """A row for each part, and the time until the last is done."""
    rows: list[tuple[str, Text]] = []
    for number, part in enumerate(placement.parts, 1):
        devices = f"{fmt.count(part.nodes * part.offer.gpus)}x {part.offer.accelerator}"
        said = f"{fmt.percent(part.share)} of the work: {part.nodes}x {part.offer.label}, {devices}"
        if part.hours is not None and part.cost_usd is not None:
            said += f"; {fmt.band(part.hours, fmt.hours)}, {fmt.band(part.cost_usd, fmt.usd)}"
        rows.append((f"part {number}", said))
    return [*rows, ("time", fmt.band(placement.hours, fmt.hours))]


def _effort_rows(placement: Placement) -> list[tuple[str, Text]]:
    sizing = placement.sizing
    mfu = f"MFU {fmt.percent(sizing.mfu.value)} ({sizing.mfu.origin})"
    if isinstance(sizing.effort, Service):
        service = sizing.effort
        first, each = fmt.band(service.ttft_s, fmt.duration), fmt.band(service.tpot_s, fmt.duration)
        latency = f"first token {first}, then {each} a token"
        trip = f"{placement.rtt_ms:,.0f} ms to the farthest users" if placement.rtt_ms is not None else "not asked"
        trip += f" ({placement.rtt_origin})" if placement.rtt_origin else ""
        rate = f"{fmt.plural(service.replicas, 'replica')} of {service.requests_per_s_per_replica:.3g} requests/s"
        return [("service", f"{rate}; {mfu}"), ("latency", latency), ("round trip", trip)]
    hours = sizing.effort.gpu_hours_on(max(1.0, placement.gpus))
    kwh = sizing.effort.energy_kwh.scaled(hours.p50 / sizing.effort.gpu_hours.p50)
    energy = fmt.band(kwh, fmt.energy) if kwh.p50 else "energy unknown"  # 0: the device's rated power is not published
    work = f"{fmt.band(hours, fmt.gpu_hours)}, {energy}; {mfu}"
    return [("work", work), ("time", fmt.band(placement.hours, fmt.hours))]


def _margins(plan: Plan, placement: Placement) -> list[tuple[str, Text]]:
    limits = plan.workload.limits
    rows: list[tuple[str, Text]] = []
    if limits.budget_usd is not None:
        rows.append(("budget", _margin(limits.budget_usd, placement.cost_usd.p50, placement.cost_usd.p90, fmt.usd)))
    if isinstance(placement.sizing.effort, FiniteWork):
        allowed = [limits.deadline_s] if limits.deadline_s is not None else []
        if limits.finish_by is not None:
            allowed.append((limits.finish_by - plan.made_at).total_seconds())
        if allowed:
            rows.append(
                (
                    "deadline",
                    _margin(min(allowed), placement.hours.p50 * 3600, placement.hours.p90 * 3600, fmt.duration),
                )
            )
    return rows


def _approval(plan: Plan) -> list[tuple[str, Text]]:
    asked = plan.approval
    if asked is None:
        return []
    told = f"waits for {asked.by} to agree to up to {fmt.usd(asked.usd)}: {fmt.usd(asked.expected_usd)} is expected"
    return [("approval", warn(f"{told}, and more than {fmt.usd(asked.above_usd)} takes an approval"))]


def _margin(limit: float, p50: float, p90: float, show: fmt.Show) -> Text:
    middle = f"{show(limit)}: leaves {show(limit - p50)} at the median"
    if p90 <= limit:
        return f"{middle}, {show(limit - p90)} at the 90th percentile"
    return warn(f"{middle}; at the 90th percentile it is {show(p90 - limit)} short")


def _time(placement: Placement) -> str:
    effort = placement.sizing.effort
    if isinstance(effort, Service):
        trip = f" + {placement.rtt_ms:,.0f} ms" if placement.rtt_ms is not None else ""
        return f"{fmt.band(effort.ttft_s, fmt.duration)}{trip}"
    return fmt.band(placement.hours, fmt.hours)


def _aged(age: str) -> str:
    return "observed now" if age in {"now", "new"} else f"observed {age} ago"


def _refusal_row(refusal: RefusalCount) -> tuple[Text, ...]:
    example = refusal.examples[0] if refusal.examples else None
    said = f"{example.offer}: {example.detail}" if example else ""
    return (fmt.count(refusal.count), refusal.code.value, dim(refusal.by), said)


def _bound(plan: Plan) -> str:
    if plan.bound is None or plan.best is None:
        return ""
    gap = plan.bound.gap(plan.best.objective_usd)
    near = (
        "the choice is the proven optimum"
        if gap <= 1e-9
        else f"the choice is at most {fmt.percent(gap)} above the optimum"
    )
    return f"{near} ({plan.bound.method})"
