"""What is known of a provider beyond its prices: boot time, least billing, fabric, interruption hazards."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.catalog import hazard, vendors
from orchestrator.domain.offer import Tier


class MachineFacts(NamedTuple):
    """Facts of one instance type of one provider."""

    tier: Tier
    boot_s: float
    min_billing_s: float
    fabric: str  # "" where unknown


class Facts:
    """The bundled facts of one provider, read once."""

    def __init__(self, provider: str) -> None:
        self._provider, self._vendors = provider, vendors.load()

    def of(self, instance_type: str) -> MachineFacts:
        """Facts of `instance_type`; a cautious guess for a provider that is not in the tables."""
        vendor = self._vendors.facts(self._provider)
        fabric = self._vendors.fabric(self._provider, instance_type)
        return MachineFacts(vendor.tier, vendor.boot_s, vendor.min_billing_s, fabric)


def advisor_hazard(bucket: int) -> float:
    """Interruptions per hour of the AWS Spot Advisor's frequency `bucket`, 0 to 4. Raises: IndexError."""
    return hazard.per_hour(bucket)
