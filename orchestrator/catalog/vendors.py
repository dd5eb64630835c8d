"""What is known of a provider beyond its prices: kind of site, boot time, billing grain, fabric."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from orchestrator.catalog.tables import rows
from orchestrator.domain.offer import Tier

ANY = "*"


class Vendor(NamedTuple):
    """Facts of one provider: seconds from purchase to a usable machine, least seconds billed."""

    tier: Tier
    boot_s: float
    min_billing_s: float


class Vendors(NamedTuple):
    """Facts by provider; a provider we do not know gets a cautious guess."""

    vendors: Mapping[str, Vendor]
    fabrics: Mapping[str, tuple[tuple[str, str], ...]]  # provider -> (instance glob, fabric), first match counts

    def facts(self, provider: str) -> Vendor:
        """What we hold of `provider`."""
        return self.vendors.get(provider) or self.vendors[ANY]

    def fabric(self, provider: str, instance_type: str) -> str:
        """The network between nodes of `instance_type`; empty where we do not know."""
        for glob, fabric in self.fabrics.get(provider, ()):
            if fnmatchcase(instance_type, glob):
                return fabric
        return ""


def load() -> Vendors:
    """The bundled tables."""
    vendors = {
        row["provider"]: Vendor(Tier(row["tier"]), float(row["boot_s"]), float(row["min_billing_s"]))
        for row in rows("vendors.csv")
    }
    fabrics: dict[str, list[tuple[str, str]]] = {}
    for row in rows("fabrics.csv"):
        fabrics.setdefault(row["provider"], []).append((row["instance_glob"], row["fabric"]))
    return Vendors(vendors, {provider: tuple(pairs) for provider, pairs in fabrics.items()})
