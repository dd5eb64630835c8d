"""Google's billing catalogue read as prices of machines: it has prices of parts, told apart by their descriptions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from providers.gcp.shapes import Shape

NANOS = 10**9
MONTH_H = 730  # by which Google divides monthly prices
SSD_GIB = 375
CORE, RAM, GPU, SSD, SLICE = "core", "ram", "gpu", "ssd", "slice"
UNITS: Mapping[str, str] = MappingProxyType({CORE: "h", RAM: "GiBy.h", GPU: "h", SLICE: "h", SSD: "GiBy.mo"})
CALLED: Mapping[str, str] = MappingProxyType(
    {CORE: "vCPUs", RAM: "memory", GPU: "GPUs", SSD: "local disks", SLICE: "GPU slices"}
)

# Descriptions, in lower case, as public price catalogues matched them in 2026-08.
# First, other ways to buy the same part:
OTHER_WAYS = re.compile(
    r"commitment|sole tenancy|custom|premium|reserv|suspended|dws|calendar|flex[ -]?start|workstation|vws",
)
SPOT = re.compile(r"\bspot preemptible\b")
HOST = re.compile(
    r"(?:spot preemptible )?(?P<series>a2|a3 ?(?:plus|mega|ultra)|a3|g2|g4|n1 predefined) instance (?P<part>core|ram)"
    r"(?: running)? in .+",
)
DEVICE = re.compile(
    r"(?:spot preemptible )?(?P<device>.+?) gpu(?: attached to spot preemptible vms)?(?: running)? in .+"
)
WHOLE_SLICE = re.compile(r"(?:spot preemptible )?a4 nvidia b200 \(1 gpu slice\).*")
LOCAL_DISK = re.compile(r"ssd backed local storage(?: attached to spot preemptible vms)?(?: running)?(?: in .+)?")
SERIES: Mapping[str, str] = MappingProxyType({"a3mega": "a3plus", "n1predefined": "n1"})
DEVICES: Mapping[str, str] = MappingProxyType(
    {
        "a100": "nvidia-tesla-a100",
        "a100 80gb": "nvidia-a100-80gb",
        "h100 80gb": "nvidia-h100-80gb",
        "h100 80gb mega": "nvidia-h100-mega-80gb",
        "h100 mega 80gb": "nvidia-h100-mega-80gb",
        "h100 80gb plus": "nvidia-h100-mega-80gb",
        "h200 141gb": "nvidia-h200-141gb",
        "l4": "nvidia-l4",
        "rtx 6000 96gb": "nvidia-rtx-pro-6000",
        "rtx pro 6000 96gb": "nvidia-rtx-pro-6000",
        "t4": "nvidia-tesla-t4",
        "v100": "nvidia-tesla-v100",
        "p100": "nvidia-tesla-p100",
        "p4": "nvidia-tesla-p4",
    }
)


class Sku(NamedTuple):
    """A row of the catalogue; `nanos` is the price of one unit, None where it depends on how much one uses."""

    description: str
    usage: str  # "OnDemand", "Preemptible", "Commit1Yr"
    regions: tuple[str, ...]
    unit: str
    currency: str
    nanos: int | None


class Part(NamedTuple):
    """What a row is the price of, in one region."""

    part: str
    of: str  # a series or an accelerator; "" for disks
    region: str
    spot: bool


class Priced(NamedTuple):
    """The price of a machine in US dollars per hour, or what is missing."""

    usd: float | None
    missing: str = ""


class PriceList:
    """The prices of parts."""

    def __init__(self, skus: Iterable[Sku]) -> None:
        """Rows that are nothing to us are passed over; those that cannot be a price are counted in `odd`."""
        found: dict[Part, set[int]] = {}
        self.odd: Counter[str] = Counter()
        for sku in skus:
            for part in parts_of(sku):
                fault = _fault(sku, part)
                if fault:
                    self.odd[fault] += 1
                    continue
                found.setdefault(part, set()).add(sku.nanos or 0)
        self._nanos = {part: next(iter(prices)) for part, prices in found.items() if len(prices) == 1}
        self._unclear = frozenset(part for part, prices in found.items() if len(prices) > 1)

    def of(self, shape: Shape, *, spot: bool) -> Priced:
        """What `shape` costs in its region, all of its parts together."""
        billed_as = shape.billed_as
        if not billed_as:
            return Priced(None, f"the prices of {shape.machine.name.split('-')[0]} machines have names unknown to us")
        total = Fraction(0)
        for part, amount in self._bill(shape, billed_as, spot=spot):
            nanos = self._nanos.get(part)
            if nanos is None:
                why = "several prices" if part in self._unclear else "no price"
                return Priced(None, f"{why} of its {CALLED[part.part]}")
            total += nanos * amount
        return Priced(float(total / NANOS))

    @staticmethod
    def _bill(shape: Shape, billed_as: str, *, spot: bool) -> Sequence[tuple[Part, Fraction]]:
        machine, region = shape.machine, shape.machine.region
        if billed_as == SLICE:
            return ((Part(SLICE, shape.accelerator, region, spot), Fraction(shape.gpus)),)
        bill = [
            (Part(CORE, billed_as, region, spot), Fraction(machine.cpus)),
            (Part(RAM, billed_as, region, spot), Fraction(machine.memory_mb, 1024)),
            (Part(GPU, shape.accelerator, region, spot), Fraction(shape.gpus)),
        ]
        if machine.ssds:
            bill.append((Part(SSD, "", region, spot), Fraction(machine.ssds * SSD_GIB, MONTH_H)))
        return bill


def parts_of(sku: Sku) -> tuple[Part, ...]:
    """What the row prices, once for each of its regions; nothing for what no machine of ours is made of."""
    if sku.usage not in {"OnDemand", "Preemptible"}:
        return ()
    words = sku.description.lower()
    part = _part(words)
    if part is None or OTHER_WAYS.search(words):
        return ()
    # Some rows of spot B200 are typed as on demand, so the description decides; one that does not say spot and is
    # typed so is of an older kind.
    spot = SPOT.search(words) is not None
    if not spot and sku.usage == "Preemptible":
        return ()
    return tuple(Part(*part, region, spot) for region in sku.regions)


def _part(words: str) -> tuple[str, str] | None:
    """Most of forty thousand rows are of other things: each is looked at by the one expression that may fit."""
    if " instance " in words:
        found = HOST.fullmatch(words)
        series = found["series"].replace(" ", "") if found else ""
        return (found["part"], SERIES.get(series, series)) if found else None
    if "gpu slice" in words:
        return (SLICE, "nvidia-b200") if WHOLE_SLICE.fullmatch(words) else None
    if " gpu " in words:
        found = DEVICE.fullmatch(words)
        device = found["device"].removeprefix("nvidia ").removeprefix("tesla ") if found else ""
        return (GPU, DEVICES[device]) if device in DEVICES else None
    return (SSD, "") if LOCAL_DISK.fullmatch(words) else None


def _fault(sku: Sku, part: Part) -> str:
    if sku.currency != "USD":
        return f"in {sku.currency}"
    if sku.unit != UNITS[part.part]:
        return f"per {sku.unit} in place of {UNITS[part.part]}"
    if sku.nanos is None:
        return "in steps"
    return "" if sku.nanos > 0 else "not above 0"
