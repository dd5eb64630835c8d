"""The page of a plan for several jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.fleetplan import FleetPlan, Quota
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import DataSet, Limits, Workload
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.fleet_view import FleetReport
from orchestrator.planning.fleet.case import FleetOptions
from orchestrator.planning.fleet.plan import plan_fleet
from orchestrator.planning.fleet.problem import Problem
from orchestrator.planning.fleet.replan import replan
from orchestrator.planning.fleet.solution import Solution
from orchestrator.planning.fleet.solve import solve
from orchestrator.testing.builders import model, network, offer, program, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost

Golden = Callable[[str, str], None]
POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost))
JOBS: list[Workload] = [
    training(name="prepare", model=model(), program=program(), data=DataSet(result_gib=500.0)),
    training(name="train", tokens=2e10, after=("prepare",), program=program(), priority=1.0),
    training(name="ablation", tokens=5e9),
    training(name="sweep-a"),
    training(name="sweep-b"),
    training(name="impossible", limits=Limits(budget_usd=1.0)),
]


def steady(problem: Problem) -> Solution:
    """The solver's placement with made-up proofs: they get better with the solver, and a page should not."""
    found = solve(problem)
    return replace(
        found,
        bound_usd=0.95 * found.objective_usd,
        node_price_usd=np.where(found.node_price_usd > 1.0, 90.0, 0.0),
        quota_price_usd=np.where(found.quota_price_usd > 1.0, 12.0, 0.0),
        stopped="nothing more was gained",
    )


def market(usd_per_hour: float = 20.0, hours: float = 0.0) -> Snapshot:
    return snapshot(
        offer(available=2),
        offer(region="eu-central-1", usd_per_hour=usd_per_hour, available=2),
        network=network(),
        taken_at=EPOCH + timedelta(hours=hours),
    )


def page(plan: FleetPlan) -> str:
    commands = ("isoflop submit prepare.yaml",)
    report = FleetReport(plan=plan, exact={}, commands=commands, later=("isoflop submit train.yaml",))
    return plain.render(report.page())


def test_the_page_of_a_fleet(golden: Golden) -> None:
    options = FleetOptions(quotas=(Quota(provider="acme", region="eu-*", gpus=8.0),))
    golden("fleet", page(plan_fleet(JOBS, market(), POLICIES, options, solve=steady)))


def test_the_page_of_a_fleet_that_runs(golden: Golden) -> None:
    running = JOBS[2:5]
    current = plan_fleet(running, market(), POLICIES, solve=steady)
    golden("fleet-running", page(replan(running, market(6.0, 5.0), POLICIES, current, solve=steady)))
