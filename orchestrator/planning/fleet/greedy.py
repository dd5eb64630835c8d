"""A first placement: the job with most to lose first, each on what it likes best of what is left."""

from __future__ import annotations

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.state import State


def place(state: State, jobs: IntArray, liking: FloatArray) -> None:
    """Place the unplaced `jobs` one after the other, each on the column least in `liking` (rows) that still fits."""
    columns = state.columns
    for job in jobs.tolist():
        low, high = int(columns.start[job]), int(columns.start[job + 1])
        team = state.limits.team[job]
        fits = columns.nodes[low:high] <= state.nodes_left[columns.offer[low:high]]
        fits &= columns.money_usd[low:high] <= state.budget_left[team] + state.tolerance_usd[team]
        want = np.where(fits, liking[low:high], np.inf)
        while True:
            row = int(want.argmin())
            if want[row] == np.inf or state.move((job,), (low + row,)):
                break
            want[row] = np.inf  # a quota is in the way
