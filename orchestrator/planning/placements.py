"""Placements: the few best candidates as values, with their terms and their ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.network import RoundTrip
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.plan import Part, Placement, Term
from orchestrator.domain.sites import Atlas
from orchestrator.domain.sizing import Band
from orchestrator.domain.workload import Inference
from orchestrator.planning.judge import Judgement
from orchestrator.planning.pricing import added, price


def build(judgement: Judgement, rows: IntArray) -> tuple[Placement, ...]:
    """Candidates `rows` of `judgement` as placements, in the order given.

    `cost_usd` is what the policies bill at the 10th, 50th and 90th percentile of the hours.
    """
    if not len(rows):
        return ()
    few = judgement.candidates.take(rows)
    twice = judgement.candidates.take(np.concatenate((rows, rows)))
    ends = _money(judgement, twice.at(np.concatenate((few.hours_p10, few.hours_p90))))
    low, high = ends[: len(few)], ends[len(few) :]
    columns = [(term, term.usd[rows].tolist()) for term in judgement.terms]
    away = farthest(judgement.view)
    buyable = frozenset(judgement.view.snapshot.buyable)
    placements = []
    for index in range(len(few)):
        offer = few.book[index]
        trip = away(offer.provider, offer.region)
        terms = tuple(Term(term.by, term.name, usd[index]) for term, usd in columns)
        money = total(usd[index] for term, usd in columns if term.money)
        placements.append(
            Placement(
                parts=(Part(offer, int(few.nodes[index])),),
                sizing=few.sizings[int(few.sizing[index])],
                hours=Band(float(few.hours_p10[index]), float(few.hours[index]), float(few.hours_p90[index])),
                cost_usd=Band(float(low[index]), money, float(high[index])),
                terms=terms,
                objective_usd=total(term.usd for term in terms),
                rtt_ms=None if trip is None else trip.ms,
                rtt_origin=None if trip is None else trip.told,
                buyable=offer.provider in buyable,
            )
        )
    return tuple(placements)


def total(amounts: Iterable[float]) -> float:
    """The sum from the first to the last, as the columns were added: `sum` of newer Pythons rounds otherwise."""
    amount = 0.0
    for part in amounts:
        amount += part
    return amount


def _money(judgement: Judgement, candidates: Candidates) -> FloatArray:
    """What the policies bill for each candidate, in USD."""
    seats = [seat for seat in judgement.panel.seats if seat.money]
    view = judgement.view
    terms = [term for seat in seats for term in price(seat.policy, view, candidates, seat.money)]
    return added(terms, len(candidates), money=True)


def farthest(view: PlanView) -> Callable[[str, str], RoundTrip | None]:
    """The round trip from a region to the users that are farthest; None where a place is unknown."""
    workload = view.workload
    if not isinstance(workload, Inference) or not workload.users:
        return lambda _provider, _region: None
    atlas = Atlas(view.snapshot.network)
    users = [atlas.place(population.place) for population in workload.users]

    def away(provider: str, region: str) -> RoundTrip | None:
        site = atlas.site(provider, region)
        if site is None:
            return None
        trips = [None if user is None else atlas.round_trip(user, site) for user in users]
        known = [trip for trip in trips if trip is not None]
        return max(known, key=lambda trip: trip.ms) if len(known) == len(trips) else None

    return away
