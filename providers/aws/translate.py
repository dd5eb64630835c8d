"""AWS's words into ours: devices, prices, quotas, machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from math import floor
from typing import NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.kit.devices import device, is_known
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.money import Rates

MIB_PER_GIB = 1024.0
# Live answers have had these names or counts wrong for long (gpuhunt and Karpenter mend the same): what AWS's own
# instance pages say of them, from memory: p4de has 8 A100 of 80 GB, p5e and p5en 8 H200, p5.4xlarge one H100.
MENDED: tuple[tuple[str, str, float, float], ...] = (  # type, name, GPUs, GiB of one
    ("p4de.24xlarge", "NVIDIA A100", 8.0, 80.0),
    ("p5.4xlarge", "NVIDIA H100", 1.0, 80.0),
    ("p5e.48xlarge", "NVIDIA H200", 8.0, 141.0),
    ("p5en.48xlarge", "NVIDIA H200", 8.0, 141.0),
)
FRACTIONS = ("g6f.*", "gr6f.*")  # shares of an L4
L4_MIB = 22888.0  # of a whole L4, as EC2 reports it


class Type(NamedTuple):
    """What one instance type is."""

    name: str
    accelerator: str
    known: bool  # whether we hold facts about the accelerator
    gpus: float  # may be a fraction
    vcpus: float
    host_memory_gib: float
    usages: frozenset[str]  # "on-demand", "spot", "capacity-block"
    architecture: str  # "x86_64", "arm64"
    neuron: bool  # AWS's own accelerators, which need another image
    bare_metal: bool
    efa_interfaces: int  # Elastic Fabric Adapters that it takes, one per network card


class Price(NamedTuple):
    """US dollars per hour of a node, and how they were converted where the list is in another currency."""

    usd_per_hour: float
    note: str = ""


def instance_type(row: Document) -> Type | None:
    """What a row of DescribeInstanceTypes says; None for a type without an accelerator. Raises: Malformed."""
    name = row.text("InstanceType")
    found = _mended(name) or _devices(row, name)
    if found is None:
        return None
    words, gpus, memory_gib = found
    if not gpus > 0:
        raise Malformed(f"{row.place}: {name} has {gpus:g} accelerators")
    neuron = "NeuronInfo" in row or "InferenceAcceleratorInfo" in row
    called = device(words, memory_gib)
    architectures = row.within("ProcessorInfo").texts("SupportedArchitectures")
    return Type(
        name=name,
        accelerator=called,
        known=is_known(called),
        gpus=gpus,
        vcpus=row.within("VCpuInfo").number("DefaultVCpus"),
        host_memory_gib=row.within("MemoryInfo").number("SizeInMiB") / MIB_PER_GIB,
        usages=frozenset(row.texts("SupportedUsageClasses")),
        architecture="arm64" if "arm64" in architectures else "x86_64",
        neuron=neuron,
        bare_metal=row.raw("BareMetal") is True,
        efa_interfaces=_efa(row.within("NetworkInfo")) if "NetworkInfo" in row else 0,
    )


def _efa(network: Document) -> int:
    if network.raw("EfaSupported") is not True:
        return 0
    most = network.within("EfaInfo").number("MaximumEfaInterfaces", 1.0) if "EfaInfo" in network else 1.0
    return max(1, min(int(most), int(network.number("MaximumNetworkCards", 1.0))))


def _mended(name: str) -> tuple[str, float, float | None] | None:
    return next(((words, gpus, gib) for known, words, gpus, gib in MENDED if known == name), None)


def _devices(row: Document, name: str) -> tuple[str, float, float | None] | None:
    """The vendor's words, how many, and GiB of a whole one."""
    if "GpuInfo" in row:
        first = next(row.within("GpuInfo").each("Gpus"), None)
        return None if first is None else _gpus(first, name)
    if "NeuronInfo" in row:
        # Their memory is left aside: EC2 has reported 512 GiB for each Trainium2, which has 96.
        first = next(row.within("NeuronInfo").each("NeuronDevices"), None)
        return None if first is None else (f"AWS {first.text('Name')}", first.number("Count"), None)
    if "InferenceAcceleratorInfo" in row:
        first = next(row.within("InferenceAcceleratorInfo").each("Accelerators"), None)
        if first is not None:
            return f"{first.text('Manufacturer', '')} {first.text('Name')}".strip(), first.number("Count"), None
    return None


def _gpus(row: Document, name: str) -> tuple[str, float, float | None]:
    words = f"{row.text('Manufacturer', '')} {row.text('Name')}".strip()
    mib = row.within("MemoryInfo").number("SizeInMiB", 0.0) if "MemoryInfo" in row else 0.0
    count = row.number("Count", 0.0)
    share = row.number("GpuPartitionSize", 1.0)
    if any(fnmatchcase(name, pattern) for pattern in FRACTIONS):
        # Count says 1 or 0 here. The partition is newer than the types, so the memory has to do without it.
        if not 0 < share < 1:
            share = min(1.0, mib / L4_MIB)
        count = row.number("LogicalGpuCount", 1.0) * share
        mib = L4_MIB
    return words, count, mib / MIB_PER_GIB if mib else None


# Prices


def list_price(text: str, rates: Rates) -> tuple[str, Price | None]:
    """The instance type and the price of one element of GetProducts' PriceList, which is JSON within JSON.

    None for a price of 0 or below, of a currency without a rate, or none by the hour. Raises: Malformed.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise Malformed(f"a product of the price list is no JSON: {text[:40]!r}") from error
    product = Document(parsed, "product")
    name = product.within("product").within("attributes").text("instanceType")
    found = {price for price in _hourly(product, rates) if price.usd_per_hour > 0}
    return name, found.pop() if len(found) == 1 else None


def _hourly(product: Document, rates: Rates) -> Iterator[Price]:
    terms = product.within("terms").within("OnDemand")
    for term in tuple(terms.keys()):
        dimensions = terms.within(term).within("priceDimensions")
        for key in tuple(dimensions.keys()):
            row = dimensions.within(key)
            if row.text("unit", "") != "Hrs":
                continue
            units = row.within("pricePerUnit")
            for currency in tuple(units.keys()):
                converted = rates.usd(units.number(currency), currency)
                if converted is not None:
                    yield Price(converted.usd, converted.note)


class SpotPrice(NamedTuple):
    """One row of DescribeSpotPriceHistory."""

    instance_type: str
    zone: str
    at: datetime
    usd_per_hour: float


def spot_price(row: Document) -> SpotPrice | None:
    """A row of DescribeSpotPriceHistory; None for another system's than Linux. Raises: Malformed."""
    if row.text("ProductDescription", "Linux/UNIX") != "Linux/UNIX":
        return None
    usd_per_hour = row.number("SpotPrice")
    return SpotPrice(row.text("InstanceType"), row.text("AvailabilityZone"), moment(row, "Timestamp"), usd_per_hour)


def newest(rows: Iterable[SpotPrice | None]) -> dict[tuple[str, str], float]:
    """The newest price by (instance type, zone); 0 where it is no price."""
    found: dict[tuple[str, str], SpotPrice] = {}
    for row in rows:
        if row is not None:
            key = (row.instance_type, row.zone)
            if key not in found or row.at > found[key].at:
                found[key] = row
    return {key: max(0.0, row.usd_per_hour) for key, row in found.items()}


def moment(row: Document, name: str) -> datetime:
    """An aware time in UTC. Raises: Malformed."""
    value = row.raw(name)
    if not isinstance(value, datetime):
        raise Malformed(f"{row.place}.{name} is {type(value).__name__}, not a time")
    return value.astimezone(UTC)


# Quotas: in vCPUs of all running machines of a class, by codes of Service Quotas, as the public clients have them.

P_SPOT, P5_SPOT = "L-7212CCBC", "L-C4BD4855"
_CLASSES: tuple[tuple[str, str, str], ...] = (  # pattern of instance types, on-demand code, spot code
    (r"p\d", "L-417A185B", P_SPOT),
    (r"(g|gr|vt)\d", "L-DB2E81BA", "L-3819A6DF"),
    (r"trn\d", "L-2C3B7624", "L-6B0D517C"),
    (r"inf\d", "L-1945791B", "L-B5D1601B"),
    (r"dl\d", "L-6E869C2A", "L-85EED4F7"),
)


def quota_code(name: str, billing: Billing, limits: Mapping[str, float]) -> str:
    """The quota of `limits` that a machine of instance type `name` draws on; "" where we know of none.

    Where P5 spot has a quota of its own, the one of P is of P2 to P4 alone and nobody says which P6 is under; where it
    has none, that one is of all P.
    """
    code = ""
    for pattern, demand, spot in _CLASSES:
        if re.match(pattern, name):
            code = {Billing.ON_DEMAND: demand, Billing.SPOT: spot}.get(billing, "")
            break
    if code == P_SPOT and P5_SPOT in limits and not re.match(r"p[2-4]", name):
        code = P5_SPOT if name.startswith("p5") else ""
    return code if code in limits else ""


def quotas(rows: Iterable[Document]) -> dict[str, float]:
    """Limits in vCPUs by code. Raises: Malformed."""
    return {row.text("QuotaCode"): row.number("Value") for row in rows if "Value" in row}


class Running(NamedTuple):
    """One running machine of the account, whoever bought it."""

    instance_type: str
    billing: Billing | None  # None for a capacity block, which is outside quotas
    vcpus: float | None  # where EC2 says it


def running(row: Document) -> Running:
    """An element of a reservation's Instances. Raises: Malformed."""
    lifecycle = row.text("InstanceLifecycle", "")
    vcpus = None
    if "CpuOptions" in row:
        options = row.within("CpuOptions")
        vcpus = options.number("CoreCount") * options.number("ThreadsPerCore")
    billing = {"": Billing.ON_DEMAND, "spot": Billing.SPOT}.get(lifecycle)
    return Running(row.text("InstanceType"), billing, vcpus)


def vcpus_in_use(held: Iterable[Running], types: Mapping[str, Type], limits: Mapping[str, float]) -> dict[str, float]:
    """vCPUs that running machines draw on each quota of `limits`."""
    used: dict[str, float] = {}
    for each in held:
        code = quota_code(each.instance_type, each.billing, limits) if each.billing else ""
        kind = types.get(each.instance_type)
        vcpus = each.vcpus if each.vcpus is not None else kind.vcpus if kind else 0.0
        if code:
            used[code] = used.get(code, 0.0) + vcpus
    return used


def quota_nodes(kind: Type, billing: Billing, limits: Mapping[str, float], used: Mapping[str, float]) -> int | None:
    """How many more machines of `kind` the quota allows; None where it is unknown."""
    code = quota_code(kind.name, billing, limits)
    if not code or not kind.vcpus > 0:
        return None
    return max(0, floor((limits[code] - used.get(code, 0.0)) / kind.vcpus + 1e-9))


# Advice


def scores(rows: Iterable[Document]) -> dict[tuple[str, str], float]:
    """The chance by (region, zone's id) of GetSpotPlacementScores: 10 of 10 is 1. Raises: Malformed."""
    found = {}
    for row in rows:
        score = row.number("Score")
        if 1 <= score <= 10:
            found[row.text("Region"), row.text("AvailabilityZoneId", "")] = score / 10
    return found


def advisor(text: str) -> dict[tuple[str, str], int]:
    """The frequency bucket by (region, instance type) of AWS's Spot Advisor feed, for Linux. Raises: Malformed."""
    try:
        feed = Document(json.loads(text), "spot advisor").within("spot_advisor")
    except ValueError as error:
        raise Malformed(f"the Spot Advisor feed is no JSON: {error}") from error
    found = {}
    for region in tuple(feed.keys()):
        systems = feed.within(region)
        if "Linux" not in systems:
            continue
        linux = systems.within("Linux")
        for name in tuple(linux.keys()):
            bucket = linux.within(name).number("r")
            if bucket in {0.0, 1.0, 2.0, 3.0, 4.0}:
                found[region, name] = int(bucket)
    return found
