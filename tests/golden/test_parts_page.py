"""The page of a placement in parts."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import DataSet, Limits
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.plan_view import PlanReport
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import batch_inference, offer, snapshot
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline
from policies.spot.policy import create as spot

POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost, deadline, spot))


def test_the_page_of_a_batch_in_parts(golden: Callable[[str, str], None]) -> None:
    job = batch_inference(
        name="answers",
        requests=2e7,
        limits=Limits(deadline_s=12 * 3600.0, budget_usd=5000.0),
        data=DataSet(location="acme/us-east-1", size_gib=400.0),
    )
    market = snapshot(
        offer(available=2),
        offer(billing=Billing.SPOT, usd_per_hour=12.5, available=3, interruption_rate=0.05),
        offer(region="eu-central-1", usd_per_hour=36.0, available=40),
    )
    made = plan(job, market, POLICIES)
    report = PlanReport(plan=made, exact={}, command="isoflop submit answers.yaml", max_price_age_s=90 * 86400.0)
    golden("plan-parts", plain.render(report.page()))
