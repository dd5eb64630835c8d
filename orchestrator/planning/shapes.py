"""Shapes: how many nodes of one offer finite work takes, where more than the fewest may be better.

The fewest nodes that hold the state and are in time cost the least money: every node pays for its own boot, and n
devices do at most n times the work of one. More of them win only by a term that falls with the hours (what a day is
worth, data in store) or by a refusal that speed lifts (a deadline with a confidence). Policies say which those are
(`RewardsSpeed`), so most plans stop at the fewest.

Where some term may fall, the sum of all the others at the fewest nodes is a lower bound of what an offer can cost at
any count. Offers are looked at in the order of that bound, each at counts in steps of about 1.4, until the bound of
the next is above the objective of the last offer that is wanted: the wanted few are then the same as if every offer had
been priced at every step (branch and bound). At the end the wanted few are looked at between the steps too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray
from orchestrator.planning.candidates import MAX_NODES
from orchestrator.planning.pricing import Column, Panel, added
from orchestrator.planning.speed import paces, whole_devices

STEP = 2.0**0.5
MOST = 1024.0  # times the fewest nodes: as far as we look
LEAST_WORK_H = 1.0 / 60.0  # nobody buys more machines for the last minute
TIE_USD = 1e-6  # what is nearer than this is the same, and the same is done on fewer nodes
CHUNK = 64  # offers looked at together at first, twice as many each time
BETWEEN = 9  # counts looked at between two steps


class Priced(NamedTuple):
    """Candidates, one per offer in rising order of offers, with their terms and the sum of these."""

    candidates: Candidates
    terms: tuple[Column, ...]
    objective: FloatArray


class Ladder(NamedTuple):
    """Counts to look at: `nodes[i]` of candidate `row[i]`, by row and then by rising count."""

    row: IntArray
    nodes: IntArray


def competing(judges: Panel, least: Candidates, priced: Priced, refused: IntArray, keep: int) -> Priced:
    """Let every number of nodes compete.

    `least` are candidates at their fewest nodes before any policy, `priced` those of them that no policy refused, and
    `refused` the offers (rows of the snapshot's book) that more nodes may save. The result has the priced and the saved
    offers; the best `keep` of them at their best count.
    """
    if len(refused):
        priced = _saved(judges, least, priced, refused)
    if not len(priced.candidates) or keep <= 0:
        return priced
    bound = _bound(judges, priced)
    if bound is None:
        return priced
    nodes, objective = _searched(judges, priced, bound, keep)
    wanted = np.argsort(np.round(objective, 6), kind="stable")[:keep]
    shaped = _shaped(judges, priced, nodes)
    fewest = least.nodes[np.searchsorted(least.offer, shaped.candidates.offer[wanted])]
    rungs = between(shaped.candidates, wanted, fewest)
    found, _ = _best(judges, shaped.candidates, rungs, shaped.objective[wanted], wanted)
    nodes = nodes.copy()
    nodes[wanted] = np.where(found > 0, found, nodes[wanted])
    return _shaped(judges, shaped, nodes)


def counted(candidates: Candidates, nodes: IntArray) -> Candidates:
    """The same finite work on other numbers of nodes, with their hours."""
    boot_h = candidates.book.boot_s / 3600.0
    gpus = whole_devices(candidates.book.gpus)
    low, middle, high = paces(candidates.sizings).hours(candidates.sizing, gpus, nodes.astype(np.float64), boot_h)
    return replace(candidates, nodes=nodes, hours=middle, hours_p10=low, hours_p90=high)


def most_nodes(candidates: Candidates) -> FloatArray:
    """The largest count worth a look: what is on sale, MOST times the present one, or what leaves a minute of work."""
    pace, sizing = paces(candidates.sizings), candidates.sizing
    gpus, stock = whole_devices(candidates.book.gpus), candidates.book.available
    useful = pace.devices_for(sizing, pace.p50[sizing] / np.minimum(1.0, gpus) / LEAST_WORK_H) / np.maximum(1.0, gpus)
    most = np.minimum(np.minimum(useful, candidates.nodes * MOST), float(MAX_NODES))
    found: FloatArray = np.floor(np.where(stock == UNKNOWN, most, np.minimum(most, stock)))
    return found


def ladder(candidates: Candidates, rows: IntArray) -> Ladder:
    """The counts above the present one of candidates `rows`, in steps of about 1.4 and the largest."""
    few = candidates.take(rows)
    most, base = most_nodes(few), few.nodes.astype(np.float64)
    steps = int(np.ceil(np.log(MOST) / np.log(STEP)))
    rungs = np.ceil(base[:, None] * STEP ** np.arange(steps + 1) - 1e-9)
    rungs = np.minimum(rungs, np.maximum(most, base)[:, None])
    fresh = np.diff(rungs, axis=1, prepend=rungs[:, :1]) > 0
    index, column = np.nonzero(fresh)
    return Ladder(rows[index], rungs[index, column].astype(np.int64))


def between(candidates: Candidates, rows: IntArray, fewest: IntArray) -> Ladder:
    """Counts within a step of the present one of candidates `rows`, below and above; `fewest` is row-aligned."""
    few = candidates.take(rows)
    base = few.nodes.astype(np.float64)
    rungs = np.round(base[:, None] * STEP ** np.linspace(-1.0, 1.0, 2 * BETWEEN + 1))
    rungs = np.minimum(np.maximum(rungs, fewest[:, None]), np.maximum(most_nodes(few), base)[:, None])
    fresh = np.diff(rungs, axis=1, prepend=0.0) > 0
    index, column = np.nonzero(fresh & (rungs != base[:, None]))
    return Ladder(rows[index], rungs[index, column].astype(np.int64))


def on_ladder(candidates: Candidates, rungs: Ladder) -> Candidates:
    """The candidates of a ladder, one per rung."""
    return counted(candidates.take(rungs.row), rungs.nodes)


def _bound(judges: Panel, priced: Priced) -> FloatArray | None:
    """The least each offer can cost at any count; None where no term can fall."""
    falls = {seat.policy.name: seat for seat in judges.seats}
    firm = [term for term in priced.terms if not falls[term.by].rewards(term.name)]
    if len(firm) == len(priced.terms):
        return None
    bound = added(firm, len(priced.candidates))
    for term in priced.terms:
        if falls[term.by].rewards(term.name):
            # A reward below nothing has no bound: such an offer is looked at in any case.
            bound = np.where(term.usd < 0, -np.inf, bound)
    return bound


def _searched(judges: Panel, priced: Priced, bound: FloatArray, keep: int) -> tuple[IntArray, FloatArray]:
    """The best count and objective of every offer that is looked at, of the others those they came with."""
    nodes, objective = priced.candidates.nodes.copy(), priced.objective.copy()
    order = np.flatnonzero(bound <= _last(objective, keep) + TIE_USD)
    order = order[np.argsort(bound[order], kind="stable")]
    start, size = 0, CHUNK
    while start < len(order) and bound[order[start]] <= _last(objective, keep) + TIE_USD:
        chunk = order[start : start + size]
        best, usd = _best(judges, priced.candidates, ladder(priced.candidates, chunk), objective[chunk], chunk)
        better = best > 0
        nodes[chunk[better]], objective[chunk[better]] = best[better], usd[better]
        start, size = start + size, min(2 * size, 64 * CHUNK)
    return nodes, objective


def _last(objective: FloatArray, keep: int) -> float:
    """The objective of the last of the best `keep`; infinite where there are fewer."""
    return float(np.partition(objective, keep - 1)[keep - 1]) if keep <= len(objective) else float("inf")


def _best(
    judges: Panel, candidates: Candidates, rungs: Ladder, now: FloatArray, rows: IntArray
) -> tuple[IntArray, FloatArray]:
    """For each of `rows` the count that beats its objective `now` (0 where none does), and the better objective."""
    nodes, best = np.zeros(len(rows), np.int64), now.copy()
    if not len(rungs.row):
        return nodes, best
    found = judges.assess(on_ladder(candidates, rungs))
    usd = np.where(found.open, found.objective, np.inf)
    place = np.zeros(int(rows.max()) + 1, np.int64)
    place[rows] = np.arange(len(rows))
    mine = place[rungs.row]
    order = np.lexsort((rungs.nodes, np.round(usd, 6), mine))
    first = order[np.unique(mine[order], return_index=True)[1]]
    better = usd[first] < best[mine[first]] - TIE_USD
    # Between steps a lower count may cost the same: then it is taken for being lower.
    level = np.abs(usd[first] - best[mine[first]]) <= TIE_USD
    better |= level & (rungs.nodes[first] < candidates.nodes[rungs.row[first]])
    first = first[better]
    nodes[mine[first]], best[mine[first]] = rungs.nodes[first], usd[first]
    return nodes, best


def _saved(judges: Panel, least: Candidates, priced: Priced, refused: IntArray) -> Priced:
    """`priced` and those of the `refused` offers that some larger count saves, at the first such count."""
    rows = np.searchsorted(least.offer, np.sort(refused))
    nodes = least.nodes.copy()
    saved: list[IntArray] = []
    most = most_nodes(least.take(rows))
    for step in range(1, 1 + int(np.ceil(np.log(MOST) / np.log(STEP)))):
        wanted = np.minimum(np.ceil(least.nodes[rows] * STEP**step - 1e-9), most)
        more = wanted > nodes[rows]
        rows, most, wanted = rows[more | (wanted < most)], most[more | (wanted < most)], wanted[more | (wanted < most)]
        if not len(rows):
            break
        nodes[rows] = wanted.astype(np.int64)
        open_ = judges.assess(counted(least.take(rows), nodes[rows])).open
        saved.append(rows[open_])
        rows, most = rows[~open_], most[~open_]
    joined = np.concatenate([np.searchsorted(least.offer, priced.candidates.offer), *saved])
    if len(joined) == len(priced.candidates):
        return priced
    everyone = np.sort(joined)
    nodes[np.searchsorted(least.offer, priced.candidates.offer)] = priced.candidates.nodes
    candidates = counted(least.take(everyone), nodes[everyone])
    terms = judges.price(candidates)
    return Priced(candidates, terms, added(terms, len(candidates)))


def _shaped(judges: Panel, priced: Priced, nodes: IntArray) -> Priced:
    """`priced` with other counts; only what changes is priced again."""
    changed: BoolArray = nodes != priced.candidates.nodes
    if not changed.any():
        return priced
    candidates = counted(priced.candidates, nodes)
    found = {(term.by, term.name): term.usd for term in judges.price(candidates.take(np.flatnonzero(changed)))}
    terms = []
    for term in priced.terms:
        usd = term.usd.copy()
        usd[changed] = found.get((term.by, term.name), 0.0)
        terms.append(Column(term.by, term.name, usd, term.money))
    return Priced(candidates, tuple(terms), added(terms, len(candidates)))
