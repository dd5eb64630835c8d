"""What the simulated markets consist of: machines, regions, prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from orchestrator.domain.offer import Billing, Tier
from providers.simulated.market import Pool
from providers.simulated.settings import MarketName


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An instance type at its base price, and how its pools fare."""

    name: str
    accelerator: str
    gpus: float
    usd_per_hour: float  # on demand, in a region of factor 1
    spot_share: float  # mean spot price as a part of it
    volatility: float  # of the spot price
    capacity: int  # nodes of the on-demand pool; the spot pool has half
    busy: float
    swing: float
    hazard_per_hour: float  # of spot
    boot_s: float
    vcpus: float
    host_memory_gib: float
    fabric: str = ""
    tier: Tier = Tier.CLOUD


# Machines that are this machine: small numbers, nobody else on the market, boots that a demo can wait for.
DEMO_MACHINE = Machine(
    name="sim-cpu",
    accelerator="cpu",
    gpus=1.0,
    usd_per_hour=0.10,
    spot_share=0.3,
    volatility=0.1,
    capacity=4,
    busy=0.0,
    swing=0.0,
    hazard_per_hour=0.02,
    boot_s=2.0,
    vcpus=2.0,
    host_memory_gib=4.0,
)
DEMO_REGIONS = {"sim-west": 1.0, "sim-east": 1.15, "sim-north": 1.3}

# Shapes and prices of the order seen at large clouds early in 2026; nobody's price list.
WORLD_MACHINES = (
    Machine(
        name="sim-h100-8x",
        accelerator="H100-SXM",
        gpus=8.0,
        usd_per_hour=32.0,
        spot_share=0.5,
        volatility=0.25,
        capacity=16,
        busy=0.7,
        swing=0.25,
        hazard_per_hour=0.02,
        boot_s=300.0,
        vcpus=192.0,
        host_memory_gib=2048.0,
        fabric="infiniband",
    ),
    Machine(
        name="sim-h100-1x",
        accelerator="H100-SXM",
        gpus=1.0,
        usd_per_hour=4.5,
        spot_share=0.5,
        volatility=0.25,
        capacity=32,
        busy=0.7,
        swing=0.25,
        hazard_per_hour=0.02,
        boot_s=180.0,
        vcpus=24.0,
        host_memory_gib=256.0,
    ),
    Machine(
        name="sim-a100-8x",
        accelerator="A100-80GB",
        gpus=8.0,
        usd_per_hour=20.0,
        spot_share=0.45,
        volatility=0.2,
        capacity=16,
        busy=0.6,
        swing=0.25,
        hazard_per_hour=0.01,
        boot_s=240.0,
        vcpus=96.0,
        host_memory_gib=1152.0,
        fabric="infiniband",
    ),
    Machine(
        name="sim-l4-1x",
        accelerator="L4",
        gpus=1.0,
        usd_per_hour=0.8,
        spot_share=0.4,
        volatility=0.15,
        capacity=64,
        busy=0.5,
        swing=0.2,
        hazard_per_hour=0.005,
        boot_s=90.0,
        vcpus=8.0,
        host_memory_gib=32.0,
        tier=Tier.EDGE,
    ),
    Machine(
        name="sim-t4-1x",
        accelerator="T4",
        gpus=1.0,
        usd_per_hour=0.53,
        spot_share=0.35,
        volatility=0.15,
        capacity=64,
        busy=0.4,
        swing=0.2,
        hazard_per_hour=0.004,
        boot_s=90.0,
        vcpus=4.0,
        host_memory_gib=16.0,
        tier=Tier.EDGE,
    ),
)
WORLD_REGIONS = {"sim-west": 1.0, "sim-east": 1.0, "sim-north": 0.95, "sim-central": 1.15, "sim-asia": 1.25}

MARKETS: Mapping[MarketName, tuple[tuple[Machine, ...], Mapping[str, float]]] = MappingProxyType(
    {MarketName.DEMO: ((DEMO_MACHINE,), DEMO_REGIONS), MarketName.WORLD: (WORLD_MACHINES, WORLD_REGIONS)}
)


def pools(market: MarketName) -> tuple[Pool, ...]:
    """Every pool of `market`."""
    machines, regions = MARKETS[market]
    return tuple(
        pool for region, factor in regions.items() for machine in machines for pool in _pair(machine, region, factor)
    )


def _pair(machine: Machine, region: str, factor: float) -> tuple[Pool, Pool]:
    """The on-demand and the spot pool of `machine` in `region`."""
    on_demand = machine.usd_per_hour * factor
    steady = Pool(
        region=region,
        instance_type=machine.name,
        accelerator=machine.accelerator,
        gpus=machine.gpus,
        billing=Billing.ON_DEMAND,
        capacity=machine.capacity,
        usd_per_hour=round(on_demand, 4),
        on_demand_usd_per_hour=on_demand,
        busy=machine.busy,
        swing=machine.swing,
        boot_s=machine.boot_s,
        tier=machine.tier,
        fabric=machine.fabric,
        vcpus=machine.vcpus,
        host_memory_gib=machine.host_memory_gib,
    )
    spot = replace(
        steady,
        billing=Billing.SPOT,
        capacity=machine.capacity // 2,
        usd_per_hour=on_demand * machine.spot_share,
        volatility=machine.volatility,
        hazard_per_hour=machine.hazard_per_hour,
    )
    return steady, spot
