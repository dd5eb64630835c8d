"""SkyPilot's catalogues: one vms.csv a cloud, schemas v5 to v8 of github.com/skypilot-org/skypilot-catalog.

Columns, as read in November 2026: InstanceType, AcceleratorName, AcceleratorCount, vCPUs, MemoryGiB, GpuInfo, Price and
SpotPrice (USD per hour), Region, AvailabilityZone (may be missing). Google's machines and their GPUs stand in rows of
their own, and are joined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isnan
from types import MappingProxyType

import numpy as np

from orchestrator.catalog.community import JOINED, NO_GPU, NO_MACHINE, Listing, checked
from orchestrator.catalog.sheet import Fault, Sheet, mapped, paired
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, Words

NAME = "SkyPilot catalogue"
REQUIRED = ("instancetype", "acceleratorname", "acceleratorcount", "price", "region")
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "region": "region",
        "instance_type": "instancetype",
        "gpu": "acceleratorname",
        "gpus": "acceleratorcount",
        Billing.ON_DEMAND.value: "price",
        Billing.SPOT.value: "spotprice",
    }
)
INFO_NAME = re.compile(r"""['"]Name['"]\s*:\s*['"]([^'"]*)""")
INFO_SIZE = re.compile(r"""['"]SizeInMiB['"]\s*:\s*([0-9.]+)""")
MIB = 1024.0
NOTHING = frozenset({""})
# Devices that SkyPilot names without their memory, in GiB; the larger ones say theirs (A100-80GB, V100-32GB).
UNSAID_GIB: Mapping[str, float] = MappingProxyType({"A100": 40.0, "V100": 16.0})
# Google's machine types that come with their GPUs (cloud.google.com/compute/docs/gpus, from memory, November 2026).
WITH_GPUS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        **{f"a2-highgpu-{n}g": ("A100", n) for n in (1, 2, 4, 8)},
        "a2-megagpu-16g": ("A100", 16),
        **{f"a2-ultragpu-{n}g": ("A100-80GB", n) for n in (1, 2, 4, 8)},
        **{f"a3-highgpu-{n}g": ("H100", n) for n in (1, 2, 4, 8)},
        "a3-megagpu-8g": ("H100-MEGA", 8),
        "a3-ultragpu-8g": ("H200", 8),
        "a4-highgpu-8g": ("B200", 8),
        **{f"g2-standard-{vcpus}": ("L4", 1) for vcpus in (4, 8, 12, 16, 32)},
        "g2-standard-24": ("L4", 2),
        "g2-standard-48": ("L4", 4),
        "g2-standard-96": ("L4", 8),
    }
)


def listing(sheet: Sheet, provider: str) -> Listing:
    """The rows of a catalogue of `provider`."""
    everything = np.ones(len(sheet), np.bool_)
    count = sheet.numbers("acceleratorcount")
    named = ~sheet.words("acceleratorname").isin(NOTHING)
    alone = sheet.words("instancetype").isin(NOTHING) & named
    bad, faults = checked(sheet, [("acceleratorcount", count)], everything)
    price, spot = sheet.numbers("price"), sheet.numbers("spotprice")
    twice, said = _contradictions(sheet, (count.values, price.values, spot.values), alone & ~bad)
    bad |= twice
    faults += said
    part = _parts(sheet, count.values, alone & ~bad) if provider == "gcp" else np.full(len(sheet), -1, np.int64)
    joined = part >= 0
    with_gpu = named | (count.values > 0) | joined
    vcpus, host = sheet.numbers("vcpus"), sheet.numbers("memorygib")
    columns = [("price", price), ("spotprice", spot), ("vcpus", vcpus), ("memorygib", host)]
    more, found = checked(sheet, columns, with_gpu & ~bad)
    bad |= more
    spoilt = joined & bad[part] & ~bad
    found += sheet.found(spoilt, "price", lambda row: f"line {sheet.lines[part[row]]} has no good price of its GPUs")
    used = np.zeros(len(sheet), np.bool_)
    used[part[joined]] = True
    gpu = _joined_words(sheet.words("acceleratorname"), part)
    return Listing(
        sheet=sheet,
        provider=provider,
        region=sheet.words("region"),
        zone=sheet.words("availabilityzone"),
        instance_type=sheet.words("instancetype"),
        gpu=gpu,
        board=paired(sheet.words("instancetype"), _info(sheet, INFO_NAME), lambda kind, name: f"{name} {kind}"),
        memory=_memory(sheet, gpu, part),
        gpus=np.where(joined, count.values[part], count.values),
        vcpus=vcpus.values,
        host_memory_gib=host.values,
        prices={
            Billing.ON_DEMAND: np.where(joined, price.values + price.values[part], price.values),
            Billing.SPOT: np.where(joined, spot.values + spot.values[part], spot.values),
        },
        columns=COLUMNS,
        left_out={JOINED: used, NO_MACHINE: alone, NO_GPU: ~with_gpu},
        faults=(*faults, *found),
        bad=bad | spoilt,
    )


def _parts(sheet: Sheet, counts: FloatArray, alone: BoolArray) -> IntArray:
    """For every row of a machine whose GPUs are priced apart the row of their price in its zone, else -1."""
    place = paired(sheet.words("region"), sheet.words("availabilityzone"), lambda region, zone: f"{region}/{zone}")
    devices, kinds = sheet.words("acceleratorname"), sheet.words("instancetype")
    priced: dict[tuple[str, str, float], int] = {}
    for row in np.flatnonzero(alone).tolist():
        priced.setdefault((place[row], devices[row], float(counts[row])), row)
    parts = np.full(len(sheet), -1, np.int64)
    bare = devices.isin(NOTHING) & kinds.isin(frozenset(WITH_GPUS))
    for row in np.flatnonzero(bare).tolist():
        device, number = WITH_GPUS[kinds[row]]
        parts[row] = priced.get((place[row], device, float(number)), -1)
    return parts


def _contradictions(
    sheet: Sheet, numbers: tuple[FloatArray, FloatArray, FloatArray], alone: BoolArray
) -> tuple[BoolArray, list[Fault]]:
    """Rows that price GPUs otherwise than an earlier one of the same place; `numbers` are their count and prices."""
    seen: dict[tuple[str, str, str, float], tuple[int, tuple[float, ...]]] = {}
    rows: dict[int, int] = {}
    places = (sheet.words("region"), sheet.words("availabilityzone"), sheet.words("acceleratorname"))
    for row in np.flatnonzero(alone).tolist():
        count, *prices = (float(each[row]) for each in numbers)
        region, zone, device = (words[row] for words in places)
        said = tuple(-1.0 if isnan(price) else price for price in prices)
        earlier, first = seen.setdefault((region, zone, device, count), (row, said))
        if said != first:
            rows[row] = earlier
    mask = np.zeros(len(sheet), np.bool_)
    mask[list(rows)] = True
    lines = sheet.lines
    return mask, sheet.found(mask, "price", lambda row: f"line {lines[rows[row]]} prices the same GPUs otherwise")


def _joined_words(words: Words, part: IntArray) -> Words:
    """Every row's own word, or that of the row that it is joined with."""
    return Words(np.where(part >= 0, words.codes[part], words.codes), words.vocab)


def _info(sheet: Sheet, pattern: re.Pattern[str]) -> Words:
    """What `pattern` finds in the human-readable facts of the GPU, of the first one."""

    def first(text: str) -> str:
        found = pattern.search(text)
        return found.group(1) if found else ""

    return mapped(sheet.words("gpuinfo"), first)


def _memory(sheet: Sheet, gpu: Words, part: IntArray) -> FloatArray:
    """GiB of one device: MiB in the catalogue, but GiB under the same name where somebody mistook them."""
    sizes = _joined_words(_info(sheet, INFO_SIZE), part)
    said = np.array([_gib(word) for word in sizes.vocab], np.float64)[sizes.codes]
    unsaid = np.array([UNSAID_GIB.get(word, np.nan) for word in gpu.vocab], np.float64)[gpu.codes]
    return np.where(np.isnan(said), unsaid, said)


def _gib(size: str) -> float:
    try:
        number = float(size)
    except ValueError:
        return np.nan
    return number / MIB if number >= MIB else number
