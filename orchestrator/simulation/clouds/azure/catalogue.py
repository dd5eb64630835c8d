"""What the simulated Azure lists: regions, sizes with their restrictions, quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.azure.arm import PROVIDER, Refusal, family, page, reply
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Pool
from orchestrator.simulation.clouds.wire import Reply, Request

PAGE = 60
ZONES = ("1", "2", "3")
NO_LIMIT = 100_000.0  # virtual CPUs, where a quota was not set
CORES, SPOT_CORES = "cores", "lowPriorityCores"
OTHERS = (("virtualMachines", "Standard_D2s_v5", "standardDSv5Family"), ("disks", "Premium_LRS", ""))

Barred = Mapping[tuple[str, str], tuple[str, ...]]  # (region, size) -> zones that are barred; none: the region is


class Catalogue:
    """The lists that a plan is made from."""

    def __init__(self, market: Market, *, subscription: str, barred: Barred) -> None:
        self._market, self._subscription, self._barred = market, subscription, barred
        self._sold: dict[str, list[Pool]] = {}
        for pool in market.sold_by(PROVIDER):
            self._sold.setdefault(pool.key.region, []).append(pool)
        self.regions = tuple(self._sold)
        self._sizes = {pool.key.instance_type for pools in self._sold.values() for pool in pools}
        self._names = [CORES, SPOT_CORES, *sorted({family(size) for size in self._sizes})]

    def sold_in(self, region: str) -> list[Pool]:
        """The pools of a region; of every one for ""."""
        return self._sold.get(region, []) if region else [pool for pools in self._sold.values() for pool in pools]

    def pool(self, region: str, size: str, billing: Billing, zone: str = "") -> Pool | None:
        """What is sold there by that name, in any case."""
        for pool in self.sold_in(region):
            key = pool.key
            same = (key.billing, key.instance_type.lower()) == (billing, size.lower())
            if same and (not zone or key.zone in {"", zone}):
                return pool
        return None

    def sold(self, size: str) -> bool:
        """Whether there is such a size anywhere."""
        return any(known.lower() == size.lower() for known in self._sizes)

    def barred(self, region: str, size: str, zone: str) -> bool:
        """Whether this subscription may not deploy it there."""
        zones = self._barred.get((region, size))
        return zones is not None and (not zones or zone in zones)

    def locations(self, _: Request) -> Reply:
        """`GET /subscriptions/{id}/locations`."""
        rows = [
            {
                "id": f"/subscriptions/{self._subscription}/locations/{region}",
                "name": region,
                "displayName": region,
                "regionalDisplayName": region,
                "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
            }
            for region in self.regions
        ]
        logical = {"name": "global", "displayName": "Global", "metadata": {"regionType": "Logical"}}
        return reply({"value": [*rows, logical]})

    def skus(self, request: Request) -> Reply:
        """`GET .../skus?$filter=location eq '...'`: paged, with rows that are no machines."""
        found = re.fullmatch(r"location eq '([^']*)'", request.param("$filter"))
        if request.param("$filter") and found is None:
            raise Refusal(400, "InvalidFilter", "Only a filter on location is supported.")
        wanted = found[1].lower() if found else ""
        rows = [row for region in self.regions if wanted in {"", region} for row in self._rows(region)]
        return page(request, rows, PAGE)

    def usages(self, region: str) -> Reply:
        """`GET .../locations/{region}/usages`."""
        if region not in self.regions:
            message = f"No registered resource provider found for location '{region}'."
            raise Refusal(400, "NoRegisteredProviderFound", message)
        limits = {(state.name, state.region): state.limit for state in self._market.quotas(PROVIDER)}
        return reply({"value": [self._usage(name, region, limits) for name in self._names]})

    def limit(self, name: str, region: str) -> float:
        """Of a quota in a region: its own, or the one set for all regions."""
        return _limit(
            {(state.name, state.region): state.limit for state in self._market.quotas(PROVIDER)}, name, region
        )

    def _usage(self, name: str, region: str, limits: Mapping[tuple[str, str], float]) -> dict[str, object]:
        return {
            "unit": "Count",
            "currentValue": int(self._market.used(PROVIDER, name, region)),
            "limit": int(_limit(limits, name, region)),
            "name": {"value": name, "localizedValue": name.replace("Family", " Family vCPUs")},
        }

    def _rows(self, region: str) -> Iterator[dict[str, object]]:
        for kind, name, group in OTHERS:
            yield {
                "resourceType": kind,
                "name": name,
                "family": group,
                "locations": [region],
                "locationInfo": [{"location": region, "zones": list(ZONES)}],
                "capabilities": [{"name": "vCPUs", "value": "2"}] if kind == "virtualMachines" else [],
                "restrictions": [],
            }
        seen: set[str] = set()
        for pool in self.sold_in(region):
            if pool.key.instance_type not in seen:
                seen.add(pool.key.instance_type)
                yield self._size(pool)

    def _size(self, pool: Pool) -> dict[str, object]:
        size, region = pool.key.instance_type, pool.key.region
        spot = self.pool(region, size, Billing.SPOT) is not None
        stated = {
            "vCPUs": f"{pool.vcpus:g}",
            "MemoryGB": f"{pool.host_memory_gib:g}",
            "GPUs": f"{max(1, int(pool.gpus))}",
            "LowPriorityCapable": str(spot),
            "CpuArchitectureType": "x64",
        }
        return {
            "resourceType": "virtualMachines",
            "name": size,
            "tier": "Standard",
            "size": size.removeprefix("Standard_"),
            "family": family(size),
            "locations": [region.title()],  # the case differs between the APIs
            "locationInfo": [{"location": region.title(), "zones": list(ZONES), "zoneDetails": []}],
            "capabilities": [{"name": name, "value": value} for name, value in stated.items()],
            "restrictions": self._restrictions(region, size),
        }

    def _restrictions(self, region: str, size: str) -> list[dict[str, object]]:
        zones = self._barred.get((region, size))
        if zones is None:
            return []
        info: dict[str, object] = {"locations": [region.title()]}
        if zones:
            info["zones"] = list(zones)
        return [
            {
                "type": "Zone" if zones else "Location",
                "values": [region.title()],
                "restrictionInfo": info,
                "reasonCode": "NotAvailableForSubscription",
            }
        ]


def _limit(limits: Mapping[tuple[str, str], float], name: str, region: str) -> float:
    return min(limits.get((name, region), NO_LIMIT), limits.get((name, ""), NO_LIMIT))
