"""A placed fleet as a plan: placements with their terms, what is left out and why, and what is scarce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.domain.fleetplan import (
    Handover,
    Obstacle,
    PlacedJob,
    Resource,
    Scarcity,
    UnplacedJob,
)
from orchestrator.domain.offerbook import UNKNOWN
from orchestrator.domain.plan import Placement, RefusalCount, Term
from orchestrator.domain.sizing import Band
from orchestrator.planning import placements
from orchestrator.planning.fleet.case import Case
from orchestrator.planning.fleet.place import Placed
from orchestrator.planning.fleet.shared import everybody_spent, taken
from orchestrator.planning.fleet.timeline import Span, freed

BY = "fleet"
WORTH_USD = 1e-6  # prices below it are none
SHOWN = 12  # scarcities


def placed_jobs(case: Case, placed: Placed, spans: dict[int, Span]) -> tuple[PlacedJob, ...]:
    """The jobs that have a place, by name."""
    found, built = [], _built(case, placed)
    for job, row in enumerate(placed.rows):
        if row < 0:
            continue
        choices, placement = case.choices[job], built[job]
        handovers = _handovers(case, placed.rows, job)
        found.append(
            PlacedJob(
                job=case.jobs[job].name,
                placement=_with_handovers(placement, handovers),
                starts_h=spans[job].starts_h,
                ends_h=spans[job].ends_h,
                handovers=handovers,
                least_usd=float(choices.usd.min()),
            )
        )
    return tuple(found)


def _built(case: Case, placed: Placed) -> dict[int, Placement]:
    """The placement of every job, those of one judgement together: jobs that are alike share it."""
    alike: dict[int, list[int]] = {}
    for job in placed_rows(placed):
        alike.setdefault(id(case.choices[job].judgement), []).append(job)
    built: dict[int, Placement] = {}
    for jobs in alike.values():
        rows, place = np.unique([placed.rows[job] for job in jobs], return_inverse=True)
        few = placements.build(case.choices[jobs[0]].judgement, rows)
        built |= {job: few[index] for job, index in zip(jobs, place.tolist(), strict=True)}
    return built


def _handovers(case: Case, rows: Sequence[int], job: int) -> tuple[Handover, ...]:
    site = case.sites(rows)
    return tuple(
        Handover(
            job=case.jobs[link.first].name,
            gib=case.jobs[link.first].data.result_gib,
            usd=float(link.usd[site[link.first], site[job]]),
            assumed=bool(case.traffic.assumed[site[link.first], site[job]]),
        )
        for link in case.links
        if link.then == job and site[link.first] >= 0
    )


def _with_handovers(placement: Placement, handovers: Sequence[Handover]) -> Placement:
    """The placement with a term for every result brought to it: money, and the same at every percentile."""
    if not handovers:
        return placement
    terms = (*placement.terms, *(Term(BY, f"data from {one.job}", one.usd) for one in handovers))
    cost = placement.cost_usd
    moved = sum(one.usd for one in handovers)
    return replace(
        placement,
        terms=terms,
        cost_usd=Band(cost.p10 + moved, cost.p50 + moved, cost.p90 + moved),
        objective_usd=placements.total(term.usd for term in terms),
    )


def unplaced_jobs(case: Case, placed: Placed, spans: dict[int, Span]) -> tuple[UnplacedJob, ...]:
    """The jobs left out, by name, each with why and what would let it in."""
    found = []
    for job, row in enumerate(placed.rows):
        if row >= 0:
            continue
        why = placed.left_out.get(job, Obstacle.SCARCE)
        found.append(
            UnplacedJob(
                job=case.jobs[job].name,
                why=why,
                detail=_detail(case, placed, job, why),
                hints=_hints(case, placed, job, spans) if why is Obstacle.SCARCE else (),
                refusals=refusals(case, job) if why is Obstacle.REFUSED else (),
            )
        )
    return tuple(found)


def refusals(case: Case, job: int) -> tuple[RefusalCount, ...]:
    """What refused the offers that the job cannot use."""
    return case.choices[job].judgement.sieve.counts()


def _detail(case: Case, placed: Placed, job: int, why: Obstacle) -> str:
    if why is Obstacle.REFUSED:
        return "no offer passes its limits, even if the job were alone"
    if why is Obstacle.PREDECESSOR:
        missing = [case.jobs[one].name for one in case.depends.before(job) if placed.rows[one] < 0]
        return f"it reads the result of {', '.join(missing)}, which has no place"
    if why is Obstacle.DEADLINE:
        return f"those it waits for leave it too little of the {case.left_h[job]:,.1f} h to its deadline"
    choices = case.choices[job]
    best = int(np.argmin(choices.usd))
    offer = case.market.snapshot.book[int(choices.offer[best])]
    wanted = f"{int(choices.nodes[best])}x {offer.label} at ${float(choices.usd[best]):,.2f}"
    budget = case.jobs[job].limits.budget_usd
    limit = f", its own budget of ${budget:,.2f} included" if budget is not None else ""
    return f"alone it would take {wanted}; beside the others nothing it could use is left within all limits{limit}"


def _hints(case: Case, placed: Placed, job: int, spans: dict[int, Span]) -> tuple[str, ...]:
    """When machines come free, and what the job is missing by the solver's prices."""
    choices, hints = case.choices[job], []
    later = freed(case, job, placed.rows, spans)
    if later is not None:
        offer = case.market.snapshot.book[int(choices.offer[later.row])]
        left = case.left_h[job] - later.at_h - choices.hours[later.row]
        late = "" if left >= 0 else f", {-left:,.1f} h past its deadline at the end"
        hints.append(
            f"{int(choices.nodes[later.row])}x {offer.label} (${float(choices.usd[later.row]):,.2f}) come free after "
            f"{later.at_h:,.1f} h{late}"
        )
    if placed.prices is not None:
        price = choices.usd + choices.nodes * _node_prices(case, placed)[choices.offer]
        purse = int(case.limits.purse[job])
        if purse >= 0:
            price = price + choices.money_usd * placed.prices.purse[purse]
        cheapest = float(price.min())
        hints.append(f"with what the others would lose it costs ${cheapest:,.2f} at the least, by the solver's prices")
    return tuple(hints)


def _node_prices(case: Case, placed: Placed) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shape (O,): USD a node of each offer, its quotas' prices included."""
    if placed.prices is None:
        return np.zeros(len(case.limits.capacity_nodes))
    price = placed.prices.node.copy()
    for index, group in enumerate(case.limits.groups):
        price[group.offer] += group.units * placed.prices.group[index]
    return price


def scarcities(case: Case, placed: Placed) -> tuple[Scarcity, ...]:
    """The shared limits that have a price, the dearest first."""
    prices = placed.prices
    if prices is None:
        return ()
    used = taken(case.choices, placed.rows, case.money_usd(placed.rows).tolist())
    step, offers = case.depends.depth[used.job], len(case.limits.capacity_nodes)
    steps = int(case.depends.depth.max(initial=0)) + 1
    by_step = np.bincount(step * offers + used.offer, used.nodes, minlength=steps * offers).reshape(steps, offers)
    book, found = case.market.snapshot.book, []
    for row in np.flatnonzero(prices.node > WORTH_USD).tolist():
        found.append(
            Scarcity(
                kind=Resource.OFFER,
                name=book[row].label,
                unit="node",
                used=float(by_step[:, row].max()),
                limit=float(case.limits.capacity_nodes[row]),
                saves_usd=float(prices.node[row]),
            )
        )
    for index in np.flatnonzero(prices.group > WORTH_USD).tolist():
        group = case.limits.groups[index]
        found.append(
            Scarcity(
                kind=Resource.QUOTA,
                name=group.quota.label,
                unit="node" if group.quota.gpus is None else "GPU",
                used=float((by_step[:, group.offer] * group.units).sum(axis=1).max()),
                limit=group.cap,
                saves_usd=float(prices.group[index]),
            )
        )
    for index in range(min(len(prices.purse), len(case.limits.purses))):
        if prices.purse[index] > WORTH_USD:
            mine = case.limits.purse[used.job] == index
            found.append(
                Scarcity(
                    kind=Resource.BUDGET,
                    name=f"team {case.limits.purses[index]}" if case.limits.purses[index] else "everybody",
                    unit="USD",
                    used=float(used.money_usd[mine].sum()),
                    limit=float(case.limits.budget_usd[index]),
                    saves_usd=float(prices.purse[index]),
                )
            )
    return tuple(sorted(found, key=lambda one: (one.kind is not Resource.BUDGET, -one.saves_usd, one.name)))


def notes(case: Case, placed: Placed, spans: dict[int, Span]) -> tuple[str, ...]:
    """What was assumed or left out of account."""
    told = []
    book = case.market.snapshot.book
    unknown = [
        case.jobs[job].name
        for job, row in enumerate(placed.rows)
        if row >= 0 and book.available[case.choices[job].offer[row]] == UNKNOWN
    ]
    if unknown:
        told.append(
            f"{_named(unknown)}: the offer does not say how many nodes are on sale; all jobs together are taken to fit"
        )
    free = case.depends.ends_h(case.hours(placed.rows)) - case.hours(placed.rows)
    late = [case.jobs[job].name for job, span in sorted(spans.items()) if span.starts_h > free[job] + 1e-6]
    if late:
        told.append(f"{_named(late)}: waits for machines that jobs of other chains still hold; the bound does not")
    assumed = sorted(
        {hand.job for job in placed_rows(placed) for hand in _handovers(case, placed.rows, job) if hand.assumed}
    )
    if assumed:
        told.append(f"the price of moving the result of {_named(assumed)} is unknown; a high one was assumed")
    if np.isfinite(case.limits.everybody_usd):
        used = taken(case.choices, placed.rows, case.money_usd(placed.rows).tolist())
        told.append(
            f"everybody's budget: ${everybody_spent(used):,.2f} of ${case.limits.everybody_usd:,.2f}; where it binds, "
            "each team is cut to its share, and the bound does not know of it"
        )
    if case.market.snapshot.commitments:
        told.append("capacity that is paid for already is counted for each job by itself, not shared out")
    return tuple(told)


def placed_rows(placed: Placed) -> list[int]:
    """The rows of the jobs that have a place."""
    return [job for job, row in enumerate(placed.rows) if row >= 0]


def _named(names: Sequence[str]) -> str:
    most = 4
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
