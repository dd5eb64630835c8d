"""What a spot job with a deadline is expected to cost, by the decision table, and the table on one page.

The hours on spot and on demand are those of the best policy, by the envelope theorem: the expected cost grows with a
price by the expected hours at that price.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.planning.spot import choose, hazard, one, several
from orchestrator.planning.spot.choose import Choice, Table
from orchestrator.planning.spot.hazard import Floats
from orchestrator.planning.spot.state import NEVER, NOWHERE, ON_DEMAND, SPOT, WAIT, Market, State
from orchestrator.planning.spot.table import MODELS, Setting

STEPS = 96  # slots that a table for an estimate is made of, at the most
NUDGE = 0.01  # of a price
RANGE = (0.5, 1.0, 2.0)  # factors on the hazards of the good, the likely and the bad market


class Expected(NamedTuple):
    """USD of a job on spot by its deadline: as expected, and in a market with half and with twice the hazards."""

    usd: float
    low_usd: float
    high_usd: float
    spot_h: float
    on_demand_h: float
    on_demand_usd: float  # the same job on demand only


class Reason(NamedTuple):
    """One thing that could be done now, with what the job is expected to cost then."""

    action: str
    usd: float


def _solve(setting: Setting, factor: float) -> Table:
    models = ((factor, 1.0 / factor),)
    return several.solve(setting, models) if len(setting.regions) > 1 else one.solve(setting, models)


def _start_usd(setting: Setting, market: Market, factor: float) -> float:
    """The expected cost of a job that has not begun, with nothing seen."""
    regions = len(market.on_demand_usd_per_hour)
    prices = np.full(regions, setting.on_demand_usd_per_hour * 10.0)
    prices[list(setting.regions)] = setting.spot_usd_per_hour
    state = start(regions, setting.work_h, setting.time_h, prices)
    table = _solve(setting, factor)
    copies = len(MODELS)  # one model only: every learned factor reads it
    if isinstance(table, several.Several):
        table = table._replace(
            run=table.run.repeat(copies, 1), away=table.away.repeat(copies, 2), beside=table.beside.repeat(copies, 2)
        )
    else:
        table = table._replace(spent=table.spent.repeat(copies, 2))
    choice = choose.values(table, market._replace(slot_h=setting.slot_h), state)
    chance, spot = choice.chance[0], choice.spot_usd[0]
    value = min(float(choice.wait_usd[0]), float(choice.on_demand_usd[0]))
    for region in np.argsort(spot, kind="stable")[::-1]:
        value += float(chance[region]) * (min(float(spot[region]), value) - value)
    return value


def start(regions: int, work_h: float, left_h: float, spot_usd_per_hour: Floats) -> State:
    """The state of one job that has not begun."""
    return State(
        np.array([work_h]),
        np.zeros(1),
        np.array([left_h]),
        np.array([WAIT]),
        np.array([NOWHERE]),
        hazard.unseen(1, regions),
        spot_usd_per_hour[None, :],
    )


def expected(market: Market, spot_usd_per_hour: Floats, work_h: float, time_h: float) -> Expected | None:
    """What a job of `work_h` hours costs on spot with `time_h` hours to its deadline, in a market at prices (R,).

    None where not even on-demand from the start would be in time. Prices must be finite and above 0. Slots are made
    longer for long jobs, so that an estimate takes milliseconds; what is run follows `market.slot_h`.
    """
    change = float(np.diag(market.change_over_h).min())
    if not (work_h > 0.0 and time_h >= work_h + change):
        return None
    setting = choose.setting_for(market, spot_usd_per_hour, work_h, time_h)
    setting = setting._replace(slot_h=max(market.slot_h, time_h / STEPS))
    low, usd, high = (_start_usd(setting, market, factor) for factor in RANGE)
    demand = setting.on_demand_usd_per_hour
    step = NUDGE * min((demand, *setting.spot_usd_per_hour))
    dear = setting._replace(spot_usd_per_hour=tuple(price + step for price in setting.spot_usd_per_hour))
    bought = setting._replace(on_demand_usd_per_hour=demand + step)
    dearer = market._replace(on_demand_usd_per_hour=market.on_demand_usd_per_hour + step)
    spot_h = (_start_usd(dear, market, 1.0) - usd) / step if setting.regions else 0.0
    on_demand_h = (_start_usd(bought, dearer, 1.0) - usd) / step
    most = demand * (work_h + change)
    best = min(usd, most)
    hours = max(0.0, spot_h), max(0.0, on_demand_h)
    return Expected(best, min(low, best), max(min(high, most), best), *hours, most)


def reasons(choice: Choice, names: tuple[str, ...], job: int = 0) -> tuple[Reason, ...]:
    """What one job could do now, cheapest first, what cannot be done left out: "why on demand now"."""
    found = [Reason("wait", float(choice.wait_usd[job]))]
    place = names[int(choice.on_demand_region[job])]
    found.append(Reason(f"on-demand in {place}", float(choice.on_demand_usd[job])))
    for region, name in enumerate(names):
        if choice.chance[job, region] > choose.CERTAIN:
            found.append(Reason(f"spot in {name}", float(choice.spot_usd[job, region])))
    return tuple(sorted((r for r in found if r.usd < NEVER), key=lambda r: (r.usd, r.action)))


def sheet(
    table: Table, market: Market, work_h: Floats, left_h: Floats, up: bool, *, age_h: float = 1.0
) -> tuple[tuple[str, ...], ...]:
    """The table on one page: a row per work left, a cell per time left: "spot", "on-demand", "wait", "late".

    For a job without a machine, with capacity in every region (`up`) or in none, for `age_h` hours.
    """
    work, left = (grid.ravel() for grid in np.meshgrid(work_h, left_h, indexing="ij"))
    jobs, regions = len(work), len(market.on_demand_usd_per_hour)
    answer = np.full((jobs, regions), up)
    seen = hazard.look(hazard.unseen(jobs, regions), np.ones_like(answer), answer, market.slot_h)
    seen = seen._replace(age_h=np.full((jobs, regions), age_h))
    prices = np.full(regions, np.inf)
    prices[list(table.setting.regions)] = table.setting.spot_usd_per_hour
    prices = np.where(np.isfinite(prices), prices, table.setting.on_demand_usd_per_hour)
    state = State(
        work.astype(np.float64),
        np.zeros(jobs),
        left.astype(np.float64),
        np.full(jobs, WAIT),
        np.zeros(jobs, np.intp),
        seen,
        np.repeat(prices[None, :], jobs, 0),
    )
    kind = choose.values(table, market, state).kind
    words = np.array(["", "", ""], dtype=object)
    words[WAIT], words[SPOT], words[ON_DEMAND] = "wait", "spot", "on-demand"
    late = left < work + market.change_over_h[0, 0]
    cells = np.where(late, "late", words[kind]).reshape(len(work_h), len(left_h))
    return tuple(tuple(str(cell) for cell in row) for row in cells)
