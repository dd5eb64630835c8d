"""Prices on what jobs share, by dual ascent, and the lower bound that any prices prove.

Relaxing capacities, quotas and budgets at prices of 0 or more leaves each job to take its cheapest option; the sum of
those, less what the resources would fetch, is below the cost of every placement (Lagrangian duality; Geoffrion,
Mathematical Programming Study 2 (1974) 82-114).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.columns import Columns, Resources
from orchestrator.planning.fleet.spread import Spread

MARGIN = 1e-11  # of the sum of magnitudes: more than rounding can add up to in a sum of millions
SMALL = 1e-4  # of the mean: a job that costs less shares its demand as if it cost that
FAINT = 6.0  # exp(-6) of a job's demand is none
PARTS = 2  # of the jobs, looked at at the same time where the caller's `spread` can
MOMENTUM, MEMORY, TINY = 0.9, 0.95, 1e-9  # of Adam (Kingma and Ba, ICLR 2015): mean and square of the excess
QUOTA_SCALE, BUDGET_SCALE = 0.2, 1.0  # of a step: of a node's usual price; USD per USD
MOST_EXCESS = 2.0  # demand beyond this many times the capacity raises a price no faster

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int32Array: TypeAlias = npt.NDArray[np.int32]


class Prices(NamedTuple):
    """Dual prices: USD that one unit more of each resource would save."""

    node: FloatArray  # (O + 1,), the last 0: leaving a job out uses nothing
    quota: FloatArray  # (Q,)
    budget: FloatArray  # (T + 1,), USD per USD, the last 0


class Steps(NamedTuple):
    """How an ascent runs: `number` steps of relative sizes from `first` down to `last`, seen with a falling `blur`."""

    number: int
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
    """The bound that prices prove where every job's cheapest priced option costs `value` or more, less rounding."""
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
    columns: Columns,
    limits: Resources,
    start: Prices,
    steps: Steps,
    ceiling_usd: FloatArray,
    *,
    share: float = 1.0,
    stop: Callable[[], bool],
    spread: Spread = map,
) -> Prices:
    """Better prices than `start`, by subgradient steps scaled to each resource as Adam scales them.

    A job never pays more than `ceiling_usd` (J,): where options were left out, what those cost at least, so that
    prices do not run away from options nobody sees. `share` is the part of every resource that the columns' jobs may
    use: less than 1 for a sample of the jobs. Single precision throughout: what the prices prove is worked out
    afterwards. `stop` is asked before every step. `spread` looks at parts of the jobs at the same time.
    """
    work = _Work(columns, limits, share, ceiling_usd, spread)
    now = Prices(*(column.copy() for column in start))
    drift = Prices(*(np.zeros_like(column) for column in start))
    square = Prices(*(np.zeros_like(column) for column in start))
    best, best_value = start, -np.inf
    for step in range(steps.number):
        if stop():
            break
        done = step / steps.number
        value, excess = work.look(now, steps.blur[0] * (steps.blur[1] / steps.blur[0]) ** done)
        if value > best_value:
            best, best_value = Prices(*(column.copy() for column in now)), value
        size = steps.first * (steps.last / steps.first) ** done
        for price, scale, pull, usual, over in zip(now, work.scale, drift, square, excess, strict=True):
            pull[:] = MOMENTUM * pull + (1.0 - MOMENTUM) * over
            usual[:] = MEMORY * usual + (1.0 - MEMORY) * over * over
            price[:] += size * scale * pull / (np.sqrt(usual / (1.0 - MEMORY ** (step + 1))) + TINY)
            np.maximum(price, 0.0, out=price)
            pull[(price <= 0) & (pull < 0)] = 0.0
        now.node[-1] = now.budget[-1] = 0.0
    return best


class _Part(NamedTuple):
    """The columns of some jobs in the form in which a step is fastest."""

    start: IntArray
    options: IntArray  # of each job
    job: Int32Array
    offer: Int32Array
    team: Int32Array
    nodes: Float32Array
    usd: Float32Array
    money: Float32Array


class _Look(NamedTuple):
    """What one part of the jobs would take at some prices."""

    value: float
    use: FloatArray  # (O + 1,)
    spent: FloatArray  # (T + 1,)


def _look(task: tuple[_Part, Float32Array, Float32Array, float]) -> _Look:
    """The sum of the jobs' cheapest priced options, and their demand.

    Near the best prices a job is all but indifferent between many offers. Shared among those within `blur` of the
    cheapest, its demand moves smoothly with prices, and few steps do where the cheapest alone would flicker.
    """
    part, node, budget, blur = task
    usd = node[part.offer]
    usd *= part.nodes
    usd += part.usd
    if budget.any():
        usd += budget[part.team] * part.money
    value = np.minimum.reduceat(usd, part.start)
    usd -= np.repeat(value, part.options)
    width = np.maximum(value, SMALL * value.mean() + TINY) * np.float32(blur * FAINT)
    rows = np.flatnonzero(usd <= np.repeat(width, part.options))
    job = part.job[rows]
    share = np.exp(usd[rows] / width[job] * np.float32(-FAINT))
    share /= np.bincount(job, share, minlength=len(value)).astype(np.float32)[job]
    use = np.bincount(part.offer[rows], share * part.nodes[rows], minlength=len(node)).astype(np.float64)
    spent = np.bincount(part.team[rows], share * part.money[rows], minlength=len(budget)).astype(np.float64)
    return _Look(float(value.sum(dtype=np.float64)), use, spent)


class _Work:
    """All the columns, in parts of the jobs, and the natural size of every price."""

    def __init__(
        self, columns: Columns, limits: Resources, share: float, ceiling_usd: FloatArray, spread: Spread
    ) -> None:
        self.limits, self.spread = limits, spread
        usd, money = columns.usd.copy(), columns.money_usd.copy()
        unseen = ceiling_usd < usd[columns.unplaced]
        usd[columns.unplaced[unseen]] = ceiling_usd[unseen]
        money[columns.unplaced[unseen]] = ceiling_usd[unseen]  # what nobody sees has to be paid for too
        cuts = np.linspace(0, len(columns.start) - 1, PARTS + 1).astype(np.int64)
        self.parts = [
            _part(columns, usd, money, limits, span=(int(low), int(high))) for low, high in pairwise(cuts) if high > low
        ]
        offers = len(limits.capacity_nodes)
        seen = np.bincount(columns.offer, minlength=offers + 1)
        node = np.bincount(columns.offer, columns.usd / columns.nodes, minlength=offers + 1) / np.maximum(seen, 1)
        node[-1] = 0.0
        self.member = np.repeat(np.arange(offers), np.diff(limits.quota_start))
        sold = seen[self.member] > 0
        group, quotas = limits.quota[sold], len(limits.quota_cap)
        rate = np.bincount(group, (node[self.member] / limits.quota_units)[sold], minlength=quotas)
        quota = QUOTA_SCALE * rate / np.maximum(np.bincount(group, minlength=quotas), 1)
        self.scale = Prices(node, quota, np.where(np.isfinite(limits.budget_usd), BUDGET_SCALE, 0.0))
        self.caps = Prices(
            np.append(limits.capacity_nodes, np.inf) * share, limits.quota_cap * share, limits.budget_usd * share
        )

    def look(self, prices: Prices, blur: float) -> tuple[float, Prices]:
        """The dual value of `prices`, and by how much of each resource demand exceeds what there is."""
        node = node_price(prices, self.limits).astype(np.float32)
        budget = prices.budget.astype(np.float32)
        looks = list(self.spread(_look, [(part, node, budget, blur) for part in self.parts]))
        use, spent = np.zeros(len(node), np.float64), np.zeros(len(budget), np.float64)
        for one in looks:
            use += one.use
            spent += one.spent
        taken = np.bincount(
            self.limits.quota, use[self.member] * self.limits.quota_units, minlength=len(prices.quota)
        ).astype(np.float64)
        total = sum(look.value for look in looks)
        total -= sum(float(worth(cap, price).sum()) for cap, price in zip(self.caps, prices, strict=True))
        over = (_over(demand, cap) for demand, cap in zip((use, taken, spent), self.caps, strict=True))
        return total, Prices(*over)


def _part(columns: Columns, usd: FloatArray, money: FloatArray, limits: Resources, *, span: tuple[int, int]) -> _Part:
    """The columns of the jobs of `span`, which are numbered from 0."""
    low, high = span
    rows = slice(int(columns.start[low]), int(columns.start[high]))
    start = columns.start[low : high + 1] - columns.start[low]
    return _Part(
        start[:-1],
        np.diff(start),
        (columns.job[rows] - low).astype(np.int32),
        columns.offer[rows].astype(np.int32),
        limits.team[columns.job[rows]].astype(np.int32),
        columns.nodes[rows].astype(np.float32),
        usd[rows].astype(np.float32),
        money[rows].astype(np.float32),
    )


def _over(demand: FloatArray, cap: FloatArray) -> FloatArray:
    """Demand beyond `cap` as a part of it, from -1 to `MOST_EXCESS`."""
    finite: BoolArray = np.isfinite(cap)
    part: npt.NDArray[np.float64] = np.full(len(cap), -1.0)
    np.divide(demand - cap, cap, out=part, where=finite & (cap > 0))
    part[finite & (cap <= 0)] = np.where(demand[finite & (cap <= 0)] > 0, MOST_EXCESS, -1.0)
    return np.clip(part, -1.0, MOST_EXCESS)
