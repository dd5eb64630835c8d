"""The omniscient cost of serving on spot: a linear program that knows what every zone can give at every moment."""

from __future__ import annotations

import highspy
import numpy as np

from orchestrator.simulation.serving_spot import Capacity


def omniscient(capacity: Capacity, needed: int, boot_s: float) -> float:
    """A bound from below on the cost of always having `needed` ready, over that of on-demand replicas all the time.

    Per tick and pool (zones, and on demand without a limit): held h, launched a >= h - h before; a replica serves
    after `boot_s`, so that h less the launches of that long are ready; their sum is at least `needed`. What is held at
    the first tick is taken to serve, and fractions are allowed: both make the bound lower.
    """
    ticks, zones = capacity.instances.shape
    boot, pools = round(boot_s / capacity.tick_s), zones + 1
    price = np.append(capacity.spot_usd_per_hour, capacity.on_demand_usd_per_hour)
    upper = np.concatenate((np.minimum(capacity.instances, needed), np.full((ticks, 1), needed)), axis=1).astype(float)
    count = ticks * pools
    held = np.arange(count).reshape(ticks, pools)
    launched = count + held
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = 2 * count, (ticks - 1) * pools + ticks
    lp.col_cost_ = np.concatenate((np.tile(price, ticks), np.zeros(count)))
    lp.col_lower_ = np.zeros(2 * count)
    lp.col_upper_ = np.concatenate((upper.ravel(), np.full(count, float(needed))))
    lp.row_lower_ = np.concatenate((np.zeros((ticks - 1) * pools), np.full(ticks, float(needed))))
    lp.row_upper_ = np.full(lp.num_row_, highspy.kHighsInf)
    # Launches are at least what is held beyond the tick before.
    rows = np.arange((ticks - 1) * pools)
    parts = [
        (rows, launched[1:].ravel(), np.ones(rows.size)),
        (rows, held[1:].ravel(), -np.ones(rows.size)),
        (rows, held[:-1].ravel(), np.ones(rows.size)),
    ]
    # What is held, less what still boots, is enough in all pools together.
    demand = (ticks - 1) * pools + np.repeat(np.arange(ticks), pools)
    parts.append((demand, held.ravel(), np.ones(count)))
    for back in range(min(boot, ticks - 1)):
        later = launched[1 : ticks - back].ravel()
        parts.append((demand[(1 + back) * pools :], later, -np.ones(later.size)))
    row, column, value = (np.concatenate([part[which] for part in parts]) for which in range(3))
    order = np.lexsort((row, column))
    starts = np.searchsorted(column[order], np.arange(2 * count + 1))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = starts, row[order], value[order].astype(float)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"the linear program did not end: {solver.getModelStatus()}")
    best = float(solver.getInfo().objective_function_value)
    return best / (ticks * needed * capacity.on_demand_usd_per_hour)
