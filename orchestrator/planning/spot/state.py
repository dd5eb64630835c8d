"""Where jobs on spot stand, what moving them costs, and the safety net: what may be done without risking the deadline.

Free: published prices, whether the machine held is still there, and whether an open request in the region where the
checkpoint lies would be filled. Anything else about capacity is bought: asking another region costs ASK_H of its price.

The safety net. Outside of on-demand the slack (time left - work left) always covers what is left of a change-over and
one more to on-demand in the same region, which is always there. Progress keeps the slack, waiting costs it a slot, a
start on spot at most its change-over, however soon the machine is lost. So no deadline is missed, whatever happens to
spot capacity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot.hazard import Floats, Seen

WAIT, SPOT, ON_DEMAND = range(3)
NOWHERE = -1
ASK_H = 1.0 / 60.0  # the least billing time of a spot machine
NEVER = 1e12  # the value in USD of what is not allowed
TOLERANCE_H = 1e-9


class Market(NamedTuple):
    """What does not change: on-demand USD per hour (R,), change-over hours and egress USD (R, R), from row to column.

    The diagonal of `change_over_h` is a restart within the region. `slot_h` is the time between decisions.
    """

    on_demand_usd_per_hour: Floats
    change_over_h: Floats
    egress_usd: Floats
    slot_h: float


class State(NamedTuple):
    """Where the jobs are, shapes (jobs,) or (jobs, regions): hours, and what was seen.

    `region` is where the checkpoint lies, NOWHERE before the first start; `overhead_h` is what is left of a
    change-over; `spot_usd_per_hour` are the prices published now.
    """

    work_h: Floats
    overhead_h: Floats
    left_h: Floats
    mode: NDArray[np.intp]
    region: NDArray[np.intp]
    seen: Seen
    spot_usd_per_hour: Floats


def take(state: State, rows: NDArray[np.intp]) -> State:
    """Some of the jobs."""
    seen = state.seen
    return State(
        state.work_h[rows],
        state.overhead_h[rows],
        state.left_h[rows],
        state.mode[rows],
        state.region[rows],
        Seen(
            seen.up[rows],
            seen.age_h[rows],
            seen.unseen_h[rows],
            seen.up_events[rows],
            seen.up_exposure[rows],
            seen.down_events[rows],
            seen.down_exposure[rows],
        ),
        state.spot_usd_per_hour[rows],
    )


class Reach(NamedTuple):
    """What each job can do, (jobs, regions) but `wait`: (jobs,).

    `hours` are from the decision to progress on spot, `demand_hours` on demand: what is left of a change-over where
    the job runs already; `move_hours` are those of a start anew. `spot` and `demand` say whether it may.
    """

    hours: Floats
    demand_hours: Floats
    move_hours: Floats
    egress_usd: Floats
    on_spot: NDArray[np.bool_]
    on_demand: NDArray[np.bool_]
    spot: NDArray[np.bool_]
    demand: NDArray[np.bool_]
    wait: NDArray[np.bool_]


def moves(market: Market, state: State) -> tuple[Floats, Floats]:
    """Change-over hours and egress USD from where each job is to every region, (jobs, regions)."""
    start = state.region[:, None] == NOWHERE
    at = np.maximum(state.region, 0)
    hours = np.where(start, np.diag(market.change_over_h)[None, :], market.change_over_h[at])
    return hours, np.where(start, 0.0, market.egress_usd[at])


def reach(market: Market, state: State) -> Reach:
    """What the safety net allows. On-demand where the checkpoint lies is always allowed."""
    hours, egress = moves(market, state)
    restart = np.diag(market.change_over_h)
    here = state.region[:, None] == np.arange(len(restart))
    on_spot, on_demand = (state.mode[:, None] == SPOT) & here, (state.mode[:, None] == ON_DEMAND) & here
    slack = (state.left_h - state.work_h)[:, None]
    overhead = state.overhead_h[:, None]
    stay, start = slack - overhead >= restart - TOLERANCE_H, slack >= hours + restart - TOLERANCE_H
    rescue = np.where(state.region == NOWHERE, restart.min(), restart[np.maximum(state.region, 0)])
    first = (state.region[:, None] == NOWHERE) & (hours <= hours.min(1, keepdims=True))
    return Reach(
        hours=np.where(on_spot, overhead, hours),
        demand_hours=np.where(on_demand, overhead, hours),
        move_hours=hours,
        egress_usd=egress,
        on_spot=on_spot,
        on_demand=on_demand,
        spot=np.where(on_spot, stay, start),
        demand=here | first | (slack >= hours - TOLERANCE_H),
        wait=slack[:, 0] - market.slot_h >= rescue - TOLERANCE_H,
    )
