"""The decision table of one region, by dynamic programming over the time left.

The state is (work left, time left, capacity there or away and for how long, what the job runs on). In one slot it runs
on spot, runs on demand or waits:

    run(w, l)  = price · min(1, w) + E[V(w - 1, l - 1)]
    wait(w, l) = E[V(w, l - 1)]
    V(w, l)    = min over what the state allows, where a change of machine adds the change-over to w

and the expectation is over the period going on or ending. At the deadline, work that is left costs several times
on-demand, so that the table avoids it; that no deadline is missed does not rest on it but on `safety.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.planning.spot.hazard import Floats
from orchestrator.planning.spot.table import (
    MODELS,
    STRIDE,
    Corners,
    Indices,
    Setting,
    Singles,
    corners,
    onward,
    ran,
    shifted,
    steps_of,
)

SPOT, ON_DEMAND, WAITING, AWAY_ON_DEMAND, AWAY_WAITING = range(5)  # what a slot is spent on, by capacity


class One(NamedTuple):
    """Values in USD of what the next slot is spent on, (layers, 5, models, ages, work)."""

    setting: Setting
    spent: Singles


def solve(setting: Setting, models: tuple[tuple[float, float], ...] = MODELS) -> One:
    """The table of a setting with one region, for pairs of factors on the hazards."""
    steps = steps_of(setting, models)
    demand, change = np.minimum(steps.work, 1.0) * steps.on_demand, steps.change
    on_spot = np.minimum(steps.work, 1.0) * float(steps.spot.min(initial=steps.on_demand))
    up_spot = np.broadcast_to(steps.at_deadline, (*steps.lost.shape, len(steps.work))).copy()
    up_demand, up_free, away_demand, away_free = (up_spot.copy() for _ in range(4))
    spent = np.empty((steps.layers, 5, *up_spot.shape), np.float32)
    spent[0] = steps.at_deadline
    for step in range(1, (steps.layers - 1) * STRIDE + 1):
        values = (
            on_spot + ran(onward(up_spot, away_free[:, 0], steps.lost)),
            demand + ran(onward(up_demand, away_demand[:, 0], steps.lost)),
            onward(up_free, away_free[:, 0], steps.lost),
            demand + ran(onward(away_demand, up_demand[:, 0], steps.found)),
            onward(away_free, up_free[:, 0], steps.found),
        )
        for value in values:
            value[..., 0] = 0.0
        if step % STRIDE == 0:
            spent[step // STRIDE] = np.stack(values)
        run, held, wait, away_held, away_wait = values
        start, start_demand = shifted(run, change), shifted(held, change)
        up_spot = np.minimum(np.minimum(run, start_demand), wait)
        up_demand = np.minimum(np.minimum(held, start), wait)
        up_free = np.minimum(np.minimum(wait, start), start_demand)
        away_demand = np.minimum(away_held, away_wait)
        away_free = np.minimum(away_wait, shifted(away_held, change))
    return One(setting, spent)


def read(table: One, kind: Indices, age: Indices, weight: Floats, at: tuple[Floats, Floats]) -> Floats:
    """The value in USD of spending the next slot on `kind`, (jobs,); `weight` (jobs, models), `at` (work, left) h."""
    layers, size = table.spent.shape[0], table.spent.shape[-1]
    point: Corners = corners(table.setting, layers, size, *at)
    model = np.arange(weight.shape[-1])[:, None]
    held = table.spent[point.layer[:, None], kind[:, None, None], model, age[:, None, None], point.work[:, None]]
    usd: Floats = np.einsum("jmc,jm,jc->j", held, weight, point.share)
    return usd
