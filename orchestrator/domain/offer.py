"""Offers: GPU capacity somewhere, at a price, right now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Billing(StrEnum):
    """How capacity is paid for."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    RESERVED = "reserved"
    OWNED = "owned"


class Tier(StrEnum):
    """What kind of site sells the capacity."""

    HPC = "hpc"
    CLOUD = "cloud"
    EDGE = "edge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One instance type in one place under one kind of billing.

    `usd_per_hour` is for one node with all its GPUs. `gpus` may be a fraction. `available` counts nodes: 0 is sold out,
    None is unknown. `interruption_rate` is the hazard of losing the node, per hour; None is unknown. `quota_nodes` is
    how many more nodes the account's quota allows, and `obtainability` the chance, from 0 to 1, that a purchase now
    goes through, as the vendor advises; None is unknown. `max_lease_s` is how long one lease of it can be worked in at
    most: from when its machines are up until its provider asks for them back; None where no end is known.
    """

    provider: str
    region: str
    zone: str  # "" where the provider has no zones
    instance_type: str
    accelerator: str  # name of an Accelerator, or the vendor's own word where we know no such device
    gpus: float
    billing: Billing
    usd_per_hour: float
    available: int | None
    tier: Tier
    fabric: str  # node-to-node network: "efa", "infiniband", "ethernet", ""
    vcpus: float
    host_memory_gib: float
    interruption_rate: float | None
    boot_s: float  # expected time from purchase to a usable machine
    min_billing_s: float  # the least time one lease is billed for
    observed_at: datetime
    source: str
    quota_nodes: int | None = None
    obtainability: float | None = None
    max_lease_s: float | None = None

    @property
    def place(self) -> str:
        """`region`, or `region/zone` where there is one."""
        return f"{self.region}/{self.zone}" if self.zone and self.zone != self.region else self.region

    @property
    def label(self) -> str:
        """What people call it: `aws us-east-1 p5.48xlarge spot`; unique within a market."""
        return f"{self.provider} {self.place} {self.instance_type} {self.billing.value}"
