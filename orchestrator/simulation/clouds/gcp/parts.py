"""Prices of parts: what Google's billing catalogue says of processors, memory, GPUs and disks, from machine prices.

Google has no prices of machines. So that the prices of a market's machines are sums of prices of parts, exactly,
`priced_by_parts` makes them so; a market of other prices is served as well, and is then exact for the machine with the
fewest GPUs of each kind alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.gcp.shapes import NAME, Shape, hosted, is_sold, shape
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool

NANOS = 10**9
QUANTUM = 100_000  # nanodollars: the market states prices to a ten-thousandth of a dollar
SHARES = 8  # the smallest share of a GPU is an eighth: its price must come out whole as well
MONTH_H = 730
SSD_GIB = 375


class Host(NamedTuple):
    """Nanodollars per hour of a vCPU and of a GiB: near Google's own, and such that machines cost whole quanta."""

    core: int
    ram: int


_ON_DEMAND: Mapping[str, Host] = MappingProxyType(
    {
        "a2": Host(31_600_000, 4_240_000),
        "a3": Host(29_300_000, 2_600_000),
        "a3-megagpu": Host(29_300_000, 2_600_000),
        "a3-ultragpu": Host(29_300_000, 2_600_000),
        "a4": Host(0, 0),  # a GPU's price is the whole machine's
        "g2": Host(25_000_000, 3_000_000),
        "g4": Host(30_000_000, 2_800_000),
        "n1": Host(31_600_000, 4_240_000),
    }
)
_SPOT: Mapping[str, Host] = MappingProxyType(
    {
        "a2": Host(12_600_000, 1_700_000),
        "a3": Host(11_700_000, 1_000_000),
        "a3-megagpu": Host(11_700_000, 1_000_000),
        "a3-ultragpu": Host(11_700_000, 1_000_000),
        "a4": Host(0, 0),
        "g2": Host(10_000_000, 1_200_000),
        "g4": Host(12_000_000, 1_200_000),
        "n1": Host(12_600_000, 1_700_000),
    }
)
HOSTS: Mapping[Billing, Mapping[str, Host]] = MappingProxyType({Billing.ON_DEMAND: _ON_DEMAND, Billing.SPOT: _SPOT})
SSD_MONTH: Mapping[Billing, int] = MappingProxyType({Billing.ON_DEMAND: 80_008_000, Billing.SPOT: 31_536_000})


class Rate(NamedTuple):
    """The price of one part in one region."""

    part: str  # "core", "ram", "gpu", "ssd"
    of: str  # a series, or an accelerator type; "" for disks
    region: str
    billing: Billing
    nanos: int  # per hour of a vCPU, a GiB, a GPU; of disks, per GiB and month


def host_nanos(form: Shape, billing: Billing) -> Fraction:
    """All of the machine but its GPUs, in nanodollars per hour."""
    host = HOSTS[billing][form.series]
    disks = Fraction(0) if form.series == "a4" else Fraction(form.ssds * SSD_GIB * SSD_MONTH[billing], MONTH_H)
    return form.cpus * host.core + Fraction(form.memory_mb, 1024) * host.ram + disks


def priced_by_parts(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    """The pools, of which Google's have prices that are sums of prices of parts; what Google does not sell is left out.

    Spot prices do not wander within the hour there: they change once a day at most.
    """
    others, ours = [], {}
    for pool in pools:
        if pool.key.provider != NAME:
            others.append(pool)
            continue
        ready = hosted(pool)
        form = shape(ready)
        if form is None or form.series not in _ON_DEMAND or not is_sold(ready):
            continue
        if ready.key.instance_type != pool.key.instance_type:  # the GPU's price alone
            added = float(host_nanos(form, ready.key.billing) / NANOS)
            ready = replace(ready, usd_per_hour=ready.usd_per_hour + added)
        ours[ready.key] = (ready, form)
    gpu = _gpu_nanos({key: (pool.usd_per_hour, form) for key, (pool, form) in ours.items()}, SHARES * QUANTUM)
    priced = []
    for key, (pool, form) in ours.items():
        nanos = host_nanos(form, key.billing) + Fraction(form.gpus) * gpu[key.region, form.accelerator, key.billing]
        priced.append(replace(pool, usd_per_hour=float(nanos / NANOS), volatility=0.0))
    return (*others, *priced)


def rates(market: Market, forms: Mapping[Key, Shape]) -> tuple[Rate, ...]:
    """The prices of parts now, of what `forms` holds."""
    levels = {key: (market.pools[key].usd_per_hour, form) for key, form in forms.items()}
    gpu, moved = _gpu_nanos(levels, 1), _moved(market, forms)
    found: dict[tuple[str, str, str, Billing], Rate] = {}
    for key, form in sorted(forms.items()):
        region, billing = key.region, key.billing
        factor = moved[region, form.accelerator, billing]
        host = HOSTS[billing][form.series]
        parts = [("gpu", form.accelerator, gpu[region, form.accelerator, billing])]
        if form.series != "a4":
            parts += [("core", form.series, Fraction(host.core)), ("ram", form.series, Fraction(host.ram))]
            parts += [("ssd", "", Fraction(SSD_MONTH[billing]))] if form.ssds else []
        for part, of, nanos in parts:
            rate = Rate(part, of, region, billing, round(nanos * (1 if part == "ssd" else factor)))
            found.setdefault((part, of, region, billing), rate)
    return tuple(found.values())


def _gpu_nanos(prices: Mapping[Key, tuple[float, Shape]], quantum: int) -> dict[tuple[str, str, Billing], Fraction]:
    """Of a GPU by region, accelerator and billing: what the machine with the fewest costs beyond its other parts."""
    found: dict[tuple[str, str, Billing], Fraction] = {}
    for key, (usd, form) in sorted(prices.items(), key=lambda item: (item[1][1].gpus < 1, item[1][1].gpus, item[0])):
        place = (key.region, form.accelerator, key.billing)
        if place not in found:
            each = (round(usd * NANOS) - host_nanos(form, key.billing)) / Fraction(form.gpus)
            found[place] = Fraction(max(quantum, round(each / quantum) * quantum))
    return found


def _moved(market: Market, forms: Mapping[Key, Shape]) -> dict[tuple[str, str, Billing], Fraction]:
    """By how much prices were moved by hand: of the first machine of each kind of GPU in a region."""
    found: dict[tuple[str, str, Billing], Fraction] = {}
    for key, form in sorted(forms.items()):
        level = market.pools[key].usd_per_hour
        factor = Fraction(market.price(key) / level).limit_denominator(1000)
        found.setdefault((key.region, form.accelerator, key.billing), factor)
    return found
