"""Capacity: the requests per second that so many nodes answer within a promise, and lines that lie above it."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Final, NamedTuple

from orchestrator.planning.autoscale.queueing import Mix, Promise, Replica, rate_for, saturation

LADDER: Final = (1, 2, 4, 16, 64, 256, 1024, 4096)  # nodes where a line ends and the next begins
EXACT: Final = 1e-5  # a load this share above a capacity is within it: no rate is known that well
# What replays of pools show to be needed: the queueing model takes loads near saturation, and small pools, for calmer
# than they are (benchmarks/continuum.py).
SMALL: Final = 0.2  # of the rate of one replica, falling with the square root of their number
FULL: Final = 0.9  # of saturation


class Segment(NamedTuple):
    """From `low` to `high` nodes: at most slope·nodes + level requests per second."""

    low: int
    high: int
    slope: float
    level: float

    def rate(self, nodes: int) -> float:
        """Requests per second on the line."""
        return self.slope * nodes + self.level


class Curve:
    """What pools of one kind of node answer per second while they keep `promise`.

    Pooled replicas carry more than separate ones (square-root staffing), so that the rate grows faster than the nodes:
    lines between points of the curve lie above it, and the least number of nodes on a line is never too high.
    """

    def __init__(self, replica: Replica, mix: Mix, promise: Promise, per_node: int) -> None:
        """`per_node` replicas share a node; they are all in one pool."""
        self.replica, self.mix, self.promise, self.per_node = replica, mix, promise, per_node
        self._rates: dict[int, float] = {0: 0.0}
        self._ends: set[int] = set(LADDER)

    @property
    def ceiling(self) -> float:
        """Requests per second and node that no pool passes, whatever its size."""
        return FULL * self.per_node * saturation(self.replica, self.mix)

    def rate(self, nodes: int) -> float:
        """Requests per second that `nodes` answer; 0 where not even an idle one keeps the promise."""
        if nodes not in self._rates:
            replicas = nodes * self.per_node
            most = rate_for(replicas, self.replica, self.mix, self.promise) * (1.0 - SMALL / sqrt(replicas))
            self._rates[nodes] = min(most, nodes * self.ceiling)
        return self._rates[nodes]

    def need(self, load: float, most: int) -> int | None:
        """The fewest nodes that answer `load` requests per second; None where `most` do not."""
        if load <= 0.0:
            return 0
        low = min(most, max(0, ceil(load / self.ceiling - EXACT) - 1))
        step, high = 1, min(most, low + 1)
        while self.rate(high) < load * (1.0 - EXACT):
            if high >= most:
                return None
            low, high, step = high, min(most, high + step), step * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.rate(middle) >= load * (1.0 - EXACT) else (middle, high)
        return high

    def segments(self, most: int) -> tuple[Segment, ...]:
        """Lines on or above the curve up to `most` nodes; none where the promise cannot be kept."""
        if most < 1 or (self.rate(1) <= 0.0 and self.rate(most) <= 0.0):
            return ()
        found, low = [], 1
        bend = self._bend(most)
        for step in (*sorted(step for step in {*self._ends, bend - 1, bend} if 1 <= step < most), most):
            high = max(low, step)
            found.append(self._line(low, high))
            low = high + 1
            if low > most:
                break
        return tuple(found)

    def refine(self, nodes: int) -> None:
        """Let the lines touch the curve around so many nodes, where they were seen to promise too much."""
        self._ends |= {count for count in (nodes - 2, nodes - 1, nodes, nodes + 1) if count >= 1}

    def _bend(self, most: int) -> int:
        """The fewest nodes, up to `most`, from where the ceiling rules: there the curve becomes a straight line."""
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            bent = self.rate(middle) >= middle * self.ceiling * (1.0 - 1e-9)
            low, high = (low, middle) if bent else (middle, high)
        return high

    def _line(self, low: int, high: int) -> Segment:
        first, last = self.rate(low), self.rate(high)
        slope = (last - first) / (high - low) if high > low else 0.0
        level = first - slope * low
        # Where a chunk or a batch fills, the curve may bend the other way: the line is lifted over it.
        inner = {low + (high - low) // 4, (low + high) // 2, high - (high - low) // 4}
        lift = max((self.rate(nodes) - slope * nodes - level for nodes in inner), default=0.0)
        return Segment(low, high, slope, level + max(0.0, lift))
