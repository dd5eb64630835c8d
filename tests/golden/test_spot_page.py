"""The page of a job on spot by its deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.network import EgressRate
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.workload import Limits
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.spot_view import SpotReport
from orchestrator.planning.spot.of_plan import spot_plan
from orchestrator.testing.builders import network, offer, snapshot, training
from policies.cost.policy import create as cost

POLICIES: tuple[Policy, ...] = (cost(PolicyContext()),)
RATE = EgressRate(provider="acme", scope="region", from_gib=0.0, usd_per_gib=0.02, source="test")


def both(region: str, usd: float) -> tuple[Offer, Offer]:
    sold = offer(region=region, billing=Billing.SPOT, usd_per_hour=usd)
    return sold, replace(sold, billing=Billing.ON_DEMAND, usd_per_hour=3.0 * usd)


def test_the_page_of_a_job_on_spot_by_its_deadline(golden: Callable[[str, str], None]) -> None:
    market = snapshot(*both("us-east-1", 10.0), *both("eu-central-1", 11.0), network=network(egress=(RATE,)))
    job = training(name="pretrain", limits=Limits(deadline_s=2.0 * 86400.0))
    golden("plan-on-spot", plain.render(SpotReport(spot_plan(job, market, POLICIES)).page()))
