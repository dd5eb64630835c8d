"""What the simulated Google Cloud answers: JSON documents of machine types, machines, operations, quotas and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.gcp.parts import NANOS, Rate
from orchestrator.simulation.clouds.gcp.shapes import Shape
from orchestrator.simulation.clouds.machines import Machine, Phase

Json = dict[str, Any]
SERVICE = "services/6F81-5844-456A"  # Compute Engine
STARTS_S = 1.0  # an operation is pending until then
_FIRST_ID = 4_611_686_018_427_000_000

_HOST_WORDS: Mapping[str, str] = {"a3-megagpu": "A3Plus", "a3-ultragpu": "A3Ultra", "n1": "N1 Predefined"}
_GPU_WORDS: Mapping[str, str] = {
    "nvidia-tesla-a100": "Nvidia Tesla A100",
    "nvidia-a100-80gb": "Nvidia Tesla A100 80GB",
    "nvidia-h100-80gb": "Nvidia H100 80GB",
    "nvidia-h100-mega-80gb": "Nvidia H100 80GB Mega",
    "nvidia-h200-141gb": "Nvidia H200 141GB",
    "nvidia-l4": "Nvidia L4",
    "nvidia-rtx-pro-6000": "RTX 6000 96GB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; `zone` "" is a global one."""

    name: str
    number: int
    kind: str  # "insert", "delete", "compute.instances.preempted"
    zone: str
    target: str  # path of the thing below the project
    target_number: int
    began: datetime
    done: datetime
    error: str = ""  # the machine-readable code
    message: str = ""
    http_status: int = 0
    user: str = "user"


def stamp(moment: datetime) -> str:
    """RFC 3339, as Google writes it."""
    return moment.isoformat(timespec="milliseconds")


def identity(serial: int) -> str:
    """The vendor's own number of a machine."""
    return str(_FIRST_ID + serial)


def machine_type_json(form: Shape, zone: str, root: str) -> Json:
    """A machine type in one zone."""
    found: Json = {
        "kind": "compute#machineType",
        "id": str(801_000 + form.cpus),
        "name": form.machine_type,
        "description": f"{form.cpus} vCPUs, {form.memory_mb // 1024} GB RAM",
        "guestCpus": form.cpus,
        "memoryMb": form.memory_mb,
        "isSharedCpu": False,
        "architecture": "X86_64",
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": zone,
        "selfLink": f"{root}/zones/{zone}/machineTypes/{form.machine_type}",
    }
    if not form.attached:
        found["accelerators"] = [
            {"guestAcceleratorType": form.accelerator, "guestAcceleratorCount": form.cards},
        ]
    if form.ssds:
        found["bundledLocalSsds"] = {"defaultInterface": "NVME", "partitionCount": form.ssds}
    return found


def accelerator_type_json(name: str, zone: str, most: int, root: str) -> Json:
    """An accelerator type in one zone."""
    return {
        "kind": "compute#acceleratorType",
        "id": "10009",
        "name": name,
        "description": name.replace("-", " ").title(),
        "maximumCardsPerInstance": most,
        "zone": f"{root}/zones/{zone}",
        "selfLink": f"{root}/zones/{zone}/acceleratorTypes/{name}",
    }


def status(machine: Machine, now: datetime) -> str:
    """Google's word for how a machine stands; one that is being taken back is told to stop at the announcement."""
    phase = machine.phase(now)
    if machine.warned(now) or phase is Phase.STOPPING:
        return "STOPPING"
    if phase is Phase.BOOTING:
        return "PROVISIONING" if now < machine.bought_at + timedelta(seconds=3) else "STAGING"
    return "RUNNING"


def instance_json(machine: Machine, now: datetime, root: str) -> Json:
    """A machine as the API shows it."""
    zone = f"{root}/zones/{machine.key.zone}"
    asked: Json = dict(machine.extra)
    interface: Json = {
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": f"{root}/global/networks/default",
        "networkIP": f"10.128.{(machine.serial >> 8) % 256}.{machine.serial % 256}",
        "stackType": "IPV4_ONLY",
    }
    if asked.pop("public", False):
        nat = {
            "kind": "compute#accessConfig",
            "type": "ONE_TO_ONE_NAT",
            "name": "External NAT",
            "networkTier": "PREMIUM",
        }
        interface["accessConfigs"] = [{**nat, "natIP": machine.address}]
    return {
        "kind": "compute#instance",
        "id": identity(machine.serial),
        "name": machine.name,
        "creationTimestamp": stamp(machine.bought_at),
        "status": status(machine, now),
        "zone": zone,
        "labels": dict(machine.tags),
        "labelFingerprint": "42WmSpB8rSM=",
        "networkInterfaces": [interface],
        "selfLink": f"{zone}/instances/{machine.name}",
        **asked,
    }


def operation_json(operation: Operation, now: datetime, root: str) -> Json:
    """An operation as it stands at `now`."""
    place = f"{root}/zones/{operation.zone}" if operation.zone else f"{root}/global"
    started = operation.began + timedelta(seconds=STARTS_S)
    stands = "DONE" if now >= operation.done else "RUNNING" if now >= started else "PENDING"
    found: Json = {
        "kind": "compute#operation",
        "id": str(_FIRST_ID + operation.number),
        "name": operation.name,
        "operationType": operation.kind,
        "status": stands,
        "progress": {"PENDING": 0, "RUNNING": 50, "DONE": 100}[stands],
        "user": operation.user,
        "insertTime": stamp(operation.began),
        "targetLink": f"{root}/{operation.target}",
        "targetId": identity(operation.target_number),
        "selfLink": f"{place}/operations/{operation.name}",
    }
    if operation.zone:
        found["zone"] = place
    if stands != "PENDING":
        found["startTime"] = stamp(min(started, now))
    if stands == "DONE":
        found["endTime"] = stamp(operation.done)
        if operation.error:
            found["error"] = {"errors": [{"code": operation.error, "message": operation.message}]}
            found |= {"httpErrorStatusCode": operation.http_status, "httpErrorMessage": "SERVICE UNAVAILABLE"}
    return found


def sku_json(rate: Rate, currency: str = "USD") -> Json:
    """A price of the billing catalogue, with the descriptions that stand for its fields."""
    spot = rate.billing is Billing.SPOT
    where = f"running in {rate.region}"
    unit, word, group, usage = "h", "hour", "CPU", "Preemptible" if spot else "OnDemand"
    if rate.part == "gpu":
        group, described = "GPU", _gpu_words(rate.of, spot=spot, where=where)
        if rate.of == "nvidia-b200":
            usage = "OnDemand"  # as the catalogue has it for spot slices too
    elif rate.part == "ssd":
        unit, word, group = "GiBy.mo", "gibibyte month", "LocalSSD"
        described = f"SSD backed Local Storage{' attached to Spot Preemptible VMs' if spot else ''} in {rate.region}"
    else:
        series = _HOST_WORDS.get(rate.of, rate.of.upper())
        what = "Core" if rate.part == "core" else "Ram"
        described = f"{'Spot Preemptible ' if spot else ''}{series} Instance {what} {where}"
        if rate.part == "ram":
            unit, word, group = "GiBy.h", "gibibyte hour", "RAM"
        if rate.of == "n1":
            group = "N1Standard"
    number = f"{abs(hash_of(described)):012X}"
    sku = f"{number[:4]}-{number[4:8]}-{number[8:]}"
    price = {"currencyCode": currency, "units": str(rate.nanos // NANOS), "nanos": rate.nanos % NANOS}
    return {
        "name": f"{SERVICE}/skus/{sku}",
        "skuId": sku,
        "description": described,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Storage" if rate.part == "ssd" else "Compute",
            "resourceGroup": group,
            "usageType": usage,
        },
        "serviceRegions": [rate.region],
        "pricingInfo": [
            {
                "summary": "",
                "effectiveTime": "2026-11-01T00:00:00Z",
                "currencyConversionRate": 1,
                "pricingExpression": {
                    "usageUnit": unit,
                    "usageUnitDescription": word,
                    "displayQuantity": 1,
                    "tieredRates": [{"startUsageAmount": 0, "unitPrice": price}],
                },
            }
        ],
        "serviceProviderName": "Google",
        "geoTaxonomy": {"type": "REGIONAL", "regions": [rate.region]},
    }


def hash_of(text: str) -> int:
    """A number of 48 bits that the text decides."""
    number = 14_695_981_039_346_656_037  # FNV-1a
    for byte in text.encode():
        number = ((number ^ byte) * 1_099_511_628_211) % 2**64
    return number >> 16


def _gpu_words(accelerator: str, *, spot: bool, where: str) -> str:
    if accelerator == "nvidia-b200":
        return f"{'Spot Preemptible ' if spot else ''}A4 Nvidia B200 (1 gpu slice) {where}"
    words = _GPU_WORDS.get(accelerator) or f"Nvidia Tesla {accelerator.rsplit('-', 1)[-1].upper()}"
    if spot:
        return f"{words} GPU attached to Spot Preemptible VMs {where}"
    return f"{words} GPU {where}"
