"""Prices on what jobs share, by dual ascent, and the lower bound that any prices prove.

Relaxing capacities, quotas and budgets at prices of 0 or more leaves each job to take its cheapest option; the sum of
those, less what the resources would fetch, is below the cost of every placement (Lagrangian duality; Geoffrion,
Mathematical Programming Study 2 (1974) 82-114).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offerbook import BoolArray, FloatArray
from orchestrator.planning.fleet.columns import Columns, Resources

MARGIN = 1e-11  # of the sum of magnitudes: more than rounding can add up to in a sum of millions
SMALL = 1e-4  # of the mean: a job that costs less shares its demand as if it cost that
FAINT = 6.0  # exp(-6) of a job's demand is none
MOMENTUM, MEMORY, TINY = 0.9, 0.95, 1e-9  # of Adam (Kingma and Ba, ICLR 2015): mean and square of the excess
QUOTA_SCALE, BUDGET_SCALE = 0.2, 1.0  # of a step: of a node's usual price; USD per USD
MOST_EXCESS = 2.0  # demand beyond this many times the capacity raises a price no faster


class Prices(NamedTuple):
    """Dual prices: USD that one unit more of each resource would save."""

    node: FloatArray  # (O + 1,), the last 0: leaving a job out uses nothing
    quota: FloatArray  # (Q,)
    budget: FloatArray  # (T + 1,), USD per USD, the last 0


class Steps(NamedTuple):
    """How an ascent runs: `count` steps of relative sizes falling from `first` to `last`, seen with a falling `blur`."""

    count: int
    first: float
    last: float
    blur: tuple[float, float] = (0.005, 0.0005)


def no_prices(limits: Resources) -> Prices:
    """Everything free."""
    return Prices(
        np.zeros(len(limits.capacity_nodes) + 1), np.zeros(len(limits.quota_cap)), np.zeros(len(limits.budget_usd))
    )


def node_price(prices: Prices, limits: Resources) -> FloatArray:
    """Shape (O + 1,): USD per node of every offer, its quotas' prices included."""
    return prices.node + quota_price(prices, limits)


def quota_price(prices: Prices, limits: Resources) -> FloatArray:
    """Shape (O + 1,): what the quotas alone add to a node of every offer."""
    total = np.zeros(len(prices.node))
    if prices.quota.any():
        offer = np.repeat(np.arange(len(limits.capacity_nodes)), np.diff(limits.quota_start))
        total += np.bincount(offer, prices.quota[limits.quota] * limits.quota_units, minlength=len(total))
    return total


def priced(columns: Columns, prices: Prices, limits: Resources) -> FloatArray:
    """Shape (rows,): every column's cost with all that it uses paid for."""
    usd = node_price(prices, limits)[columns.offer]
    usd *= columns.nodes
    usd += columns.usd
    if prices.budget.any():
        usd += prices.budget[limits.team[columns.job]] * columns.money_usd
    return usd


def worth(amount: FloatArray, price: FloatArray) -> FloatArray:
    """`amount` at `price`; an unlimited amount has no price."""
    return np.where(price > 0, amount, 0.0) * price


def dual_value(value: FloatArray, prices: Prices, limits: Resources) -> float:
    """The bound that prices prove where every job's cheapest priced option costs `value` or more; rounding is taken off."""
    terms = (
        value,
        -worth(limits.capacity_nodes, prices.node[:-1]),
        -worth(limits.quota_cap, prices.quota),
        -worth(limits.budget_usd, prices.budget),
    )
    return float(sum(term.sum() for term in terms) - MARGIN * sum(np.abs(term).sum() for term in terms))


def values(columns: Columns, prices: Prices, limits: Resources, beyond_usd: FloatArray) -> FloatArray:
    """Shape (J,): what each job pays at least; `beyond_usd` is below the cost of any option that is not a column."""
    if not len(columns.job):
        return np.zeros(0)
    return np.minimum(np.minimum.reduceat(priced(columns, prices, limits), columns.start[:-1]), beyond_usd)


def ascend(
    columns: Columns, limits: Resources, start: Prices, steps: Steps, *, share: float = 1.0, stop: Callable[[], bool]
) -> Prices:
    """Better prices than `start`, by subgradient steps scaled to each resource, with momentum.

    `share` is the part of every resource that the columns' jobs may use: less than 1 for a sample of the jobs. Single
    precision throughout: what the prices prove is worked out afterwards. `stop` is asked before every step.
    """
    work = _Work(columns, limits, share)
    node, quota, budget = (column.copy() for column in start)
    drift = Prices(np.zeros_like(node), np.zeros_like(quota), np.zeros_like(budget))
    spread = Prices(np.zeros_like(node), np.zeros_like(quota), np.zeros_like(budget))
    best, best_value = start, -np.inf
    for step in range(steps.count):
        if stop():
            break
        now = Prices(node, quota, budget)
        blur = steps.blur[0] * (steps.blur[1] / steps.blur[0]) ** (step / steps.count)
        value, excess = work.look(now, blur)
        if value > best_value:
            best, best_value = Prices(node.copy(), quota.copy(), budget.copy()), value
        size = steps.first * (steps.last / steps.first) ** (step / steps.count)
        for price, scale, pull, square, over in zip(now, work.scale, drift, spread, excess, strict=True):
            pull *= MOMENTUM
            pull += (1.0 - MOMENTUM) * over
            square *= MEMORY
            square += (1.0 - MEMORY) * over * over
            usual = np.sqrt(square / (1.0 - MEMORY ** (step + 1)))
            price += size * scale * pull / (usual + TINY)
            np.maximum(price, 0.0, out=price)
            pull[(price <= 0) & (pull < 0)] = 0.0
        node[-1] = budget[-1] = 0.0
    return best


class _Work:
    """The columns in the form in which a step is fastest, and the natural size of every price."""

    def __init__(self, columns: Columns, limits: Resources, share: float) -> None:
        self.limits, self.columns, self.share = limits, columns, share
        self.offer = columns.offer.astype(np.int32)
        self.nodes = columns.nodes.astype(np.float32)
        self.usd = columns.usd.astype(np.float32)
        self.money = columns.money_usd.astype(np.float32)
        self.team = limits.team[columns.job].astype(np.int32)
        self.count = np.diff(columns.start)
        self.job = columns.job.astype(np.int32)
        offers = len(limits.capacity_nodes)
        rate = columns.usd / columns.nodes
        seen = np.bincount(columns.offer, minlength=offers + 1)
        node = np.bincount(columns.offer, rate, minlength=offers + 1) / np.maximum(seen, 1)
        node[-1] = 0.0
        group = limits.quota
        offer = np.repeat(np.arange(offers), np.diff(limits.quota_start))
        sold = seen[offer] > 0
        quotas = len(limits.quota_cap)
        quota = np.bincount(group[sold], (node[offer] / limits.quota_units)[sold], minlength=quotas)
        quota = QUOTA_SCALE * quota / np.maximum(np.bincount(group[sold], minlength=quotas), 1)
        self.scale = Prices(node, quota, np.where(np.isfinite(limits.budget_usd), BUDGET_SCALE, 0.0))
        self.member = offer
        self.caps = Prices(
            np.append(limits.capacity_nodes, np.inf) * share, limits.quota_cap * share, limits.budget_usd * share
        )

    def look(self, prices: Prices, blur: float) -> tuple[float, Prices]:
        """The dual value of `prices`, and by how much of each resource demand exceeds what there is."""
        usd = node_price(prices, self.limits).astype(np.float32)[self.offer]
        usd *= self.nodes
        usd += self.usd
        if prices.budget.any():
            usd += prices.budget.astype(np.float32)[self.team] * self.money
        value = np.minimum.reduceat(usd, self.columns.start[:-1])
        # Near the best prices a job is all but indifferent between many offers. Shared among those within `blur` of the
        # cheapest, its demand moves smoothly with prices, and few steps do where the cheapest alone would flicker.
        usd -= np.repeat(value, self.count)
        usd /= np.repeat(np.maximum(value, SMALL * value.mean() + TINY) * np.float32(blur), self.count)
        rows = np.flatnonzero(usd <= FAINT)
        part = np.exp(-usd[rows])
        job = self.job[rows]
        part /= np.bincount(job, part, minlength=len(value)).astype(np.float32)[job]
        offer = self.offer[rows]
        use = np.bincount(offer, part * self.nodes[rows], minlength=len(prices.node))
        taken = np.bincount(self.limits.quota, use[self.member] * self.limits.quota_units, minlength=len(prices.quota))
        part *= self.money[rows]
        spent = np.bincount(self.team[rows], part, minlength=len(prices.budget))
        total = float(value.sum(dtype=np.float64))
        total -= sum(float(worth(cap, price).sum()) for cap, price in zip(self.caps, prices, strict=True))
        over = (_over(demand, cap) for demand, cap in zip((use, taken, spent), self.caps, strict=True))
        return total, Prices(*over)


def _over(demand: FloatArray, cap: FloatArray) -> FloatArray:
    """Demand beyond `cap` as a part of it, from -1 to `MOST_EXCESS`."""
    finite: BoolArray = np.isfinite(cap)
    part: npt.NDArray[np.float64] = np.full(len(cap), -1.0)
    np.divide(demand - cap, cap, out=part, where=finite & (cap > 0))
    part[finite & (cap <= 0)] = np.where(demand[finite & (cap <= 0)] > 0, MOST_EXCESS, -1.0)
    return np.clip(part, -1.0, MOST_EXCESS)
