"""Many jobs in one plan: what they share, what they hand on, and what is said of those left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.fleetplan import FleetPlan, Obstacle, Quota, Resource
from orchestrator.domain.network import EgressRate
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Placement
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Holding, Spend
from orchestrator.domain.workload import DataSet, Limits, Workload
from orchestrator.planning.fleet.case import FleetOptions
from orchestrator.planning.fleet.plan import plan_fleet
from orchestrator.planning.fleet.solve import solve
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import inference, network, offer, program, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline

POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost, deadline))
USUAL = FleetOptions()
FAR = network(
    egress=(
        EgressRate(provider="acme", scope="internet", from_gib=0.0, usd_per_gib=0.09, source="test"),
        EgressRate(provider="acme", scope="region", from_gib=0.0, usd_per_gib=0.02, source="test"),
    )
)


def market(*offers: Offer, **overrides: object) -> Snapshot:
    listed = offers or (offer(available=2), offer(region="eu-central-1", usd_per_hour=20.0, available=1))
    return snapshot(*listed, **{"network": FAR, **overrides})


def jobs(count: int, **overrides: object) -> list[Workload]:
    return [training(name=f"job{index}", **overrides) for index in range(count)]


def planned(fleet: Sequence[Workload], on: Snapshot, options: FleetOptions = USUAL) -> FleetPlan:
    return plan_fleet(fleet, on, POLICIES, options, solve=solve)


def regions(found: FleetPlan) -> list[str]:
    return [one.placement.parts[0].offer.region for one in found.placed]


def test_a_fleet_of_one_job_is_the_plan_of_that_job() -> None:
    on = market(offer(), offer(region="eu-central-1", usd_per_hour=20.0), offer(billing=Billing.SPOT, usd_per_hour=9.0))
    alone = plan(training(), on, POLICIES)
    found = planned([training()], on)
    assert alone.best is not None
    assert found.placed[0].placement == alone.best
    assert found.gap == pytest.approx(0.0, abs=1e-12)


def test_jobs_share_what_the_cheapest_offer_holds() -> None:
    found = planned(jobs(3), market())
    assert sorted(regions(found)) == ["eu-central-1", "us-east-1", "us-east-1"]
    assert found.gap < 1e-5
    assert {one.kind for one in found.scarce} == {Resource.OFFER}
    assert all(one.saves_usd > 0 and one.used == one.limit for one in found.scarce)


def test_who_does_not_fit_is_told_when_machines_come_free() -> None:
    found = planned(jobs(4), market())
    (left,) = found.unplaced
    assert left.why is Obstacle.SCARCE
    first = min(one.ends_h for one in found.placed)
    assert f"come free after {first:,.1f} h" in left.hints[0]
    assert found.objective_usd == pytest.approx(
        sum(one.placement.objective_usd for one in found.placed) + found.unplaced_usd
    )


def test_the_higher_priority_is_placed_first() -> None:
    fleet = [*jobs(3), training(name="vital", priority=5.0)]
    found = planned(fleet, market())
    assert "vital" in {one.job for one in found.placed}
    assert len(found.unplaced) == 1


def test_a_quota_is_kept_and_priced() -> None:
    quota = Quota(provider="acme", region="us-*", gpus=8.0)
    found = planned(jobs(3), market(), FleetOptions(quotas=(quota,)))
    assert sorted(regions(found)) == ["eu-central-1", "us-east-1"]
    assert {one.kind for one in found.scarce} == {Resource.OFFER, Resource.QUOTA}


def test_what_runs_hold_counts_against_a_quota() -> None:
    held = Holding(
        run="r", provider="acme", region="us-east-1", zone="", instance_type="h100.8x", billing="on-demand",
        nodes=1, gpus=8.0, usd_per_hour=32.0,
    )  # fmt: skip
    on = market(holdings=(held,))
    found = planned(jobs(3), on, FleetOptions(quotas=(Quota(region="us-east-1", nodes=2),)))
    assert sorted(regions(found)) == ["eu-central-1", "us-east-1"]


def spends(**caps: float) -> tuple[Spend, ...]:
    start, end = EPOCH - timedelta(days=1), EPOCH + timedelta(days=30)
    return tuple(Spend(name=name, cap_usd=cap, starts_at=start, ends_at=end) for name, cap in caps.items())


def test_a_teams_jobs_together_stay_within_its_purse() -> None:
    cheap = planned([training()], market()).cost_usd
    on = market(offer(available=9), offer(region="eu-central-1", usd_per_hour=20.0, available=9))
    fleet = jobs(5, team="research")
    found = planned(fleet, replace(on, spends=spends(research=2.5 * cheap)))
    assert len(found.placed) == 2
    assert found.cost_usd <= 2.5 * cheap
    assert {one.why for one in found.unplaced} == {Obstacle.SCARCE}


def test_teams_together_stay_within_everybodys_purse() -> None:
    cheap = planned([training()], market()).cost_usd
    on = market(offer(available=9), offer(region="eu-central-1", usd_per_hour=20.0, available=9))
    start, end = EPOCH - timedelta(days=1), EPOCH + timedelta(days=30)
    everybody = Spend(name="", cap_usd=3.2 * cheap, starts_at=start, ends_at=end)
    on = replace(on, spends=(everybody, *spends(a=100 * cheap, b=100 * cheap)))
    found = planned([*jobs(3, team="a"), *[training(name=f"b{i}", team="b") for i in range(3)]], on)
    assert 0 < found.cost_usd <= 3.2 * cheap
    assert any("everybody's budget" in note for note in found.notes)


def chain(gib: float, **limits: object) -> list[Workload]:
    return [
        training(name="first", limits=Limits(regions=("us-*",)), data=DataSet(result_gib=gib)),
        training(name="second", after=("first",), limits=Limits(**limits)),  # type: ignore[arg-type]
    ]


def test_a_small_result_is_moved_to_where_work_is_cheap_and_a_large_one_is_not() -> None:
    small, large = planned(chain(100.0), market()), planned(chain(100_000.0), market())
    assert regions(small) == ["us-east-1", "eu-central-1"]
    assert regions(large) == ["us-east-1", "us-east-1"]
    handed = small.placed[1].handovers[0]
    assert handed.usd == pytest.approx(2.0)
    placement = small.placed[1].placement
    assert placement.terms[-1].usd == handed.usd
    assert placement.objective_usd == pytest.approx(sum(term.usd for term in placement.terms))
    assert small.placed[1].starts_h == pytest.approx(small.placed[0].ends_h)


def test_steps_of_a_chain_do_not_compete_for_machines() -> None:
    fleet = [training(name=f"s{i}", after=(f"s{i - 1}",) if i else ()) for i in range(5)]
    found = planned(fleet, market(offer(available=1)))
    assert len(found.placed) == 5
    assert [one.starts_h for one in found.placed] == sorted(one.starts_h for one in found.placed)


def test_jobs_of_different_chains_wait_for_each_others_machines() -> None:
    long = training(name="long", tokens=2e10)
    short = training(name="a-short")
    after = training(name="b-after", after=("a-short",))
    on = market(offer(available=2), offer(region="eu-central-1", available=None, usd_per_hour=900.0))
    quota = Quota(region="eu-*", nodes=0)
    found = planned(
        [long, short, after, training(name="c-after", after=("a-short",))], on, FleetOptions(quotas=(quota,))
    )
    spans = {one.job: (one.starts_h, one.ends_h) for one in found.placed}
    for at in sorted(start for start, _ in spans.values()):
        assert sum(start <= at < end for start, end in spans.values()) <= 2
    assert any("waits for machines" in note for note in found.notes)


def test_a_chain_hurries_where_its_last_job_has_a_deadline() -> None:
    on = market(offer(available=8), offer(region="eu-central-1", usd_per_hour=20.0, available=1))
    easy = planned(chain(0.0), on)
    hours = easy.ends_h
    found = planned(chain(0.0, deadline_s=3600.0 * 0.7 * hours), on)
    assert len(found.placed) == 2
    assert found.ends_h <= 0.7 * hours + 1e-6
    assert found.objective_usd > easy.objective_usd


def test_a_chain_that_cannot_be_in_time_says_so_and_what_waits_for_it_has_no_place() -> None:
    on = market(offer(available=1))
    fleet = [*chain(0.0, deadline_s=3600.0 * 9.6), training(name="third", after=("second",))]
    found = planned(fleet, on)
    assert [(one.job, one.why) for one in found.unplaced] == [
        ("second", Obstacle.DEADLINE),
        ("third", Obstacle.PREDECESSOR),
    ]


def test_the_result_counts_against_the_readers_own_budget() -> None:
    work = planned([training()], market()).cost_usd
    found = planned(
        chain(1000.0, budget_usd=work + 1.0),
        market(offer(available=5), offer(region="eu-central-1", usd_per_hour=20.0)),
    )
    assert len(found.placed) + len(found.unplaced) == 2
    for one in found.placed:
        if one.job == "second":
            assert one.placement.cost_usd.p50 <= work + 1.0 + 1e-6


def test_nothing_on_sale_is_a_plan_with_nothing_placed() -> None:
    found = planned(jobs(2), snapshot(offer(available=0)))
    assert not found.placed
    assert {one.why for one in found.unplaced} == {Obstacle.REFUSED}
    assert found.objective_usd == found.unplaced_usd


def test_services_and_training_share_too() -> None:
    found = planned([inference(name="serve"), training(name="train")], market(offer(available=1)))
    assert len(found.placed) == 1


def test_a_solver_that_is_stopped_at_once_still_gives_a_plan_within_limits() -> None:
    found = plan_fleet(
        jobs(4), market(), POLICIES, solve=partial(solve, elapsed=lambda: 1.0, limit_s=0.0), stop=lambda: True
    )
    assert len(found.placed) + len(found.unplaced) == 4
    assert regions(found).count("eu-central-1") <= 1


def test_a_job_that_may_be_tried_once_and_one_that_may_be_resumed_are_judged_apart() -> None:
    brief = offer(max_lease_s=4 * 3600.0, available=None)
    once, often = (
        training(name=name, tokens=2e10, program=program(max_attempts=count))
        for name, count in (("once", 1), ("often", 5))
    )
    found = planned([once, often], market(brief))
    nodes = {one.job: one.placement.parts[0].nodes for one in found.placed}
    assert nodes == {job.name: alone(job, market(brief)).parts[0].nodes for job in (once, often)}
    assert nodes["once"] > nodes["often"]


def alone(job: Workload, on: Snapshot) -> Placement:
    best = plan(job, on, POLICIES).best
    assert best is not None
    return best
