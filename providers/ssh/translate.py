"""What a host prints, in isoflop's words: its hardware, what it lacks, and the offers of a fleet. Pure."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.kit.devices import device, is_known
from providers.ssh.fleet import Fleet, FleetHost, FleetSite
from providers.ssh.settings import NAME

CPU = "cpu"
SOURCE = "looked at over SSH, at its owner's price"
BOOT_S = 5.0  # taking the lock; the machine runs already
OLDEST_PYTHON = "3.6"
CLOCK_TOLERANCE_S = 30.0  # more is told: certificates and logs go wrong
MIB_PER_GIB, KIB_PER_GIB = 1024.0, 1024.0**2


class Hardware(NamedTuple):
    """What a host is made of, as of its last probe. None and "" are unknown."""

    accelerator: str = CPU
    gpus: int = 0
    cpus: int | None = None
    memory_gib: float | None = None
    disk_free_gib: float | None = None
    python: str = ""
    containers: tuple[str, ...] = ()
    system: str = ""
    busy: int = 0  # programs that its GPUs run now
    clock_ahead_s: float | None = None
    faults: tuple[str, ...] = ()  # why it can take no job
    notes: tuple[str, ...] = ()  # what else its owner should know


def hardware(sections: Mapping[str, str], *, asked_s: float, answered_s: float, min_disk_gib: float = 0.0) -> Hardware:
    """The sections of a probe; `asked_s` and `answered_s` are our own clock around it, in seconds since 1970."""
    faults, notes = [], []
    accelerator, gpus, said = _devices(sections)
    if said and not gpus:
        faults.append(said)
    elif said:
        notes.append(said)
    if gpus and not is_known(accelerator):
        notes.append(f"no facts are known of its GPU {accelerator!r}")
    python = sections.get("python", "").splitlines()[-1:] or [""]
    if not python[0]:
        faults.append(f"there is no Python {OLDEST_PYTHON} or later on it")
    elif _version(python[0]) < _version(OLDEST_PYTHON):
        faults.append(f"its Python is {python[0]}; {OLDEST_PYTHON} or later is needed")
        python = [""]
    free_gib = _disk_free_gib(sections.get("disk", ""))
    if free_gib is not None and free_gib < min_disk_gib:
        faults.append(f"its disk is full: {free_gib:.2f} GiB are free, {min_disk_gib:g} are needed")
    ahead_s = _clock_ahead_s(sections.get("clock", ""), asked_s, answered_s)
    if ahead_s is not None and abs(ahead_s) > CLOCK_TOLERANCE_S:
        notes.append(f"its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours")
    return Hardware(
        accelerator=accelerator,
        gpus=gpus,
        cpus=_whole(sections.get("cpus", "")),
        memory_gib=_memory_gib(sections.get("memory", "")),
        disk_free_gib=free_gib,
        python=python[0],
        containers=tuple(sections.get("containers", "").split()),
        system=" ".join(sections.get("system", "").split()),
        busy=len([line for line in sections.get("nvidia-apps", "").splitlines() if line.startswith("GPU-")]),
        clock_ahead_s=ahead_s,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _devices(sections: Mapping[str, str]) -> tuple[str, int, str]:
    """The most frequent kind of device, how many there are, and what is wrong with that."""
    if "nvidia" in sections:
        if sections.get("nvidia-code", "0") != "0":
            first = sections["nvidia"].splitlines()[:1] or ["it said nothing"]
            return CPU, 0, f"nvidia-smi fails: {first[0][:120]}"
        found, strange = _nvidia(sections["nvidia"])
    elif "rocm" in sections:
        found, strange = _rocm(sections["rocm"])
    else:
        return CPU, 0, ""
    if not found:
        return CPU, 0, strange
    counts = Counter(found)
    (name, count), *others = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if others:
        rest = ", ".join(f"{number} x {other}" for other, number in others)
        strange = f"its GPUs are not alike: beside {count} x {name} it has {rest}, which no offer counts"
    return name, count, strange


def _nvidia(text: str) -> tuple[list[str], str]:
    found, strange = [], ""
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[0].startswith("GPU-") and fields[1]:
            found.append(device(fields[1], _positive(fields[2], MIB_PER_GIB)))
        elif line.strip() and not line.startswith("No devices"):
            strange = f"nvidia-smi prints {line.strip()[:80]!r}, which is no GPU"
    return found, strange


def _rocm(text: str) -> tuple[list[str], str]:
    """`rocm-smi --csv`: columns differ between versions, so they are found by their names."""
    lines = [line for line in text.splitlines() if line.count(",") >= 1]
    found = []
    for row in csv.DictReader(lines):
        if not (row.get("device") or "").startswith("card"):
            continue
        name = row.get("Card Series") or row.get("Card series") or row.get("Card Model") or row.get("Card model") or ""
        memory = _positive(row.get("VRAM Total Memory (B)") or "", 1024.0**3)
        if name.strip():
            found.append(device(name.strip(), memory))
    return found, "" if found or not text.strip() else "rocm-smi prints no list of cards that is understood"


def _whole(text: str) -> int | None:
    first = text.split()[:1]
    return (
        int(first[0]) if first and first[0].isascii() and first[0].isdigit() and 0 < int(first[0]) < 1 << 20 else None
    )


def _positive(text: str, unit: float) -> float | None:
    try:
        value = float(text.split(maxsplit=1)[0]) / unit if text.strip() else 0.0
    except ValueError:
        return None
    return value if 0 < value < 1e9 else None


def _memory_gib(text: str) -> float | None:
    found = _positive(text, KIB_PER_GIB)
    return None if found is None else round(found, 2)


def _disk_free_gib(text: str) -> float | None:
    fields = text.split()
    if len(fields) < 4 or not (fields[3].isascii() and fields[3].isdigit()):
        return None
    return round(int(fields[3]) / KIB_PER_GIB, 2)


def _clock_ahead_s(text: str, asked_s: float, answered_s: float) -> float | None:
    """Against the middle of the question, with what the question took and the second that `date` cuts off as 0."""
    try:
        seen = float(text)
    except ValueError:
        return None
    ahead_s = seen + 0.5 - (asked_s + answered_s) / 2
    doubt_s = 0.5 + (answered_s - asked_s) / 2
    return 0.0 if abs(ahead_s) <= doubt_s else round(ahead_s, 1)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit()) or (0,)


class Member(NamedTuple):
    """A host with what is known of it, and whether it can be had now."""

    host: FleetHost
    hardware: Hardware
    free: bool


def shape(fleet: Fleet, host: FleetHost, seen: Hardware) -> str:
    """The instance type of a host: `2x-L4`, with its price where the site has several prices."""
    base = f"{seen.gpus}x-{seen.accelerator}".replace(" ", "-") if seen.gpus else CPU
    prices = {each.usd_per_hour for each in fleet.hosts.values() if each.site == host.site and not each.gateway}
    return base if len(prices) == 1 else f"{base}-{host.usd_per_hour:g}usd"


def offers(fleet: Fleet, members: Iterable[Member], now: datetime) -> list[Offer]:
    """One offer for the hosts of a site that are alike: same devices, same price. Memory and cores are the least."""
    groups: defaultdict[tuple[str, str], list[Member]] = defaultdict(list)
    for member in members:
        groups[member.host.site, shape(fleet, member.host, member.hardware)].append(member)
    return [_offer(fleet.sites[site], kind, alike, now) for (site, kind), alike in sorted(groups.items())]


def _offer(site: FleetSite, instance_type: str, alike: Sequence[Member], now: datetime) -> Offer:
    first = alike[0]
    return Offer(
        provider=NAME,
        region=site.name,
        zone="",
        instance_type=instance_type,
        accelerator=first.hardware.accelerator,
        gpus=float(first.hardware.gpus or 1),
        billing=Billing.OWNED,
        usd_per_hour=first.host.usd_per_hour,
        available=sum(member.free for member in alike),
        tier=Tier(site.tier),
        fabric=site.fabric,
        vcpus=float(min(member.hardware.cpus or 0 for member in alike)),
        host_memory_gib=min(member.hardware.memory_gib or 0.0 for member in alike),
        interruption_rate=None,
        boot_s=BOOT_S,
        min_billing_s=0.0,
        observed_at=now,
        source=SOURCE,
    )
