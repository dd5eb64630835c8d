"""A placement under way: which column every job stands on, and what of every shared resource is left."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources

SLACK = 1e-9  # relative; budgets are sums of floats


class State:
    """One column a job at every moment, every limit kept at every moment; `move` is the only way to change it."""

    __slots__ = ("at", "budget_left", "columns", "limits", "nodes_left", "quota_left", "tolerance_usd")

    def __init__(self, columns: Columns, limits: Resources) -> None:
        """Every job unplaced, by the last column of its own."""
        self.columns, self.limits = columns, limits
        self.at: IntArray = columns.unplaced.copy()
        self.nodes_left: FloatArray = np.append(limits.capacity_nodes, np.inf)
        self.quota_left: FloatArray = limits.quota_cap.copy()
        self.budget_left: FloatArray = limits.budget_usd.copy()
        self.tolerance_usd: FloatArray = SLACK * np.where(np.isfinite(limits.budget_usd), limits.budget_usd, 0.0)

    def usd(self) -> float:
        """What the placement costs, unplaced jobs at their penalty."""
        return float(self.columns.usd[self.at].sum())

    def fits(self, rows: IntArray) -> BoolArray:
        """For every column of `rows`, whether it alone could be taken now beside what stands."""
        columns, limits = self.columns, self.limits
        offer, nodes = columns.offer[rows], columns.nodes[rows]
        ok = nodes <= self.nodes_left[offer]
        team = limits.team[columns.job[rows]]
        ok &= columns.money_usd[rows] <= (self.budget_left + self.tolerance_usd)[team]
        if len(self.quota_left):
            room = np.append(limits.quota_room(self.quota_left), np.inf)
            ok &= nodes <= room[offer]
        return ok

    def move(self, jobs: Iterable[int], rows: Iterable[int]) -> bool:
        """Put every job of `jobs` on its column of `rows` at once; False, and nothing done, where a limit breaks."""
        columns, limits = self.columns, self.limits
        nodes: dict[int, float] = {}
        money: dict[int, float] = {}
        pairs = [(job, int(self.at[job]), row) for job, row in zip(jobs, rows, strict=True)]
        for job, old, new in pairs:
            for row, sign in ((old, -1.0), (new, 1.0)):
                offer = int(columns.offer[row])
                nodes[offer] = nodes.get(offer, 0.0) + sign * float(columns.nodes[row])
                team = int(limits.team[job])
                money[team] = money.get(team, 0.0) + sign * float(columns.money_usd[row])
        if any(more > 0 and more > self.nodes_left[offer] for offer, more in nodes.items()):
            return False
        if any(more > 0 and more > self.budget_left[team] + self.tolerance_usd[team] for team, more in money.items()):
            return False
        quotas = limits.quota_use(nodes) if len(self.quota_left) else {}
        if any(more > 0 and more > self.quota_left[quota] for quota, more in quotas.items()):
            return False
        for offer, more in nodes.items():
            self.nodes_left[offer] -= more
        for team, more in money.items():
            self.budget_left[team] -= more
        for quota, more in quotas.items():
            self.quota_left[quota] -= more
        for job, _, new in pairs:
            self.at[job] = new
        return True
