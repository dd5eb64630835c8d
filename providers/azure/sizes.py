"""Which GPUs are in an Azure size: its name is the only place that says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.kit.devices import device


class Gpus(NamedTuple):
    """Our name of the device, and how many of it a machine has; a share is a fraction."""

    accelerator: str
    number: float


class Unclear(ValueError):
    """A size whose GPUs cannot be told for certain; the message says why."""


Count = Callable[[int], float]  # of the virtual CPUs in the name


def _per(vcpus: float, most: float = float("inf")) -> Count:
    return lambda found: min(most, found / vcpus)


def _always(count: float) -> Count:
    return lambda _: count


# Learn, "GPU accelerated VM sizes" (learn.microsoft.com/azure/virtual-machines/sizes/overview), read 2026-11; V710 from
# the same pages, from memory. The first pattern that fits counts; the number in the name is that of its virtual CPUs.
_SIZES: Mapping[str, tuple[str, Count]] = MappingProxyType(
    {
        r"NC(\d+)as_T4_v3": ("T4", lambda vcpus: max(1.0, vcpus / 16)),
        r"NC(\d+)ads_A100_v4": ("A100-PCIe-80GB", _per(24)),
        r"NC(\d+)ads_A10_v4": ("A10", _per(24, most=1)),
        r"NCC?(\d+)(?:ads|adis)_H100_v5": ("H100-NVL", _per(40)),
        r"NC(\d+)(?:s|rs)_v3": ("V100-PCIe-16GB", _per(6)),
        r"NC(\d+)(?:s|rs)_v2": ("P100", _per(6)),
        r"ND(\d+)asr_v4": ("A100-40GB", _always(8)),
        r"ND(\d+)amsr?_A100_v4": ("A100-80GB", _always(8)),
        r"ND(\d+)is\w*_H100_v5": ("H100-SXM", _always(8)),
        r"ND(\d+)is\w*_H200_v5": ("H200", _always(8)),
        r"ND(\d+)is\w*_MI300X_v5": ("MI300X", _always(8)),
        r"ND(\d+)is\w*_GB200_v6": ("GB200", _always(4)),
        r"ND(\d+)is\w*_GB300_v6": ("GB300", _always(4)),
        r"ND(\d+)r?s_v2": ("V100-32GB", _always(8)),
        r"ND(\d+)r?s": ("P40", _per(6)),
        r"NV(\d+)adm?s_A10_v5": ("A10", _per(36)),
        r"NV(\d+)adm?s_V710_v5": ("V710", _per(24, most=1)),
        r"NV(\d+)as_v4": ("MI25", _per(32)),
        r"NV(\d+)s_v3": ("M60", _per(12)),
    }
)
# Families of which shares are sold while the GPUs capability counts a share as a whole device.
_SHARED_UNKNOWN = re.compile(r"RTXPRO6000")
_WORDS = re.compile(r"_(?:xl_)?(?:NDR_)?([A-Z]+\d+[A-Z]*\d*[A-Z]*)_v\d+$")


def gpus(size: str, stated: float | None) -> Gpus | None:
    """What `size` ("Standard_NC40ads_H100_v5") has; None where it has no GPU. `stated` is its GPUs capability.

    A device that we do not know keeps Azure's word for it and the count that Azure states.

    Raises: Unclear.
    """
    name = size.removeprefix("Standard_").removesuffix("_Promo")
    for pattern, (accelerator, count) in _SIZES.items():
        found = re.fullmatch(pattern, name)
        if found:
            return Gpus(accelerator, round(count(int(found[1])), 4))
    if not stated:
        return None
    if _SHARED_UNKNOWN.search(name):
        raise Unclear("Azure sells shares of this device and does not state how large they are")
    word = _WORDS.search(name)
    return Gpus(device(word[1]) if word else name, stated)
