"""The page of a service over many sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.plan import Bound
from orchestrator.domain.workload import LatencyTarget, Limits, Population
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.continuum_view import ContinuumReport
from orchestrator.planning.continuum.plan import plan_continuum
from orchestrator.planning.continuum.result import ContinuumPlan
from orchestrator.testing.builders import inference, offer, snapshot
from policies.cost.policy import create as cost

Golden = Callable[[str, str], None]
POLICIES: tuple[Policy, ...] = (cost(PolicyContext()),)


def planned(first_token_s: float) -> ContinuumPlan:
    one = {"gpus": 1.0, "instance_type": "h100.1x", "available": 9}
    market = snapshot(
        offer(region="us-east-1", usd_per_hour=4.0, **one),
        offer(region="eu-central-1", usd_per_hour=5.0, **one),
        offer(region="eu-west-1", usd_per_hour=9.0, **one),
    )
    users = (Population("acme/us-east-1", 20.0), Population("Frankfurt", 8.0))
    limits = Limits(latency=LatencyTarget(first_token_s=first_token_s))
    plan = plan_continuum(inference(name="chat", users=users, limits=limits, peak_over_mean=2.0), market, POLICIES)
    # A bound of its own, so that the page does not change with the solver.
    return replace(plan, bound=Bound(lower_usd=0.995 * plan.objective_usd, method="made up")) if plan.bound else plan


def test_the_page_of_a_service_over_many_sites(golden: Golden) -> None:
    golden("continuum", plain.render(ContinuumReport(planned(0.25)).page()))


def test_the_page_of_a_service_that_nobody_can_give(golden: Golden) -> None:
    golden("continuum-nowhere", plain.render(ContinuumReport(planned(0.03)).page()))
