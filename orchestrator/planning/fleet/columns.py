"""The solver's working form: one row an option of a job, every job's last row standing for leaving it unplaced."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray


class Columns(NamedTuple):
    """Rows by job; a job's last row leaves it unplaced: one node of the offer after the last, and no money."""

    start: IntArray  # (J + 1,): rows of job j are start[j]:start[j + 1]
    job: IntArray
    offer: IntArray
    nodes: FloatArray
    usd: FloatArray
    money_usd: FloatArray
    option: IntArray  # row of the caller's options; -1 for the unplaced row
    unplaced: IntArray  # (J,): the row of each job's unplaced option

    def take(self, keep: IntArray) -> Columns:
        """The rows named, in rising order; every job's unplaced row must be among them."""
        job = self.job[keep]
        new = np.full(len(self.job), -1, np.int64)
        new[keep] = np.arange(len(keep))
        return Columns(
            np.searchsorted(job, np.arange(len(self.start))),
            job,
            self.offer[keep],
            self.nodes[keep],
            self.usd[keep],
            self.money_usd[keep],
            self.option[keep],
            new[self.unplaced],
        )


class Resources(NamedTuple):
    """What the jobs share; `team` is the last budget (infinite) for a job of no team."""

    capacity_nodes: FloatArray  # (O,)
    quota_start: IntArray  # (O + 1,): the quotas an offer counts against, by offer
    quota: IntArray
    quota_units: FloatArray  # units of the quota one node takes
    quota_cap: FloatArray  # (Q,)
    team: IntArray  # (J,)
    budget_usd: FloatArray  # (T + 1,)

    def quota_room(self, left: FloatArray) -> FloatArray:
        """Shape (O,): nodes of every offer that its quotas, `left` of them, would still allow."""
        room = np.full(len(self.capacity_nodes), np.inf)
        if len(self.quota):
            offer = np.repeat(np.arange(len(room)), np.diff(self.quota_start))
            np.minimum.at(room, offer, (left[self.quota] + 1e-9) / self.quota_units)
        return room

    def quota_use(self, nodes: dict[int, float]) -> dict[int, float]:
        """Units of every quota touched when `nodes` more of every offer named are taken."""
        used: dict[int, float] = {}
        for offer, more in nodes.items():
            if offer < len(self.capacity_nodes):
                for at in range(int(self.quota_start[offer]), int(self.quota_start[offer + 1])):
                    quota = int(self.quota[at])
                    used[quota] = used.get(quota, 0.0) + more * float(self.quota_units[at])
        return used


def without_budgets(limits: Resources) -> Resources:
    """The same resources with money enough for all."""
    return limits._replace(budget_usd=np.full(len(limits.budget_usd), np.inf))
