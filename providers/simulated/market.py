"""The simulated market: what a pool costs, how much of it others use and how long a machine lasts, as pure functions of
a seed and a time, so that every process that asks sees the same market."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, inf, log

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offer import Billing, Offer, Tier

NAME = "simulated"
ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)  # where the market's time is 0
STEP_S = 600.0  # prices and use by others change this often
PERSISTENCE = 0.95  # of a deviation from one step to the next: it halves in a bit over two hours
MEMORY = 135  # steps looked back: what lies before weighs under a thousandth
FLOOR = 0.3  # a spot price falls no lower, as a part of its mean
CEILING = 0.95  # and rises no higher, as a part of the on-demand price


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Machines of one type in one region under one billing: what an offer is made from.

    `usd_per_hour` is the mean that a spot price returns to and `volatility` the standard deviation of its logarithm.
    `busy` is the mean share of the pool that others use, and `swing` the standard deviation of that share. The hazard
    is per node and hour.
    """

    region: str
    instance_type: str
    accelerator: str
    gpus: float
    billing: Billing
    capacity: int
    usd_per_hour: float
    on_demand_usd_per_hour: float
    volatility: float = 0.0
    busy: float = 0.0
    swing: float = 0.0
    hazard_per_hour: float = 0.0
    boot_s: float = 0.0
    min_billing_s: float = 0.0
    tier: Tier = Tier.CLOUD
    fabric: str = ""
    vcpus: float = 0.0
    host_memory_gib: float = 0.0

    @property
    def key(self) -> str:
        """What makes it the pool it is: an offer of the same key is an offer of it."""
        return f"{self.region} {self.instance_type} {self.billing}"


def key_of(offer: Offer) -> str:
    """The key of the pool that `offer` was made from."""
    return f"{offer.region} {offer.instance_type} {offer.billing}"


def price(pool: Pool, *, seed: int, at_s: float) -> float:
    """USD per node-hour at `at_s` seconds of the market's time: mean-reverting in the logarithm, rounded to $0.0001."""
    if not pool.volatility:
        return pool.usd_per_hour
    swung = pool.usd_per_hour * exp(pool.volatility * _deviation(seed, f"{pool.key} price", at_s))
    bounded = min(max(swung, FLOOR * pool.usd_per_hour), CEILING * pool.on_demand_usd_per_hour)
    return round(bounded, 4)


def free(pool: Pool, *, seed: int, at_s: float, held: int) -> int:
    """Nodes on sale at `at_s` while we hold `held`: never more than the capacity leaves."""
    share = pool.busy + (pool.swing * _deviation(seed, f"{pool.key} use", at_s) if pool.swing else 0.0)
    others = round(pool.capacity * min(max(share, 0.0), 1.0))
    return max(0, pool.capacity - others - held)


def lasts_s(pool: Pool, *, seed: int, serial: int, nodes: int) -> float:
    """How long lease number `serial` of `nodes` nodes lasts once it is ready, until the market takes it back.

    Exponential with the pool's hazard times the nodes; infinite where there is no hazard.
    """
    hazard = pool.hazard_per_hour * nodes
    return -log(1.0 - _uniform(seed, f"life {serial}")) / hazard * 3600.0 if hazard else inf


def boots_s(pool: Pool, *, seed: int, serial: int) -> float:
    """How long lease number `serial` takes to boot: the pool's time, give or take a quarter."""
    return pool.boot_s * (0.75 + 0.5 * _uniform(seed, f"boot {serial}"))


def offer_of(pool: Pool, *, seed: int, at_s: float, held: int, now: datetime) -> Offer:
    """What the pool sells at `at_s`, as an offer observed at `now`."""
    return Offer(
        provider=NAME,
        region=pool.region,
        zone="",
        instance_type=pool.instance_type,
        accelerator=pool.accelerator,
        gpus=pool.gpus,
        billing=pool.billing,
        usd_per_hour=price(pool, seed=seed, at_s=at_s),
        available=free(pool, seed=seed, at_s=at_s, held=held),
        tier=pool.tier,
        fabric=pool.fabric,
        vcpus=pool.vcpus,
        host_memory_gib=pool.host_memory_gib,
        interruption_rate=pool.hazard_per_hour,
        boot_s=pool.boot_s,
        min_billing_s=pool.min_billing_s,
        observed_at=now,
        source=f"simulated market, seed {seed}",
    )


def _deviation(seed: int, name: str, at_s: float) -> float:
    """A mean-reverting process of variance 1 at the step of `at_s`.

    Written as the moving average of its own past shocks, x[k] = sqrt(1 - p^2) * sum over j of p^j * e[k - j], so that
    any step can be had without the steps before it, in any order.
    """
    step = int(at_s // STEP_S)
    shocks = _normals(_key(seed, name), np.arange(step, step - MEMORY, -1, dtype=np.int64))
    weights = PERSISTENCE ** np.arange(MEMORY) * (1.0 - PERSISTENCE**2) ** 0.5
    return float(shocks @ weights)


def _normals(key: int, counters: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Standard normal numbers, one per counter, by Box and Muller's transform of two uniforms."""
    first, second = _uniforms(key, np.stack((2 * counters, 2 * counters + 1)))
    return np.asarray(np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second))


def _uniforms(key: int, counters: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one per counter: the output function of SplitMix64 (Steele, Lea, Flood 2014) as a hash."""
    z = counters.astype(np.uint64)  # arithmetic of arrays wraps, as the hash wants it
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) / 2.0**53)


def _uniform(seed: int, name: str) -> float:
    return float(_uniforms(_key(seed, name), np.zeros(1, np.int64))[0])


def _key(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "little")
