"""Generated services over a continuum, for tests and benchmarks: sites around the world, kinds of GPU, users.

Device numbers are rooflines of a 7 B model in 16 bits from data sheets (weights over 70 % of the bandwidth, 40 % of the
peak for prompts); prices are list prices of the clouds as Griggs et al. (Mélange, 2024) state them, from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import log1p, sqrt
from typing import Final, NamedTuple

import numpy as np

from orchestrator.domain.network import Place, great_circle_rtt_ms
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.planning.autoscale.queueing import Mix, Replica
from orchestrator.planning.continuum.problem import Column, Engine, Group, Problem, Site, slices_of

WEIGHTS_GB: Final = 13.5
KV_GB_PER_TOKEN: Final = 0.0005
FLOP_PER_TOKEN: Final = 13.5e9
CHUNK: Final = 2048


class Device(NamedTuple):
    """One kind of GPU: USD per hour, GB/s, dense 16-bit TFLOP/s, GB."""

    name: str
    usd_per_hour: float
    gb_s: float
    tflops: float
    gb: float


DEVICES: Final = (
    Device("L4", 0.70, 300.0, 121.0, 24.0),
    Device("A10G", 1.01, 600.0, 70.0, 24.0),
    Device("A100", 3.67, 2039.0, 312.0, 80.0),
    Device("H100", 7.516, 3350.0, 989.0, 80.0),
    Device("L40S", 1.86, 864.0, 362.0, 48.0),
    Device("V100", 2.48, 900.0, 125.0, 32.0),
    Device("A6000", 1.20, 768.0, 155.0, 48.0),
    Device("H200", 9.00, 4800.0, 989.0, 141.0),
)


class Setting(NamedTuple):
    """Size classes of requests as (mean prompt tokens, mean output tokens, share), and how their sizes vary within."""

    name: str
    buckets: tuple[tuple[float, float, float], ...]
    scv: float = 0.15


# Means as Mélange's data sets have them: Arena for chat, PubMed for documents, 80 % and 20 % of them mixed.
CHAT: Final = Setting("chat", ((80.0, 120.0, 0.6), (400.0, 260.0, 0.4)))
DOCUMENTS: Final = Setting("documents", ((2000.0, 150.0, 0.4), (5000.0, 260.0, 0.6)))
MIXED: Final = Setting("mixed", ((80.0, 120.0, 0.5), (400.0, 260.0, 0.3), (4000.0, 220.0, 0.2)))
ONE: Final = Setting("one size", ((512.0, 200.0, 1.0),), 0.5)
SETTINGS: Final = (CHAT, DOCUMENTS, MIXED, ONE)


class Case(NamedTuple):
    """What to generate: `rate` is requests per second over all populations."""

    sites: int
    kinds: int
    populations: int
    rate: float
    setting: Setting = ONE
    first_token_s: float = 1.0
    slope_usd_per_ms: float = 0.0
    scarce: float = 0.0  # share of offers that have only a few nodes
    peak_over_mean: float = 1.0


def replica_of(device: Device, mix: Mix) -> Replica:
    """One device under requests like `mix`."""
    bandwidth, context = device.gb_s * 0.7, mix.prompt_tokens + mix.output_tokens / 2.0
    held = context * KV_GB_PER_TOKEN
    batch = max(1, min(256, int((device.gb * 0.9 - WEIGHTS_GB - 1.0) / held)))
    token_s = FLOP_PER_TOKEN / (device.tflops * 1e12 * 0.4)
    return Replica(WEIGHTS_GB / bandwidth + 0.002, token_s, held / bandwidth, CHUNK, batch)


def mix_of(buckets: Sequence[tuple[float, float, float]], scv: float) -> Mix:
    """Requests of several size classes as one kind of request: means and variances over all."""
    share = np.array([bucket[2] for bucket in buckets])
    share = share / share.sum()
    found = []
    for place in (0, 1):
        sizes = np.array([bucket[place] for bucket in buckets])
        mean = float(share @ sizes)
        second = float(share @ (sizes**2 * (1.0 + scv)))
        found.append((mean, second / mean**2 - 1.0))
    return Mix(found[0][0], found[1][0], found[0][1], found[1][1])


def groups_of(setting: Setting) -> tuple[Group, ...]:
    """Every run of neighbouring size classes, the one of all first."""
    count = len(setting.buckets)
    runs = [tuple(range(a, b)) for a in range(count) for b in range(a + 1, count + 1)]
    runs.sort(key=lambda run: (-len(run), run))
    return tuple(Group(run, sum(setting.buckets[bucket][2] for bucket in run)) for run in runs)


def generate(case: Case, seed: int) -> Problem:
    """The problem of `case`; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    devices = DEVICES[: case.kinds]
    users = [_place(rng, f"users {index}") for index in range(case.populations)]
    rates = rng.pareto(1.5, case.populations) + 0.3
    rates *= case.rate * case.peak_over_mean / rates.sum()
    groups = groups_of(case.setting)
    engines = {}
    for device in devices:
        for number, group in enumerate(groups):
            mix = mix_of([case.setting.buckets[bucket] for bucket in group.buckets], case.setting.scv)
            engines[device.name, number] = Engine(replica_of(device, mix), mix)
    sites, columns = [], []
    for index in range(case.sites):
        edge = index % 3 == 2 and index < case.sites - 1
        here = _place(rng, f"site {index}") if not edge else _near(rng, users[index % len(users)], f"edge {index}")
        rtt = tuple(great_circle_rtt_ms(user, here) for user in users)
        worth = tuple(case.slope_usd_per_ms * ms * rate / rates.sum() for ms, rate in zip(rtt, rates, strict=True))
        sites.append(Site("edge" if edge else "cloud", f"{index:02d}", rtt, worth))
        dear = float(rng.lognormal(0.0, 0.15)) * (1.3 if edge else 1.0)
        for device in devices:
            if rng.random() < (0.5 if edge else 0.15):
                continue
            columns.append(_column(rng, index, device, sites[-1], (dear, case.scarce, edge)))
    return Problem(
        populations=tuple(user.key for user in users),
        rates=tuple(rates.tolist()),
        sites=tuple(sites),
        columns=tuple(columns),
        engines=engines,
        groups=groups,
        slices=slices_of(case.peak_over_mean),
        first_token_s=case.first_token_s,
    )


def lengths(rng: np.random.Generator, mix: Mix, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and output tokens of `count` requests: log-normal with the means and variances of `mix`."""
    found = []
    for mean, scv in ((mix.prompt_tokens, mix.prompt_scv), (mix.output_tokens, mix.output_scv)):
        sigma = sqrt(log1p(scv))
        drawn = rng.lognormal(np.log(mean) - sigma * sigma / 2.0, sigma, count)
        found.append(np.maximum(1, np.rint(drawn)).astype(np.int64))
    return found[0], found[1]


def _column(rng: np.random.Generator, index: int, device: Device, site: Site, how: tuple[float, float, bool]) -> Column:
    dear, scarce, edge = how
    stock = int(rng.integers(1, 6)) if rng.random() < scarce or edge else 1000
    usd = device.usd_per_hour * dear * float(rng.lognormal(0.0, 0.1))
    offer = Offer(
        provider=site.provider,
        region=site.region,
        zone="",
        instance_type=device.name,
        accelerator=device.name,
        gpus=1.0,
        billing=Billing.ON_DEMAND,
        usd_per_hour=usd,
        available=stock,
        tier=Tier.EDGE if edge else Tier.CLOUD,
        fabric="",
        vcpus=8.0,
        host_memory_gib=64.0,
        interruption_rate=0.0,
        boot_s=180.0,
        min_billing_s=60.0,
        observed_at=datetime(2026, 1, 1, tzinfo=UTC),
        source="generated",
    )
    month = usd * 720.0
    return Column(offer, index, device.name, 1, stock, month, month, (("cost", "compute", month),))


def _place(rng: np.random.Generator, key: str) -> Place:
    """Somewhere people live: around a few centres."""
    centres = ((40.0, -75.0), (37.0, -120.0), (50.0, 8.0), (35.0, 139.0), (1.0, 103.0), (-23.0, -46.0), (19.0, 73.0))
    latitude, longitude = centres[int(rng.integers(len(centres)))]
    drift = rng.normal(0.0, 4.0, 2)
    return Place(
        key=key,
        latitude=latitude + float(drift[0]),
        longitude=longitude + float(drift[1]),
        country="",
        jurisdictions=(),
    )


def _near(rng: np.random.Generator, user: Place, key: str) -> Place:
    drift = rng.normal(0.0, 0.3, 2)
    return Place(
        key=key,
        latitude=user.latitude + float(drift[0]),
        longitude=user.longitude + float(drift[1]),
        country="",
        jurisdictions=(),
    )
