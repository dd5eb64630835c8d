"""Replays of jobs on spot: many jobs at once through recorded or generated availability, to the cent."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot import hazard
from orchestrator.planning.spot.hazard import Floats
from orchestrator.planning.spot.state import ASK_H, NOWHERE, ON_DEMAND, SPOT, WAIT, Market, State, moves, take

DONE_H = 1e-9


class Trace(NamedTuple):
    """What happened: availability (R, slots) and spot USD per hour (R, slots), one sample per slot."""

    up: NDArray[np.bool_]
    spot_usd_per_hour: Floats


class Jobs(NamedTuple):
    """Jobs to replay, (jobs,): first slot in the trace, hours of work, slots until the deadline."""

    start: NDArray[np.intp]
    work_h: Floats
    slots: NDArray[np.intp]


class Decider(Protocol):
    """A policy: what the jobs `rows` run on next, as (kind, region); asked again where a region had no capacity."""

    def __call__(self, state: State, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]: ...


class Outcome(NamedTuple):
    """What the jobs came to, (jobs,): USD in all and for asking, hours of work left at the deadline, hours by kind."""

    usd: Floats
    asked_usd: Floats
    missed_h: Floats
    spot_h: Floats
    on_demand_h: Floats
    starts: Floats


def _settle(
    state: State, decide: Decider, market: Market, up: NDArray[np.bool_], bill: tuple[Floats, Floats]
) -> tuple[State, NDArray[np.bool_]]:
    """The state after this slot's decisions; adds egress and questions to the bill (usd, asked_usd)."""
    jobs = np.arange(len(state.work_h))
    open_ = state.work_h > DONE_H
    begun = np.zeros(len(jobs), dtype=np.bool_)
    mode, region, overhead = state.mode.copy(), state.region.copy(), state.overhead_h.copy()
    for _ in range(up.shape[1] + 1):
        if not open_.any():
            break
        rows = np.flatnonzero(open_)
        kind, where = state.mode.copy(), state.region.copy()
        kind[rows], where[rows] = decide(take(state, rows), rows)
        hours, egress = moves(market, state)
        there = np.maximum(where, 0)
        stays = (kind == state.mode) & ((kind == WAIT) | (where == state.region))
        tries = open_ & (kind == SPOT) & ~stays
        got = tries & up[jobs, there]
        failed = tries & ~got
        asks = failed & (where != state.region)
        cost = np.where(asks, state.spot_usd_per_hour[jobs, there] * ASK_H, 0.0)
        bill[0][:] += cost
        bill[1][:] += cost
        settled = open_ & ~failed
        starts = settled & ~stays & (kind != WAIT)
        bill[0][:] += np.where(starts, egress[jobs, there], 0.0)
        overhead = np.where(starts, hours[jobs, there], np.where(settled & (kind == WAIT), 0.0, overhead))
        mode = np.where(settled, kind, mode)
        region = np.where(starts, where, region)
        begun |= starts
        answered = np.zeros_like(up)
        answered[jobs[tries], there[tries]] = True
        state = state._replace(seen=hazard.look(state.seen, answered, up, market.slot_h))
        open_ = open_ & ~settled
    return state._replace(mode=mode, region=region, overhead_h=overhead), begun


def replay(trace: Trace, market: Market, jobs: Jobs, decide: Decider) -> Outcome:
    """The outcome of jobs under a policy.

    Capacity is what the sample at a slot's start says, for the whole slot. A spot machine is lost at the start of a
    slot without capacity; the work up to then is kept, what was left of its change-over is void. Machines are billed
    by the second, until the work is done.
    """
    count, slot = len(jobs.start), market.slot_h
    zeros = np.zeros(count)
    regions = len(trace.up)
    state = State(
        jobs.work_h.astype(np.float64),
        zeros,
        (jobs.slots * slot).astype(np.float64),
        np.full(count, WAIT),
        np.full(count, NOWHERE),
        hazard.unseen(count, regions),
        np.zeros((count, regions)),
    )
    usd, asked_usd, spot_h, demand_h, started = (np.zeros(count) for _ in range(5))
    numbers = np.arange(count)
    for step in range(int(jobs.slots.max())):
        live = (state.work_h > DONE_H) & (step < jobs.slots)
        if not live.any():
            break
        at = np.minimum(jobs.start + step, trace.up.shape[1] - 1)
        up = trace.up[:, at].T
        seen = hazard.pass_time(state.seen, slot) if step else state.seen
        known = np.zeros_like(up)
        placed = state.region != NOWHERE
        known[numbers[placed], state.region[placed]] = True
        if regions == 1:
            known[:] = True  # an open request stands in the only region
        seen = hazard.look(seen, known, up, slot)
        lost = (state.mode == SPOT) & ~up[numbers, np.maximum(state.region, 0)]
        state = state._replace(
            seen=seen,
            mode=np.where(lost | ~live, WAIT, state.mode),
            overhead_h=np.where(lost, 0.0, state.overhead_h),
            left_h=((jobs.slots - step) * slot).astype(np.float64),
            spot_usd_per_hour=trace.spot_usd_per_hour[:, at].T,
        )
        state, begun = _settle(state, decide, market, up, (usd, asked_usd))
        there = np.maximum(state.region, 0)
        price = np.where(
            state.mode == SPOT, state.spot_usd_per_hour[numbers, there], market.on_demand_usd_per_hour[there]
        )
        ran = np.where(live & (state.mode != WAIT), np.minimum(slot, state.overhead_h + state.work_h), 0.0)
        usd += ran * price
        spot_h += np.where(state.mode == SPOT, ran, 0.0)
        demand_h += np.where(state.mode == ON_DEMAND, ran, 0.0)
        started += begun
        done = np.maximum(ran - state.overhead_h, 0.0)
        work = state.work_h - done
        state = state._replace(
            work_h=np.where(work < DONE_H, 0.0, work), overhead_h=np.maximum(state.overhead_h - ran, 0.0)
        )
    return Outcome(usd, asked_usd, state.work_h, spot_h, demand_h, started)
