"""More than one site: what training across data centres by low-communication data parallelism takes, and its worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log2

from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.parameters import Parameters, bundled

HOUR_S = 3600.0
FEWEST_INNER = 30.0  # inner steps at which the published losses were measured (Charles et al. 2025)
TOLERATED = 0.05  # slowdown that the least bandwidth is stated for
GRADIENT_BYTES = 2.0  # per parameter and step of plain data parallelism: 16-bit gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One data centre's part: `step_s` is one inner step on its share of the batch, an n-th of it with n sites."""

    name: str
    devices: int
    step_s: float
    egress_usd_per_gb: float | None = None  # None is not known; 0 is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The slowest pair of sites: nominal bandwidth of one site's connection in each direction, and round trip."""

    gbit_s: float
    rtt_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How the sites agree: every `inner_steps` steps each sends its change of every parameter.

    `overlap_steps` is the number of inner steps that the exchange may hide behind: 0 blocks, as in DiLoCo; with
    fragments sent while the next steps run (Streaming DiLoCo) it is their number times the steps that each may take.
    """

    name: str
    inner_steps: int = 500
    bytes_per_parameter: float = 4.0
    overlap_steps: int = 0


DILOCO = Exchange(name="DiLoCo")  # Douillard et al. 2023, arXiv:2311.08105
INT8 = Exchange(name="DiLoCo with int8", inner_steps=100, bytes_per_parameter=1.0)  # INTELLECT-1, arXiv:2412.01152
STREAMING = Exchange(  # Douillard et al. 2025, arXiv:2501.18512: 4 bits, fragments hidden behind the steps between
    name="Streaming DiLoCo", inner_steps=100, bytes_per_parameter=0.5, overlap_steps=50
)
EXCHANGES = {"diloco": DILOCO, "int8": INT8, "streaming": STREAMING}


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSite:
    """One training job on several sites: times in seconds or hours, traffic in GB (1e9 bytes).

    `slowdown` is its time over that of the same devices in one place. `hours_alone` is the best site by itself,
    `hours_together` all devices in one place, `hours_data_parallel` plain data parallelism over the same link.
    """

    sites: tuple[Site, ...]
    link: Link
    exchange: Exchange
    steps: float  # optimizer steps that the job needs in one place
    slowdown: float
    outer_traffic_gb: float  # that each site sends per outer step
    traffic_gb: float  # that all sites send over the whole job
    sync_s: float  # one exchange, hidden or not
    exposed_s: float  # the part of it during which devices wait
    sync_share: float  # time waiting for the link over time computing
    straggler: float  # pace of the slowest site over that of the sites' mean, 1 or more
    extra_tokens: float  # share of tokens more for the same loss
    hours: float
    hours_alone: float
    hours_together: float
    hours_data_parallel: float
    least_gbit_s: float  # for a sync_share of 5 %; infinite where the round trips alone take longer
    egress_usd: float | None  # None where a site's price is not known
    worth_it: bool
    why: str
    assumptions: tuple[Assumption, ...]

    @property
    def devices(self) -> int:
        """Of all sites."""
        return sum(site.devices for site in self.sites)

    @property
    def speedup(self) -> float:
        """Over the best site alone."""
        return self.hours_alone / self.hours


def equal_sites(
    count: int, *, devices: int, hours_together: float, steps: float, egress_usd_per_gb: float | None = None
) -> tuple[Site, ...]:
    """`count` sites that share evenly what takes `hours_together` hours and `steps` steps on `devices` in one place.

    Each gets devices/count of the devices and 1/count of the batch, so its step takes as long as the whole one's.
    Raises: UserError where the devices cannot be shared out evenly.
    """
    if count < 2:
        raise UserError(f"{count} site: a comparison of sites needs at least 2")
    if devices % count:
        raise UserError(f"{devices} devices cannot be shared out evenly over {count} sites: give a multiple of {count}")
    return tuple(
        Site(
            name=f"site {number + 1}",
            devices=devices // count,
            step_s=hours_together * HOUR_S / steps,
            egress_usd_per_gb=egress_usd_per_gb,
        )
        for number in range(count)
    )


def ring_bytes(size_bytes: float, sites: int) -> float:
    """Bytes that each of `sites` sends in a ring all-reduce of `size_bytes`: 2·(n - 1)/n of them."""
    return 2.0 * (sites - 1) / sites * size_bytes


def ring_s(size_bytes: float, sites: int, link: Link, link_share: float) -> float:
    """Seconds of a ring all-reduce over the slowest link: the bytes at its bandwidth, and 2·(n - 1) one-way delays."""
    return ring_bytes(size_bytes, sites) * 8.0 / (link.gbit_s * 1e9 * link_share) + (sites - 1) * link.rtt_s


def extra_tokens(sites: int, inner_steps: float, table: Parameters | None = None) -> float:
    """Share of tokens more that low communication takes to reach the same loss; 0 for one site.

    Measured losses of 2, 4 and 8 replicas (Charles et al. 2025, arXiv:2503.09799, tables 4 and 5) through the data
    term of Hoffmann et al. 2022, arXiv:2203.15556. Two replicas lose nothing from 2.4B parameters on.
    """
    if sites < 2:
        return 0.0
    known = bundled() if table is None else table
    doublings = log2(max(1.0, inner_steps / FEWEST_INNER))
    return known["multisite.tokens_per_site"] * (sites - 2) + known["multisite.tokens_per_doubling"] * doublings


def verdict(
    *,
    parameters: float,
    steps: float,
    sites: Sequence[Site],
    link: Link,
    exchange: Exchange = DILOCO,
    table: Parameters | None = None,
) -> MultiSite:
    """What `steps` optimizer steps of a model of `parameters` parameters take on `sites`, and whether that is worth it.

    Every site does every inner step on its share of the batch, so the slowest sets the pace; after every
    `exchange.inner_steps` the sites all-reduce their changes in a ring over the slowest link. Worth it means: at least
    half (multisite.least_gain) of the speed that the other sites add in theory to the best one arrives.

    Raises: UserError for numbers that make no sense.
    """
    _check(parameters, steps, sites, link, exchange)
    known = bundled() if table is None else table
    n = len(sites)
    share = known["multisite.link_share"]
    pace = max(site.step_s for site in sites)
    # A site alone would do the whole batch, n times its share; in one place the rates add up.
    together = n / sum(1.0 / site.step_s for site in sites)
    alone = n * min(site.step_s for site in sites)
    size = parameters * exchange.bytes_per_parameter
    sync = ring_s(size, n, link, share)
    computing = exchange.inner_steps * pace
    exposed = max(0.0, sync - exchange.overlap_steps * pace)
    more = extra_tokens(n, exchange.inner_steps, known)
    done = steps * (1.0 + more)
    hours = done * pace * (1.0 + exposed / computing) / HOUR_S
    gradients = ring_s(parameters * GRADIENT_BYTES, n, link, share)
    plain = pace + max(0.0, gradients - known["multisite.backward_share"] * pace)
    sent = ring_bytes(size, n) / 1e9
    each = sent * done / exchange.inner_steps
    hours_alone, hours_together = steps * alone / HOUR_S, steps * together / HOUR_S
    arrived = _arrived(hours_alone, hours_together, hours)
    result = MultiSite(
        sites=tuple(sites),
        link=link,
        exchange=exchange,
        steps=steps,
        slowdown=hours / hours_together,
        outer_traffic_gb=sent,
        traffic_gb=each * n,
        sync_s=sync,
        exposed_s=exposed,
        sync_share=exposed / computing,
        straggler=pace / together,
        extra_tokens=more,
        hours=hours,
        hours_alone=hours_alone,
        hours_together=hours_together,
        hours_data_parallel=steps * plain / HOUR_S,
        least_gbit_s=least_gbit_s(parameters, n, link.rtt_s, exchange, pace, table=known),
        egress_usd=_egress_usd(sites, each),
        worth_it=arrived >= known["multisite.least_gain"],
        why="",
        assumptions=tuple(known.assumption(name) for name in known if name.startswith("multisite.")),
    )
    return replace(result, why=_why(result, arrived, known["multisite.least_gain"]))


def least_gbit_s(
    parameters: float,
    sites: int,
    rtt_s: float,
    exchange: Exchange,
    step_s: float,
    *,
    tolerated: float = TOLERATED,
    table: Parameters | None = None,
) -> float:
    """The nominal bandwidth in Gbit/s below which waiting for the link takes more than `tolerated` of the computing.

    Infinite where the round trips alone take longer.
    """
    known = bundled() if table is None else table
    allowed = (exchange.overlap_steps + tolerated * exchange.inner_steps) * step_s - (sites - 1) * rtt_s
    if allowed <= 0:
        return inf
    size = parameters * exchange.bytes_per_parameter
    return ring_bytes(size, sites) * 8.0 / 1e9 / (allowed * known["multisite.link_share"])


def _arrived(hours_alone: float, hours_together: float, hours: float) -> float:
    """Share of the speed that the other sites add in theory to the best site alone, below 0 where it is slower."""
    added = hours_alone / hours_together - 1.0
    return (hours_alone / hours - 1.0) / added if added > 0 else 0.0  # the others are too slow to count


def _egress_usd(sites: Sequence[Site], each_gb: float) -> float | None:
    total = 0.0
    for site in sites:
        if site.egress_usd_per_gb is None:
            return None
        total += site.egress_usd_per_gb * each_gb
    return total


def _why(result: MultiSite, arrived: float, least: float) -> str:
    """The verdict as a sentence."""
    times = f"{len(result.sites)} sites take {_span(result.hours)}, the best of them alone {_span(result.hours_alone)}"
    gain = f"{max(0.0, arrived) * 100:.0f} % of the speed that the others add arrives"
    if arrived >= least:
        head = f"Worth it where no one site has the room: {times}, so {gain}"
    elif arrived > 0:
        head = f"Not worth it: {times}, so only {gain} and at least {least * 100:.0f} % is wanted"
    else:
        head = f"Not worth it: {times}"
    parts = [f"waiting for the link adds {result.sync_share * 100:.1f} %"]
    if result.straggler > 1.0005:
        parts.append(f"waiting for the slowest site {(result.straggler - 1.0) * 100:.1f} %")
    parts.append(f"low communication {result.extra_tokens * 100:.1f} % more tokens")
    return f"{head}; {', '.join(parts)}. {_bandwidth(result)}"


def _bandwidth(result: MultiSite) -> str:
    wait = f"the wait for the link at {TOLERATED * 100:.0f} %"
    if not isfinite(result.least_gbit_s):
        return f"No bandwidth keeps {wait}: the round trips alone take longer."
    return f"{result.least_gbit_s:.3g} Gbit/s between sites would keep {wait}."


def _span(hours: float) -> str:
    return f"{hours / 24.0:,.3g} d" if hours >= 48.0 else f"{hours:,.3g} h"


def _check(parameters: float, steps: float, sites: Sequence[Site], link: Link, exchange: Exchange) -> None:
    """Raises: UserError that names the first number that makes no sense, and what would."""
    if len(sites) < 2:
        raise UserError(f"{len(sites)} site: training over more than one site needs at least 2")
    positive = [
        ("the model's parameters", parameters),
        ("the optimizer steps", steps),
        ("the bandwidth between sites in Gbit/s", link.gbit_s),
        ("the bytes per parameter of an exchange", exchange.bytes_per_parameter),
        *((f"the step time of {site.name} in seconds", site.step_s) for site in sites),
    ]
    for name, number in positive:
        if not (isfinite(number) and number > 0):
            raise UserError(f"{name}: {number:g} is not a number above 0")
    if not (isfinite(link.rtt_s) and link.rtt_s >= 0):
        raise UserError(f"the round trip between sites: {link.rtt_s:g} s is not a time")
    if exchange.inner_steps < 1:
        raise UserError(f"{exchange.inner_steps} inner steps: sites exchange after 1 step at the least")
    if not 0 <= exchange.overlap_steps <= exchange.inner_steps:
        raise UserError(
            f"an exchange cannot hide behind {exchange.overlap_steps} steps when the next comes after"
            f" {exchange.inner_steps}: give 0 to {exchange.inner_steps}"
        )
