"""Regions, zones and instance types of the simulated AWS: moto's recorded facts, cut to the market's pools."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from orchestrator.catalog import accelerators
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool, chance

PROVIDER = "aws"
MIB = 1024
DIRECTIONS = {
    "north": "n",
    "south": "s",
    "east": "e",
    "west": "w",
    "central": "c",
    "northeast": "ne",
    "northwest": "nw",
    "southeast": "se",
    "southwest": "sw",
}
BUILT_IN_MEMORY = re.compile(r"-\d+GB$")
# Quotas in vCPU of Service Quotas, as an account of 2026 lists them.
QUOTAS: tuple[tuple[str, str, str, str], ...] = (  # pattern of types, billing, code, name
    (r"p\d", "on-demand", "L-417A185B", "Running On-Demand P instances"),
    (r"p\d", "spot", "L-7212CCBC", "All P Spot Instance Requests"),
    (r"(g|gr|vt)\d", "on-demand", "L-DB2E81BA", "Running On-Demand G and VT instances"),
    (r"(g|gr|vt)\d", "spot", "L-3819A6DF", "All G and VT Spot Instance Requests"),
    (r"trn\d", "on-demand", "L-2C3B7624", "Running On-Demand Trn instances"),
    (r"trn\d", "spot", "L-6B0D517C", "All Trn Spot Instance Requests"),
    (r"inf\d", "on-demand", "L-1945791B", "Running On-Demand Inf instances"),
    (r"inf\d", "spot", "L-B5D1601B", "All Inf Spot Instance Requests"),
    (r"dl\d", "on-demand", "L-6E869C2A", "Running On-Demand DL instances"),
    (r"dl\d", "spot", "L-85EED4F7", "All DL Spot Instance Requests"),
    (r"[acdhimrtz]\d", "on-demand", "L-1216C47A", "Running On-Demand Standard instances"),
)


@cache
def recorded() -> Mapping[str, Mapping[str, Any]]:
    """Rows of DescribeInstanceTypes as moto recorded them, by type. Reading them takes a third of a second."""
    source = files("moto").joinpath("ec2", "resources", "instance_types.json.gz")
    rows: Mapping[str, Mapping[str, Any]] = json.loads(gzip.decompress(source.read_bytes()))
    return rows


class Catalogue:
    """The market's pools in AWS's words. Zones are shown by names that end in a letter, whatever the pools say."""

    def __init__(self, market: Market) -> None:
        self._seed = market.seed
        self._pools: dict[tuple[str, str, str, Billing], Pool] = {}
        zones: dict[str, set[str]] = {}
        for pool in market.sold_by(PROVIDER):
            key = pool.key
            zone = key.zone or f"{key.region}a"  # price lists without zones
            self._pools[key.region, zone, key.instance_type, key.billing] = pool
            zones.setdefault(key.region, set()).add(zone)
        self.zones: Mapping[str, tuple[str, ...]] = {region: tuple(sorted(zones[region])) for region in sorted(zones)}
        self._types: dict[tuple[str, str], set[str]] = {}
        for region, zone, name, _ in self._pools:
            self._types.setdefault((region, zone), set()).add(name)

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that sells something."""
        return tuple(self.zones)

    def pool(self, region: str, zone: str, instance_type: str, billing: Billing) -> Pool | None:
        """What is sold there, if anything."""
        return self._pools.get((region, zone, instance_type, billing))

    def shown_zone(self, key: Key) -> str:
        """The name that a pool's zone is shown by."""
        return key.zone or f"{key.region}a"

    def zone_id(self, zone: str) -> str:
        """The zone behind the name: which letter stands for it differs from account to account."""
        region, letter = zone[:-1], zone[-1]
        parts = region.split("-")
        short = parts[0] + "".join(DIRECTIONS.get(part, part[:1]) for part in parts[1:-1]) + parts[-1]
        letters = [name[-1] for name in self.zones.get(region, (zone,))]
        mixed = sorted(letters, key=lambda each: chance(self._seed, "zone", region, each))
        return f"{short}-az{mixed.index(letter) + 1 if letter in mixed else 9}"

    def types_in(self, region: str, zone: str = "") -> tuple[str, ...]:
        """Every type offered in a zone, or in any zone of a region."""
        wanted = (zone,) if zone else self.zones.get(region, ())
        return tuple(sorted(set[str]().union(*(self._types.get((region, each), set()) for each in wanted))))

    def describe(self, region: str, instance_type: str) -> Mapping[str, Any]:
        """A row of DescribeInstanceTypes: the recorded one, or one made up from the pool."""
        row = recorded().get(instance_type)
        pools = [pool for (where, _, name, _), pool in self._pools.items() if (where, name) == (region, instance_type)]
        usages = {Billing.ON_DEMAND: "on-demand", Billing.SPOT: "spot"}
        sold = sorted({usages[pool.key.billing] for pool in pools if pool.key.billing in usages})
        if row is None:
            return {**_made_up(instance_type, pools[0]), "SupportedUsageClasses": sold}
        blocks = [usage for usage in row["SupportedUsageClasses"] if usage == "capacity-block"]
        return {**row, "SupportedUsageClasses": [*blocks, *sold]}

    def vcpus(self, region: str, instance_type: str) -> float:
        """Of one machine."""
        return float(self.describe(region, instance_type)["VCpuInfo"]["DefaultVCpus"])


def quota_of(instance_type: str, billing: Billing) -> str:
    """The code of the quota that a machine draws on; "" where it draws on none."""
    for pattern, kind, code, _ in QUOTAS:
        if kind == billing.value and re.match(pattern, instance_type):
            return code
    return ""


def architecture(row: Mapping[str, Any]) -> str:
    """ "x86_64" or "arm64"."""
    return "arm64" if "arm64" in row["ProcessorInfo"]["SupportedArchitectures"] else "x86_64"


def _made_up(instance_type: str, pool: Pool) -> dict[str, Any]:
    """For a type of the price lists that nobody recorded: older ones, mostly."""
    devices = {device.name: device for device in accelerators.load()}
    device = devices.get(pool.accelerator)
    words = BUILT_IN_MEMORY.sub("", pool.accelerator).removesuffix("-SXM").removesuffix("-SXM2")
    gpu: dict[str, Any] = {
        "Name": words,
        "Manufacturer": device.vendor if device else "NVIDIA",
        "Count": max(1, round(pool.gpus)),
        "MemoryInfo": {"SizeInMiB": int((device.memory_gib if device else 16) * MIB)},
    }
    return {
        "InstanceType": instance_type,
        "CurrentGeneration": False,
        "BareMetal": ".metal" in instance_type,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": max(1, round(pool.vcpus))},
        "MemoryInfo": {"SizeInMiB": max(1, round(pool.host_memory_gib * MIB))},
        "GpuInfo": {"Gpus": [gpu], "TotalGpuMemoryInMiB": gpu["Count"] * gpu["MemoryInfo"]["SizeInMiB"]},
        "NetworkInfo": {"NetworkPerformance": "25 Gigabit", "EfaSupported": False},
        "SupportedUsageClasses": [],
    }
