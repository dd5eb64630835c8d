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
from orchestrator.simulation.clouds.pools import USUAL_HAZARD, Key, Pool

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


class Cost(NamedTuple):
    """Nanodollars per hour: of a machine, and of all of it but its GPUs."""

    whole: Fraction | int
    host: Fraction


def host_nanos(form: Shape, billing: Billing, factor: Fraction = Fraction(1)) -> Fraction:
    """All of the machine but its GPUs, in nanodollars per hour; `factor` is on processors and memory."""
    if form.series == "a4":
        return Fraction(0)
    host = HOSTS[billing][form.series]
    disks = Fraction(form.ssds * SSD_GIB * SSD_MONTH[billing], MONTH_H)
    return factor * (form.cpus * host.core + Fraction(form.memory_mb, 1024) * host.ram) + disks


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
    costs = {
        key: Cost(round(pool.usd_per_hour * NANOS), host_nanos(form, key.billing)) for key, (pool, form) in ours.items()
    }
    gpu = _gpu_nanos(costs, {key: form for key, (_, form) in ours.items()}, SHARES * QUANTUM)
    for key, (pool, form) in tuple(ours.items()):
        twin = _twin(pool)
        if twin.key not in ours and (key.region, form.accelerator, twin.key.billing) in gpu and is_sold(twin):
            ours[twin.key] = (twin, form)
    priced = []
    for key, (pool, form) in ours.items():
        nanos = host_nanos(form, key.billing) + Fraction(form.gpus) * gpu[key.region, form.accelerator, key.billing]
        priced.append(replace(pool, usd_per_hour=float(nanos / NANOS), volatility=0.0))
    return (*others, *priced)


def _twin(pool: Pool) -> Pool:
    """The same machine under the other billing: Google sells whatever it has the prices of all parts of."""
    if pool.key.billing is Billing.SPOT:
        return replace(pool, key=pool.key._replace(billing=Billing.ON_DEMAND), hazard_per_hour=0.0)
    return replace(pool, key=pool.key._replace(billing=Billing.SPOT), hazard_per_hour=USUAL_HAZARD)


def rates(market: Market, forms: Mapping[Key, Shape]) -> tuple[Rate, ...]:
    """The prices of parts now, of what `forms` holds.

    Prices moved by hand are moved in processors and memory where all of a series are, and in the GPUs else: disks, and
    parts that machines share, keep their prices.
    """
    moved = _moved(market, forms)
    series: dict[tuple[str, str, Billing], set[Fraction]] = {}
    for key, form in forms.items():
        factors = series.setdefault((key.region, form.series, key.billing), set())
        factors.add(moved[key.region, form.accelerator, key.billing])
    common = {place: next(iter(factors)) if len(factors) == 1 else Fraction(1) for place, factors in series.items()}
    costs = {
        key: Cost(
            round(market.pools[key].usd_per_hour * NANOS) * moved[key.region, form.accelerator, key.billing],
            host_nanos(form, key.billing, common[key.region, form.series, key.billing]),
        )
        for key, form in forms.items()
    }
    gpu = _gpu_nanos(costs, forms, 1)
    found: dict[tuple[str, str, str, Billing], Rate] = {}
    for key, form in sorted(forms.items()):
        region, billing = key.region, key.billing
        parts = [("gpu", form.accelerator, gpu[region, form.accelerator, billing])]
        if form.series != "a4":
            host, factor = HOSTS[billing][form.series], common[region, form.series, billing]
            parts += [("core", form.series, host.core * factor), ("ram", form.series, host.ram * factor)]
            parts += [("ssd", "", Fraction(SSD_MONTH[billing]))] if form.ssds else []
        for part, of, nanos in parts:
            found.setdefault((part, of, region, billing), Rate(part, of, region, billing, round(nanos)))
    return tuple(found.values())


def _gpu_nanos(
    costs: Mapping[Key, Cost], forms: Mapping[Key, Shape], quantum: int
) -> dict[tuple[str, str, Billing], Fraction]:
    """Of a GPU by region, accelerator and billing: what its first machine costs beyond its other parts."""
    found: dict[tuple[str, str, Billing], Fraction] = {}
    for key in _first(forms):
        cost, form = costs[key], forms[key]
        each = (cost.whole - cost.host) / Fraction(form.gpus)
        found[key.region, form.accelerator, key.billing] = Fraction(max(quantum, round(each / quantum) * quantum))
    return found


def _moved(market: Market, forms: Mapping[Key, Shape]) -> dict[tuple[str, str, Billing], Fraction]:
    """By how much prices were moved by hand: of the first machine of each kind of GPU in a region."""
    return {
        (key.region, forms[key].accelerator, key.billing): Fraction(
            market.price(key) / market.pools[key].usd_per_hour
        ).limit_denominator(1000)
        for key in _first(forms)
    }


def _first(forms: Mapping[Key, Shape]) -> list[Key]:
    """For every region, accelerator and billing, the machine with the fewest whole GPUs."""
    found: dict[tuple[str, str, Billing], Key] = {}
    for key, form in sorted(forms.items(), key=lambda item: (item[1].gpus < 1, item[1].gpus, item[0])):
        found.setdefault((key.region, form.accelerator, key.billing), key)
    return list(found.values())
