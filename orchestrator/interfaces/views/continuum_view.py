"""A service over the continuum: its sites, who is served from where, what a lost site means, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from orchestrator.domain.network import ESTIMATE_P10, ESTIMATE_P90, ESTIMATED
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
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
from orchestrator.interfaces.views.page import Line as Blank
from orchestrator.planning.continuum.result import ContinuumPlan, Loss, Moved, Pool
from orchestrator.spec.documents import to_jsonable

LEAST_SHARE = 0.0005


@dataclass(frozen=True, slots=True)
class ContinuumReport:
    """One plan over the continuum."""

    plan: ContinuumPlan
    command: str = ""  # that applies it, where its pools were saved

    def page(self) -> Page:
        """Pools, routes, losses, money, refusals."""
        plan = self.plan
        blocks: list[Block] = [Title(f"Over the continuum: {plan.workload.name} ({plan.workload.KIND})")]
        if not plan.pools:
            blocks += [line(bad("No feasible plan"), ": not everybody can be served in time."), Blank()]
            blocks += [line(said, indent=2) for said in plan.unserved]
        else:
            blocks += [
                *_summary(plan),
                Blank(),
                *_pools(plan),
                Blank(),
                *_routes(plan),
                Blank(),
                *_losses(plan),
                Blank(),
            ]
            blocks += _money(plan)
        blocks += [Blank(), *_refusals(plan)]
        blocks += [line(dim("note: "), note) for note in plan.notes]
        if plan.pools:
            how = "save them with -o DIR, to apply them" if not self.command else "they are applied together"
            blocks.append(line(dim("note: "), f"each pool is a run of its own, for one run holds one offer: {how}"))
        if self.command:
            blocks += [Blank(), line("To run it:"), line(code(self.command), indent=2)]
        return trimmed(blocks)

    def document(self) -> object:
        """The plan, unrounded, and its gap to the bound."""
        fields = to_jsonable(self.plan)
        document = dict(fields) if isinstance(fields, dict) else {}
        bound = self.plan.bound
        document["gap"] = bound.gap(self.plan.objective_usd) if bound is not None and self.plan.pools else None
        return document


def _summary(plan: ContinuumPlan) -> list[Block]:
    nodes = sum(pool.nodes for pool in plan.pools)
    replicas = sum(pool.replicas for pool in plan.pools)
    bound = plan.bound
    proof = f", at most {bound.gap(plan.objective_usd) * 100:.2f} % above the optimum of the model" if bound else ""
    days = plan.workload.duration_s / 86400.0
    return [
        line(
            strong(f"{fmt.usd(plan.cost_usd)} for {days:,.3g} days"),
            f": {fmt.plural(replicas, 'replica')} on {fmt.plural(nodes, 'node')} at "
            f"{fmt.plural(len(plan.sites), 'site')}{proof}.",
        ),
        line(f"{plan.percentile * 100:.3g} of 100 requests keep the limits, by the queueing model."),
    ]


def _pools(plan: ContinuumPlan) -> list[Block]:
    columns = (
        left("pool"), left("offer"), left("GPU"), right("nodes"), right("replicas"), right("requests/s"), right("busy"),
        right("first token"), right("cost"),
    )  # fmt: skip
    rows = tuple(_pool(number, pool) for number, pool in enumerate(plan.pools, 1))
    return [Table(columns, rows)]


def _pool(number: int, pool: Pool) -> tuple[Text, ...]:
    layer = "" if pool.layer == "all" else f" {pool.layer}"
    duty = "" if pool.duty >= 1.0 else f" ({pool.duty * 100:.0f} % of the time)"
    return (
        f"{number}{layer}",
        pool.offer.label,
        pool.offer.accelerator,
        fmt.count(pool.nodes),
        fmt.count(pool.replicas),
        f"{pool.requests_per_s:,.3g}{duty}",
        f"{pool.utilisation * 100:.0f} %",
        fmt.duration(pool.first_token_s),
        fmt.usd(pool.cost_usd),
    )


def _routes(plan: ContinuumPlan) -> list[Block]:
    columns = (left("users"), right("share"), right("requests/s"), right("pool"), right("round trip"),
               right("first token"), right("limit"))  # fmt: skip
    rows = tuple(
        (
            route.population,
            f"{route.share * 100:.1f} %",
            f"{route.requests_per_s:,.3g}",
            str(route.pool + 1),
            f"{route.rtt_ms:,.0f} ms",
            fmt.duration(route.first_token_s),
            fmt.duration(route.limit_s) if isfinite(route.limit_s) else "none",
        )
        for route in plan.routes
        if route.share >= LEAST_SHARE
    )
    return [Table(columns, rows), *(line(dim("round trips: "), said) for said in _origins(plan))]


def _origins(plan: ContinuumPlan) -> list[str]:
    """How the round trips are known, each way once."""
    shown = [route.rtt_origin or "" for route in plan.routes if route.share >= LEAST_SHARE]
    guessed = sum(origin.startswith(ESTIMATED) for origin in shown)
    known = Counter(origin for origin in shown if origin and not origin.startswith(ESTIMATED))
    told = [f"{origin} ({count})" for origin, count in sorted(known.items())]
    if guessed:
        told.append(f"{ESTIMATED} ({guessed}): 8 of 10 real ones are {ESTIMATE_P10} to {ESTIMATE_P90} of it")
    return told


def _losses(plan: ContinuumPlan) -> list[Block]:
    rows = [row for loss in plan.losses for row in _loss(loss)]
    columns = (left("if lost"), left("users"), right("share"), left("go to"), right("first token"), left("limits"))
    return [line(strong("What the loss of a site means"), ", at the peak:"), Table(columns, tuple(rows))]


def _loss(loss: Loss) -> list[tuple[Text, ...]]:
    shown = [one for one in _merged(loss.moved) if one.share >= LEAST_SHARE]
    return [(loss.site if number == 0 else "", *_moved(one)) for number, one in enumerate(shown)]


def _merged(moved: Sequence[Moved]) -> list[Moved]:
    """Base and peak, and pools of one site, as one: the slowest first token of them."""
    found: dict[tuple[str, str | None, bool], Moved] = {}
    for one in moved:
        key = (one.population, one.site, one.kept)
        known = found.get(key, replace(one, share=0.0))
        seconds = max((s for s in (one.first_token_s, known.first_token_s) if s is not None), default=None)
        found[key] = replace(one, share=known.share + one.share, first_token_s=seconds)
    return list(found.values())


def _moved(one: Moved) -> tuple[Text, ...]:
    share = f"{one.share * 100:.1f} %"
    if one.site is None:
        return (one.population, share, bad("nowhere"), "", bad("not served"))
    seconds = "" if one.first_token_s is None or not isfinite(one.first_token_s) else fmt.duration(one.first_token_s)
    return (one.population, share, one.site, seconds, good("kept") if one.kept else warn("over"))


def _money(plan: ContinuumPlan) -> list[Block]:
    terms: tuple[tuple[Text, ...], ...] = tuple((f"{t.by}: {t.name}", fmt.usd(t.usd)) for t in plan.terms if t.usd)
    terms += (("objective", fmt.usd(plan.objective_usd)),)
    blocks: list[Block] = [Table((left("term"), right("USD")), terms), Blank()]
    for one in plan.alternatives:
        if one.usd is None:
            blocks.append(line(f"{one.name}: none serves everybody in time."))
        else:
            more = (one.usd / plan.objective_usd - 1.0) * 100 if plan.objective_usd > 0.0 else 0.0
            blocks.append(line(f"{one.name}: {one.label}, {fmt.usd(one.usd)} ({more:+.0f} %)."))
    return blocks


def _refusals(plan: ContinuumPlan) -> list[Block]:
    refused = sum(refusal.count for refusal in plan.refusals)
    said = "; ".join(f"{fmt.count(refusal.count)} {refusal.code} ({refusal.by})" for refusal in plan.refusals)
    return [
        line(
            f"{fmt.count(refused)} of {fmt.plural(plan.considered, 'offer')} refused" + (f": {said}." if said else ".")
        )
    ]
