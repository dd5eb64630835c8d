"""What a simulated fleet is measured against: other ways to choose machines, and the least that could be paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from typing import NamedTuple

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import UNKNOWN, FloatArray
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.planning.plan import PlanOptions, plan
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
        settings = tuple(setting for setting in workload.settings if setting.policy not in RISKS)
        workload = replace(workload, settings=settings)
        found = decide(_only(workload, Billing.SPOT), market)
        return found if found.ranked else decide(_only(workload, Billing.ON_DEMAND), market)

    return greedy


def _only(workload: Workload, billing: Billing) -> Workload:
    allowed = workload.limits.billing
    chosen = (billing,) if not allowed or billing in allowed else allowed
    return replace(workload, limits=replace(workload.limits, billing=chosen))


def omniscient(scenario: Scenario, policies: Sequence[Policy]) -> Bound:
    """A lower bound on the bill: every job alone, knowing all prices and availability to come.

    Each job may split itself in fractions over the slots between its arrival and its deadline (or the end) and over
    every feasible offer, on as many nodes as there are (the work of a finite job spread over them without loss), at the
    lowest price since a machine was last taken there, without boots, restarts and minimum times. The least cost of that
    is bounded from below for any L by L + sum over slots of min(0, min over offers of slot hours x (USD per hour - L /
    hours of the job)), which is maximised over L.
    """
    weather, book = scenario.weather, scenario.market.book
    slot_h = weather.slot_s / 3600.0
    slots = int(np.ceil(scenario.days * 24.0 / slot_h))
    at, columns = np.arange(slots) * weather.slot_s, (weather.now + np.arange(slots)) % weather.up.shape[1]
    zone = dict(zip(weather.rows.tolist(), weather.zone.tolist(), strict=True))
    ceiling = ceilings(book)
    usd, infeasible = 0.0, 0
    for number, (arrival, _) in enumerate(named(scenario.arrivals)):
        fixed = isinstance(arrival.workload, Inference)  # it takes its time, on however many nodes
        end_s = arrival.at_s + (arrival.workload.limits.deadline_s or np.inf)
        window = (at + weather.slot_s > arrival.at_s) & (at < end_s)
        hours: list[float] = []
        costs: list[FloatArray] = []
        for row, nodes, job_h in _feasible(scenario, arrival.workload, policies, luck_of(scenario.seed, number)):
            most = int(book.available[row]) if book.available[row] != UNKNOWN else scenario.stock
            if row not in zone:
                spread = 1.0 if fixed else max(1.0, job_h / slot_h)  # a slot is enough: its price never changes
                price = np.full(int(window.sum()), float(book.usd_per_hour[row]))
            else:
                spread = 1.0 if fixed else max(1.0, most / nodes)
                path = book.usd_per_hour[row] * weather.factor[zone[row], columns[window]]
                path = np.round(np.minimum(path, ceiling[row]), 4)
                price = np.where(weather.up[zone[row], columns[window]], path, np.inf)
            costs.append(nodes * spread * price)
            hours.append(job_h / spread)
        if not hours:
            infeasible += 1
        elif window.any():
            usd += _least(_kept(np.array(costs)), np.array(hours), slot_h)
    return Bound(usd, infeasible)


def _feasible(
    scenario: Scenario, workload: Workload, policies: Sequence[Policy], luck: float
) -> list[tuple[int, int, float]]:
    """Every feasible offer in its cheapest shape: the row in the book, nodes, and the job's true hours on them.

    Without the limits and policies that refuse what is dear or late: a bound must allow more than any plan does, and
    where nothing rewards speed the cheapest shape is that of the fewest node-hours.
    """
    base = scenario.market
    lax = replace(workload.limits, deadline_s=None, finish_by=None, budget_usd=None)
    chosen = [policy for policy in policies if policy.name not in RISKS]
    market = replace(base, buyable=tuple(base.book.provider.vocab))
    made = plan(replace(workload, limits=lax, settings=()), market, chosen, PlanOptions(keep=EVERYTHING))
    rows = {base.book[row].label: row for row in range(len(base.book))}
    found = []
    for placement in made.ranked:
        (part,) = placement.parts
        if isinstance(workload, Inference):
            hours = workload.duration_s / 3600.0
        else:
            hours = placement.hours.p50 * exp(deviation(placement.hours) * luck)
        found.append((rows[part.offer.label], part.nodes, hours))
    return found


def _kept(usd_per_hour: FloatArray) -> FloatArray:
    """The least price that a lease may have at each slot: it keeps that of its purchase for as long as it is not taken.

    Shape (offers, slots); inf where there is none.
    """
    kept = usd_per_hour.copy()
    for slot in range(1, kept.shape[1]):
        there = np.isfinite(kept[:, slot])
        kept[there, slot] = np.minimum(kept[there, slot], kept[there, slot - 1])
    return kept


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
