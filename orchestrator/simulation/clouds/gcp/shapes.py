"""Google's machine types as the market's pools have them: which GPU a name stands for, and what is sold how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.pools import Pool

NAME = "gcp"
# What a name begins with, and the accelerator type of its GPUs (Google's documentation of GPU machine types, from
# memory, and the names in its accelerator list).
ACCELERATORS: Mapping[str, str] = MappingProxyType(
    {
        "a2-highgpu": "nvidia-tesla-a100",
        "a2-megagpu": "nvidia-tesla-a100",
        "a2-ultragpu": "nvidia-a100-80gb",
        "a3-highgpu": "nvidia-h100-80gb",
        "a3-edgegpu": "nvidia-h100-80gb",
        "a3-megagpu": "nvidia-h100-mega-80gb",
        "a3-ultragpu": "nvidia-h200-141gb",
        "a4-highgpu": "nvidia-b200",
        "g2-standard": "nvidia-l4",
        "g4-standard": "nvidia-rtx-pro-6000",
    }
)
ATTACHED = re.compile(r"(n1-[a-z]+-(\d+))\+(?:(\d+)x)?([a-z0-9]+)")  # "n1-standard-8+2xt4"
BARE = re.compile(r"n1\+nvidia-tesla-([a-z0-9]+)")  # price tables that name the GPU alone
HOST_CPUS: Mapping[str, Mapping[int, int]] = MappingProxyType(  # of the N1 machine that usually goes with so many GPUs
    {
        "t4": {1: 4, 2: 8, 4: 16},
        "p4": {1: 4, 2: 8, 4: 16},
        "p100": {1: 8, 2: 16, 4: 32},
        "v100": {1: 8, 2: 16, 4: 32, 8: 64},
    }
)
N1_GIB_PER_CPU = 3.75
# Smaller A3 machines, and all newer ones, are sold as spot, on a reservation or at a flexible start alone.
SPOT_ALONE = re.compile(r"a3-highgpu-[124]g|a3-ultragpu-.*|a4.*")
LOCAL_SSD: Mapping[str, float] = MappingProxyType(  # disks of 375 GiB that come with each GPU
    {"a2-ultragpu": 1.0, "a3-highgpu": 2.0, "a3-megagpu": 2.0, "a3-ultragpu": 4.0, "a4-highgpu": 4.0}
)


class Shape(NamedTuple):
    """One machine type with its GPUs."""

    name: str  # the market's: with the GPUs where they are attached
    machine_type: str  # Google's
    accelerator: str  # Google's name of the accelerator type
    cards: int  # as the API counts them: 1 also where the machine has a share of one
    gpus: float
    cpus: int
    memory_mb: int
    ssds: int
    attached: bool  # the buyer names the GPUs, the machine type does not have them

    @property
    def series(self) -> str:
        """What its processors and memory are billed as: "a3-megagpu" apart from "a3"."""
        family = "-".join(self.machine_type.split("-")[:2])
        return family if family in {"a3-megagpu", "a3-ultragpu"} else self.machine_type.split("-")[0]


def shape(pool: Pool) -> Shape | None:
    """What the pool sells, in Google's words; None for what is no machine type (a TPU)."""
    name = pool.key.instance_type
    cpus, memory_mb = int(pool.vcpus), int(pool.host_memory_gib * 1024)
    if not cpus or not memory_mb:
        return None
    found = ATTACHED.fullmatch(name)
    if found:
        count = int(found.group(3) or 1)
        accelerator = f"nvidia-tesla-{found.group(4)}"
        return Shape(name, found.group(1), accelerator, count, pool.gpus, cpus, memory_mb, 0, True)
    family = "-".join(name.split("-")[:2])
    if family not in ACCELERATORS:
        return None
    cards, ssds = max(1, int(pool.gpus)), int(LOCAL_SSD.get(family, 0) * pool.gpus)
    return Shape(name, name, ACCELERATORS[family], cards, pool.gpus, cpus, memory_mb, ssds, False)


def hosted(pool: Pool) -> Pool:
    """The pool with a zone, and GPUs that a price table names alone with the N1 machine that usually goes with them."""
    key = pool.key if pool.key.zone else pool.key._replace(zone=f"{pool.key.region}-a")
    found = BARE.fullmatch(key.instance_type)
    if not found:
        return replace(pool, key=key)
    device, count = found.group(1), int(pool.gpus)
    cpus = HOST_CPUS.get(device, {}).get(count)
    if cpus is None:
        return replace(pool, key=key)
    cards = device if count == 1 else f"{count}x{device}"
    key = key._replace(instance_type=f"n1-standard-{cpus}+{cards}")
    return replace(pool, key=key, vcpus=float(cpus), host_memory_gib=cpus * N1_GIB_PER_CPU)


def is_sold(pool: Pool) -> bool:
    """Whether Google sells such a thing under this billing."""
    return pool.key.billing is Billing.SPOT or not SPOT_ALONE.fullmatch(pool.key.instance_type)
