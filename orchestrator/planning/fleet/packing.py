"""A bound that knows nodes are whole: every offer packed by itself, jobs priced so that their packings agree.

The linear bound lets an offer of 10 nodes hold one and a quarter gangs of 8. Relaxing instead that a job is placed
once, at a value for each job, leaves every offer its own knapsack, solved exactly; the values' sum less the knapsacks'
is below the cost of every placement, and at the best values never below the linear bound (the relaxation of Fisher,
Jaikumar and Van Wassenhove, Management Science 32 (1986) 1095-1103). Quotas and budgets stay priced.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources
from orchestrator.planning.fleet.prices import MARGIN, Prices, quota_price, worth

PACKED_NODES = 128  # larger offers are bounded by their price: of so many nodes little stays empty
WIDTHS = (4, 8, 16, 32, 64, PACKED_NODES)
RISE = 1.05  # values looked at are expected to rise by no more
KEEP = 2.0  # times as many of a size as an offer holds are looked at while values move
STALL, SHRINK = 4, 0.6


class Packed(NamedTuple):
    """What some values prove."""

    bound_usd: float
    taken: IntArray  # rows the knapsacks take
    full_usd: FloatArray  # (O + 1,): what each offer's knapsack is worth
    best: dict[int, tuple[IntArray, FloatArray]]  # by width: offers, and worth by nodes used, shape (offers, width + 1)


class Packing:
    """The knapsacks of all offers over fixed columns, at fixed prices of quotas and budgets."""

    def __init__(self, columns: Columns, limits: Resources, prices: Prices) -> None:
        self.columns, self.limits, self.prices = columns, limits, prices
        usd = quota_price(prices, limits)[columns.offer]
        usd *= columns.nodes
        usd += columns.usd
        if prices.budget.any():
            usd += prices.budget[limits.team[columns.job]] * columns.money_usd
        self.usd = usd
        self.offers = len(limits.capacity_nodes)
        self.small = np.append(limits.capacity_nodes <= PACKED_NODES, False)
        rows = np.flatnonzero(
            (columns.offer < self.offers) & (columns.nodes <= np.append(limits.capacity_nodes, 0.0)[columns.offer])
        )
        group = columns.offer[rows] * (PACKED_NODES + 1) + np.minimum(columns.nodes[rows], PACKED_NODES).astype(
            np.int64
        )
        order = np.argsort(group, kind="stable")
        self.rows = rows[order]
        group = group[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        self.group = np.cumsum(np.diff(group, prepend=-1) != 0) - 1  # of every row of `rows`
        size = columns.nodes[self.rows[first]] if len(first) else np.zeros(0)
        capacity = limits.capacity_nodes[columns.offer[self.rows[first]]] if len(first) else np.zeros(0)
        most = np.where(capacity <= PACKED_NODES, np.floor(capacity / np.maximum(size, 1.0)), np.inf)
        self.most = most  # of every group: how many of its size the offer holds
        slack = worth(limits.quota_cap, prices.quota).sum() + worth(limits.budget_usd, prices.budget).sum()
        self.resources_usd = float(slack)

    def _worthwhile(
        self, value: FloatArray, rows: IntArray, group: IntArray, times: float
    ) -> tuple[IntArray, IntArray, FloatArray]:
        """Rows worth taking at `value`, of each group only as many of the best as the offer holds, `times` over."""
        gain = value[self.columns.job[rows]] - self.usd[rows]
        keep = np.flatnonzero(gain > 0)
        rows, group, gain = rows[keep], group[keep], gain[keep]
        top = float(gain.max(initial=0.0)) or 1.0
        order = np.argsort(group - gain / (2.0 * top))  # one key is several times as fast as two
        rows, group, gain = rows[order], group[order], gain[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
        keep = np.flatnonzero(rank < np.ceil(self.most[group] * times))
        return rows[keep], group[keep], gain[keep]

    def near(self, value: FloatArray) -> tuple[IntArray, IntArray]:
        """The rows (and their groups) that matter while values move a little from `value`."""
        rows, group, _ = self._worthwhile(value * RISE, self.rows, self.group, KEEP)
        return rows, group

    def evaluate(self, value: FloatArray, among: tuple[IntArray, IntArray] | None = None) -> Packed:
        """What `value` (J,) proves; over the rows `among` alone it is a guess, over all (None) a bound."""
        rows, group = among or (self.rows, self.group)
        rows, group, gain = self._worthwhile(value, rows, group, 1.0)
        full = np.zeros(self.offers + 1)
        offer = self.columns.offer[rows]
        large = ~self.small[offer]
        if large.any():
            full += self._fluid(rows[large], gain[large])
        best: dict[int, tuple[IntArray, FloatArray]] = {}
        taken = []
        capacity = np.append(self.limits.capacity_nodes, 0.0)[offer]
        for low, width in zip((0, *WIDTHS), WIDTHS, strict=False):
            mine = np.flatnonzero((capacity > low) & (capacity <= width))
            if len(mine):
                offers, table, chosen = self._pack(rows[mine], gain[mine], width)
                full[offers] = table[np.arange(len(offers)), self.limits.capacity_nodes[offers].astype(np.int64)]
                best[width] = (offers, table)
                taken.append(chosen)
        penalty = np.maximum(value - self.columns.usd[self.columns.unplaced], 0.0)  # its own unlimited offer
        terms = (value, -penalty, -full)
        total = sum(float(term.sum()) for term in terms) - self.resources_usd
        # One key tells gains of a group apart to that part of the largest: what a knapsack may miss by it.
        total -= 4.0 * len(self.most) * np.finfo(np.float64).eps * float(gain.max(initial=0.0)) * len(rows)
        total -= MARGIN * (sum(float(np.abs(term).sum()) for term in terms) + self.resources_usd)
        return Packed(total, np.concatenate(taken) if taken else np.zeros(0, np.int64), full, best)

    def _fluid(self, rows: IntArray, gain: FloatArray) -> FloatArray:
        """Shape (O + 1,): above the knapsacks of large offers, by their price (any price of 0 or more will do)."""
        offer = self.columns.offer[rows]
        price = self.prices.node
        over = np.maximum(gain - price[offer] * self.columns.nodes[rows], 0.0)
        held = np.unique(offer)
        full: FloatArray = np.bincount(offer, over, minlength=self.offers + 1).astype(np.float64)
        full[held] += worth(self.limits.capacity_nodes[held], price[held])
        return full

    def _pack(self, rows: IntArray, gain: FloatArray, width: int) -> tuple[IntArray, FloatArray, IntArray]:
        """Knapsacks by dynamic programming, one item of every offer at a time: offers, worth by nodes, rows taken."""
        offers, at = np.unique(self.columns.offer[rows], return_inverse=True)
        nodes = self.columns.nodes[rows].astype(np.int64)
        # The r-th item of a size, of all offers at once: items of one size are sorted by gain, so rank r has its turn.
        group = at * (width + 1) + nodes
        order = np.lexsort((-gain, group))
        first = np.flatnonzero(np.diff(group[order], prepend=-1))
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
        turn = nodes * (width + 1) + rank
        order = np.argsort(turn, kind="stable")
        edges = np.flatnonzero(np.diff(turn[order], prepend=-1, append=-1))
        table = np.zeros((len(offers), width + 1))
        log = []
        for low, high in pairwise(edges):
            items = order[low:high]
            size, here = int(nodes[items[0]]), at[items]
            old = table[here]
            new = old[:, : width + 1 - size] + gain[items][:, None]
            better = new > old[:, size:]
            old[:, size:] = np.where(better, new, old[:, size:])
            table[here] = old
            log.append((items, size, better))
        left = self.limits.capacity_nodes[offers].astype(np.int64)
        taken = []
        for items, size, better in reversed(log):
            here = at[items]
            room = left[here] - size
            take = (room >= 0) & better[np.arange(len(items)), np.maximum(room, 0)]
            taken.append(rows[items[take]])
            left[here[take]] -= size
        return offers, table, np.concatenate(taken) if taken else np.zeros(0, np.int64)

    def ascend(
        self, value: FloatArray, ceiling: FloatArray, target_usd: float, steps: int, stop: Callable[[], bool]
    ) -> FloatArray:
        """Better values than `value`, none above `ceiling`, by Polyak's steps towards `target_usd`.

        Over the rows that matter near `value` alone: what the result proves, `evaluate` says.
        """
        among = self.near(value)
        base = np.maximum(np.minimum.reduceat(self.columns.usd, self.columns.start[:-1]), 1e-9)
        best, best_usd, value = value, -np.inf, value.copy()
        drift, size, stalled = np.zeros(len(value)), 0.5, 0
        for _ in range(steps):
            if stop():
                break
            packed = self.evaluate(value, among)
            if packed.bound_usd > best_usd:
                stalled = 0 if packed.bound_usd > best_usd + 1e-6 * abs(best_usd) else stalled + 1
                best, best_usd = value.copy(), packed.bound_usd
            else:
                stalled += 1
            if stalled > STALL:
                size, stalled, value = size * SHRINK, 0, best.copy()
                drift[:] = 0.0
            times = np.bincount(self.columns.job[packed.taken], minlength=len(value))
            times += value >= self.columns.usd[self.columns.unplaced]
            drift = 0.5 * drift + 0.5 * (1.0 - times)
            norm = float((drift * drift * base).sum())
            if norm <= 0:
                break
            value += size * max(target_usd - packed.bound_usd, 1e-6 * abs(target_usd)) / norm * drift * base
            np.clip(value, 0.0, ceiling, out=value)
        return best

    def regret(self, value: FloatArray, packed: Packed) -> FloatArray:
        """Shape (rows,), 0 or more: how much higher the bound is for placements that use the column.

        What the offer's knapsack loses when it must hold the job in the nodes it takes.
        """
        columns = self.columns
        own = value[columns.job] - self.usd
        lost = packed.full_usd[columns.offer] - own
        for offers, table in packed.best.values():
            index = np.full(self.offers + 1, -1)
            index[offers] = np.arange(len(offers))
            mine = np.flatnonzero(index[columns.offer] >= 0)
            offer = columns.offer[mine]
            rest = self.limits.capacity_nodes[offer] - columns.nodes[mine]
            mine, offer, rest = mine[rest >= 0], offer[rest >= 0], rest[rest >= 0]
            lost[mine] -= table[index[offer], rest.astype(np.int64)]
        large = np.flatnonzero(~self.small[columns.offer] & (columns.offer < self.offers))
        if len(large):
            offer = columns.offer[large]
            lost[large] = np.maximum(self.prices.node[offer] * columns.nodes[large] - own[large], 0.0)
        lost[columns.unplaced] = np.maximum(columns.usd[columns.unplaced] - value, 0.0)
        return np.maximum(lost, 0.0)
