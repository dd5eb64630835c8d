"""The decision table of several regions: each can be the one that a job runs in, the others stand behind it.

A job that lost its machine asks the others, cheapest first, each of which has capacity with a probability; where none
has, it waits or runs on demand until one returns. While it runs, a cheaper one may return:

    run_r(w, l) = price_r · min(1, w) + E[S_r(w - 1, l - 1) or, lost, F_r(w - 1, l - 1)]
    start_r(w)  = run_r(w + change-over) + egress
    F_r         = search over the regions but r of start, else away
    S_r         = min(run_r, away), and with RETURNS per slot for each cheaper region j: min(S_r, start_j)
    away        = wait or on-demand with the period without capacity ageing, into beside
    beside      = wait or on-demand with a region there and its period ageing, or the mean start

Regions fail apart from each other here; what is known of each at the moment enters in `choose.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.planning.spot.hazard import SHARE_UP, Floats
from orchestrator.planning.spot.table import (
    MODELS,
    STRIDE,
    Indices,
    Setting,
    Singles,
    corners,
    found_bucket,
    onward,
    ran,
    shifted,
    steps_of,
)

RETURNS = 0.03  # chance per slot that a region without capacity has some again, over long and short periods
WAIT, ON_DEMAND = range(2)


class Several(NamedTuple):
    """Values in USD: `run` (layers, models, regions, ages, work), the others (layers, 2, models, ages, work).

    `away` is without capacity anywhere, `beside` with some that is not used, for WAIT and ON_DEMAND.
    """

    setting: Setting
    run: Singles
    away: Singles
    beside: Singles


def _search(start: Floats, chance: Floats, fallback: Floats, but: int = -1) -> Floats:
    """The expected value of asking the regions but one, cheapest first; `start` is (models, regions, work)."""
    value = fallback
    for region in range(start.shape[1] - 1, -1, -1):
        if region != but:
            value = value + chance * (np.minimum(start[:, region], value) - value)
    return value


def solve(setting: Setting, models: tuple[tuple[float, float], ...] = MODELS) -> Several:
    """The table of a setting, for pairs of factors on the hazards."""
    steps = steps_of(setting, models)
    pairs, regions, found = np.array(models), len(setting.regions), found_bucket(setting.slot_h)
    ends, returns = pairs[:, :1], pairs[:, 1:]
    returns = np.minimum(returns, 1.25)  # beyond, a factor is of many regions away together
    chance = SHARE_UP * returns / (SHARE_UP * returns + (1.0 - SHARE_UP) * ends)
    cheaper = (RETURNS * returns)[:, :, None]
    price, demand = np.minimum(steps.work, 1.0) * steps.spot[:, None], np.minimum(steps.work, 1.0) * steps.on_demand
    count, ages, size = len(models), steps.lost.shape[1], len(steps.work)
    held = np.broadcast_to(steps.at_deadline, (count, regions, ages, size)).copy()
    lost, looking = held[:, :, 0].copy(), held[:, 0, 0].copy()
    waits, bought, waits_beside, bought_beside = (held[:, 0].copy() for _ in range(4))
    run_kept = np.empty((steps.layers, *held.shape), np.float32)
    away_kept, beside_kept = (np.empty((steps.layers, 2, *waits.shape), np.float32) for _ in range(2))
    for kept in (run_kept, away_kept, beside_kept):
        kept[0] = steps.at_deadline
    for step in range(1, (steps.layers - 1) * STRIDE + 1):
        run = price[:, None] + ran(onward(held, lost, steps.lost[:, None]))
        wait = onward(waits, waits_beside[:, 0], steps.found)
        buy = demand + ran(onward(bought, bought_beside[:, 0], steps.found))
        wait_beside = onward(waits_beside, waits[:, 0], steps.lost)
        buy_beside = demand + ran(onward(bought_beside, bought[:, 0], steps.lost))
        buy_looking = demand + ran(looking)
        for value in (run, wait, buy, wait_beside, buy_beside, buy_looking):
            value[..., 0] = 0.0
        if step % STRIDE == 0:
            run_kept[step // STRIDE] = run
            away_kept[step // STRIDE] = np.stack((wait, buy))
            beside_kept[step // STRIDE] = np.stack((wait_beside, buy_beside))
        starts = shifted(run, steps.change) + setting.egress_usd
        start, typical = starts[:, :, found], starts.mean(1)
        begin = shifted(buy_looking, steps.change)
        waits = np.minimum(wait, shifted(buy, steps.change))
        bought = np.minimum(buy, wait)
        waits_beside = np.minimum(np.minimum(wait_beside, typical), shifted(buy_beside, steps.change))
        bought_beside = np.minimum(np.minimum(buy_beside, typical), wait_beside)
        looking = np.minimum(buy_looking, _search(start, chance, bought[:, 0]))
        lost = np.stack([np.minimum(_search(start, chance, waits[:, 0], r), begin) for r in range(regions)], 1)
        held = np.minimum(run, np.minimum(waits[:, 0], begin)[:, None, None])
        for region in range(1, regions):
            for other in range(region):
                gain = np.minimum(held[:, region], start[:, other][:, None]) - held[:, region]
                held[:, region] += cheaper * gain
    return Several(setting, run_kept, away_kept, beside_kept)


def read_run(table: Several, age: Indices, weight: Floats, work_h: Floats, left_h: Floats) -> Floats:
    """The value in USD of a spot machine in each region of the table, (jobs, regions); `weight` (jobs, regions, 4)."""
    point = corners(table.setting, table.run.shape[0], table.run.shape[-1], work_h, left_h)
    region, model = np.arange(age.shape[1])[:, None, None], np.arange(weight.shape[-1])[:, None]
    held = table.run[point.layer[:, :, None], model, region, age[:, :, None, None], point.work[:, :, None]]
    usd: Floats = np.einsum("jrmc,jrm,jrc->jr", held, weight, point.share)
    return usd


def read_beside(table: Several, kind: int, age: Indices, weight: Floats, at: tuple[Floats, Floats]) -> Floats:
    """The value in USD of a slot beside capacity of an age, not used, (jobs, regions); `weight` (jobs, 4)."""
    point = corners(table.setting, table.beside.shape[0], table.beside.shape[-1], *at)
    model = np.arange(weight.shape[-1])[:, None]
    held = table.beside[point.layer[:, None, None], kind, model, age[:, :, None, None], point.work[:, None, None]]
    usd: Floats = np.einsum("jrmc,jm,jc->jr", held, weight, point.share)
    return usd


def read_away(table: Several, kind: int, age: Indices, weight: Floats, at: tuple[Floats, Floats]) -> Floats:
    """The value in USD of a slot with no capacity anywhere, (jobs,); `weight` (jobs, 4), `at` (work, left) in hours."""
    point = corners(table.setting, table.away.shape[0], table.away.shape[-1], *at)
    model = np.arange(weight.shape[-1])[:, None]
    held = table.away[point.layer[:, None], kind, model, age[:, None, None], point.work[:, None]]
    usd: Floats = np.einsum("jmc,jm,jc->j", held, weight, point.share)
    return usd
