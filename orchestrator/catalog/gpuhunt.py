"""gpuhunt's catalogue: one CSV a provider, a price a row (format of gpuhunt 0.1.34, github.com/dstackai/gpuhunt).

Columns: instance_name, location, price (USD per hour), cpu, memory (GB), gpu_count, gpu_name, gpu_memory (GB of one
device), spot (True or False), and, where the version has them, disk_size, gpu_vendor, flags, cpu_arch, provider_data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from orchestrator.catalog.community import NO_GPU, OTHER_TERMS, Listing, checked
from orchestrator.catalog.sheet import Fault, Sheet, mapped, paired
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, Words

NAME = "gpuhunt catalogue"
REQUIRED = ("instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot")
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "region": "location",
        "instance_type": "instance_name",
        "gpu": "gpu_name",
        "gpus": "gpu_count",
        Billing.ON_DEMAND.value: "price",
        Billing.SPOT.value: "price",
    }
)
GCP_ZONE = re.compile(r"(.+\d)-[a-z0-9]+")  # us-central1-a
TRUTHS = ("true", "false")
CALENDAR = "gcp-dws-calendar-mode"  # booked ahead for a fixed time
CLUSTER = "runpod-cluster"  # sold by two and more
TPU = "tpu-"  # how catalogues older than the column gpu_vendor mark a TPU


def listing(sheet: Sheet, provider: str) -> Listing:
    """The rows of a catalogue of `provider`."""
    everything = np.ones(len(sheet), np.bool_)
    count = sheet.numbers("gpu_count")
    uncounted = sheet.words("gpu_name").isin(frozenset({""})) & ~(count.values > 0)
    with_gpu = ~uncounted | np.isnan(count.values)
    price, memory = sheet.numbers("price"), sheet.numbers("gpu_memory")
    vcpus, host = sheet.numbers("cpu"), sheet.numbers("memory")
    bad, faults = checked(sheet, [("gpu_count", count)], everything)
    columns = [("price", price), ("gpu_memory", memory), ("cpu", vcpus), ("memory", host)]
    more, found = checked(sheet, columns, with_gpu & ~bad)
    spot, unclear, said = _spot(sheet, with_gpu & ~bad)
    location = sheet.words("location")
    at_google = provider == "gcp"
    return Listing(
        sheet=sheet,
        provider=provider,
        region=mapped(location, _region) if at_google else location,
        zone=location if at_google else Words(np.zeros(len(sheet), np.int32), ("",)),
        instance_type=_instance_type(sheet, provider),
        gpu=mapped(sheet.words("gpu_name"), lambda word: word.removeprefix(TPU)),
        board=sheet.words("instance_name"),
        memory=memory.values,
        gpus=count.values,
        vcpus=vcpus.values,
        host_memory_gib=host.values,
        prices={
            Billing.ON_DEMAND: np.where(spot, np.nan, price.values),
            Billing.SPOT: np.where(spot, price.values, np.nan),
        },
        columns=COLUMNS,
        left_out={NO_GPU: ~with_gpu, OTHER_TERMS: _flagged(sheet, CALENDAR)},
        faults=(*faults, *found, *said),
        bad=bad | more | unclear,
    )


def _spot(sheet: Sheet, among: BoolArray) -> tuple[BoolArray, BoolArray, list[Fault]]:
    """Which rows are spot prices, and which do not say."""
    words = sheet.words("spot")
    spot = words.isin(frozenset(word for word in words.vocab if word.casefold() == "true"))
    odd = {word: f"{word!r} is neither True nor False" for word in words.vocab if word.casefold() not in TRUTHS}
    unclear, faults = sheet.at_fault("spot", words, odd, among)
    return spot, unclear, faults


def _flagged(sheet: Sheet, flag: str) -> BoolArray:
    words = sheet.words("flags")
    return words.isin(frozenset(word for word in words.vocab if flag in word.split()))


def _region(location: str) -> str:
    zone = GCP_ZONE.fullmatch(location)
    return zone.group(1) if zone else location


def _instance_type(sheet: Sheet, provider: str) -> Words:
    """The machine's name, with its GPUs where the provider lets the buyer choose how many of which go with it."""
    names, counts = sheet.words("instance_name"), sheet.words("gpu_count")
    if provider == "runpod":
        chosen = paired(counts, names, lambda count, name: f"{count}x {name}")
        cluster = Words(_flagged(sheet, CLUSTER).astype(np.int32), ("", " cluster"))
        return paired(chosen, cluster, lambda name, suffix: name + suffix)
    if provider == "gcp":
        devices = paired(counts, sheet.words("gpu_name"), lambda count, gpu: f"{count}x {gpu}")
        return paired(names, devices, lambda name, gpus: f"{name} + {gpus}" if name.startswith("n1-") else name)
    return names
