"""Parts: machines of several offers that do one job together, priced each by all policies and added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.plan import Part, Placement, Term
from orchestrator.domain.sizing import Band
from orchestrator.domain.standing import Holding
from orchestrator.domain.workload import BatchInference, DataSet, Workload
from orchestrator.planning.judge import Judgement, joined_candidates
from orchestrator.planning.placements import build, total
from orchestrator.planning.pricing import Panel, audited

LEAST_GAIN = 0.01  # of the best single offer's objective: for less nobody looks after two


class Piece(NamedTuple):
    """One part before it is priced: a single candidate with its nodes and hours, and the share of the work it does."""

    candidate: Candidates
    share: float


class Divided(NamedTuple):
    """What came of dividing a job: the placement, a bound below every placement in parts, and what is to be said."""

    placement: Placement | None = None
    candidates: Candidates | None = None  # of the placement's parts, the slowest first
    lower_usd: float | None = None
    notes: tuple[str, ...] = ()


def in_order(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The largest share first."""
    return tuple(sorted(pieces, key=lambda piece: (-piece.share, piece.candidate.book[0].label)))


def placed(judgement: Judgement, pieces: Sequence[Piece], extra: Sequence[Term] = ()) -> Placement | None:
    """The placement of `pieces` in their order; None where a policy refuses one of them or their sum.

    Every policy judges each part as a job of its own: its share of the work, of the data and of the result, within the
    limits of the whole. Where machines are held or paid for, a part counts the parts before it as held, so that no
    commitment is used twice. The bills are added and audited as one. The placement's hours are the longest, and its
    cost at a percentile is the sum of the parts' at that percentile: an estimate that errs does so for all of them.
    `extra` are terms of the parts together, all of them money.
    """
    whole = judgement.view
    found: list[Placement] = []
    for piece in pieces:
        held = tuple(_holding(whole.workload, placement) for placement in found)
        one = _judged(judgement, piece, held)
        if one is None:
            return None
        found.append(one)
    added = total(term.usd for term in extra)
    cost = Band(*(total((*ends, added)) for ends in zip(*(_ends(one.cost_usd) for one in found), strict=True)))
    if not _allowed(judgement.panel, [piece.candidate for piece in pieces], cost.p50):
        return None
    terms = (*_summed(found), *extra)
    return Placement(
        parts=tuple(
            Part(one.parts[0].offer, one.parts[0].nodes, piece.share, one.hours, one.cost_usd)
            for piece, one in zip(pieces, found, strict=True)
        ),
        sizing=found[0].sizing,
        hours=Band(*(max(ends) for ends in zip(*(_ends(one.hours) for one in found), strict=True))),
        cost_usd=cost,
        terms=terms,
        objective_usd=total(term.usd for term in terms),
        buyable=False,
    )


def passes(judgement: Judgement, piece: Piece) -> bool:
    """Whether every policy accepts `piece` by itself."""
    view = PlanView(workload=share_of(judgement.view.workload, piece.share), snapshot=judgement.view.snapshot)
    return bool(judgement.panel._replace(view=view).assess(piece.candidate).open[0])


def share_of(workload: Workload, share: float) -> Workload:
    """`share` of the work as a job of its own, with its share of the data."""
    data = workload.data
    if data != DataSet():
        data = replace(data, size_gib=data.size_gib * share, result_gib=data.result_gib * share)
    if isinstance(workload, BatchInference):
        return replace(workload, requests=workload.requests * share, data=data)
    return replace(workload, data=data)


def _judged(judgement: Judgement, piece: Piece, held: tuple[Holding, ...]) -> Placement | None:
    whole, snapshot = judgement.view, judgement.view.snapshot
    if held and (snapshot.commitments or snapshot.holdings):
        snapshot = replace(snapshot, holdings=(*snapshot.holdings, *held))
    view = PlanView(workload=share_of(whole.workload, piece.share), snapshot=snapshot)
    panel = judgement.panel._replace(view=view)
    found = panel.assess(piece.candidate)
    if not found.open[0]:
        return None
    own = Judgement(view, judgement.sieve, piece.candidate, panel, found.terms, found.objective)
    (placement,) = build(own, np.zeros(1, np.int64))
    return placement


def _holding(workload: Workload, placement: Placement) -> Holding:
    (part,) = placement.parts
    offer = part.offer
    return Holding(
        run=workload.name,
        provider=offer.provider,
        region=offer.region,
        zone=offer.zone,
        instance_type=offer.instance_type,
        billing=str(offer.billing),
        nodes=part.nodes,
        gpus=part.nodes * offer.gpus,
        usd_per_hour=part.nodes * offer.usd_per_hour,
    )


def _allowed(panel: Panel, candidates: Sequence[Candidates], bill_usd: float) -> bool:
    """Whether every policy that looks at the bill accepts the sum for each part."""
    joined = joined_candidates(_one_table(candidates))
    bill = np.full(len(joined), bill_usd)
    found = (audited(seat.policy, seat.audits, panel.view, joined, bill) for seat in panel.seats if seat.audits)
    return not any(refusals.refused.any() for each in found for refusals in each)


def _one_table(candidates: Sequence[Candidates]) -> list[Candidates]:
    """The candidates with one table of sizings, as `joined_candidates` takes them."""
    table = tuple(one.sizings[int(one.sizing[0])] for one in candidates)
    return [replace(one, sizings=table, sizing=np.array([row])) for row, one in enumerate(candidates)]


def _summed(placements: Sequence[Placement]) -> tuple[Term, ...]:
    """The terms of all, each the sum of the parts', in the order in which they first occur."""
    names = dict.fromkeys((term.by, term.name) for one in placements for term in one.terms)
    return tuple(
        Term(by, name, total(t.usd for one in placements for t in one.terms if (t.by, t.name) == (by, name)))
        for by, name in names
    )


def _ends(band: Band) -> tuple[float, float, float]:
    return band.p10, band.p50, band.p90
