"""Policies to compare with, from their papers' descriptions; all of them pay for what they ask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot import choose
from orchestrator.planning.spot.choose import Table
from orchestrator.planning.spot.hazard import Floats, chance_up
from orchestrator.planning.spot.state import NOWHERE, ON_DEMAND, SPOT, WAIT, Market, Reach, State, reach, take
from orchestrator.simulation.spot_replay import Decider

Indices = NDArray[np.intp]
PRICE_STEP = 0.05  # of the logarithm of a price: what a new table is made for
ENOUGH = 1.2  # capacity wanted over what the deadline needs (price threshold)


def table_policy(table: Table, market: Market) -> Decider:
    """Ours: the decision table."""

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        del rows
        choice = choose.values(table, market, state)
        return choice.kind, choice.region

    return decide


def repriced_policy(market: Market, work_h: float, time_h: float) -> Decider:
    """Ours where prices move: a table for the prices of the day, made anew once one has moved by a twentieth."""
    made: dict[bytes, Table] = {}

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        del rows
        keys = np.rint(np.log(state.spot_usd_per_hour) / PRICE_STEP).astype(np.int64)
        kind, region = np.zeros((2, len(keys)), np.intp)
        for key in np.unique(keys, axis=0):
            alike = np.flatnonzero((keys == key).all(1))
            name = key.tobytes()
            if name not in made:
                made[name] = choose.table_for(market, np.exp(key * PRICE_STEP), work_h, time_h)
            choice = choose.values(made[name], market, take(state, alike))
            kind[alike], region[alike] = choice.kind, choice.region
        return kind, region

    return decide


def _home(market: Market, state: State) -> Indices:
    """Where on-demand runs: where the checkpoint lies, at first where it is cheapest."""
    return np.where(state.region == NOWHERE, market.on_demand_usd_per_hour.argmin(), state.region)


def _next_spot(market: Market, state: State, may: Reach, limit: Floats) -> tuple[NDArray[np.bool_], Indices]:
    """Whether there is a region to ask, and the cheapest up to a limit (jobs,), the last one lost at the end."""
    known_away = (state.seen.unseen_h == 0.0) & ~state.seen.up
    here = state.region[:, None] == np.arange(may.spot.shape[1])
    allowed = may.spot & ~known_away & (state.spot_usd_per_hour <= limit[:, None] + 1e-12)
    allowed &= state.spot_usd_per_hour < market.on_demand_usd_per_hour.min()
    rank = np.where(allowed, state.spot_usd_per_hour + 1e6 * here, np.inf)
    return allowed.any(1), rank.argmin(1)


def on_demand_only(market: Market) -> Decider:
    """On demand from the start."""

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        del rows
        return np.full(len(state.work_h), ON_DEMAND), _home(market, state)

    return decide


def greedy(market: Market) -> Decider:
    """Any spot, kept until it is lost; on-demand for good when the slack is gone."""

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        del rows
        may = reach(market, state)
        stay = np.asarray((may.on_spot & may.spot).any(1))
        some, where = _next_spot(market, state, may, np.full(len(state.work_h), np.inf))
        bought = state.mode == ON_DEMAND
        kind = np.where(bought, ON_DEMAND, np.where(stay | some, SPOT, np.where(may.wait, WAIT, ON_DEMAND)))
        spot = np.where(stay, state.region, where)
        return kind, np.where(kind == ON_DEMAND, _home(market, state), np.where(kind == SPOT, spot, state.region))

    return decide


def uniform_progress(market: Market, work_h: Floats, time_h: Floats) -> Decider:
    """Uniform Progress ("Can't Be Late", NSDI '24), over several regions with failover by price, UP(S).

    Any spot is taken; without spot, on-demand as soon as the progress is behind the line from nothing at the start to
    all at the deadline, and until it is ahead by two change-overs.
    """
    ahead_h = 2.0 * float(np.diag(market.change_over_h).max())

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        may = reach(market, state)
        stay = np.asarray((may.on_spot & may.spot).any(1))
        some, where = _next_spot(market, state, may, np.full(len(state.work_h), np.inf))
        passed, progress, rate = time_h[rows] - state.left_h, work_h[rows] - state.work_h, (work_h / time_h)[rows]
        bought = state.mode == ON_DEMAND
        behind = np.where(bought, progress < (passed + ahead_h) * rate, progress < passed * rate - 1e-9)
        kind = np.where(stay | some, SPOT, np.where(behind | ~may.wait, ON_DEMAND, WAIT))
        spot = np.where(stay, state.region, where)
        return kind, np.where(kind == ON_DEMAND, _home(market, state), np.where(kind == SPOT, spot, state.region))

    return decide


def price_threshold(market: Market) -> Decider:
    """Spot at up to the lowest price at which enough capacity is to be expected for the deadline; else as greedy."""

    def decide(state: State, rows: Indices) -> tuple[Indices, Indices]:
        del rows
        may = reach(market, state)
        jobs = np.arange(len(state.work_h))
        order = np.argsort(state.spot_usd_per_hour, axis=1, kind="stable")
        chance = np.take_along_axis(chance_up(state.seen), order, 1)
        capacity = 1.0 - np.cumprod(1.0 - chance, axis=1)
        need = np.minimum(ENOUGH * state.work_h / np.maximum(state.left_h, 1e-9), 1.0)
        enough = capacity >= need[:, None]
        place = np.where(enough.any(1), enough.argmax(1), order.shape[1] - 1)
        limit = state.spot_usd_per_hour[jobs, order[jobs, place]]
        stay = np.asarray((may.on_spot & may.spot).any(1))
        some, where = _next_spot(market, state, may, limit)
        bought = state.mode == ON_DEMAND
        kind = np.where(bought, ON_DEMAND, np.where(stay | some, SPOT, np.where(may.wait, WAIT, ON_DEMAND)))
        spot = np.where(stay, state.region, where)
        return kind, np.where(kind == ON_DEMAND, _home(market, state), np.where(kind == SPOT, spot, state.region))

    return decide
