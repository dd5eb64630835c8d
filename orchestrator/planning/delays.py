"""Delays: the nodes of finite work are counted so that it is in time with the hours that policies know of."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.alike import alike
from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray
from orchestrator.domain.tenure import tenure
from orchestrator.planning.candidates import MAX_NODES
from orchestrator.planning.limits import due_h, hours_left
from orchestrator.planning.pricing import Panel
from orchestrator.planning.shapes import counted
from orchestrator.planning.speed import Paces, paces, whole_devices

WAYS = 8  # counts looked at between two at once
ROUNDS = 12  # of guesses upwards: most are right at once, the rest doubles


def with_delays(judges: Panel, least: Candidates) -> Candidates:
    """`least`, of finite work at the fewest nodes, with more where a policy's delay would carry it past the deadline.

    Where no number of nodes on sale is in time the count stays, and the policy may refuse.
    """
    left_h = hours_left(judges.view.workload, judges.view.snapshot)
    if left_h is None or all(seat.delays is None for seat in judges.seats):
        return least
    book = least.book
    due = due_h(judges.view.workload, left_h, book)
    # A market sells the same machines in many places.
    kind = least.sizing * len(book.fabric.vocab) + book.fabric.codes
    ends = () if book.max_lease_s is None else (book.max_lease_s,)
    stand, place = alike((kind, book.gpus, book.boot_s, least.nodes, due, *ends))
    kinds, due = least.take(stand), due[stand]
    delay_h = judges.delay_h(kinds)
    if delay_h is None:
        return least
    late = np.flatnonzero((delay_h > 0) & (kinds.hours + delay_h > due))
    if not len(late):
        return least
    pace, wanted = paces(least.sizings), np.zeros(len(kinds), np.int64)
    wanted[late] = _in_time(_Asked(judges, kinds.take(late), due[late], pace), delay_h[late])
    grown = counted(judges.view.workload, kinds, np.maximum(kinds.nodes, wanted), pace)
    stock = book.most_nodes
    more = ((stock == UNKNOWN) | (wanted[place] <= stock)) & (wanted > kinds.nodes)[place]
    columns = {
        name: np.where(more, getattr(grown, name)[place], getattr(least, name))
        for name in ("nodes", "hours", "hours_p10", "hours_p90")
    }
    return replace(least, **columns)


class _Asked(NamedTuple):
    """Candidates that are late on the nodes they have, and the hours within which they are due."""

    judges: Panel
    few: Candidates
    due: FloatArray
    pace: Paces

    def passes(self, rows: IntArray, nodes: IntArray) -> tuple[BoolArray, FloatArray]:
        """Whether candidates `rows` on `nodes` are in time, and their delay."""
        tried = counted(self.judges.view.workload, self.few.take(rows), nodes, self.pace)
        found = self.judges.delay_h(tried)
        delay_h = np.zeros(len(rows), np.float64) if found is None else found
        return tried.hours + delay_h <= self.due[rows] * (1.0 + 1e-12), delay_h


def _in_time(asked: _Asked, delay_h: FloatArray) -> IntArray:
    """The fewest nodes with which each is in time, 0 where none are: guessed from the delay on the count before, which
    is `delay_h` at first, then ever closer.
    """
    judges, few, due, pace = asked
    leases = tenure(judges.view.workload, few.book)
    gpus, boot_h = whole_devices(few.book.gpus), few.book.boot_s / 3600.0
    low, high, going = few.nodes.copy(), np.zeros(len(few), np.int64), np.arange(len(few))
    for _ in range(ROUNDS):
        work_h = due[going] - boot_h[going] - delay_h
        if leases is not None:
            work_h = leases.take(going).within_h(np.maximum(work_h, 0.0))
        guess = pace.nodes_within(few.sizing[going], gpus[going], np.maximum(work_h, 1e-9))
        guess = np.where(work_h > 0, guess, 2.0 * low[going])
        tried = np.minimum(np.maximum(guess, low[going] + 1.0), float(MAX_NODES)).astype(np.int64)
        passes, again_h = asked.passes(going, tried)
        high[going[passes]] = tried[passes]
        low[going[~passes]] = tried[~passes]
        # A delay that fills the time by itself and does not fall is not outrun.
        lost = (again_h >= delay_h) & (again_h >= due[going] - boot_h[going]) | (tried >= MAX_NODES)
        going, delay_h = going[~passes & ~lost], again_h[~passes & ~lost]
        if not len(going):
            break
    while (wide := np.flatnonzero(high - low > 1)).size:
        _narrow(asked, wide, low, high)
    return high


def _narrow(asked: _Asked, rows: IntArray, low: IntArray, high: IntArray) -> None:
    """Bring `low`, which is late, and `high`, which is in time, closer together, in place: one look at WAYS counts in
    between costs less than three at one each.
    """
    step = np.ceil((high[rows] - low[rows])[:, None] * np.arange(WAYS + 1) / (WAYS + 1.0)).astype(np.int64)
    tried = low[rows][:, None] + step  # the first is low itself
    passes = np.zeros(tried.shape, np.bool_)
    found, _ = asked.passes(np.repeat(rows, WAYS), tried[:, 1:].ravel())
    passes[:, 1:] = found.reshape(-1, WAYS)
    some, first = passes.any(axis=1), passes.argmax(axis=1)
    high[rows[some]] = tried[some, first[some]]
    low[rows] = np.where(some, tried[np.arange(len(rows)), np.maximum(first, 1) - 1], tried[:, -1])
