"""Google's machine types: their GPUs, the series they are billed as, and what is sold without a reservation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

NAME, N1 = "gcp", "n1"
# GPUs that are attached to an N1 machine, with the machine that usually goes with so many: within Google's limits per
# card (from memory), the choice is ours.
USUAL_HOSTS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "nvidia-tesla-t4": {1: "n1-standard-4", 2: "n1-standard-8", 4: "n1-standard-16"},
        "nvidia-tesla-p4": {1: "n1-standard-4", 2: "n1-standard-8", 4: "n1-standard-16"},
        "nvidia-tesla-p100": {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32"},
        "nvidia-tesla-v100": {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32", 8: "n1-standard-64"},
    }
)
TESLA = "nvidia-tesla-"
ATTACHED = re.compile(r"(n1-[a-z]+-\d+)\+(?:(\d+)x)?([a-z0-9]+)")
# Machines with a share of one GPU, which the API counts as one.
SHARES: Mapping[str, float] = MappingProxyType(
    {"g4-standard-6": 1 / 8, "g4-standard-12": 1 / 4, "g4-standard-24": 1 / 2}
)
# As of 2026-08: A3 with fewer than 8 GPUs, A3 Ultra and A4 are sold as spot, at a flexible start or on a reservation.
SPOT_ALONE = re.compile(r"a3-highgpu-[124]g|a3-ultragpu-.*|a4-.*")
RESERVED_ALONE = re.compile(r"a4x-.*")
# What processors and memory of a family are billed as; "slice" is a GPU with its part of the whole machine.
BILLED_AS: Mapping[str, str] = MappingProxyType(
    {
        "a2-highgpu": "a2",
        "a2-megagpu": "a2",
        "a2-ultragpu": "a2",
        "a3-highgpu": "a3",
        "a3-edgegpu": "a3",
        "a3-megagpu": "a3plus",
        "a3-ultragpu": "a3ultra",
        "a4-highgpu": "slice",
        "g2-standard": "g2",
        "g4-standard": "g4",
        "n1-standard": "n1",
        "n1-highmem": "n1",
        "n1-highcpu": "n1",
    }
)
HYPERDISK_ALONE = re.compile(r"a3-ultragpu-.*|a4.*|g4-.*")  # take no persistent disks (from memory)


class MachineType(NamedTuple):
    """One machine type in one zone, as the API lists it; `accelerator` "" has no GPUs of its own."""

    zone: str
    name: str
    cpus: int
    memory_mb: int
    accelerator: str
    cards: int
    ssds: int  # local disks of 375 GiB that come with it

    @property
    def region(self) -> str:
        """The region that the zone is in."""
        return self.zone.rpartition("-")[0]


class Shape(NamedTuple):
    """A machine type with its GPUs: what an offer is made from."""

    machine: MachineType
    accelerator: str
    cards: int
    attached: bool  # the buyer names the GPUs

    @property
    def name(self) -> str:
        """What the offer is called: "a2-highgpu-1g", "n1-standard-8+2xt4"."""
        if not self.attached:
            return self.machine.name
        device = self.accelerator.removeprefix(TESLA)
        return f"{self.machine.name}+{device if self.cards == 1 else f'{self.cards}x{device}'}"

    @property
    def gpus(self) -> float:
        """How many GPUs, or which part of one."""
        return SHARES.get(self.machine.name, float(self.cards))

    @property
    def billed_as(self) -> str:
        """The series of its processors and memory; "" for a family that we do not know the prices' names of."""
        return BILLED_AS.get("-".join(self.machine.name.split("-")[:2]), "")


class Wanted(NamedTuple):
    """What an instance type of ours means to Google."""

    machine_type: str
    accelerator: str  # "" where the machine type has its own
    cards: int


def shapes(machines: Iterable[MachineType], on_sale: Mapping[str, frozenset[str]]) -> list[Shape]:
    """Everything with GPUs: machines that have their own, and N1 machines with those that `on_sale` has by zone."""
    found: list[Shape] = []
    for machine in machines:
        if machine.accelerator:
            found.append(Shape(machine, machine.accelerator, machine.cards, False))
        for accelerator in sorted(on_sale.get(machine.zone, frozenset()) & USUAL_HOSTS.keys()):
            for cards, host in USUAL_HOSTS[accelerator].items():
                if host == machine.name:
                    found.append(Shape(machine, accelerator, cards, True))
    return found


def wanted(instance_type: str) -> Wanted:
    """The machine type, and the GPUs to attach."""
    found = ATTACHED.fullmatch(instance_type)
    if not found:
        return Wanted(instance_type, "", 0)
    return Wanted(found.group(1), f"{TESLA}{found.group(3)}", int(found.group(2) or 1))


def is_sold(machine_type: str, *, spot: bool) -> bool:
    """Whether one can have it without a reservation."""
    if RESERVED_ALONE.fullmatch(machine_type):
        return False
    return spot or not SPOT_ALONE.fullmatch(machine_type)


def disk_type(machine_type: str) -> str:
    """A kind of boot disk that the machine takes."""
    return "hyperdisk-balanced" if HYPERDISK_ALONE.fullmatch(machine_type) else "pd-balanced"
