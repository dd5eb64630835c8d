"""Fleet plans: limits hold, bounds are bounds, and the order of what is given does not matter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.fleetplan import FleetPlan, Quota
from orchestrator.domain.offer import Offer
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Spend
from orchestrator.domain.workload import DataSet, Limits, Workload
from orchestrator.planning.fleet.case import FleetOptions
from orchestrator.planning.fleet.plan import plan_fleet
from orchestrator.planning.fleet.replan import replan
from orchestrator.planning.fleet.solve import solve
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost

POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost))
FEW = settings(max_examples=25, deadline=None)


@st.composite
def markets(draw: st.DrawFn) -> tuple[Offer, ...]:
    count = draw(st.integers(1, 4))
    return tuple(
        offer(
            region=f"r{index}",
            usd_per_hour=draw(st.sampled_from([20.0, 25.0, 32.0, 40.0])),
            available=draw(st.integers(0, 3)),
        )
        for index in range(count)
    )


@st.composite
def fleets(draw: st.DrawFn) -> list[Workload]:
    count = draw(st.integers(1, 5))
    return [
        training(
            name=f"job{index}",
            tokens=draw(st.sampled_from([1e9, 2e9])),
            team=draw(st.sampled_from(["", "research"])),
            priority=draw(st.sampled_from([0.0, 1.0])),
            after=(f"job{draw(st.integers(0, index - 1))}",) if index and draw(st.booleans()) else (),
            data=DataSet(result_gib=draw(st.sampled_from([0.0, 300.0]))),
            limits=Limits(deadline_s=draw(st.sampled_from([None, 3600.0 * 30]))),
        )
        for index in range(count)
    ]


def market_of(offers: tuple[Offer, ...], cap_usd: float | None) -> Snapshot:
    start, end = EPOCH - timedelta(days=1), EPOCH + timedelta(days=30)
    purse = Spend(name="research", cap_usd=cap_usd or 1.0, starts_at=start, ends_at=end)
    return snapshot(*offers, spends=(purse,) if cap_usd else ())


def planned(fleet: list[Workload], market: Snapshot, quota: int | None = None) -> FleetPlan:
    quotas = () if quota is None else (Quota(provider="acme", nodes=quota),)
    return plan_fleet(fleet, market, POLICIES, FleetOptions(quotas=quotas), solve=solve)


@FEW
@given(fleets(), markets(), st.sampled_from([None, 1, 3]), st.sampled_from([None, 400.0]), st.randoms())
def test_limits_hold_and_the_order_does_not_matter(
    fleet: list[Workload], offers: tuple[Offer, ...], quota: int | None, cap: float | None, random: object
) -> None:
    found = planned(fleet, market_of(offers, cap), quota)
    _within_limits(found, market_of(offers, cap), quota, cap)
    assert found.bound.lower_usd <= found.objective_usd + 1e-6
    assert len(found.placed) + len(found.unplaced) == len(fleet)
    shuffled = planned(list(reversed(fleet)), market_of(tuple(reversed(offers)), cap), quota)
    assert shuffled == found


def _within_limits(found: FleetPlan, market: Snapshot, quota: int | None, cap: float | None) -> None:
    team = {job.name: job.team for job in found.jobs}
    left = {job.name: job.limits.deadline_s for job in found.jobs}
    stock = {one.region: one.available for one in market.book}
    assert cap is None or sum(o.placement.cost_usd.p50 for o in found.placed if team[o.job]) <= cap + 1e-6
    spans = [(one.starts_h, one.ends_h, one.placement.parts[0]) for one in found.placed]
    for at, _, _ in spans:
        held: Counter[str] = Counter()
        for start, end, part in spans:
            if start <= at + 1e-9 and end > at + 1e-9:
                held[part.offer.region] += part.nodes
        assert all(held[region] <= (stock[region] or 0) for region in held)
        assert quota is None or held.total() <= quota
    for one in found.placed:
        limit_s = left[one.job]
        assert limit_s is None or one.ends_h * 3600.0 <= limit_s + 1e-3
        after = next(job.after for job in found.jobs if job.name == one.job)
        ends = {other.job: other.ends_h for other in found.placed}
        assert after or one.starts_h == 0.0
        assert all(name in ends and ends[name] <= one.starts_h + 1e-9 for name in after)
        assert np.isclose(one.placement.objective_usd, sum(term.usd for term in one.placement.terms))


@FEW
@given(markets(), st.sampled_from([1e9, 5e9]))
def test_a_fleet_of_one_is_the_plan_of_that_job(offers: tuple[Offer, ...], tokens: float) -> None:
    job, market = training(tokens=tokens), snapshot(*offers)
    alone = plan(job, market, POLICIES)
    found = planned([job], market)
    assert [one.placement for one in found.placed] == list(alone.ranked[:1])


@FEW
@given(fleets(), markets(), st.data())
def test_a_new_plan_moves_nothing_at_a_loss(
    fleet: list[Workload], offers: tuple[Offer, ...], data: st.DataObject
) -> None:
    current = planned(fleet, snapshot(*offers))
    prices = [data.draw(st.sampled_from([5.0, 20.0, 31.0, 40.0])) for _ in offers]
    changed = tuple(replace(one, usd_per_hour=usd) for one, usd in zip(offers, prices, strict=True))
    fleet = [replace(job, limits=Limits()) for job in fleet]
    market = snapshot(*changed, taken_at=EPOCH + timedelta(hours=data.draw(st.sampled_from([0.0, 2.0, 8.0]))))
    found = replan(fleet, market, POLICIES, current, solve=solve)
    moved = [move for move in found.moves if move.moved and not move.why]
    saved, paid = sum(move.saving_usd for move in moved), sum(move.disruption_usd for move in moved)
    if len(found.placed) <= len(current.placed):  # nobody new whom the moves make room for
        assert saved >= paid - 1e-6
    if all(one.usd_per_hour == usd for one, usd in zip(offers, prices, strict=True)):
        assert not moved or len(found.placed) > len(current.placed)
