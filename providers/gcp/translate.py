"""Google's words into ours: machine types and prices into offers, quotas into nodes, machines into leases."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import floor
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.lease import LeaseState
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.kit.devices import device, is_known
from orchestrator.kit.facts import Facts
from orchestrator.kit.tags import OWNER, TOKEN
from providers.gcp import names
from providers.gcp.prices import PriceList
from providers.gcp.rows import Advice, Instance, Quota
from providers.gcp.shapes import NAME, Shape, is_sold

WORKSTATION = "-vws"
EXAMPLES = 3
NOTICE_S = 30.0  # from the beginning of a preemption until the machine is switched off
GATHERING_S = 900.0  # for so long a gang may still be on its way
ALL_REGIONS = "GPUS_ALL_REGIONS"
# Metrics of the Compute API; GPUs from the H100 on have none on demand (its enumeration, revision 2026-11-06).
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
        "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
        "nvidia-l4": "NVIDIA_L4_GPUS",
        "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
        "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
        "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
        "nvidia-tesla-p4": "NVIDIA_P4_GPUS",
    }
)
SPOT_METRICS: Mapping[str, str] = MappingProxyType(
    {
        **{accelerator: f"PREEMPTIBLE_{metric}" for accelerator, metric in METRICS.items()},
        "nvidia-h100-80gb": "PREEMPTIBLE_NVIDIA_H100_GPUS",
    }
)
GOING = frozenset({"STOPPING", "TERMINATED", "STOPPED", "SUSPENDING", "SUSPENDED"})
OFF = GOING - {"STOPPING"}


class Quotas:
    """What the project may still have."""

    def __init__(self, rows: Iterable[Quota]) -> None:
        self._left = {(row.metric, row.region): max(0.0, row.limit - row.used) for row in rows}

    def nodes(self, shape: Shape, *, spot: bool) -> int | None:
        """How many more nodes of `shape`; None where the API has no such limit.

        Spot draws on a limit of its own where the project has one, else on the usual one.
        """
        region = shape.machine.region
        metric = METRICS.get(shape.accelerator, "")
        own = SPOT_METRICS.get(shape.accelerator, "")
        if spot and (own, region) in self._left:
            metric = own
        left = [self._left[metric, region]] if (metric, region) in self._left else []
        if shape.accelerator in METRICS and (ALL_REGIONS, "") in self._left:
            left.append(self._left[ALL_REGIONS, ""])
        return floor(min(left) / shape.cards) if left else None


class Market(NamedTuple):
    """Everything that offers are made from."""

    shapes: Sequence[Shape]
    prices: PriceList
    quotas: Quotas
    advice: Sequence[Advice]
    now: datetime


def offers(market: Market, facts: Facts) -> tuple[list[Offer], list[str]]:
    """What is sold, and sentences about what had to be left out."""
    found: list[Offer] = []
    unpriced: defaultdict[str, set[str]] = defaultdict(set)
    unknown: set[str] = set()
    advised = {(advice.zone, advice.machine_type): advice.obtainability for advice in market.advice}
    for shape in market.shapes:
        if shape.accelerator.endswith(WORKSTATION):
            continue
        accelerator = device(shape.accelerator)
        if not is_known(accelerator):
            unknown.add(shape.accelerator)
        for billing in (Billing.ON_DEMAND, Billing.SPOT):
            spot = billing is Billing.SPOT
            if not is_sold(shape.machine.name, spot=spot):
                continue
            price = market.prices.of(shape, spot=spot)
            if price.usd is None:
                unpriced[price.missing].add(f"{shape.machine.region} {shape.name} {billing.value}")
                continue
            known = facts.of(shape.name)
            chance = advised.get((shape.machine.zone, shape.machine.name)) if spot else None
            found.append(
                Offer(
                    provider=NAME,
                    region=shape.machine.region,
                    zone=shape.machine.zone,
                    instance_type=shape.name,
                    accelerator=accelerator,
                    gpus=shape.gpus,
                    billing=billing,
                    usd_per_hour=price.usd,
                    available=None,
                    tier=known.tier,
                    fabric=known.fabric,
                    vcpus=float(shape.machine.cpus),
                    host_memory_gib=shape.machine.memory_mb / 1024,
                    interruption_rate=None if spot else 0.0,
                    boot_s=known.boot_s,
                    min_billing_s=known.min_billing_s,
                    observed_at=market.now,
                    source=f"Google Cloud billing catalogue, {market.now:%Y-%m-%d %H:%M} UTC",
                    quota_nodes=market.quotas.nodes(shape, spot=spot),
                    obtainability=chance,
                )
            )
    return found, [
        *_told(unpriced, market.prices),
        *(f"{word}: no device that is known here" for word in sorted(unknown)),
    ]


def _told(unpriced: Mapping[str, set[str]], prices: PriceList) -> list[str]:
    told = []
    for why, which in sorted(unpriced.items()):
        shown = ", ".join(sorted(which)[:EXAMPLES])
        more = f" and {len(which) - EXAMPLES} more" if len(which) > EXAMPLES else ""
        told.append(f"{why}: {shown}{more}")
    return [*told, *(f"{count} prices of parts left out: {fault}" for fault, count in sorted(prices.odd.items()))]


def offer_text(offer: Offer) -> str:
    """The offer as it was bought, for the machine's metadata."""
    return json.dumps({**asdict(offer), "observed_at": offer.observed_at.isoformat()}, sort_keys=True)


def offer_of(text: str) -> Offer | None:
    """The offer that `offer_text` wrote; None for anything else."""
    try:
        record = json.loads(text)
        moment = datetime.fromisoformat(record["observed_at"])
        words = {"billing": Billing(record["billing"]), "tier": Tier(record["tier"]), "observed_at": moment}
        return Offer(**{**record, **words})
    except (ValueError, KeyError, TypeError):
        return None


class Held(NamedTuple):
    """The machines of one lease that are still there, in the order of their numbers."""

    id: names.LeaseId
    token: str
    owner: str
    offer: Offer
    instances: tuple[Instance, ...]

    @property
    def acquired_at(self) -> datetime:
        """When the first of them was made."""
        return min(instance.created for instance in self.instances).replace(microsecond=0)

    @property
    def is_whole(self) -> bool:
        """Whether none is missing."""
        return len(self.instances) == self.id.nodes

    @property
    def is_settled(self) -> bool:
        """Whether none is missing and none can turn out to be sold out any more."""
        return self.is_whole and all(instance.status != "PROVISIONING" for instance in self.instances)

    @property
    def is_going(self) -> bool:
        """Whether any of them is stopping or switched off."""
        return any(instance.status in GOING for instance in self.instances)

    def lost_at(self, preempted: Mapping[str, datetime], now: datetime) -> datetime | None:
        """When the lease is of no use any more, by no doing of ours: Google takes back a machine, or has; else None."""
        taken = [preempted[instance.number] for instance in self.instances if instance.number in preempted]
        if taken:
            return min(taken) + timedelta(seconds=NOTICE_S)
        missing = not self.is_whole and now > self.acquired_at + timedelta(seconds=GATHERING_S)
        if any(instance.status in OFF for instance in self.instances) or (missing and not self.is_going):
            return now
        return None

    def state(self, preempted: Mapping[str, datetime], now: datetime) -> LeaseState:
        """How it stands as a whole."""
        if self.lost_at(preempted, now) is not None:
            return LeaseState.RECLAIMING
        if self.is_going:
            return LeaseState.RELEASING
        up = self.is_whole and all(instance.status == "RUNNING" for instance in self.instances)
        return LeaseState.READY if up else LeaseState.BOOTING


def held(instances: Iterable[Instance]) -> list[Held]:
    """The leases that `instances` make up."""
    gangs: defaultdict[names.LeaseId, list[Instance]] = defaultdict(list)
    for instance in instances:
        gangs[lease_id(instance)].append(instance)
    found = []
    for which, members in gangs.items():
        members.sort(key=lambda instance: _count(instance.labels.get(names.NUMBER, ""), 0))
        metadata = members[0].metadata
        token = metadata.get(TOKEN, members[0].labels.get(TOKEN, ""))
        owner = metadata.get(OWNER, members[0].labels.get(OWNER, ""))
        offer = offer_of(metadata.get(names.OFFER, "")) or _bare(members[0])
        found.append(Held(which, token, owner, offer, tuple(members)))
    return sorted(found, key=lambda gang: (gang.acquired_at, str(gang.id)))


def lease_id(instance: Instance) -> names.LeaseId:
    """The lease that a machine belongs to."""
    nodes = _count(instance.labels.get(names.NODES, ""), 1)
    first = instance.labels.get(names.LEASE, instance.number)
    return names.LeaseId(instance.zone, instance.name.rpartition("-")[0], nodes, first)


def _count(label: str, otherwise: int) -> int:
    """A number in a label, which anybody may have changed."""
    return int(label) if label.isdecimal() and label.isascii() else otherwise


def _bare(instance: Instance) -> Offer:
    """What is left to say of a machine whose metadata somebody changed: its price is unknown, and it says so."""
    region = instance.zone.rpartition("-")[0]
    return Offer(
        provider=NAME,
        region=region,
        zone=instance.zone,
        instance_type="unknown",
        accelerator="unknown",
        gpus=1.0,
        billing=Billing.SPOT if instance.spot else Billing.ON_DEMAND,
        usd_per_hour=0.0,
        available=None,
        tier=Tier.CLOUD,
        fabric="",
        vcpus=0.0,
        host_memory_gib=0.0,
        interruption_rate=None,
        boot_s=0.0,
        min_billing_s=0.0,
        observed_at=datetime.fromtimestamp(0, UTC),
        source="unknown: the machine's metadata does not say what was bought",
    )
