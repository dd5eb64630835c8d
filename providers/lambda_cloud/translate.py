"""Lambda's words into ours: types into offers, instances into leases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.lease import LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit import tags
from orchestrator.kit.devices import device, is_known
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from providers.lambda_cloud.names import CENTS, Mark, mark

NAME = "lambda"
SOURCE = "Lambda API 1.8.3: instance-types"
# PublicRegionCode of the API's description, version 1.8.3 (2026-08): the API has no list of regions.
REGIONS = (
    "asia-northeast-1",
    "asia-northeast-2",
    "asia-south-1",
    "australia-east-1",
    "europe-central-1",
    "me-west-1",
    "us-east-1",
    "us-east-2",
    "us-east-3",
    "us-midwest-1",
    "us-midwest-2",
    "us-south-1",
    "us-south-2",
    "us-south-3",
    "us-west-1",
    "us-west-2",
    "us-west-3",
)
MEMORY = re.compile(r"\((\d+(?:\.\d+)?) ?GB", re.IGNORECASE)
# Where a description says more or less than a device's name: by the middle of the type's name, gpu_8x_<this>.
FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "a10": "A10",
        "a100": "A100-40GB",
        "a100_sxm4": "A100-40GB",
        "a100_80gb_sxm4": "A100-80GB",
        "a6000": "A6000",
        "b200_sxm6": "B200",
        "gh200": "GH200",
        "h100_pcie": "H100-PCIe",
        "h100_sxm5": "H100-SXM",
        "rtx6000": "Quadro-RTX-6000",
        "v100": "V100-16GB",
        "v100_n": "V100-16GB",
    }
)
LIVE = frozenset({"booting", "active", "unhealthy", "terminating", "preempted"})
ENDING = frozenset({"terminating", "terminated"})


class Type(NamedTuple):
    """One instance type. `regions` are those that have some left."""

    name: str
    accelerator: str
    gpus: float
    cents: int  # per hour
    vcpus: float
    memory_gib: float
    regions: frozenset[str]


class Node(NamedTuple):
    """One instance of ours. `token` and `cents` are what its tags say: "" and 0 without."""

    id: str
    mark: Mark
    token: str
    cents: int
    status: str
    address: str
    region: str
    type: Type


class Unpriced(Malformed):
    """A type whose price is no price."""


def accelerator(type_name: str, description: str) -> str:
    """The exact device of a type: by its description, else by its name, else as Lambda describes it."""
    memory = MEMORY.search(description)
    size_gib = float(memory[1]) if memory else None
    for words in (description, description.partition("(")[0].strip()):
        found = device(words, size_gib)
        if is_known(found):
            return found
    family = re.sub(r"^gpu_\d+x_", "", type_name)
    named = FAMILIES.get(family, "") if size_gib is None else ""  # a size that we know no device of is no usual one
    return named or description or type_name


def instance_type(item: Document, regions: Iterable[str]) -> Type | None:
    """An InstanceType; None for one without GPUs. Raises: Malformed, Unpriced."""
    specs = item.within("specs")
    gpus = specs.number("gpus")
    if gpus <= 0:
        return None
    name, cents = item.text("name"), item.number("price_cents_per_hour")
    if cents <= 0 or cents != int(cents):
        raise Unpriced(f"{name}: {cents:g} cents per hour")
    return Type(
        name=name,
        accelerator=accelerator(name, item.text("gpu_description", "")),
        gpus=gpus,
        cents=int(cents),
        vcpus=specs.number("vcpus", 0.0),
        memory_gib=specs.number("memory_gib", 0.0),
        regions=frozenset(regions),
    )


def types(listing: Document) -> tuple[dict[str, Type], list[str]]:
    """The types on sale by name, and what had to be left out in words."""
    found: dict[str, Type] = {}
    unpriced, unreadable, unknown = [], [], []
    for name in sorted(listing.keys()):
        try:
            item = listing.within(name)
            regions = [region.text("name") for region in item.each("regions_with_capacity_available")]
            kind = instance_type(item.within("instance_type"), regions)
        except Unpriced as error:
            unpriced.append(str(error))
            continue
        except Malformed as error:
            unreadable.append(str(error))
            continue
        if kind is not None:
            found[kind.name] = kind
            if not is_known(kind.accelerator):
                unknown.append(f"{kind.name} ({kind.accelerator})")
    told = [
        f"{len(rows)} instance types {what}: {', '.join(rows[:3])}"
        for rows, what in (
            (unpriced, "without a price, left out"),
            (unreadable, "that cannot be read, left out"),
            (unknown, "of devices without known facts"),
        )
        if rows
    ]
    return found, told


def offer(kind: Type, region: str, *, facts: Facts, now: datetime, cents: int = 0) -> Offer:
    """The offer of a type in a region. Lambda says that some are left, never how many: `available` is None or 0."""
    known = facts.of(kind.name)
    return Offer(
        provider=NAME,
        region=region,
        zone="",
        instance_type=kind.name,
        accelerator=kind.accelerator,
        gpus=kind.gpus,
        billing=Billing.ON_DEMAND,
        usd_per_hour=(cents or kind.cents) / 100,
        available=None if region in kind.regions else 0,
        tier=known.tier,
        fabric=known.fabric,
        vcpus=kind.vcpus,
        host_memory_gib=kind.memory_gib,
        interruption_rate=0.0,
        boot_s=known.boot_s,
        min_billing_s=known.min_billing_s,
        observed_at=now,
        source=SOURCE,
    )


def node(instance: Document, owner: str, digest: str) -> Node | None:
    """An instance that `owner`, whose digest is `digest`, has bought; None for any other and for a terminated one.

    Its name says whose it is. A tag that names another owner overrules the name. Raises: Malformed.
    """
    named = mark(instance.text("name", ""))
    if named is None or named.owner != digest or instance.text("status") == "terminated":
        return None
    marks = {entry.text("key"): entry.text("value") for entry in instance.each("tags")}
    if marks.get(tags.OWNER, owner) != owner:
        return None
    region = instance.within("region").text("name")
    kind = _type_of(instance.within("instance_type"), region)
    cents = marks.get(CENTS, "")
    return Node(
        id=instance.text("id"),
        mark=named,
        token=marks.get(tags.TOKEN, ""),
        cents=int(cents) if cents.isdecimal() else 0,
        status=instance.text("status"),
        address=instance.text("ip", ""),
        region=region,
        type=kind,
    )


def _type_of(item: Document, region: str) -> Type:
    """The type of an instance that we hold. A held machine is shown whatever its price is said to be."""
    specs = item.within("specs")
    name = item.text("name")
    return Type(
        name=name,
        accelerator=accelerator(name, item.text("gpu_description", "")),
        gpus=specs.number("gpus"),
        cents=int(item.number("price_cents_per_hour")),
        vcpus=specs.number("vcpus", 0.0),
        memory_gib=specs.number("memory_gib", 0.0),
        regions=frozenset({region}),
    )


def state(nodes: Sequence[Node], wanted: int, *, lagging: bool = False) -> LeaseState:
    """How a lease stands by its nodes; `lagging` while one that was bought may be missing because it is new.

    A node that Lambda has taken back, calls unhealthy or no longer lists makes the rest no gang: what runs there has to
    move as for a reclaim.
    """
    statuses = {each.status for each in nodes}
    if statuses & ENDING:
        return LeaseState.RELEASING
    if statuses & {"preempted", "unhealthy"} or (len(nodes) < wanted and not lagging):
        return LeaseState.RECLAIMING
    ready = statuses == {"active"} and len(nodes) == wanted and all(each.address for each in nodes)
    return LeaseState.READY if ready else LeaseState.BOOTING
