"""Spot serving replay: a service holds spot and on-demand replicas through a trace of what each zone can give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.hedge import Held, Orders

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


class Capacity(NamedTuple):
    """How many spot instances each zone can give, (ticks, zones), every `tick_s` seconds; on-demand is always there."""

    zones: tuple[str, ...]
    instances: Ints
    spot_usd_per_hour: Floats  # (zones,)
    on_demand_usd_per_hour: float
    tick_s: float = 30.0

    def part(self, start: int, stop: int) -> Capacity:
        """The ticks from `start` to before `stop`."""
        return self._replace(instances=self.instances[start:stop])


Hedge: TypeAlias = Callable[[Held], Orders]


class Served(NamedTuple):
    """What came of it: cost over that of `needed` on-demand replicas all the time, and how often enough were ready."""

    cost_ratio: float
    availability: float
    usd: float
    losses: int
    short: npt.NDArray[np.bool_]  # (ticks,) with fewer ready than needed
    on_demand_share: float  # of the replica-hours


def replay(capacity: Capacity, needed: int, boot_s: float, hedge: Hedge) -> Served:
    """Run `hedge` over the whole trace; the ticks of the first boot do not count for the availability.

    Instances are billed from the launch on. A zone that can give fewer than are held takes the youngest first.

    Raises: UserError for a trace without ticks or zones, or a count below 1.
    """
    ticks, zones = capacity.instances.shape
    if ticks < 1 or zones < 1 or needed < 1:
        raise UserError("A replay needs a tick, a zone and a replica at least.")
    boot = round(boot_s / capacity.tick_s)
    spot: list[list[int]] = [[] for _ in range(zones)]  # the ticks of launch, oldest first
    on_demand: list[int] = []
    refused = (False,) * zones
    spot_ticks, on_demand_ticks, losses = np.zeros(zones), 0, 0
    short = np.zeros(ticks, dtype=np.bool_)
    rows = capacity.instances.tolist()
    for tick, row in enumerate(rows):
        lost = tuple(max(0, len(held) - can) for held, can in zip(spot, row, strict=True))
        for held, gone in zip(spot, lost, strict=True):
            del held[len(held) - gone :]
        losses += sum(lost)
        ready = tuple(sum(tick - born >= boot for born in held) for held in spot)
        own = sum(tick - born >= boot for born in on_demand)
        short[tick] = sum(ready) + own < needed
        booting = tuple(len(held) - up for held, up in zip(spot, ready, strict=True))
        seen = Held(tick * capacity.tick_s, ready, booting, lost, refused, own, len(on_demand) - own)
        orders = hedge(seen)
        for held, keep in zip(spot, orders.keep, strict=True):
            del held[max(keep, 0) :]
        refused, missing = _launched(spot, orders, row, tick)
        stay = orders.on_demand + max(0, missing - orders.spare)
        del on_demand[max(stay, 0) :]
        on_demand.extend([tick] * (stay - len(on_demand)))
        spot_ticks += [len(held) for held in spot]
        on_demand_ticks += len(on_demand)
    hours = capacity.tick_s / 3600.0
    usd = hours * (float(spot_ticks @ capacity.spot_usd_per_hour) + on_demand_ticks * capacity.on_demand_usd_per_hour)
    full = ticks * hours * needed * capacity.on_demand_usd_per_hour
    counted = short[boot:] if ticks > boot else short
    share = on_demand_ticks / max(1.0, on_demand_ticks + float(spot_ticks.sum()))
    return Served(usd / full, 1.0 - float(counted.mean()), usd, losses, short, share)


def _launched(spot: list[list[int]], orders: Orders, row: Sequence[int], tick: int) -> tuple[tuple[bool, ...], int]:
    """Walk the zones in the order wished for, and say which refused and how many launches nobody took."""
    refused, missing = [False] * len(spot), orders.launch
    for zone in orders.walk:
        if not missing:
            break
        if refused[zone]:
            continue
        if len(spot[zone]) < row[zone]:
            spot[zone].append(tick)
            missing -= 1
        else:
            refused[zone] = True
    return tuple(refused), missing


def generated(
    days: float, zones: int, depth: int, seed: int, *, tick_s: float = 30.0, zones_per_region: int = 3
) -> Capacity:
    """Capacity that comes and goes: zones that lose all or some of it, apart and together, in calm and restless hours.

    A zone has up to `depth` instances. Spells by region are exponential with means of 12 h (calm) and 4 h (restless,
    four times the losses). A loss stays for a log-normal time with a median of 20 min and hits each other zone of the
    region with a chance of 0.15. Zones differ by a log-normal factor of deviation 1.2 about 2 losses a day. Rates,
    times and chances are about those of the open traces of AWS (October 2022) and GCP (October 2025).
    """
    rng = np.random.default_rng(seed)
    ticks = max(1, round(days * 86_400.0 / tick_s))
    regions = [zone // zones_per_region for zone in range(zones)]
    factor = rng.lognormal(0.0, 1.2, zones)
    instances = np.full((ticks, zones), depth, dtype=np.int64)
    restless = _spells(rng, ticks, regions[-1] + 1, tick_s)
    per_tick = tick_s / 86_400.0 * np.where(restless[:, regions], 8.0, 2.0) * factor
    for tick, zone in np.argwhere(rng.random((ticks, zones)) < per_tick):
        near = [other for other in range(zones) if regions[other] == regions[zone] and other != zone]
        hit = [zone, *(other for other in near if rng.random() < 0.15)]
        for other in hit:
            left = 0 if rng.random() < 0.6 else int(rng.integers(0, depth))
            stop = tick + max(1, round(rng.lognormal(np.log(1200.0), 1.6) / tick_s))
            np.minimum(instances[tick:stop, other], left, out=instances[tick:stop, other])
    names = tuple(f"region-{regions[zone]}{'abcdefghij'[zone % zones_per_region]}" for zone in range(zones))
    return Capacity(names, instances, np.ones(zones), 3.0, tick_s)


def _spells(rng: np.random.Generator, ticks: int, regions: int, tick_s: float) -> npt.NDArray[np.bool_]:
    restless = np.zeros((ticks, regions), dtype=np.bool_)
    for region in range(regions):
        tick, state = 0, bool(rng.random() < 0.25)
        while tick < ticks:
            stop = tick + max(1, round(rng.exponential(4.0 if state else 12.0) * 3600.0 / tick_s))
            restless[tick:stop, region] = state
            tick, state = stop, not state
    return restless
