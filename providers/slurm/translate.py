"""A cluster's nodes and partitions in isoflop's words: offers, and what is missing among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.kit import devices
from providers.slurm.records import PLAIN, Node, Partition
from providers.slurm.settings import NAME, Rate, SiteSettings

MIB_PER_GIB = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one node of an offer is asked for: some GPUs of a machine with their share of it."""

    partition: str
    word: str  # the site's, of the device
    gpus: int
    cpus: int
    memory_mb: int
    whole: bool  # all GPUs of the machine

    @property
    def instance_type(self) -> str:
        """`4x-a100-16cpu-62gib`."""
        return f"{self.gpus}x-{self.word}-{self.cpus}cpu-{self.memory_mb / MIB_PER_GIB:.0f}gib"

    def fits(self, node: Node) -> bool:
        """Whether a machine has that much free now."""
        return (
            node.usable
            and node.gpus.get(self.word, 0) - node.used.get(self.word, 0) >= self.gpus
            and node.cpus - node.cpus_used >= self.cpus
            and node.memory_mb - node.memory_used_mb >= self.memory_mb
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """An offer and how it is asked for."""

    offer: Offer
    shape: Shape
    most_nodes: int  # of one lease, now
    walltime_s: float  # of an allocation, in whole minutes, unless less is asked for


def sales(
    site: SiteSettings, nodes: Sequence[Node], partitions: Iterable[Partition], now: datetime
) -> tuple[list[Sale], list[str]]:
    """What a site sells, and in words what was left out."""
    rates = {rate.gres: rate for rate in site.rates}
    found, gaps = [], _unpriced(nodes, rates)
    for partition in partitions:
        if site.partitions and partition.name not in site.partitions:
            continue
        members = [node for node in nodes if partition.name in node.partitions]
        if not partition.up:
            gaps.append(f"partition {partition.name} is not up")
            continue
        shapes: defaultdict[Shape, list[Node]] = defaultdict(list)
        for node in members:
            for shape in _shapes(partition.name, node):
                if shape.word in rates:
                    shapes[shape].append(node)
        for shape, hosts in sorted(shapes.items(), key=lambda each: each[0].instance_type):
            found.append(_sale(site, partition, shape, hosts, now))
    for name in sorted(set(site.partitions) - {partition.name for partition in partitions}):
        gaps.append(f"there is no partition {name}")
    return found, gaps


def _unpriced(nodes: Sequence[Node], rates: Mapping[str, Rate]) -> list[str]:
    counts: defaultdict[str, int] = defaultdict(int)
    for node in nodes:
        for word, count in node.gpus.items():
            counts[word] += count
    gaps = [
        f"{count} GPUs that the site calls {word!r} have no rate: they are left out"
        for word, count in sorted(counts.items())
        if word not in rates
    ]
    for word in sorted(set(counts) & set(rates)):
        name = accelerator(rates[word])
        if not devices.is_known(name):
            gaps.append(f"{name!r} is no device that we hold facts about; its rate may say `accelerator`")
    bare = sum(not node.gpus for node in nodes)
    return [*gaps, f"{bare} nodes without GPUs are left out"] if bare else gaps


def accelerator(rate: Rate) -> str:
    """The device that a rate is of, or the site's own word."""
    return rate.accelerator or devices.device(rate.gres)


def _shapes(partition: str, node: Node) -> list[Shape]:
    total = sum(node.gpus.values())
    found = []
    for word, count in node.gpus.items():
        parts = {2**power for power in range(count.bit_length())} if node.divisible else set()
        for size in sorted(parts | {count} if count else ()):
            share = size / total
            found.append(
                Shape(
                    partition=partition,
                    word=word,
                    gpus=size,
                    cpus=max(1, int(node.cpus * share)),
                    memory_mb=max(1, int(node.memory_mb * share)),
                    whole=size == count,
                )
            )
    return found


def _sale(site: SiteSettings, partition: Partition, shape: Shape, hosts: Sequence[Node], now: datetime) -> Sale:
    rate = next(rate for rate in site.rates if rate.gres == shape.word)
    free = sum(shape.fits(node) for node in hosts)
    # Several parts of one machine may be free, so their stock is not counted in nodes: those of a lease are apart.
    most = free if partition.max_nodes is None else min(free, partition.max_nodes)
    stock = most if shape.whole or not most else None
    longest_s = walltime_s(site, partition)
    offer = Offer(
        provider=NAME,
        region=site.name,
        zone=partition.name,
        instance_type=shape.instance_type,
        accelerator=accelerator(rate),
        gpus=float(shape.gpus),
        billing=Billing.SPOT if partition.preemptible else Billing.OWNED,
        usd_per_hour=shape.gpus * rate.price,
        available=stock,
        tier=Tier.HPC,
        fabric=site.fabric if len(hosts) > 1 else "",
        vcpus=float(shape.cpus),
        host_memory_gib=shape.memory_mb / MIB_PER_GIB,
        interruption_rate=None if partition.preemptible else 0.0,
        boot_s=site.boot_s,
        min_billing_s=0.0,
        observed_at=now,
        source=f"the batch system of {site.name}, at its owner's rates",
        max_lease_s=usable_s(site, longest_s),
    )
    return Sale(offer=offer, shape=shape, most_nodes=most, walltime_s=longest_s)


def walltime_s(site: SiteSettings, partition: Partition) -> float:
    """What an allocation gets: the site's walltime within the partition's, in whole minutes and at least one."""
    longest_s = site.walltime_h * 3600.0
    if partition.max_s is not None:
        longest_s = min(longest_s, partition.max_s)
    return max(1.0, longest_s // 60.0) * 60.0


def usable_s(site: SiteSettings, longest_s: float) -> float:
    """How long a lease can be worked in: until it is asked back, `warn_s` before its walltime ends, or a quarter of
    that where it is shorter.
    """
    return longest_s - min(site.warn_s, longest_s / 4.0)


def warned_s(site: SiteSettings, offer: Offer) -> float:
    """How long before its end a lease of `offer` is asked back: the difference that `usable_s` made."""
    return site.warn_s if offer.max_lease_s is None else min(site.warn_s, offer.max_lease_s / 3.0)


def queued(sale: Sale, wait_s: float, site: SiteSettings) -> Sale:
    """The sale of what is not free now and is expected to be in `wait_s`."""
    offer = replace(
        sale.offer,
        available=None,
        boot_s=wait_s + site.boot_s,
        source=f"{sale.offer.source}; its start in {wait_s:.0f} s is expected by sbatch --test-only",
    )
    return replace(sale, offer=offer)


def gres_flag(shape: Shape) -> str:
    """The value of `--gres`."""
    return f"gpu:{shape.gpus}" if shape.word == PLAIN else f"gpu:{shape.word}:{shape.gpus}"
