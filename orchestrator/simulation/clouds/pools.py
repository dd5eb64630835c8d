"""What the simulated clouds sell: pools of one instance type in one place, from a table of offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook

CLOUDS = ("aws", "azure", "gcp", "lambda", "coreweave")
MOST_NODES = 24  # of a small type in one zone
SPOT_SHARE = 0.5  # of the nodes that are for sale as spot as well
# Clouds that sell spot machines whose prices no table of ours has: a made-up part of the on-demand price stands in.
MADE_UP_SPOT = {"azure": 0.35, "coreweave": 0.5}
# Clouds whose machines are always in a zone: a price of a whole region is of two zones there.
ZONES: Mapping[str, tuple[str, ...]] = MappingProxyType({"aws": ("a", "b"), "gcp": ("-a", "-b")})
USUAL_HAZARD = 0.01  # reclaims per hour where nobody states a rate


class Key(NamedTuple):
    """Which pool: unique in a market."""

    provider: str
    region: str
    zone: str  # "" where the provider has none
    instance_type: str
    billing: Billing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Machines of one type in one place under one kind of billing, as all customers together see them."""

    key: Key
    accelerator: str  # our name
    gpus: float
    vcpus: float
    host_memory_gib: float
    usd_per_hour: float  # the level that a spot price wanders around
    capacity: int  # nodes that we could get when nobody else wants them
    volatility: float = 0.0  # of the spot price: standard deviation of its logarithm
    hazard_per_hour: float = 0.0  # of being taken back
    boot_s: float = 120.0


def of_book(book: OfferBook, *, seed: int, clouds: Iterable[str] = CLOUDS) -> tuple[Pool, ...]:
    """A pool for every on-demand and spot offer of `clouds`; how many nodes it has is made up from the seed.

    Price lists do not say how many machines there are. Scarce as in life: the more GPUs a node has, the fewer nodes;
    one pool in eight is empty.
    """
    wanted = frozenset(clouds)
    pools: list[Pool] = []
    for offer in book:
        if offer.provider not in wanted or offer.billing not in {Billing.ON_DEMAND, Billing.SPOT}:
            continue
        share = MADE_UP_SPOT.get(offer.provider)
        for zone in _zones(offer):
            pools.append(_pool(offer, zone, offer.billing, offer.usd_per_hour, seed))
            if share is not None and offer.billing is Billing.ON_DEMAND:
                pools.append(_pool(offer, zone, Billing.SPOT, share * offer.usd_per_hour, seed))
    return tuple(pools)


def _zones(offer: Offer) -> tuple[str, ...]:
    suffixes = ZONES.get(offer.provider, ())
    return (offer.zone,) if offer.zone or not suffixes else tuple(f"{offer.region}{suffix}" for suffix in suffixes)


def _pool(offer: Offer, zone: str, billing: Billing, usd_per_hour: float, seed: int) -> Pool:
    key = Key(offer.provider, offer.region, zone, offer.instance_type, billing)
    spot = billing is Billing.SPOT
    most = max(2, int(MOST_NODES / max(1.0, offer.gpus) * (SPOT_SHARE if spot else 1.0)))
    luck = chance(seed, "capacity", *key)
    return Pool(
        key=key,
        accelerator=offer.accelerator,
        gpus=offer.gpus,
        vcpus=offer.vcpus,
        host_memory_gib=offer.host_memory_gib,
        usd_per_hour=usd_per_hour,
        capacity=0 if luck < 0.125 else 1 + int(luck * most),
        volatility=0.15 if spot else 0.0,
        hazard_per_hour=(offer.interruption_rate or USUAL_HAZARD) if spot else 0.0,
        boot_s=offer.boot_s,
    )


def chance(seed: int, *words: object) -> float:
    """A number in [0, 1) that the seed and the words decide: the same on every machine and in any order of asking."""
    digest = sha256("\x1f".join((str(seed), *map(str, words))).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
