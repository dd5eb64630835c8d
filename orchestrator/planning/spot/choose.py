"""What to run on next: the value of every choice in USD, and the best of those that the safety net allows.

A choice is valued a slot ahead with what is known of every region now, and from there by the decision table.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot import one, several
from orchestrator.planning.spot.hazard import (
    DOWN,
    FOUND_UP_H,
    Floats,
    Seen,
    chance_up,
    factors,
    pass_time,
    pooled_factors,
)
from orchestrator.planning.spot.one import One
from orchestrator.planning.spot.several import Several
from orchestrator.planning.spot.state import ASK_H, NEVER, ON_DEMAND, SPOT, WAIT, Market, Reach, State, reach
from orchestrator.planning.spot.table import Indices, Setting, age_bucket, weights

Table: TypeAlias = One | Several

STAYS = 0.9  # chance that the machine held is there in the next slot too, for what may follow on-demand or a wait
HOLD_H = 4.0  # for how long a price that has changed is taken to stay
CERTAIN = 1e-6


class Choice(NamedTuple):
    """What to do, (jobs,), and the value of every choice in USD to the end of the job; NEVER where not allowed.

    SPOT in the region where the job runs on spot is to stay; elsewhere it is to ask for a machine, and to decide again
    where there is none. `spot_usd` is (jobs, regions), of a machine there if it can be had; `chance` that it can.
    """

    kind: Indices
    region: Indices
    wait_usd: Floats
    on_demand_usd: Floats
    on_demand_region: Indices
    spot_usd: Floats
    chance: Floats


class _Known(NamedTuple):
    """What was seen, as the tables want it: (jobs, regions), `away` and `pooled` per job."""

    weight: Floats
    pooled: Floats
    age: Indices
    next_age: Indices
    away: Indices
    away_weight: Floats
    chance: Floats
    next_chance: Floats


def setting_for(market: Market, spot_usd_per_hour: Floats, work_h: float, time_h: float) -> Setting:
    """The table's setting for jobs of up to `work_h` and `time_h` hours in a market at these prices (R,)."""
    demand = float(market.on_demand_usd_per_hour.min())
    order = [int(r) for r in np.argsort(spot_usd_per_hour, kind="stable") if spot_usd_per_hour[r] < demand]
    between = market.egress_usd[~np.eye(len(market.egress_usd), dtype=np.bool_)]
    return Setting(
        spot_usd_per_hour=tuple(float(spot_usd_per_hour[r]) for r in order),
        regions=tuple(order),
        on_demand_usd_per_hour=demand,
        egress_usd=float(between.mean()) if len(between) else 0.0,
        work_h=work_h,
        time_h=time_h,
        change_over_h=float(np.diag(market.change_over_h).max()),
        slot_h=market.slot_h,
    )


def table_for(market: Market, spot_usd_per_hour: Floats, work_h: float, time_h: float) -> Table:
    """The decision table for jobs of up to `work_h` and `time_h` hours in a market at these prices (R,)."""
    setting = setting_for(market, spot_usd_per_hour, work_h, time_h)
    return several.solve(setting) if len(setting.regions) > 1 else one.solve(setting)


def _known(seen: Seen, market: Market, on_spot: NDArray[np.bool_]) -> _Known:
    """What was seen, in the tables' terms."""
    ends, _ = factors(seen)
    all_ends, all_returns = pooled_factors(seen)
    never = np.isinf(seen.unseen_h)
    gap = np.where(never, 0.0, seen.unseen_h)
    now = seen.age_h + gap
    begun = np.where(seen.up, now, np.minimum(0.5 * gap, FOUND_UP_H))
    age = age_bucket(np.where(never, FOUND_UP_H, begun), market.slot_h)
    gone = np.where(never | seen.up, np.inf, now)
    away = gone.min(1)
    # Any of those away may be the one to return: the hazards of all over that of the last to go.
    each = DOWN.over(gone, market.slot_h)
    many = np.where(np.isinf(away), 1.0, np.where(np.isinf(gone), 0.0, each).sum(1) / each.max(1, initial=1e-12))
    chance = np.where(on_spot, 1.0, chance_up(seen))
    later = np.where(on_spot, STAYS, chance_up(pass_time(seen, market.slot_h)))
    return _Known(
        weight=weights(ends, np.broadcast_to(all_returns[:, None], ends.shape)),
        pooled=weights(all_ends, all_returns),
        age=age,
        next_age=np.where(never, age, np.where(seen.up, age_bucket(now + market.slot_h, market.slot_h), 0)),
        away=age_bucket(np.where(np.isinf(away), 0.5 * market.slot_h, away), market.slot_h),
        away_weight=weights(all_ends, all_returns * np.maximum(many, 1.0)),
        chance=chance,
        next_chance=later,
    )


def _dearer(table: Table, state: State, hours: Floats) -> Floats:
    """What prices that are not the table's add to a spot machine, (jobs, regions of the table), in USD."""
    price = state.spot_usd_per_hour[:, list(table.setting.regions)]
    held = np.minimum(state.work_h[:, None] + hours[:, list(table.setting.regions)], HOLD_H)
    added: Floats = (price - np.array(table.setting.spot_usd_per_hour)) * held
    return added


def _of_one(
    table: One, state: State, context: tuple[Reach, _Known], bought: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """The values of (spot, waiting, on-demand) with one region to run on spot in: straight from the table."""
    may, known = context
    region = table.setting.regions[0] if table.setting.regions else 0
    chance, age = known.chance[:, region], known.age[:, region]
    jobs = len(chance)

    def read(kind: int, at_age: Indices, work_h: Floats) -> Floats:
        return one.read(table, np.full(jobs, kind), at_age, known.pooled, (work_h, state.left_h))

    def mixed(here: int, away: int, work_h: Floats) -> Floats:
        return chance * read(here, age, work_h) + (1.0 - chance) * read(away, known.away, work_h)

    run = np.full(may.hours.shape, NEVER)
    if table.setting.regions:
        dearer_spot = _dearer(table, state, may.hours)[:, 0]
        run[:, region] = read(one.SPOT, age, state.work_h + may.hours[:, region]) + dearer_spot
    wait = mixed(one.WAITING, one.AWAY_WAITING, state.work_h)
    # The table knows one price on demand; this region's own may be above it for the next slot.
    slot = np.minimum(table.setting.slot_h, state.work_h + bought[0])
    dearer = slot * (bought[1] - table.setting.on_demand_usd_per_hour)
    return run, wait, mixed(one.ON_DEMAND, one.AWAY_ON_DEMAND, state.work_h + bought[0]) + dearer


def _of_several(
    table: Several, state: State, context: tuple[Reach, _Known], bought: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """The values of (spot, waiting, on-demand) with several regions: one slot with what is known, then the table."""
    may, known = context
    order = list(table.setting.regions)
    slot, later_h = table.setting.slot_h, state.left_h - table.setting.slot_h
    hours, weight, egress = may.hours[:, order], known.weight[:, order], may.egress_usd[:, order]
    again = may.move_hours[:, order]  # a machine given up is started anew
    run = np.full(may.hours.shape, NEVER)
    dearer = _dearer(table, state, may.hours)
    now = several.read_run(table, known.age[:, order], weight, state.work_h[:, None] + hours, state.left_h[:, None])
    run[:, order] = now + dearer

    def after(work_h: Floats, kind: int, fallback: Floats) -> Floats:
        """The value a slot on: of the first region there, cheapest first, or else of what is done without any."""
        at = (work_h, later_h)
        start = several.read_run(table, known.next_age[:, order], weight, work_h[:, None] + again, later_h[:, None])
        room = (later_h - work_h)[:, None] >= again + table.setting.change_over_h
        held = several.read_beside(table, kind, known.next_age[:, order], known.pooled, at)
        best = np.minimum(np.where(room, start + egress + dearer, NEVER), held)
        value = fallback
        for place in range(len(order) - 1, -1, -1):
            chance = known.next_chance[:, order[place]]
            value = value + chance * (np.minimum(best[:, place], value) - value)
        return value

    def away(kind: int, work_h: Floats) -> Floats:
        return several.read_away(table, kind, known.away, known.away_weight, (work_h, later_h))

    buy = away(several.ON_DEMAND, state.work_h + table.setting.change_over_h)
    wait = after(state.work_h, several.WAIT, np.minimum(away(several.WAIT, state.work_h), buy))
    overhead, price = bought
    ran = np.minimum(slot, state.work_h + overhead)
    work = state.work_h - np.maximum(ran - overhead, 0.0)
    rest = work + np.maximum(overhead - ran, 0.0)
    kept = np.minimum(away(several.ON_DEMAND, rest), away(several.WAIT, work))
    later = np.where(work > 0.0, after(rest, several.ON_DEMAND, kept), 0.0)
    return run, wait, ran * price + later


def values(table: Table, market: Market, state: State) -> Choice:
    """The value of every choice; `kind` and `region` are the best. Deterministic; the jobs do not touch each other."""
    may = reach(market, state)
    known = _known(state.seen, market, may.on_spot)
    jobs = np.arange(len(state.work_h))
    # On demand: where the rest of the work would cost least.
    rest = market.on_demand_usd_per_hour * (state.work_h[:, None] + may.demand_hours)
    rest = rest + np.where(may.on_demand, 0.0, may.egress_usd)
    where = np.where(may.demand, rest, NEVER).argmin(1)
    overhead = may.demand_hours[jobs, where]
    bought = (overhead, market.on_demand_usd_per_hour[where])
    if isinstance(table, Several):
        run, wait, demand = _of_several(table, state, (may, known), bought)
    else:
        run, wait, demand = _of_one(table, state, (may, known), bought)
    demand_usd = demand + np.where(may.on_demand[jobs, where], 0.0, may.egress_usd[jobs, where])
    run = np.where(may.spot & (run < NEVER), run + np.where(may.on_spot, 0.0, may.egress_usd), NEVER)
    wait_usd = np.where(may.wait, wait, NEVER)
    kind, region = _best(state, may, (run, wait_usd, demand_usd, where), known.chance)
    return Choice(kind, region, wait_usd, demand_usd, where, run, known.chance)


def _best(
    state: State, may: Reach, usd: tuple[Floats, Floats, Floats, Indices], chance: Floats
) -> tuple[Indices, Indices]:
    """The best choice: regions are asked in the order of what asking is worth (M. Weitzman, *Optimal search for the
    best alternative*, 1979), for as long as that is less than the best choice without asking."""
    run, wait, demand, where = usd
    stay = np.where(may.on_spot, run, NEVER).min(1)
    without = np.minimum(np.minimum(stay, wait), demand)
    home = state.region[:, None] == np.arange(run.shape[1])
    price = np.where(home, 0.0, state.spot_usd_per_hour * ASK_H)
    index = np.where(may.on_spot | (chance <= CERTAIN) | (run >= NEVER), NEVER, 0.0)
    index = index + run + price * (1.0 - chance) / np.maximum(chance, CERTAIN)
    first = index.argmin(1)
    asks = index[np.arange(len(first)), first] < without - 1e-9
    rest = np.where(demand <= np.minimum(stay, wait), ON_DEMAND, np.where(stay <= wait, SPOT, WAIT))
    kind = np.where(asks, SPOT, rest)
    return kind, np.where(asks, first, np.where(rest == ON_DEMAND, where, state.region))
