"""Jobs through the planner and the control plane in virtual time, beside other ways to buy, and the least there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.domain.contracts import Policy
from orchestrator.simulation import rivals
from orchestrator.simulation.engine import Ran, Scenario, simulate
from orchestrator.simulation.ledger import Tally
from orchestrator.simulation.study import Measure, Row, Study, Unit

MEASURES = (
    Measure("usd", "cost", Unit.USD),
    Measure("over_bound", "/bound", Unit.RATIO),
    Measure("succeeded", "done", Unit.COUNT),
    Measure("late", "late", Unit.COUNT),
    Measure("late_h", "hours late", Unit.HOURS),
    Measure("served", "served", Unit.SHARE),
    Measure("gpu_hours", "GPU-hours", Unit.COUNT),
    Measure("purchases", "bought", Unit.COUNT),
    Measure("refused", "refused", Unit.COUNT),
    Measure("interruptions", "interrupted", Unit.COUNT),
)


class JobsRun(NamedTuple):
    """The table, and what our own run left."""

    study: Study
    own: Ran


def study(scenario: Scenario, policies: Sequence[Policy], *, baselines: bool = True) -> JobsRun:
    """Run the scenario with the installed planner and, with `baselines`, with its rivals and against the bound."""
    own = simulate(scenario, rivals.ours(policies))
    bound = rivals.omniscient(scenario, policies)
    rows = [_row("isoflop", own.tally, bound.usd)]
    if baselines:
        for name, make in (("on-demand only", rivals.on_demand_only), ("greedy spot", rivals.greedy_spot)):
            rows.append(_row(name, simulate(scenario, make(policies)).tally, bound.usd))
    least = (bound.usd, 1.0, *(None for _ in MEASURES[2:]))
    rows.append(Row("omniscient bound", least))
    jobs = len(scenario.arrivals)
    setting = (
        f"{jobs} job{'s' * (jobs != 1)} over {scenario.days:g} days, {len(scenario.market.book):,} offers",
        f"spot: {scenario.weather.source}",
        f"seed {scenario.seed}",
    )
    notes = [
        "The true hours of a job are drawn from its band, the same for every way to buy: a deadline is kept at the "
        "median unless the job asks for a confidence (policies: {deadline: {confidence: 0.95}}).",
        "The omniscient bound knows all prices, splits every job over hours, offers and nodes without loss, and never "
        "boots: nothing can cost less, and little as little.",
    ]
    if bound.infeasible:
        notes.append(f"{bound.infeasible} of the jobs are feasible nowhere: isoflop plan says why.")
    unfinished = sum(not job.state.final for job in own.tally.jobs)
    if unfinished:
        notes.append(f"{unfinished} of the jobs were not at an end when the simulation was: simulate more --days.")
    done = rows[0].values[2]
    if any(row.values[2] is not None and row.values[2] != done for row in rows):
        notes.append("Not every way finished as many jobs: costs compare only where the same work was done.")
    return JobsRun(Study("jobs", "Simulated jobs", setting, MEASURES, tuple(rows), tuple(notes)), own)


def _row(name: str, found: Tally, bound_usd: float) -> Row:
    values = (
        found.usd,
        found.usd / bound_usd if bound_usd > 0.0 else None,
        float(found.succeeded),
        float(found.late),
        found.late_h,
        found.served,
        found.gpu_hours,
        float(found.leases),
        float(found.refused),
        float(found.interruptions),
    )
    return Row(name, values)
