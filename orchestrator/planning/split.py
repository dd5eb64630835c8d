"""Splitting: the requests of a batch shared out over machines of several offers, where one offer is too few or dear.

Requests are independent, so a part of x of them on n nodes takes its boot and x/n of one node's time for all. Within
the time left each node has a capacity, a cost that it has however little it does (its boot, the least time billed) and
a cost per request: a covering knapsack with fixed charges. Machines are chosen by `cover`; every part of the answer is
then judged and priced by the policies themselves. Without a deadline nothing is split: the offer that is cheapest per
request takes them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import floor

import numpy as np

from orchestrator.domain.candidates import PlanView
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.plan import Placement
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import BatchInference, Workload
from orchestrator.planning import cover, parts
from orchestrator.planning.judge import Judgement, joined_candidates
from orchestrator.planning.limits import hours_left
from orchestrator.planning.parts import LEAST_GAIN, Divided, Piece
from orchestrator.planning.pool import Pool, pool_of
from orchestrator.planning.pricing import Panel, added, refused

MOST_PARTS = 8  # more jobs than that nobody looks after
LOTS = 48  # offers that the search looks at: the cheapest per request, and the largest
USED = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)  # shares of the time left that a part may be planned to take
LITTLE = 0.01  # of the time left: an offer that is refused for this is refused for everything
ROUNDING = 1e-6  # of a request
TRIES = 6  # answers priced: what a policy refuses is left out of the next
PARTS = "no. 1 shares the requests out: `isoflop plan JOB --write-jobs DIR` writes a job file for each part"


def divided(judgement: Judgement, sizings: Mapping[str, Sizing | Reason]) -> Divided:
    """The requests of the judgement's batch over several offers, where that is more than 1 % cheaper than one offer.

    The bound holds for every placement, in parts or not, as long as no term is cheaper per request at a number of
    nodes between one and all than at both ends; time that is worth something, falling back and other terms that fall
    with more nodes are left out of it, as are the data: they are never below 0.
    """
    job = judgement.view.workload
    left_h = hours_left(job, judgement.view.snapshot)
    if not isinstance(job, BatchInference) or left_h is None:
        return Divided()
    pool = _open(judgement, pool_of(judgement, sizings, left_h))
    if not len(pool.units):
        return Divided()
    usd = _floor(judgement, pool)
    capacity = np.minimum(pool.stock * pool.room_h / pool.work_h, 1.0)
    lower = cover.lower_bound(usd, capacity)
    if np.isinf(lower):
        done = float((pool.stock * pool.room_h / pool.work_h).sum())
        note = f"all offers together answer {done * 100:.3g} % of the requests before the deadline"
        return Divided(notes=() if len(judgement.candidates) else (note,))
    best = float(judgement.objective.min()) if len(judgement.candidates) else float("inf")
    most = best - LEAST_GAIN * abs(best) if np.isfinite(best) else best
    groups = _alike(pool) if lower < most else []
    found = [_best_of(judgement, pool, usd, group, full=full) for group in groups for full in (True, False)]
    usable = [(one, of) for one, of in found if one is not None and one.objective_usd < most]
    if not usable:
        if len(judgement.candidates):
            return Divided(lower_usd=min(lower, best))
        return Divided(notes=(f"no {MOST_PARTS} offers that the policies accept were found to do it together",))
    chosen, pieces = min(usable, key=lambda pair: (round(pair[0].objective_usd, 6), pair[0].label))
    slowest_first = sorted((piece.candidate for piece in pieces), key=lambda one: -float(one.hours_p90[0]))
    return Divided(chosen, joined_candidates(slowest_first), lower, (PARTS,))


def _open(judgement: Judgement, pool: Pool) -> Pool:
    """The offers of which no policy refuses one unit with next to no work."""
    one = np.ones(len(pool.units), np.float64)
    little = pool.on(one, pool.hours(np.minimum(LITTLE * pool.room_h / pool.work_h, 1.0), one))
    open_ = np.ones(len(one), np.bool_)
    for seat in judgement.panel.seats:
        for refusals in refused(seat.policy, judgement.view, little):
            open_ &= ~refusals.refused
    return pool if open_.all() else pool.take(np.flatnonzero(open_))


def _floor(judgement: Judgement, pool: Pool) -> FloatArray:
    """The least that a request costs at each offer, in USD per unit of work, shape (len(pool),).

    Of every term the lower of its average at one unit and at as many as do everything or are on sale, without data.
    """
    panel = judgement.panel._replace(view=_without_data(judgement.view))
    most = np.minimum(pool.stock, np.ceil(pool.work_h / pool.room_h * (1.0 - 1e-12)))
    ends = [_averages(panel, pool, count) for count in (np.ones(len(pool.units)), most)]
    least, nothing = np.zeros(len(pool.units), np.float64), np.zeros(len(pool.units), np.float64)
    for key in dict.fromkeys((*ends[0], *ends[1])):
        least += np.minimum(ends[0].get(key, nothing), ends[1].get(key, nothing))
    return least


def _averages(panel: Panel, pool: Pool, count: FloatArray) -> dict[tuple[str, str], FloatArray]:
    """USD per unit of work of each term where `count` units do what they can in the time left."""
    share = np.minimum(count * pool.room_h / pool.work_h, 1.0)
    found = {}
    for term in panel.price(pool.on(count, pool.hours(share, count))):
        usd = np.minimum(term.usd, 0.0) if panel.may_fall(term) else term.usd
        found[term.by, term.name] = usd / share
    return found


def _alike(pool: Pool) -> list[IntArray]:
    """Rows by what answers the requests: answers of one batch come of weights and arithmetic of one width."""
    kinds = [
        (str(one.precision), str(one.quantised.weights) if one.quantised is not None else "")
        for one in pool.units.sizings
    ]
    groups = sorted(set(kinds))
    index = np.array([groups.index(kind) for kind in kinds], np.int64)[pool.units.sizing]
    return [np.flatnonzero(index == number) for number in range(len(groups))]


def _best_of(
    judgement: Judgement, pool: Pool, usd: FloatArray, group: IntArray, *, full: bool
) -> tuple[Placement | None, tuple[Piece, ...]]:
    """The cheapest placement in parts that is found among the offers of `group`, and its parts.

    What a policy refuses at its number of nodes is tried again with half as many.
    """
    few = pool.take(group[_worth_a_look(pool.take(group), usd[group])])
    lots = _lots(judgement, few, full=full)
    for _ in range(TRIES):
        rows = [row for row, lot in enumerate(lots) if lot.stock > 0]
        found = cover.cheapest([lots[row] for row in rows], MOST_PARTS)
        if found is None:
            break
        counts = {rows[index]: count for index, count in found.items()}
        pieces = _pieces(judgement, few, lots, counts)
        if len(pieces) < 2:
            break  # one offer alone is in the ranking already
        order = parts.in_order(pieces.values())
        placement = parts.placed(judgement, order)
        if placement is not None:
            return placement, order
        barred = [row for row, piece in pieces.items() if not parts.passes(judgement, piece)]
        if not barred:
            break  # their sum is refused, and more parts would cost more
        for row in barred:
            lots[row] = lots[row]._replace(stock=counts[row] // 2)
    return None, ()


def _lots(judgement: Judgement, pool: Pool, *, full: bool) -> list[cover.Lot]:
    """What one unit of each offer does and costs, at the share of the time left at which its requests are cheapest, or
    if `full` at the largest that no policy refuses.

    A unit answers whole requests. None of an offer is on sale where the policies refuse a unit at every share.
    """
    one, view = np.ones(len(pool.units), np.float64), judgement.view
    bare = judgement.panel._replace(view=_without_data(view))
    least, done, usd = np.full(len(one), np.inf), one, np.zeros(len(one), np.float64)
    for used in USED:
        share = np.minimum(used * pool.room_h / pool.work_h, 1.0)
        found = bare.assess(pool.on(one, pool.hours(share, one)))
        average = found.objective / share
        # What is cheaper by a rounding is not worth the time.
        better = found.open & (np.isinf(least) if full else average + 1e-9 * np.abs(average) < least)
        least, done = np.where(better, average, least), np.where(better, share, done)
        usd = np.where(better, found.objective, usd)
    idle = added(bare.price(pool.on(one, pool.hours(0.0 * one, one))), len(one))
    there = pool.on(one, pool.hours(done, one))
    data = added(judgement.panel.price(there), len(one)) - added(bare.price(there), len(one))
    each = np.maximum(usd - idle, 0.0) / done + data
    whole = np.floor(done * _requests(view.workload) + ROUNDING) / _requests(view.workload)
    stock = np.where(np.isfinite(least) & (whole > 0), pool.stock, 0.0)
    columns = (column.tolist() for column in (whole, np.maximum(usd - (each - data) * done, 0.0), each, stock))
    return [cover.Lot(capacity, fixed, rate, int(count)) for capacity, fixed, rate, count in zip(*columns, strict=True)]


def _pieces(judgement: Judgement, pool: Pool, lots: list[cover.Lot], counts: Mapping[int, int]) -> dict[int, Piece]:
    """The parts by row: whole requests each, which add up to all, on as many units as chosen."""
    whole, done = _requests(judgement.view.workload), cover.shares(lots, counts)
    requests = {row: float(floor(share * whole + ROUNDING)) for row, share in done.items()}
    room = {row: counts[row] * lots[row].capacity - requests[row] / whole for row in done}
    last = max(room, key=lambda row: (room[row], -row))
    requests[last] = whole - sum(requests[row] for row in requests if row != last)
    pieces = {}
    for row, amount in requests.items():
        if amount > 0:
            share, unit = amount / whole, pool.take(np.array([row]))
            count = np.array([float(counts[row])])
            pieces[row] = Piece(unit.on(count, unit.hours(np.array([share]), count)), share)
    return pieces


def _requests(workload: Workload) -> float:
    if not isinstance(workload, BatchInference):
        raise TypeError(f"{workload.name} is not a batch")
    return workload.requests


def _without_data(view: PlanView) -> PlanView:
    bare = replace(view.workload.data, size_gib=0.0, result_gib=0.0)
    return PlanView(workload=replace(view.workload, data=bare), snapshot=view.snapshot)


def _worth_a_look(pool: Pool, usd: FloatArray) -> IntArray:
    """Rows of the cheapest per request, three quarters of LOTS of them, and of the largest."""
    size = pool.stock * pool.room_h / pool.work_h
    cheap = np.argsort(usd, kind="stable")[: LOTS * 3 // 4]
    large = np.lexsort((usd, -np.minimum(size, 1.0)))[: LOTS // 4]
    return np.unique(np.concatenate((cheap, large)))
