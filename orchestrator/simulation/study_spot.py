"""Jobs with a deadline on spot: the decision table beside named policies and the omniscient optimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.errors import UserError
from orchestrator.planning.spot.hazard import Floats
from orchestrator.planning.spot.state import Market
from orchestrator.simulation import spot_baselines as policies
from orchestrator.simulation.spot_market import generate
from orchestrator.simulation.spot_optimum import optimum
from orchestrator.simulation.spot_replay import Jobs, Outcome, Trace, replay
from orchestrator.simulation.study import Measure, Row, Study, Unit
from orchestrator.simulation.traces import SpotZone

SLOT_H = 1.0 / 6.0
REGIONS = (2, 2, 2)  # zones of a generated market
UNITS = 5  # of work in a slot, in the optimum
TOLERANCE_H = 1e-6
MEASURES = (
    Measure("usd", "cost per job", Unit.USD),
    Measure("over_optimum", "/optimum", Unit.RATIO),
    Measure("late", "late", Unit.COUNT),
    Measure("late_h", "hours of work late", Unit.HOURS),
    Measure("spot_h", "spot h", Unit.HOURS),
    Measure("on_demand_h", "on-demand h", Unit.HOURS),
    Measure("starts", "starts", Unit.COUNT),
)


class SpotCase(NamedTuple):
    """Jobs of `work_h` hours to be done in `deadline_h`, `jobs` of them evenly over the trace.

    Prices in USD per hour stand in for what a trace does not record; a generated market's spot prices are around
    `spot_usd_per_hour`. A restart takes `change_over_h`, a move to another zone costs `egress_usd`.
    """

    work_h: float = 24.0
    deadline_h: float = 48.0
    jobs: int = 12
    change_over_h: float = 0.2
    egress_usd: float = 1.0  # 50 GB of checkpoint at 0.02 USD/GB
    spot_usd_per_hour: float = 12.0  # about a machine of 8 H100
    on_demand_usd_per_hour: float = 38.0
    days: float = 14.0
    seed: int = 1


def study(case: SpotCase, zones: list[SpotZone] | None) -> Study:
    """Replay `case` on recorded zones, or on a generated market.

    Raises: UserError for a case that cannot be replayed.
    """
    trace, market, source = _recorded(case, zones) if zones else _generated(case)
    slots, total = round(case.deadline_h / market.slot_h), trace.up.shape[1]
    if not 0.0 < case.work_h <= case.deadline_h - case.change_over_h or case.jobs < 1:
        raise UserError(
            f"{case.work_h:g} h of work and a start of {case.change_over_h:g} h do not fit in {case.deadline_h:g} h"
        )
    if slots > total:
        raise UserError(
            f"the trace is {total * market.slot_h:g} h long, less than the deadline of {case.deadline_h:g} h"
        )
    starts = np.linspace(0, total - slots, case.jobs).astype(np.intp)
    jobs = Jobs(starts, np.full(case.jobs, case.work_h), np.full(case.jobs, slots, np.intp))
    units = round(case.work_h / market.slot_h * UNITS)
    best = np.array([optimum(trace, market, int(start) + slots, slots, UNITS)[units] for start in starts])
    rows = []
    for name, outcome in _outcomes(case, trace, market, jobs).items():
        values = (
            float(outcome.usd.mean()),
            float(outcome.usd.sum() / best.sum()),
            float((outcome.missed_h > TOLERANCE_H).sum()),
            float(outcome.missed_h.sum()),
            float(outcome.spot_h.mean()),
            float(outcome.on_demand_h.mean()),
            float(outcome.starts.mean()),
        )
        rows.append(Row(name, values))
    rows.append(Row("omniscient optimum", (float(best.mean()), 1.0, 0.0, 0.0, None, None, None)))
    setting = (
        f"{case.jobs} jobs of {case.work_h:g} h, each to be done in {case.deadline_h:g} h, one machine each",
        f"spot: {source}; there {float(trace.up.mean()):.0%} of the time",
        f"a start takes {case.change_over_h:g} h, a move costs ${case.egress_usd:g}",
    )
    return Study("spot", "Spot with a deadline", setting, MEASURES, tuple(rows))


def _outcomes(case: SpotCase, trace: Trace, market: Market, jobs: Jobs) -> dict[str, Outcome]:
    """What each policy came to."""
    deciders = {
        "isoflop": policies.repriced_policy(market, case.work_h, case.deadline_h),
        "uniform progress": policies.uniform_progress(market, jobs.work_h, np.full(case.jobs, case.deadline_h)),
        "greedy spot": policies.greedy(market),
        "on-demand only": policies.on_demand_only(market),
    }
    return {name: replay(trace, market, jobs, decide) for name, decide in deciders.items()}


def _generated(case: SpotCase) -> tuple[Trace, Market, str]:
    slots = max(1, round(case.days * 24.0 / SLOT_H))
    made = generate(REGIONS, slots, SLOT_H, np.random.default_rng(case.seed))
    trace = made._replace(spot_usd_per_hour=made.spot_usd_per_hour * case.spot_usd_per_hour)
    count = sum(REGIONS)
    source = f"generated, {count} zones in {len(REGIONS)} regions, {case.days:g} days, seed {case.seed}"
    return trace, _market(case, np.full(count, case.on_demand_usd_per_hour), SLOT_H), source


def _recorded(case: SpotCase, zones: list[SpotZone]) -> tuple[Trace, Market, str]:
    if len({zone.slot_h for zone in zones}) != 1:
        raise UserError("the spot traces have different times between samples: replay those of one kind at a time")
    slots, slot_h = min(len(zone.up) for zone in zones), zones[0].slot_h
    up = np.array([zone.up[:slots] for zone in zones])
    spot = np.array([_known(zone.spot_usd_per_hour, case.spot_usd_per_hour) for zone in zones])
    demand = np.array([_known(zone.on_demand_usd_per_hour, case.on_demand_usd_per_hour) for zone in zones])
    source = f"recorded, {len(zones)} zone{'s' * (len(zones) != 1)}, {slots * slot_h / 24.0:.1f} days"
    return Trace(up, np.repeat(spot[:, None], slots, 1)), _market(case, demand, slot_h), source


def _market(case: SpotCase, on_demand: Floats, slot_h: float) -> Market:
    count = len(on_demand)
    away = np.where(np.eye(count, dtype=np.bool_), 0.0, case.egress_usd)
    return Market(on_demand, np.full((count, count), case.change_over_h), away, slot_h)


def _known(recorded: float, otherwise: float) -> float:
    return otherwise if np.isnan(recorded) else recorded
