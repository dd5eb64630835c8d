"""The omniscient optimum: the least that a job could have cost, had it known all of a trace.

Exact dynamic programming over (slot, what runs where, work left) with work in units of a part of a slot. A change-over
is added to the work at the start of a machine: a plan in which a machine is lost before that is done costs more than
waiting, so that it is never the best.
"""

from __future__ import annotations

import numpy as np

from orchestrator.planning.spot.hazard import Floats
from orchestrator.planning.spot.state import Market
from orchestrator.simulation.spot_replay import Trace

LATE = 1e9  # USD for work that is left at the deadline


def optimum(trace: Trace, market: Market, end: int, slots: int, units: int) -> Floats:
    """USD of finishing w units of work (index) from slot `end - slots` to `end`, from nothing; `units` make a slot.

    Change-overs are rounded to whole units, so choose `units` to fit them.
    """
    unit_h = market.slot_h / units
    change = np.rint(market.change_over_h / unit_h).astype(np.intp)
    size = slots * units + 1 + int(change.max())
    none = np.full(size, LATE)
    none[0] = 0.0
    regions = len(trace.up)
    free, on_spot, on_demand = (np.tile(none, (regions, 1)) for _ in range(3))
    hours = np.minimum(np.arange(size), units) * unit_h
    for slot in range(end - 1, end - slots - 1, -1):
        spot = trace.spot_usd_per_hour[:, slot, None] * hours + _ran(on_spot, units)
        spot[~trace.up[:, slot]] = LATE
        demand = market.on_demand_usd_per_hour[:, None] * hours + _ran(on_demand, units)
        best = np.minimum(spot, demand)
        waited = free
        free = waited.copy()
        for region in range(regions):
            for hop in np.unique(change[region]):
                to = np.flatnonzero(change[region] == hop)
                started = (best[to] + market.egress_usd[region, to, None]).min(0)
                np.minimum(free[region, : size - hop], started[hop:], out=free[region, : size - hop])
        free[:, 0] = 0.0
        on_spot, on_demand = np.minimum(free, spot), np.minimum(free, demand)
    starts = np.array([_from(best[r], int(change[r, r])) for r in range(regions)])
    first: Floats = np.minimum(waited.min(0), starts.min(0))
    first[0] = 0.0
    return first[: slots * units + 1]


def _ran(values: Floats, units: int) -> Floats:
    """Values with a slot's work done."""
    moved = np.empty_like(values)
    moved[:, : units + 1] = values[:, :1]
    moved[:, units:] = values[:, :-units]
    return moved


def _from(values: Floats, by: int) -> Floats:
    """Values with `by` units of work more."""
    moved = np.full(values.shape, LATE)
    moved[: len(values) - by] = values[by:]
    return moved
