"""The problem of a service over the continuum: populations, sites, nodes on sale, and the pools they may form."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, inf, isnan, log
from typing import Final, NamedTuple

from orchestrator.domain.offer import Billing, Offer
from orchestrator.planning.autoscale.queueing import Mix, Promise, Replica
from orchestrator.planning.continuum.capacity import Curve

STEP: Final = 0.95  # time for the first token is rounded down to a power of this, so that few curves serve many sites
WORTH: Final = 1.01  # a looser promise is a pool of its own only where it carries this much more
DAY_S: Final = 86400.0


class Slice(NamedTuple):
    """A layer of every population's load: `share` of its peak rate.

    A node under it is on for `duty` of the time on the average of many; the first is on for 2·`extra` longer than the
    last, which adds `extra` to the sum over them.
    """

    share: float
    duty: float
    extra: float = 0.0


class Group(NamedTuple):
    """Requests that one pool takes: size classes `buckets`, together `share` of all requests."""

    buckets: tuple[int, ...]
    share: float


class Engine(NamedTuple):
    """One replica under the requests of one group, and seconds that its tokens after the first take in all."""

    replica: Replica
    mix: Mix
    rest_s: float = 0.0


class Column(NamedTuple):
    """Nodes of one offer: `usd` is the objective of one that is on for the whole horizon, `money` its bill."""

    offer: Offer
    site: int
    kind: str
    per_node: int  # replicas
    stock: int  # nodes
    usd: float
    money: float
    terms: tuple[tuple[str, str, float], ...] = ()  # (policy, name, USD) that add up to `usd`

    @property
    def released(self) -> bool:
        """Whether a node that is not needed costs nothing."""
        return self.offer.billing in (Billing.ON_DEMAND, Billing.SPOT)


class Site(NamedTuple):
    """A provider's region: round trips in ms to every population, and what those are worth in USD."""

    provider: str
    region: str
    rtt_ms: tuple[float, ...]  # NaN where a place is unknown
    latency_usd: tuple[float, ...]
    origins: tuple[str, ...] = ()  # how each round trip is known

    @property
    def label(self) -> str:
        """`aws/eu-central-1`."""
        return f"{self.provider}/{self.region}"


class Problem(NamedTuple):
    """All that a plan over the continuum is made from.

    `rates` are requests per second at the peak, by population; `first_token_s` and `total_s` are limits with the round
    trip, which the share `percentile` of requests keeps. `engines` has an engine by kind of node and group; a kind
    that cannot serve a group has none. With `survive` the loss of any one site leaves every promise kept.
    """

    populations: tuple[str, ...]
    rates: tuple[float, ...]
    sites: tuple[Site, ...]
    columns: tuple[Column, ...]
    engines: Mapping[tuple[str, int], Engine]
    groups: tuple[Group, ...] = (Group((0,), 1.0),)
    slices: tuple[Slice, ...] = (Slice(1.0, 1.0),)
    first_token_s: float = inf
    total_s: float = inf
    percentile: float = 0.99
    budget_usd: float = inf
    survive: bool = False

    @property
    def buckets(self) -> int:
        """Size classes of requests."""
        return 1 + max(bucket for group in self.groups for bucket in group.buckets)

    def restricted(self, *, site: int | None = None, kind: str | None = None) -> Problem:
        """The same with the columns of one site or one kind alone."""
        kept = tuple(column for column in self.columns if site in (None, column.site) and kind in (None, column.kind))
        return self._replace(columns=kept)


class Option(NamedTuple):
    """A pool that may be opened: nodes of a column for a slice and a group, its promise kept for `allowed` alone."""

    column: int
    slice: int
    group: int
    allowed: tuple[int, ...]  # populations
    curve: Curve
    usd: float  # of a node
    usd_open: float
    money: float  # of a node
    money_open: float
    most: int  # nodes


def slices_of(peak_over_mean: float) -> tuple[Slice, ...]:
    """The layers of a load that rises to `peak_over_mean` times its mean: the mean itself, and what is above.

    The load is above the share x of its peak for 1 - x^(1/(k-1)) of the time, k = peak_over_mean: the curve of one
    parameter that has this mean and this peak.
    """
    k = peak_over_mean
    if k <= 1.0 + 1e-9:
        return (Slice(1.0, 1.0),)
    base = 1.0 / k
    power = 1.0 / (k - 1.0)
    above = (1.0 - base) - (1.0 - base ** (power + 1.0)) / (power + 1.0)
    first = 1.0 - base**power
    duty = above / (1.0 - base)
    return (Slice(base, 1.0), Slice(1.0 - base, duty, max(0.0, first / 2.0)))


def left_s(problem: Problem, site: Site, population: int, engine: Engine) -> float:
    """Seconds that the limits leave for the first token at a site, rounded down to a step; at most 0 for none."""
    rtt_ms = site.rtt_ms[population]
    whole = min(problem.first_token_s, problem.total_s - engine.rest_s)
    if isnan(rtt_ms) or whole <= 0.0:
        return 0.0
    left = whole - rtt_ms / 1000.0
    if left <= 0.0 or whole == inf:
        return left
    return float(whole * STEP ** ceil(log(left / whole) / log(STEP) - 1e-9))


def options(problem: Problem) -> tuple[Option, ...]:
    """Every pool that may be opened, in the order of columns, groups, promises and slices.

    Of two promises of one column the looser is left out where it carries less than a hundredth more than the tighter.
    """
    curves: dict[tuple[str, int, int, float], Curve] = {}
    found: list[Option] = []
    for index, column in enumerate(problem.columns):
        for number, group in enumerate(problem.groups):
            engine = problem.engines.get((column.kind, number))
            if engine is None:
                continue
            for curve, allowed in _pools(problem, column, (number, engine), curves):
                load = sum(problem.rates[who] for who in allowed) * group.share
                for layer, part in enumerate(problem.slices):
                    most = _most(curve, load * part.share, column.stock)
                    if most:
                        found.append(_option((index, column), layer, part, Pool(number, allowed, curve, most)))
    return tuple(found)


class Pool(NamedTuple):
    """What an option is about, apart from its column and slice."""

    group: int
    allowed: tuple[int, ...]
    curve: Curve
    most: int


def _option(indexed: tuple[int, Column], layer: int, part: Slice, pool: Pool) -> Option:
    index, column = indexed
    base = part.duty >= 1.0 or not column.released
    duty = 1.0 if base else min(1.0, part.duty + column.offer.boot_s / DAY_S)
    extra = 0.0 if base else part.extra
    return Option(
        index, layer, pool.group, pool.allowed, pool.curve, column.usd * duty, column.usd * extra, column.money * duty,
        column.money * extra, pool.most,
    )  # fmt: skip


def _pools(
    problem: Problem,
    column: Column,
    numbered: tuple[int, Engine],
    curves: dict[tuple[str, int, int, float], Curve],
) -> list[tuple[Curve, tuple[int, ...]]]:
    number, engine = numbered
    site = problem.sites[column.site]
    left = [left_s(problem, site, who, engine) for who in range(len(problem.rates))]
    found: list[tuple[Curve, tuple[int, ...]]] = []
    for seconds in sorted({one for one in left if one > 0.0}):
        key = (column.kind, number, column.per_node, seconds)
        if key not in curves:
            promise = Promise(min(seconds, 1e6), problem.percentile)
            curves[key] = Curve(engine.replica, engine.mix, promise, column.per_node)
        curve = curves[key]
        if curve.rate(1) <= 0.0 and curve.rate(column.stock if column.stock < 16 else 16) <= 0.0:
            continue
        if found and all(curve.rate(nodes) < WORTH * found[-1][0].rate(nodes) for nodes in (1, 4)):
            continue
        found.append((curve, tuple(who for who, one in enumerate(left) if one >= seconds)))
    return found


def _most(curve: Curve, load: float, stock: int) -> int:
    """Nodes beyond which nobody would go: those that carry everything, within the stock."""
    if load <= 0.0:
        return 0
    rough = max(1, floor(load / curve.ceiling))
    if rough >= stock:
        return stock
    return curve.need(load, stock) or stock
