"""Settings of the local provider: `[providers.local]` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from orchestrator.domain.offer import Tier


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What the owner says of this machine.

    The default prices are electricity with a margin: 0.25 kW for the machine and 0.75 kW for a data-centre GPU, at
    $0.20/kWh. A price is above 0 because nothing that draws power is free, and a free offer would beat every other.
    """

    usd_per_hour: float = 0.05  # of the machine without its GPUs
    usd_per_gpu_hour: float = 0.15
    slots: int = 1  # leases of the machine at once; each is offered the whole of it
    tdp_w: float = 100.0  # of the CPU: no interface tells it, so this is an assumption
    region: str = "local"
    tier: Tier = Tier.EDGE

    def __post_init__(self) -> None:
        for name in ("usd_per_hour", "usd_per_gpu_hour", "tdp_w"):
            value = getattr(self, name)
            if not (value > 0 and isfinite(value)):
                raise ValueError(f"{name} is above 0, not {value}")
        if self.slots < 1:
            raise ValueError(f"slots is at least 1, not {self.slots}")
        if not self.region:
            raise ValueError("region is not empty")
