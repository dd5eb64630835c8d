"""The pool: offers that may take a part of finite work, each on the fewest nodes that hold the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import KEY, UNKNOWN, FloatArray, IntArray
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.tenure import Tenure, tenure
from orchestrator.planning.candidates import MAX_NODES
from orchestrator.planning.candidates import build as build_candidates
from orchestrator.planning.judge import Judgement
from orchestrator.planning.limits import apply_limits
from orchestrator.planning.sieve import Sieve
from orchestrator.planning.speed import paces, whole_devices

NO_TIME_H = 1e-9


class Pool(NamedTuple):
    """Offers that may take a part: `units` are the fewest nodes that hold the state, row by row.

    `work_h` are the hours in which one unit would do everything, `room_h` those that are left for work, `stock` units;
    `leases` say how they can be worked in, where they end.
    """

    units: Candidates
    work_h: FloatArray
    room_h: FloatArray
    stock: FloatArray
    leases: Tenure | None = None

    def take(self, rows: IntArray) -> Pool:
        leases = None if self.leases is None else self.leases.take(rows)
        return Pool(self.units.take(rows), self.work_h[rows], self.room_h[rows], self.stock[rows], leases)

    def hours(self, share: FloatArray, count: FloatArray) -> FloatArray:
        """Hours from purchase in which `count` units do `share`."""
        boot_h: FloatArray = self.units.book.boot_s / 3600.0
        work_h = self.work_h * share / count
        return boot_h + (work_h if self.leases is None else self.leases.lasts_h(work_h))

    def on(self, count: FloatArray, hours: FloatArray) -> Candidates:
        """`count` units of each offer, held for `hours`."""
        nodes = (self.units.nodes * count).astype(np.int64)
        boot_h = self.units.book.boot_s / 3600.0
        work = hours - boot_h
        if self.leases is not None:
            work = work - self.leases.ends_within(work) * self.leases.change_h
        bands = [sizing.effort.gpu_hours for sizing in self.units.sizings if isinstance(sizing.effort, FiniteWork)]
        ends = np.array([(band.p10 / band.p50, band.p90 / band.p50) for band in bands], np.float64).reshape(-1, 2)
        low, high = (work * ends[self.units.sizing, end] for end in (0, 1))
        if self.leases is not None:
            low, high = self.leases.lasts_h(low), self.leases.lasts_h(high)
        low, high = boot_h + low, boot_h + high
        return replace(self.units, nodes=nodes, hours=hours, hours_p10=low, hours_p90=high)


def pool_of(judgement: Judgement, sizings: Mapping[str, Sizing | Reason], left_h: float) -> Pool:
    """Every offer that the limits let through and that boots in time, whatever a policy says of it."""
    view = judgement.view
    sieve = Sieve(view.snapshot.book)
    apply_limits(sieve, view.workload, view.snapshot, buyable_only=False)
    # Next to no work: a unit's nodes are those that hold the state, whatever the deadline.
    little = {name: _little(one) if isinstance(one, Sizing) else one for name, one in sizings.items()}
    units = build_candidates(view.workload, view.snapshot, little, sieve)
    whole = tuple(one for name in units.sizings if isinstance(one := sizings[name.accelerator], Sizing))
    units = replace(units, sizings=whole)
    pace = paces(whole)
    gpus = whole_devices(units.book.gpus)
    work_h = pace.hours(units.sizing, gpus, units.nodes.astype(np.float64), np.zeros(len(units)))[1]
    leases = tenure(view.workload, units.book)
    room_h = left_h - units.book.boot_s / 3600.0
    if leases is not None:
        room_h = leases.within_h(np.maximum(room_h, 0.0))
    most = units.book.most_nodes
    stock = np.where(most == UNKNOWN, MAX_NODES, most) // units.nodes
    pool = Pool(units, work_h, room_h, stock.astype(np.float64), leases)
    usable = np.flatnonzero((room_h > NO_TIME_H) & (stock > 0) & (work_h > NO_TIME_H) & np.isfinite(work_h))
    # In the order of their keys, whatever that of the book: sums are rounded in the order in which they are added up.
    keys = (units.sizing, *(getattr(units.book, name).codes for name in reversed(KEY)))
    return pool.take(usable[np.lexsort([column[usable] for column in keys])])


def _little(sizing: Sizing) -> Sizing:
    effort = sizing.effort
    if not isinstance(effort, FiniteWork):
        return sizing
    return replace(sizing, effort=replace(effort, gpu_hours=effort.gpu_hours.scaled(1e-12)))
