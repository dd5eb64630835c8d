"""Offers from what the regions of AWS answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit.facts import Facts, advisor_hazard
from providers.aws import translate
from providers.aws.refusals import NAME
from providers.aws.translate import Price, Running, Type

EXAMPLES = 3
EFA = "efa"
LISTED, SPOT, RESERVED = "AWS Price List API", "EC2 spot price history", "EC2 capacity block offerings"


class Zone(NamedTuple):
    """Names of zones differ from account to account; the id is the place."""

    name: str
    id: str


class Block(NamedTuple):
    """The cheapest capacity block of a type in a zone."""

    instance_type: str
    zone: str
    nodes: int
    usd_per_hour: float  # of one node, over the hours of the block
    hours: float
    starts_at: datetime


@dataclass(slots=True)
class Region:
    """What one region answered."""

    zones: tuple[Zone, ...] = ()
    offered: Mapping[str, frozenset[str]] = field(default_factory=dict)  # zone's name -> instance types
    demand: Mapping[str, Price] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()  # priced at 0, below, or twice
    spot: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    running: tuple[Running, ...] = ()
    blocks: tuple[Block, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def types(self) -> frozenset[str]:
        """Every type offered."""
        return frozenset[str]().union(*self.offered.values())


class Advice(NamedTuple):
    """What is known beyond the answers of a region."""

    types: Mapping[str, Type]
    scores: Mapping[tuple[str, str, str], float]  # (instance type, region, zone's id)
    hazards: Mapping[tuple[str, str], int]  # Spot Advisor's bucket by (region, instance type)


def of_region(name: str, region: Region, advice: Advice, facts: Facts, now: datetime) -> tuple[list[Offer], list[str]]:
    """The offers of a region, and in words what had to be left out. A type without an accelerator is no offer."""
    used = translate.vcpus_in_use(region.running, advice.types, region.limits)
    found: list[Offer] = []
    missing: dict[Billing, set[str]] = {}
    for zone in region.zones:
        for type_name in sorted(region.offered.get(zone.name, ())):
            kind = advice.types.get(type_name)
            if kind is None:
                continue
            plain = _plain(name, zone, kind, facts, now)
            for billing in _billings(kind, (type_name, zone.name) in region.spot):
                made = _priced(plain, region, billing, advice, zone)
                if made is None:
                    missing.setdefault(billing, set()).add(type_name)
                    continue
                quota = translate.quota_nodes(kind, billing, region.limits, used)
                found.append(made if quota is None else replace(made, quota_nodes=quota))
    zones = {zone.name: zone for zone in region.zones}
    for block in region.blocks:
        kind = advice.types.get(block.instance_type)
        if kind is not None and block.zone in zones:
            found.append(_reserved(_plain(name, zones[block.zone], kind, facts, now), block, now))
    told = [_told(name, billing, types, region.unpriced) for billing, types in missing.items()]
    return found, [*told, *region.gaps]


def _billings(kind: Type, on_spot: bool) -> list[Billing]:
    """How a type is sold in a zone: what it is said to be sold as, and as spot where it has a price there."""
    demand = [Billing.ON_DEMAND] if "on-demand" in kind.usages else []
    return [*demand, *([Billing.SPOT] if on_spot or "spot" in kind.usages else [])]


def _plain(region: str, zone: Zone, kind: Type, facts: Facts, now: datetime) -> Offer:
    """Everything but the price."""
    known = facts.of(kind.name)
    return Offer(
        provider=NAME,
        region=region,
        zone=zone.name,
        instance_type=kind.name,
        accelerator=kind.accelerator,
        gpus=kind.gpus,
        billing=Billing.ON_DEMAND,
        usd_per_hour=0.0,
        available=None,
        tier=known.tier,
        fabric="ethernet" if known.fabric == EFA and not kind.efa_interfaces else known.fabric,
        vcpus=kind.vcpus,
        host_memory_gib=kind.host_memory_gib,
        interruption_rate=None,
        boot_s=known.boot_s,
        min_billing_s=known.min_billing_s,
        observed_at=now,
        source=f"{zone.name} is {zone.id}" if zone.id else zone.name,
    )


def _priced(plain: Offer, region: Region, billing: Billing, advice: Advice, zone: Zone) -> Offer | None:
    name = plain.instance_type
    if billing is Billing.ON_DEMAND:
        price = region.demand.get(name)
        if price is None:
            return None
        source = ", ".join(filter(None, (LISTED, price.note, plain.source)))
        return replace(plain, usd_per_hour=price.usd_per_hour, source=source)
    usd_per_hour = region.spot.get((name, zone.name), 0.0)
    if not usd_per_hour > 0:
        return None
    bucket = advice.hazards.get((plain.region, name))
    return replace(
        plain,
        billing=billing,
        usd_per_hour=usd_per_hour,
        interruption_rate=None if bucket is None else advisor_hazard(bucket),
        obtainability=advice.scores.get((name, plain.region, zone.id)),
        source=f"{SPOT}, {plain.source}",
    )


def _reserved(plain: Offer, block: Block, now: datetime) -> Offer:
    """A block is paid at once for all its hours, and its machines are there when it begins."""
    return replace(
        plain,
        billing=Billing.RESERVED,
        usd_per_hour=block.usd_per_hour,
        available=block.nodes,
        boot_s=plain.boot_s + max(0.0, (block.starts_at - now).total_seconds()),
        min_billing_s=block.hours * 3600.0,
        source=f"{RESERVED}, from {block.starts_at:%Y-%m-%d %H:%M} UTC, {plain.source}",
    )


def _told(region: str, billing: Billing, types: set[str], unpriced: tuple[str, ...]) -> str:
    bad = sorted(types.intersection(unpriced)) if billing is Billing.ON_DEMAND else []
    why = f" ({len(bad)} with a price of 0, or with two)" if bad else ""
    return f"{region}: {len(types)} instance types without a usable {billing.value} price{why}: {examples(types)}"


def examples(words: set[str]) -> str:
    """The first few in order, and that there are more."""
    shown = sorted(words)
    return ", ".join(shown[:EXAMPLES]) + (", ..." if len(shown) > EXAMPLES else "")
