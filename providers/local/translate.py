"""What the kernel and the driver say, in isoflop's words: names of devices, offers, accelerators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.offer import Billing, Offer
from providers.local.client import NAME
from providers.local.machine import Host, Measurement
from providers.local.nvml import Device
from providers.local.settings import LocalSettings

CPU = "cpu"
WHOLE = "this-machine"

# NVML's names without "NVIDIA ", "Tesla " and "GeForce ", and ours where they differ in more than blanks for hyphens.
# What is not here keeps the driver's word, and sizing says that it knows no such device.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "P100-SXM2-16GB": "P100-SXM2",
        "P100-PCIE-16GB": "P100",
        "V100-SXM2-16GB": "V100-16GB",
        "V100-SXM2-32GB": "V100-32GB",
        "V100-SXM3-32GB": "V100-32GB",
        "V100-PCIE-16GB": "V100-PCIe-16GB",
        "V100-PCIE-32GB": "V100-PCIe-32GB",
        "A100-SXM4-40GB": "A100-40GB",
        "A100-SXM4-80GB": "A100-80GB",
        "A100-PCIE-40GB": "A100-PCIe-40GB",
        "A100 80GB PCIe": "A100-PCIe-80GB",
        "A800-SXM4-80GB": "A800",
        "H100 80GB HBM3": "H100-SXM",
        "GH200 480GB": "GH200",
        "RTX A6000": "A6000",
        "RTX A5000": "A5000",
        "RTX A4000": "A4000",
        "RTX 6000 Ada Generation": "RTX-6000-Ada",
        "RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000",
        "RTX PRO 6000 Blackwell Workstation Edition": "RTX-PRO-6000",
    }
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """`gpus` devices of one kind, sold together; `members` are all of that kind in this machine."""

    accelerator: str
    gpus: int
    members: tuple[Device, ...]


def canonical(name: str) -> str:
    """Our name of the device that NVML calls `name`, or its own where we know none."""
    word = name
    for prefix in ("NVIDIA ", "Tesla ", "GeForce "):
        word = word.removeprefix(prefix)
    return NAMES.get(word, word.replace(" ", "-"))


def bundles(devices: Iterable[Device]) -> list[Bundle]:
    """Every size on sale: 1, 2, 4, ... of each kind, and all of it."""
    kinds: defaultdict[str, list[Device]] = defaultdict(list)
    for device in devices:
        kinds[canonical(device.name)].append(device)
    return [
        Bundle(accelerator, size, tuple(members))
        for accelerator, members in sorted(kinds.items())
        for size in sorted({2**power for power in range(len(members).bit_length())} | {len(members)})
    ]


def instance_type_of(bundle: Bundle) -> str:
    """`this-machine-2x-T4`."""
    return f"{WHOLE}-{bundle.gpus}x-{bundle.accelerator}"


def cpu_offer(free: int, *, host: Host, settings: LocalSettings, now: datetime) -> Offer:
    """The whole machine without its GPUs, `free` times."""
    return _offer(
        settings,
        instance_type=WHOLE,
        accelerator=CPU,
        gpus=1.0,
        usd_per_hour=settings.usd_per_hour,
        available=free,
        vcpus=float(host.cores),
        host_memory_gib=host.memory_gib,
        now=now,
    )


def gpu_offer(bundle: Bundle, free: int, *, devices: int, host: Host, settings: LocalSettings, now: datetime) -> Offer:
    """`bundle`, `free` times, with its share of the host by its share of the machine's `devices` GPUs."""
    share = bundle.gpus / devices
    return _offer(
        settings,
        instance_type=instance_type_of(bundle),
        accelerator=bundle.accelerator,
        gpus=float(bundle.gpus),
        usd_per_hour=bundle.gpus * settings.usd_per_gpu_hour,
        available=free,
        vcpus=host.cores * share,
        host_memory_gib=host.memory_gib * share,
        now=now,
    )


def accelerator_of(host: Host, seen: Measurement, *, tdp_w: float) -> Accelerator:
    """The CPU as one device. Its peak is what a matrix product reached, so a job's MFU of it can come near 1."""
    return Accelerator(
        name=CPU,
        vendor=CPU,
        memory_gib=host.memory_gib,
        memory_bandwidth_gb_s=seen.copy_gb_s,
        peak_tflops=((Precision.FP32, seen.fp32_tflops),),
        tdp_w=tdp_w,
        generation=CPU,
        source=f"measured on this machine ({host.cpu or 'unknown CPU'}, {host.cores} cores), power assumed",
        as_of=seen.measured_at.date().isoformat(),
    )


def _offer(
    settings: LocalSettings,
    *,
    instance_type: str,
    accelerator: str,
    gpus: float,
    usd_per_hour: float,
    available: int,
    vcpus: float,
    host_memory_gib: float,
    now: datetime,
) -> Offer:
    return Offer(
        provider=NAME,
        region=settings.region,
        zone="",
        instance_type=instance_type,
        accelerator=accelerator,
        gpus=gpus,
        billing=Billing.OWNED,
        usd_per_hour=usd_per_hour,
        available=available,
        tier=settings.tier,
        fabric="",
        vcpus=vcpus,
        host_memory_gib=host_memory_gib,
        interruption_rate=0.0,
        boot_s=0.0,
        min_billing_s=0.0,
        observed_at=now,
        source="this machine, at its owner's price",
    )
