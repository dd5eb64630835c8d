"""Azure's words into ours: sizes with their restrictions, quotas, and prices, made into offers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from providers.azure.retail import Price
from providers.azure.settings import NAME
from providers.azure.sizes import Gpus, Unclear, gpus

CORES, SPOT_CORES = "cores", "lowprioritycores"
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One size with GPUs in one region, as it may be deployed by our subscription."""

    name: str  # "Standard_ND96isr_H100_v5"
    region: str
    family: str  # as `plain` has it
    gpus: Gpus
    vcpus: float
    memory_gib: float
    zones: tuple[str, ...]  # those that are not barred; ("",) where the region has none
    spot: bool


class Cores(NamedTuple):
    """A quota in virtual CPUs."""

    limit: float
    used: float

    def nodes(self, vcpus: float) -> int:
        """How many more machines of `vcpus` it allows."""
        return max(0, int((self.limit - self.used) // vcpus)) if vcpus > 0 else 0


@dataclass(slots=True)
class Gaps:
    """What had to be left out, by reason, in the order it was met."""

    _found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Count one more."""
        self._found.setdefault(reason, []).append(example)

    def told(self) -> tuple[str, ...]:
        """One sentence per reason: a count and examples."""
        return tuple(_sentence(reason, examples) for reason, examples in self._found.items())


def _sentence(reason: str, examples: Sequence[str]) -> str:
    unlike = list(dict.fromkeys(examples))
    more = ", ..." if len(unlike) > EXAMPLES else ""
    return f"{len(unlike)} {reason}: {', '.join(unlike[:EXAMPLES])}{more}"


def plain(words: str) -> str:
    """A name of a family or quota with what Azure's APIs spell differently taken out."""
    return re.sub(r"[\s_]", "", words).lower()


def is_gpu_size(resource_type: str, name: str) -> bool:
    """Whether a row of the SKU list may be a virtual machine with GPUs: all of their names begin with N."""
    return resource_type.lower() == "virtualmachines" and name.startswith("Standard_N")


def shapes(rows: Iterable[Document], region: str, gaps: Gaps) -> tuple[Shape, ...]:
    """The sizes of `region` that our subscription may deploy; what is barred or unclear goes to `gaps`."""
    found: list[Shape] = []
    for row in rows:
        name = row.text("name", "?")
        try:
            shape = _shape(row, name, region, gaps)
        except Unclear as error:
            gaps.add(f"sizes left out ({error})", name)
        except Malformed as error:
            gaps.add("sizes that cannot be read", f"{name} ({error})")
        else:
            found += [] if shape is None else [shape]
    return tuple(found)


def _shape(row: Document, name: str, region: str, gaps: Gaps) -> Shape | None:
    stated = {item.text("name"): item.text("value", "") for item in row.each("capabilities")}
    devices = gpus(name, _number(stated.get("GPUs")))
    if devices is None:
        return None
    barred = _barred(row, region)
    if barred is None:
        gaps.add(f"sizes that this subscription may not deploy in {region}", name)
        return None
    vcpus, memory = _number(stated.get("vCPUs")), _number(stated.get("MemoryGB"))
    if vcpus is None:
        raise Malformed("no number of virtual CPUs")
    zones = sorted(_zones(row, region))
    return Shape(
        name=name,
        region=region,
        family=plain(row.text("family", "")),
        gpus=devices,
        vcpus=_number(stated.get("vCPUsAvailable")) or vcpus,
        memory_gib=memory or 0.0,
        zones=tuple(zone for zone in zones if zone not in barred) if zones else ("",),
        spot=stated.get("LowPriorityCapable", "").lower() == "true",
    )


def named(size: str, region: str) -> Shape | None:
    """What the name of a size alone tells: no memory, no zones, no restrictions. None where it tells no GPUs."""
    devices, vcpus = gpus(size, None), re.search(r"\d+", size)
    if devices is None or vcpus is None:
        return None
    return Shape(
        name=size,
        region=region,
        family="",
        gpus=devices,
        vcpus=float(vcpus[0]),
        memory_gib=0.0,
        zones=("",),
        spot=True,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _zones(row: Document, region: str) -> Iterator[str]:
    for place in row.each("locationInfo"):
        if place.text("location", "").lower() == region:
            yield from place.texts("zones")


def _barred(row: Document, region: str) -> frozenset[str] | None:
    """The zones that we may not use; None where it is the region."""
    zones: set[str] = set()
    for restriction in row.each("restrictions"):
        kind = restriction.text("type", "").lower()
        info = restriction.within("restrictionInfo") if "restrictionInfo" in restriction else restriction
        places = {place.lower() for place in (*info.texts("locations"), *restriction.texts("values"))}
        if kind == "location" and (region in places or not places):
            return None
        if kind == "zone" and (region in places or not info.texts("locations")):
            zones |= set(info.texts("zones"))
    return frozenset(zones)


def quotas(rows: Iterable[Document]) -> Mapping[str, Cores]:
    """Quotas of a region by their plain names; a row without numbers is left out: what it limits is unknown."""
    found: dict[str, Cores] = {}
    for row in rows:
        try:
            name = row.within("name").text("value")
            found[plain(name)] = Cores(row.number("limit"), row.number("currentValue"))
        except Malformed:
            continue
    return found


def quota_nodes(shape: Shape, limits: Mapping[str, Cores], billing: Billing) -> int | None:
    """How many more nodes the quotas allow: spot has one of its own for all sizes, others a family's and the region's.

    None where no quota that counts is known.
    """
    names = (SPOT_CORES,) if billing is Billing.SPOT else (shape.family, CORES)
    found = [limits[name].nodes(shape.vcpus) for name in names if name in limits]
    return min(found) if found else None


def offers(
    sizes: Iterable[Shape],
    prices: Mapping[tuple[str, Billing], Price],
    limits: Mapping[str, Cores],
    *,
    facts: Facts,
    zonal: bool,
    now: datetime,
    gaps: Gaps,
) -> Iterator[Offer]:
    """An offer for every size and kind of billing with a price. Azure never tells its stock: `available` is None."""
    for shape in sizes:
        known = facts.of(shape.name)
        for billing in (Billing.ON_DEMAND, Billing.SPOT):
            price = prices.get((shape.name.lower(), billing))
            if price is None:
                if billing is Billing.ON_DEMAND:
                    gaps.add(f"sizes without a price in {shape.region}", shape.name)
                continue
            if billing is Billing.SPOT and not shape.spot:
                continue
            for zone in shape.zones if zonal else ("",):
                yield Offer(
                    provider=NAME,
                    region=shape.region,
                    zone=zone,
                    instance_type=shape.name,
                    accelerator=shape.gpus.accelerator,
                    gpus=shape.gpus.number,
                    billing=billing,
                    usd_per_hour=price.usd_per_hour,
                    available=None,
                    tier=known.tier,
                    fabric=known.fabric,
                    vcpus=shape.vcpus,
                    host_memory_gib=shape.memory_gib,
                    interruption_rate=None,
                    boot_s=known.boot_s,
                    min_billing_s=known.min_billing_s,
                    observed_at=now,
                    source=price.source,
                    quota_nodes=quota_nodes(shape, limits, billing),
                )
