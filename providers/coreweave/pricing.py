"""What nodes cost in which zone: the settings' rates, then bundled list prices, for CoreWeave has no price API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit.devices import device, is_known
from orchestrator.kit.facts import Facts
from providers.coreweave.settings import Rate

NAME = "coreweave"
NORTH_AMERICA = ("US-", "CA-", "RNO", "LAS", "ORD", "LGA")  # what the list price page is for; old zones have old names
RACK_NODES = 18
RACKS = ("gb200-", "gb300-", "verarubin-")  # NVL72: sold by the rack of RACK_NODES nodes, and never as spot


def region_of(zone: str) -> str:
    """The region of a zone: `US-EAST-04` of `US-EAST-04A`."""
    return zone[:-1] if zone[-1:].isalpha() and zone[-2:-1].isdigit() else zone


def in_racks(instance_type: str) -> bool:
    """Whether a type is sold in racks of RACK_NODES alone."""
    return instance_type.startswith(RACKS)


class PriceList:
    """Prices by type, zone and billing."""

    def __init__(self, listed: Iterable[Offer], rates: Sequence[Rate]) -> None:
        """`listed` are offers of the price book; of one type and billing all have the same price."""
        self._rates = tuple(rates)
        self._facts = Facts(NAME)
        self._regions: dict[tuple[str, Billing], set[str]] = {}
        self._listed: dict[tuple[str, Billing], Offer] = {}
        self._shapes: dict[str, Offer] = {}
        for offer in listed:
            key = (offer.instance_type, offer.billing)
            self._listed[key] = offer
            self._regions.setdefault(key, set()).add(offer.region)
            self._shapes[offer.instance_type] = offer

    def offers(self, zone: str, now: datetime) -> tuple[list[Offer], list[str]]:
        """What can be offered in `zone`, and names of types that cannot be: without a price, or without facts."""
        found: dict[tuple[str, Billing], Offer] = {}
        unknown: list[str] = []
        for rate in self._rates:
            key = (rate.instance_type, rate.billing)
            if rate.concerns(zone) and key not in found:
                offer = self._at_rate(rate, zone, now)
                if offer is None:
                    unknown.append(rate.instance_type)
                else:
                    found[key] = offer
        for key, listed in self._listed.items():
            if key not in found and self._applies(key, zone):
                found[key] = self._placed(listed, zone)
        priced = {kind for kind, _ in found}
        unknown += [kind for kind in self._shapes if kind not in priced]
        return list(found.values()), sorted(set(unknown) - priced)

    def _applies(self, key: tuple[str, Billing], zone: str) -> bool:
        """A list price is for North America, and for the regions that the price book names for it."""
        return zone.startswith(NORTH_AMERICA) or region_of(zone) in self._regions[key]

    def _placed(self, offer: Offer, zone: str) -> Offer:
        return replace(offer, region=region_of(zone), zone=zone, available=None)

    def _at_rate(self, rate: Rate, zone: str, now: datetime) -> Offer | None:
        shape = self._shapes.get(rate.instance_type)
        if shape is None and (not rate.accelerator or rate.gpus <= 0):
            return None
        named = device(rate.accelerator) if rate.accelerator else ""
        facts = self._facts.of(rate.instance_type)
        return Offer(
            provider=NAME,
            region=region_of(zone),
            zone=zone,
            instance_type=rate.instance_type,
            accelerator=named or (shape.accelerator if shape else ""),
            gpus=rate.gpus or (shape.gpus if shape else 0.0),
            billing=rate.billing,
            usd_per_hour=rate.usd_per_hour,
            available=None,
            tier=facts.tier,
            fabric=facts.fabric,
            vcpus=rate.vcpus or (shape.vcpus if shape else 0.0),
            host_memory_gib=rate.host_memory_gib or (shape.host_memory_gib if shape else 0.0),
            interruption_rate=None if rate.billing is Billing.SPOT else 0.0,
            boot_s=facts.boot_s,
            min_billing_s=facts.min_billing_s,
            observed_at=now,
            source="rate of the settings",
        )


def unnamed(offers: Iterable[Offer]) -> Mapping[str, str]:
    """The vendor's word by type, for devices that we hold no facts about."""
    return {offer.instance_type: offer.accelerator for offer in offers if not is_known(offer.accelerator)}
