"""The pages about a choice: its frontier, what to relax, what if."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Limits, Training
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.explain_view import ExplainReport
from orchestrator.interfaces.views.frontier_view import FrontierReport, frontier_chart
from orchestrator.interfaces.views.whatif_view import WhatIfReport
from orchestrator.planning.explain import explain
from orchestrator.planning.frontier import frontier
from orchestrator.planning.plan import plan
from orchestrator.planning.relax import Case, relaxations
from orchestrator.planning.whatif import Market, what_if
from orchestrator.spec.edits import edited
from orchestrator.testing.builders import model, network, offer, place, snapshot, training
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline
from policies.residency.policy import create as residency

Golden = Callable[[str, str], None]
POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost, deadline, residency))
GRIDS = replace(
    network(),
    places=(
        place(g_co2_per_kwh=400.0),
        place(key="acme/eu-north-1", country="SE", jurisdictions=("SE", "EU"), g_co2_per_kwh=20.0),
        *network().places[1:],
    ),
)


def market() -> Snapshot:
    return snapshot(
        offer(available=3),
        offer(billing=Billing.SPOT, usd_per_hour=12.5, available=None, interruption_rate=0.05),
        offer(region="eu-north-1", usd_per_hour=20.0, available=2),
        offer(provider="zed", region="zed-1", usd_per_hour=44.0, available=30, boot_s=30.0),
        network=GRIDS,
    )


def job(limits: Limits) -> Training:
    return training(name="llama", model=model(), tokens=2e10, limits=limits)


TIGHT = Limits(budget_usd=5000.0, deadline_s=4 * 86400.0, regions=("us-*",), billing=(Billing.ON_DEMAND,))


def test_the_page_of_a_frontier(golden: Golden) -> None:
    found = frontier(job(Limits()), market(), POLICIES)
    report = FrontierReport(frontier=found, workload=job(Limits()), snapshot_id=market().id)
    golden("frontier", plain.render(report.page()))


def test_the_page_of_a_frontier_of_nothing(golden: Golden) -> None:
    nothing = job(Limits(regions=("mars-*",)))
    report = FrontierReport(frontier=frontier(nothing, market(), POLICIES), workload=nothing, snapshot_id=market().id)
    golden("frontier-none", plain.render(report.page()))


def test_the_chart_has_every_point_and_names_the_extremes() -> None:
    found = frontier(job(Limits()), market(), POLICIES)
    for panel in frontier_chart(found, "llama").panels:
        points = [point for dots in panel.dots for point in dots.points]
        assert len(points) == len(found.points)
        named = " ".join(name for _, _, name in points)
        assert all(title in named for title in ("cheapest", "fastest", "greenest", "least objective"))


def test_the_page_of_what_to_relax(golden: Golden) -> None:
    made = plan(job(TIGHT), market(), POLICIES)
    relax = relaxations(Case(job(TIGHT), market(), POLICIES))
    golden("explain-relax", plain.render(ExplainReport(explain(made, market(), POLICIES), relax).page()))


def test_the_page_of_what_would_make_it_feasible(golden: Golden) -> None:
    none = job(replace(TIGHT, regions=("mars-*",)))
    made = plan(none, market(), POLICIES)
    relax = relaxations(Case(none, market(), POLICIES))
    golden("explain-infeasible", plain.render(ExplainReport(explain(made, market(), POLICIES), relax).page()))


def test_the_page_of_a_what_if(golden: Golden) -> None:
    made = plan(job(TIGHT), market(), POLICIES)
    edits = Market(market())
    edits.price("acme us-east-1=+30%")
    changed = edited(job(TIGHT), "limits.regions", "none")
    words = [*(edit.words for edit in edits.edits), "limits.regions = none"]
    golden("what-if", plain.render(WhatIfReport(what_if(made, changed, edits.snapshot, POLICIES, words)).page()))
