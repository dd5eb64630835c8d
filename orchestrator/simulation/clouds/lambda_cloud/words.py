"""What the simulated Lambda cloud calls regions and devices, and how it shows types and instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.pools import Pool

# The 17 regions of PublicRegionCode in the API's description, version 1.8.3; the places are Lambda's own words where
# its examples have them, else the nearest.
REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "europe-central-1": "Germany",
        "asia-south-1": "India",
        "australia-east-1": "Australia",
        "me-west-1": "Israel",
        "asia-northeast-1": "Osaka, Japan",
        "asia-northeast-2": "Tokyo, Japan",
        "us-east-1": "Virginia, USA",
        "us-west-2": "Arizona, USA",
        "us-west-1": "California, USA",
        "us-south-1": "Texas, USA",
        "us-west-3": "Utah, USA",
        "us-midwest-1": "Illinois, USA",
        "us-east-2": "Washington DC, USA",
        "us-south-2": "North Texas, USA",
        "us-south-3": "Central Texas, USA",
        "us-east-3": "Washington DC, USA",
        "us-midwest-2": "Midwest, USA",
    }
)
# How Lambda describes a device, from its API's examples and its public catalogue.
DEVICES: Mapping[str, str] = MappingProxyType(
    {
        "A10": "A10 (24 GB PCIe)",
        "A100-40GB": "A100 (40 GB SXM4)",
        "A100-PCIe-40GB": "A100 (40 GB PCIe)",
        "A100-80GB": "A100 (80 GB SXM4)",
        "A6000": "A6000 (48 GB)",
        "B200": "B200 (180 GB SXM6)",
        "GH200": "GH200 (96 GB)",
        "H100-PCIe": "H100 (80 GB PCIe)",
        "H100-SXM": "H100 (80 GB SXM5)",
        "Quadro-RTX-6000": "RTX 6000 (24 GB)",
        "V100-16GB": "Tesla V100 (16 GB)",
    }
)
STATUSES: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.BOOTING: "booting",
        Phase.RUNNING: "active",
        Phase.STOPPING: "terminating",
        Phase.GONE: "terminated",
    }
)
STORAGE_GIB = 512  # of local disk per GPU; nobody here looks at it


def region(name: str) -> dict[str, str]:
    """A Region."""
    return {"name": name, "description": REGIONS[name]}


def instance_type(pool: Pool, usd_per_hour: float) -> dict[str, Any]:
    """An InstanceType."""
    described = DEVICES.get(pool.accelerator, pool.accelerator)
    gpus = round(pool.gpus)
    return {
        "name": pool.key.instance_type,
        "description": f"{gpus}x {described}",
        "gpu_description": described,
        "price_cents_per_hour": round(100 * usd_per_hour),
        "specs": {
            "vcpus": round(pool.vcpus),
            "memory_gib": round(pool.host_memory_gib),
            "storage_gib": STORAGE_GIB * gpus,
            "gpus": gpus,
        },
    }


def instance_id(seed: int, serial: int) -> str:
    """32 hexadecimal digits, as Lambda's ids are."""
    return sha256(f"lambda {seed} {serial}".encode()).hexdigest()[:32]


def status(machine: Machine, now: datetime) -> str:
    """An InstanceStatus."""
    phase = machine.phase(now)
    if phase is Phase.STOPPING and machine.end is End.PREEMPTED:
        return "preempted"
    own_end = machine.extra.get("own_end")
    if phase is Phase.RUNNING and isinstance(own_end, datetime) and now >= own_end:
        return "unhealthy"  # switched off from within: it answers no more, and is billed all the same
    return STATUSES[phase]


def instance(machine: Machine, pool: Pool, now: datetime, *, seed: int) -> dict[str, Any]:
    """An Instance; addresses are missing while it boots, as Lambda leaves them out."""
    phase = machine.phase(now)
    extra = machine.extra
    shown: dict[str, Any] = {
        "id": instance_id(seed, machine.serial),
        "status": status(machine, now),
        "ssh_key_names": _listed(extra.get("ssh_key_names")),
        "file_system_names": [],
        "region": region(machine.key.region),
        "instance_type": instance_type(pool, machine.usd_per_hour),
        "actions": _actions(phase),
        "tags": [{"key": key, "value": value} for key, value in machine.tags.items()],
        "firewall_rulesets": [{"id": each} for each in _listed(extra.get("firewall_rulesets"))],
    }
    if machine.name:
        shown["name"] = machine.name
    hostname = extra.get("hostname")
    if hostname:
        shown["hostname"] = hostname
    if phase is not Phase.BOOTING:
        shown["ip"] = machine.address
        shown["private_ip"] = f"10.{machine.serial >> 16 & 255}.{machine.serial >> 8 & 255}.{machine.serial & 255}"
    return shown


def _listed(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, Sequence) else []


def _actions(phase: Phase) -> dict[str, Any]:
    able: dict[str, Any] = {"available": True}
    if phase is Phase.BOOTING:
        able = _unable("vm-has-not-launched", "The instance has not launched yet.")
    if phase in {Phase.STOPPING, Phase.GONE}:
        able = _unable("vm-is-terminating", "The instance is being terminated.")
    names = ("migrate", "rebuild", "restart", "cold_reboot")
    gone = phase in {Phase.STOPPING, Phase.GONE}
    return {**dict.fromkeys(names, able), "terminate": able if gone else {"available": True}}


def _unable(code: str, why: str) -> dict[str, Any]:
    return {"available": False, "reason_code": code, "reason_description": why}
