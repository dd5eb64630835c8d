"""What a simulated fleet is measured against: other ways to choose machines, and the least that could be paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from typing import NamedTuple

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.planning.plan import PlanOptions, plan, sizings_of
from orchestrator.simulation.engine import Decide, Scenario, deviation, luck_of, named
from orchestrator.simulation.weather import ceilings

EVERYTHING = 1_000_000
RISKS = frozenset({"spot", "deadline", "reliability"})  # policies that price what may go wrong


class Bound(NamedTuple):
    """What no way to run the jobs can be cheaper than, and how many jobs nothing is feasible for."""

    usd: float
    infeasible: int


def ours(policies: Sequence[Policy]) -> Decide:
    """The planner as the control plane uses it."""
    options = PlanOptions(buyable_only=True)
    return lambda workload, market: plan(workload, market, policies, options)


def on_demand_only(policies: Sequence[Policy]) -> Decide:
    """The same planner, with nothing that can be taken back."""
    decide = ours(policies)
    return lambda workload, market: decide(_only(workload, Billing.ON_DEMAND), market)


def greedy_spot(policies: Sequence[Policy]) -> Decide:
    """The cheapest spot machine there is, whatever its risk; on demand only where there is none."""
    decide = ours([policy for policy in policies if policy.name not in RISKS])

    def greedy(workload: Workload, market: Snapshot) -> Plan:
        found = decide(_only(workload, Billing.SPOT), market)
        return found if found.ranked else decide(_only(workload, Billing.ON_DEMAND), market)

    return greedy


def _only(workload: Workload, billing: Billing) -> Workload:
    allowed = workload.limits.billing
    chosen = (billing,) if not allowed or billing in allowed else allowed
    return replace(workload, limits=replace(workload.limits, billing=chosen))


def omniscient(scenario: Scenario, policies: Sequence[Policy]) -> Bound:
    """A proven lower bound on the bill: every job alone, knowing all prices and availability to come.

    Each job may split itself in fractions over the slots between its arrival and its deadline (or the end) and over
    every feasible offer, without boots, restarts or minimum times; the least cost of that is the maximum over lambda of
    lambda + sum over slots of min(0, min over offers of slot hours x (USD per hour - lambda / hours of the job)). So
    the true optimum lies above it, and nothing lies below.
    """
    weather, base = scenario.weather, scenario.market
    slots = int(np.ceil(scenario.days * 86_400.0 / weather.slot_s))
    at = np.arange(slots) * weather.slot_s
    columns = (weather.now + np.arange(slots)) % weather.up.shape[1]
    zone = dict(zip(weather.rows.tolist(), weather.zone.tolist(), strict=True))
    rows = {base.book[row].label: row for row in range(len(base.book))}
    ceiling = ceilings(base.book)
    usd, infeasible = 0.0, 0
    for number, (arrival, _) in enumerate(named(scenario.arrivals)):
        luck = luck_of(scenario.seed, number)
        feasible = _feasible(arrival.workload, base, policies)
        hours: list[float] = []
        costs: list[FloatArray] = []
        steady: list[tuple[float, float]] = []
        for label, price, job_h, sigma in feasible:
            took_h = job_h * exp(sigma * luck)
            row = rows[label]
            if row not in zone:
                steady.append((price, took_h))
                continue
            nodes = price / float(base.book.usd_per_hour[row])
            path = base.book.usd_per_hour[row] * weather.factor[zone[row], columns]
            path = nodes * np.round(np.minimum(path, ceiling[row]), 4)
            costs.append(np.where(weather.up[zone[row], columns], path, np.inf))
            hours.append(took_h)
        costs += [np.full(slots, price) for price, _ in steady]
        hours += [took for _, took in steady]
        if not hours:
            infeasible += 1
            continue
        end_s = arrival.at_s + (arrival.workload.limits.deadline_s or np.inf)
        open_ = (at + weather.slot_s > arrival.at_s) & (at < end_s)
        usd += _least(np.array(costs)[:, open_], np.array(hours), weather.slot_s / 3600.0)
    return Bound(usd, infeasible)


def _feasible(workload: Workload, base: Snapshot, policies: Sequence[Policy]) -> list[tuple[str, float, float, float]]:
    """Every feasible offer: label, USD per hour of all nodes, median hours, and the deviation of their logarithm.

    Without the policies that refuse what is dear or late: a bound must allow more than any plan does.
    """
    lax = replace(workload.limits, deadline_s=None, finish_by=None, budget_usd=None)
    chosen = [policy for policy in policies if policy.name not in RISKS]
    market = replace(base, buyable=tuple(base.book.provider.vocab))
    free = replace(workload, limits=lax)
    made = plan(free, market, chosen, PlanOptions(keep=EVERYTHING)) if sizings_of(free, market) else None
    found = []
    for placement in made.ranked if made is not None else ():
        hours = workload.duration_s / 3600.0 if isinstance(workload, Inference) else placement.hours.p50
        sigma = 0.0 if isinstance(workload, Inference) else deviation(placement.hours)
        found.append((placement.parts[0].offer.label, placement.usd_per_hour, hours, sigma))
    return found


def _least(usd_per_hour: FloatArray, hours: FloatArray, slot_h: float) -> float:
    """The bound for one job: offers by slots, (offers, slots), and the hours of the job on each offer, (offers,).

    The function of lambda is concave: golden-section search needs no derivative, and any lambda gives a bound.
    """

    def value(price: float) -> float:
        gain = slot_h * (usd_per_hour - (price / hours)[:, None])
        return price + float(np.minimum(gain.min(0), 0.0).sum())

    finite = np.where(np.isfinite(usd_per_hour), usd_per_hour, 0.0)
    low, high = 0.0, 2.0 * float((finite.max(1) * hours).max()) + 1e-9
    ratio = (5.0**0.5 - 1.0) / 2.0
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if value(left) < value(right):
            low = left
        else:
            high = right
    return max(0.0, value((low + high) / 2.0))
