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
from orchestrator.domain.offerbook import UNKNOWN, FloatArray, IntArray
from orchestrator.domain.tenure import tenure
from orchestrator.domain.workload import Workload
from orchestrator.planning.candidates import MAX_NODES
from orchestrator.planning.pricing import Column, Panel, added
from orchestrator.planning.speed import Paces, paces, whole_devices

STEP = 2.0**0.5
STEPS = 20
MOST = STEP**STEPS  # times the fewest nodes, 1024: as far as we look
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
    if bound is None or not (bound <= _last(priced.objective, keep) + TIE_USD).any():
        return priced
    nodes, objective = _searched(judges, priced, bound, keep)
    wanted = _best_rows(objective, keep)
    few = _few(judges, priced.candidates, wanted, nodes[wanted])
    fewest = least.nodes[np.searchsorted(least.offer, few.offer)]
    found, _ = _best(judges, few, between(few, fewest), objective[wanted])
    nodes[wanted] = np.where(found > 0, found, nodes[wanted])
    return _shaped(judges, priced, nodes)


def counted(workload: Workload, candidates: Candidates, nodes: IntArray, pace: Paces | None = None) -> Candidates:
    """The same finite work on other numbers of nodes, with their hours; `pace` is of its sizings, where known."""
    boot_h = candidates.book.boot_s / 3600.0
    gpus = whole_devices(candidates.book.gpus)
    known = pace or paces(candidates.sizings)
    leases = tenure(workload, candidates.book)
    low, middle, high = known.hours(candidates.sizing, gpus, nodes.astype(np.float64), boot_h, leases)
    return replace(candidates, nodes=nodes, hours=middle, hours_p10=low, hours_p90=high)


def most_nodes(candidates: Candidates) -> FloatArray:
    """The largest count worth a look: what is on sale, MOST times the present one, or what leaves a minute of work."""
    pace, sizing = paces(candidates.sizings), candidates.sizing
    gpus, stock = whole_devices(candidates.book.gpus), candidates.book.most_nodes
    useful = pace.devices_for(sizing, pace.p50[sizing] / np.minimum(1.0, gpus) / LEAST_WORK_H) / np.maximum(1.0, gpus)
    most = np.minimum(np.minimum(useful, candidates.nodes * MOST), float(MAX_NODES))
    found: FloatArray = np.floor(np.where(stock == UNKNOWN, most, np.minimum(most, stock)))
    return found


def ladder(candidates: Candidates) -> Ladder:
    """The counts above the present one of each candidate, in steps of about 1.4, and the largest."""
    most, base = most_nodes(candidates), candidates.nodes.astype(np.float64)
    rungs = np.ceil(base[:, None] * STEP ** np.arange(STEPS + 1) - 1e-9)
    rungs = np.minimum(rungs, np.maximum(most, base)[:, None])
    index, column = np.nonzero(np.diff(rungs, axis=1, prepend=rungs[:, :1]) > 0)
    return Ladder(index, rungs[index, column].astype(np.int64))


def between(candidates: Candidates, fewest: IntArray) -> Ladder:
    """Counts within a step of the present one of each candidate, below and above; `fewest` is row-aligned."""
    base = candidates.nodes.astype(np.float64)
    rungs = np.round(base[:, None] * STEP ** np.linspace(-1.0, 1.0, 2 * BETWEEN + 1))
    rungs = np.minimum(np.maximum(rungs, fewest[:, None]), np.maximum(most_nodes(candidates), base)[:, None])
    index, column = np.nonzero((np.diff(rungs, axis=1, prepend=0.0) > 0) & (rungs != base[:, None]))
    return Ladder(index, rungs[index, column].astype(np.int64))


def on_ladder(workload: Workload, candidates: Candidates, rungs: Ladder) -> Candidates:
    """The candidates of a ladder, one per rung."""
    return counted(workload, candidates.take(rungs.row), rungs.nodes)


def _few(judges: Panel, candidates: Candidates, rows: IntArray, nodes: IntArray) -> Candidates:
    few = candidates.take(rows)
    return few if np.array_equal(few.nodes, nodes) else counted(judges.view.workload, few, nodes)


def _bound(judges: Panel, priced: Priced) -> FloatArray | None:
    """The least each offer can cost at more than its fewest nodes, infinite where it gains nothing by them; None where
    no term can fall.
    """
    falls = [term for term in priced.terms if judges.may_fall(term)]
    if not falls:
        return None
    bound = priced.objective.copy()
    for term in falls:
        bound -= term.usd
    for term in falls:
        if (term.usd < 0).any():  # a reward below nothing has no bound: such an offer is looked at in any case
            bound[term.usd < 0] = -np.inf
    # What is 0 at the fewest nodes cannot fall: most offers have nothing to gain by more.
    return np.where(priced.objective - bound > TIE_USD, bound, np.inf)


def _searched(judges: Panel, priced: Priced, bound: FloatArray, keep: int) -> tuple[IntArray, FloatArray]:
    """The best count and objective of every offer that is looked at, of the others those they came with."""
    nodes, objective = priced.candidates.nodes.copy(), priced.objective.copy()
    last = _last(objective, keep)
    order = np.flatnonzero(bound <= last + TIE_USD)
    order = order[np.argsort(bound[order], kind="stable")]
    # Objectives only fall, so that the last that is wanted stays one of these.
    pool = np.flatnonzero((objective <= last) | (bound <= last + TIE_USD))
    start, size = 0, CHUNK
    while start < len(order) and bound[order[start]] <= _last(objective[pool], keep) + TIE_USD:
        chunk = order[start : start + size]
        few = priced.candidates.take(chunk)
        best, usd = _best(judges, few, ladder(few), objective[chunk])
        better = best > 0
        nodes[chunk[better]], objective[chunk[better]] = best[better], usd[better]
        start, size = start + size, min(2 * size, 64 * CHUNK)
    return nodes, objective


def _last(objective: FloatArray, keep: int) -> float:
    """The objective of the last of the best `keep`; infinite where there are fewer."""
    return float(np.partition(objective, keep - 1)[keep - 1]) if keep <= len(objective) else float("inf")


def _best_rows(objective: FloatArray, keep: int) -> IntArray:
    """Rows of the best `keep`, all that tie with the last of them included."""
    return np.flatnonzero(objective <= _last(objective, keep) + TIE_USD)


def _best(judges: Panel, few: Candidates, rungs: Ladder, now: FloatArray) -> tuple[IntArray, FloatArray]:
    """For each of `few` the count on the ladder that beats its objective `now`, 0 where none does, and the better one.

    Terms that cannot fall are looked at on each first rung: where they alone are dearer than `now` so are all further.
    """
    nodes, best = np.zeros(len(few), np.int64), now.copy()
    first = np.diff(rungs.row, prepend=-1) > 0
    alive = np.ones(len(few), np.bool_)
    for level in (first, ~first):
        part = Ladder(rungs.row[level], rungs.nodes[level])
        going = alive[part.row]
        part = Ladder(part.row[going], part.nodes[going])
        if not len(part.row):
            continue
        found = judges.assess(on_ladder(judges.view.workload, few, part))
        if level is first and (part.nodes > few.nodes[part.row]).all():
            firm = added([term for term in found.terms if not judges.may_fall(term)], len(part.row))
            alive[part.row] = (firm <= best[part.row] + TIE_USD) | ~found.open
        _take_better(few, part, np.where(found.open, found.objective, np.inf), nodes, best)
    return nodes, best


def _take_better(few: Candidates, rungs: Ladder, usd: FloatArray, nodes: IntArray, best: FloatArray) -> None:
    """Write into `nodes` and `best` what a ladder priced at `usd` betters."""
    order = np.lexsort((rungs.nodes, np.round(usd, 6), rungs.row))
    top = order[np.diff(rungs.row[order], prepend=-1) > 0]
    row = rungs.row[top]
    better = usd[top] < best[row] - TIE_USD
    # Of counts that cost the same the lowest.
    before = np.where(nodes[row] > 0, nodes[row], few.nodes[row])
    better |= (np.abs(usd[top] - best[row]) <= TIE_USD) & (rungs.nodes[top] < before)
    nodes[row[better]], best[row[better]] = rungs.nodes[top[better]], usd[top[better]]


def _saved(judges: Panel, least: Candidates, priced: Priced, refused: IntArray) -> Priced:
    """`priced` and those of the `refused` offers that some larger count saves, at the fewest nodes that do.

    The fewest: between the step that saves and the one before it by bisection, where more nodes never pass less.
    """
    rows = np.searchsorted(least.offer, np.sort(refused))
    nodes, below = least.nodes.copy(), least.nodes.copy()
    saved: list[IntArray] = []
    most = most_nodes(least.take(rows))
    for step in range(1, 1 + STEPS):
        wanted = np.minimum(np.ceil(least.nodes[rows] * STEP**step - 1e-9), most)
        going = (wanted > nodes[rows]) | (wanted < most)
        rows, most, wanted = rows[going], most[going], wanted[going]
        if not len(rows):
            break
        below[rows] = nodes[rows]
        nodes[rows] = wanted.astype(np.int64)
        open_ = judges.assess(counted(judges.view.workload, least.take(rows), nodes[rows])).open
        saved.append(rows[open_])
        rows, most = rows[~open_], most[~open_]
    passing = np.concatenate([np.zeros(0, np.int64), *saved])
    nodes[passing] = _fewest(judges, least, passing, below[passing], nodes[passing])
    joined = np.concatenate([np.searchsorted(least.offer, priced.candidates.offer), passing])
    if len(joined) == len(priced.candidates):
        return priced
    everyone = np.sort(joined)
    nodes[np.searchsorted(least.offer, priced.candidates.offer)] = priced.candidates.nodes
    candidates = counted(judges.view.workload, least.take(everyone), nodes[everyone])
    terms = judges.price(candidates)
    return Priced(candidates, terms, added(terms, len(candidates)))


def _fewest(judges: Panel, least: Candidates, rows: IntArray, low: IntArray, high: IntArray) -> IntArray:
    """The fewest nodes of candidates `rows` that pass, above `low`, which does not, and up to `high`, which does."""
    low, high = low.copy(), high.copy()
    while (wide := np.flatnonzero(high - low > 1)).size:
        middle = (low[wide] + high[wide]) // 2
        passes = judges.assess(counted(judges.view.workload, least.take(rows[wide]), middle)).open
        high[wide] = np.where(passes, middle, high[wide])
        low[wide] = np.where(passes, low[wide], middle)
    return high


def _shaped(judges: Panel, priced: Priced, nodes: IntArray) -> Priced:
    """`priced` with other counts; only what changes is looked at again."""
    rows = np.flatnonzero(nodes != priced.candidates.nodes)
    if not len(rows):
        return priced
    few = counted(judges.view.workload, priced.candidates.take(rows), nodes[rows])
    found = {(term.by, term.name): term.usd for term in judges.price(few)}
    terms, nothing = [], np.zeros(len(rows), np.float64)
    for term in priced.terms:
        usd = _with(term.usd, rows, found.get((term.by, term.name), nothing))
        terms.append(Column(term.by, term.name, usd, term.money))
    again = added([Column(t.by, t.name, t.usd[rows], t.money) for t in terms], len(rows))
    old = priced.candidates
    candidates = replace(
        old,
        nodes=nodes,
        hours=_with(old.hours, rows, few.hours),
        hours_p10=_with(old.hours_p10, rows, few.hours_p10),
        hours_p90=_with(old.hours_p90, rows, few.hours_p90),
    )
    return Priced(candidates, tuple(terms), _with(priced.objective, rows, again))


def _with(column: FloatArray, rows: IntArray, values: FloatArray) -> FloatArray:
    changed = column.copy()
    changed[rows] = values
    return changed
