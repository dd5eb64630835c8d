"""The pools of a service as plans to apply: first the pool's place, then wherever its users are served in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Place
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, LatencyTarget, Limits, Population
from orchestrator.planning.continuum.market import Ask
from orchestrator.planning.continuum.plan import plan_continuum
from orchestrator.planning.continuum.plans import plans_of
from orchestrator.planning.continuum.result import ContinuumPlan
from orchestrator.planning.plan import PlanOptions
from orchestrator.testing import builders
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.latency.policy import create as latency

POLICIES = (budget(PolicyContext()), cost(PolicyContext()), latency(PolicyContext()))
ONE = {"gpus": 1.0, "instance_type": "h100.1x", "available": 50}


def service(**limits: object) -> Inference:
    users = (Population("acme/us-east-1", 20.0), Population("Frankfurt", 20.0))
    kept = Limits(latency=LatencyTarget(first_token_s=0.2), **limits)  # type: ignore[arg-type]
    return builders.inference(name="chat", users=users, limits=kept)


def market() -> Snapshot:
    """Two sites an ocean apart, each with two sellers, so that each pool has another near place to go to."""
    offers = [
        builders.offer(provider=provider, region=region, usd_per_hour=usd, **ONE)
        for region in ("us-east-1", "eu-central-1")
        for provider, usd in (("acme", 4.0), ("beta", 5.0))
    ]
    near = {"us-east-1": (38.9, -77.4), "eu-central-1": (50.1, 8.7)}
    places = tuple(
        Place(key=f"beta/{region}", latitude=where[0], longitude=where[1], country="", jurisdictions=())
        for region, where in near.items()
    )
    network = builders.network()
    return builders.snapshot(*offers, network=replace(network, places=(*network.places, *places)))


def planned(job: Inference, found: Snapshot) -> ContinuumPlan:
    return plan_continuum(job, found, POLICIES, Ask(survive=False))


def test_each_plan_begins_with_its_pool_and_goes_on_where_its_users_are_served_in_time() -> None:
    found = market()
    whole = planned(service(), found)
    assert len(whole.sites) == 2
    plans = plans_of(whole, found, POLICIES, PlanOptions())
    assert [plan.workload.name for plan in plans] == ["chat-part-1", "chat-part-2"]
    for plan, pool in zip(plans, whole.pools, strict=True):
        best = plan.best
        assert best is not None
        assert [(part.offer, part.nodes) for part in best.parts] == [(pool.offer, pool.nodes)]
        assert best.buyable
        assert sum(term.usd for term in best.terms) == pytest.approx(best.objective_usd)
        assert best.cost_usd.p50 == pytest.approx(pool.cost_usd, rel=1e-6)
        labels = [one.label for one in plan.ranked]
        assert len(labels) == len(set(labels))
        near = pool.offer.region[:2]
        assert {one.parts[0].offer.region[:2] for one in plan.ranked} == {near}  # the other continent is too far
        assert len(plan.ranked) > 1
        assert plan.workload.limits.regions == ()


def test_the_parts_carry_all_users_and_the_budget_together() -> None:
    found = market()
    job = service(budget_usd=50_000.0)
    plans = plans_of(planned(job, found), found, POLICIES, PlanOptions())
    served = [population for plan in plans for population in _users(plan.workload)]
    assert sum(one.requests_per_s for one in served) == pytest.approx(job.requests_per_s)
    assert sum(plan.workload.limits.budget_usd or 0.0 for plan in plans) == pytest.approx(50_000.0)


def test_a_pool_that_stands_by_is_bound_to_those_whom_it_would_take_over() -> None:
    found = market()
    users, limits = (Population("Frankfurt", 1.0),), Limits(latency=LatencyTarget(first_token_s=0.15))
    whole = plan_continuum(replace(service(), users=users, limits=limits), found, POLICIES, Ask(survive=True))
    serving = {route.pool for route in whole.routes}
    assert (len(whole.pools), len(serving)) == (2, 1)
    for plan in plans_of(whole, found, POLICIES, PlanOptions()):
        assert _users(plan.workload) == users
        assert {one.parts[0].offer.region for one in plan.ranked} == {"eu-central-1"}  # the other continent is too far


def test_a_pool_that_nobody_sells_is_an_error() -> None:
    found = replace(market(), buyable=())
    with pytest.raises(UserError, match="plan with --buyable"):
        plans_of(planned(service(), found), found, POLICIES, PlanOptions())


def test_an_approval_is_asked_for_by_what_the_pool_costs() -> None:
    found = market()
    rule = ApprovalRule(above_usd=1.0, by="cfo")
    for plan in plans_of(planned(service(), found), found, POLICIES, PlanOptions(approval=rule)):
        assert plan.approval is not None
        assert plan.best is not None
        assert plan.approval.usd >= plan.best.cost_usd.p50


def _users(job: object) -> tuple[Population, ...]:
    assert isinstance(job, Inference)
    return job.users
