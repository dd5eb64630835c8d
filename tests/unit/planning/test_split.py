"""Jobs shared out over several offers, by hand."""

from dataclasses import replace
from math import ceil

import pytest

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.network import Link
from orchestrator.domain.plan import Plan
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Commitment
from orchestrator.domain.workload import BatchInference, FineTune, Limits, Training
from orchestrator.planning.plan import PlanOptions, plan_sized
from orchestrator.testing.builders import batch_inference, fine_tune, network, offer, sizing, snapshot, training
from policies.budget.policy import create as create_budget
from policies.commitment.policy import create as create_commitment
from policies.cost.policy import create as create_cost
from policies.deadline.policy import create as create_deadline

FREE_DISKS = PolicyContext(settings={"storage_usd_per_gib_month": 0})
POLICIES: tuple[Policy, ...] = (create_cost(FREE_DISKS), create_budget(PolicyContext()))
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))
OPTIONS = PlanOptions()
LINK = Link(a="acme/eu-central-1", b="acme/us-east-1", rtt_ms=90.0, gbit_s=10.0, origin="test")
CHEAP = offer(boot_s=0.0, available=1)
DEAR = offer(instance_type="dear", usd_per_hour=80.0, boot_s=0.0)
TWO_SITES = (offer(available=2), offer(region="eu-central-1", usd_per_hour=34.0, available=2))


def planned(
    job: BatchInference | Training | FineTune,
    market: Snapshot,
    policies: tuple[Policy, ...] = POLICIES,
    options: PlanOptions = OPTIONS,
) -> Plan:
    return plan_sized(job, market, {"H100-SXM": SIZED}, policies, options)


def batch(hours: float, **limits: object) -> BatchInference:
    return batch_inference(limits=Limits(deadline_s=hours * 3600.0, **limits))  # type: ignore[arg-type]


def test_the_cheap_offer_is_used_up_and_the_dear_does_the_rest() -> None:
    best = planned(batch(10.0), snapshot(CHEAP, DEAR)).ranked[0]
    assert [(part.nodes, part.share) for part in best.parts] == [(1, 0.5), (1, 0.5)]
    assert best.objective_usd == pytest.approx(10 * 32.0 + 10 * 80.0)
    assert best.hours == Band(5.0, 10.0, 15.0)
    assert best.cost_usd == Band(560.0, 1120.0, 1680.0)
    assert not best.buyable


def test_nothing_is_divided_without_a_deadline_or_where_only_purchases_count() -> None:
    market = snapshot(CHEAP, DEAR)
    assert all(len(one.parts) == 1 for one in planned(batch_inference(), market).ranked)
    asked = PlanOptions(buyable_only=True)
    assert all(len(one.parts) == 1 for one in planned(batch(10.0), market, options=asked).ranked)


def test_nothing_is_divided_for_less_than_a_hundredth() -> None:
    nearly = offer(instance_type="dear", usd_per_hour=32.5, boot_s=0.0)
    made = planned(batch(10.0), snapshot(CHEAP, nearly))
    assert made.ranked[0].label == "2x acme us-east-1 dear on-demand"
    assert made.bound is not None
    assert made.bound.lower_usd == pytest.approx(10 * 32.0 + 10 * 32.5)


def test_a_confidence_leaves_every_part_the_slack_it_asks_for() -> None:
    wary = (*POLICIES, create_deadline(PolicyContext(settings={"confidence": 0.8})))
    best = planned(batch(10.0), snapshot(CHEAP, DEAR), wary).ranked[0]
    assert len(best.parts) == 2
    assert all(part.hours is not None and part.hours.p50 < 8.0 for part in best.parts)


def test_a_commitment_pays_for_one_part_alone() -> None:
    owned = Commitment(provider="acme", instance_type="h100.8x", nodes=1)
    market = snapshot(CHEAP, offer(region="eu-central-1", boot_s=0.0, available=1), commitments=(owned,))
    policies = (*POLICIES, create_commitment(PolicyContext()))
    best = planned(batch(10.0), market, policies).ranked[0]
    paid = {term.name: term.usd for term in best.terms}["already-paid"]
    assert paid == pytest.approx(-320.0)


def test_an_approval_is_for_what_would_be_bought() -> None:
    rule = ApprovalRule(above_usd=1500.0, by="alice")
    made = planned(batch(10.0), snapshot(CHEAP, DEAR), options=PlanOptions(approval=rule))
    assert made.approval is not None
    assert made.approval.expected_usd == pytest.approx(made.ranked[1].cost_usd.p50)


def test_too_little_of_everything_is_said() -> None:
    made = planned(batch(1.0), snapshot(CHEAP))
    assert made.ranked == ()
    assert made.notes[-1] == "all offers together answer 5 % of the requests before the deadline"


def test_what_would_take_too_many_parts_is_said() -> None:
    crumbs = [offer(instance_type=f"h{number}", boot_s=0.0, available=1) for number in range(12)]
    made = planned(batch(2.0), snapshot(*crumbs))
    assert made.ranked == ()
    assert made.notes[-1] == "no 8 offers that the policies accept were found to do it together"


def test_training_that_no_offer_has_the_nodes_for_runs_on_two_sites() -> None:
    job = training(limits=Limits(deadline_s=8 * 3600.0))
    made = planned(job, snapshot(*TWO_SITES, network=network(links=(LINK,))))
    best = made.ranked[0]
    assert sorted(part.offer.region for part in best.parts) == ["eu-central-1", "us-east-1"]
    assert [part.share for part in best.parts] == [0.5, 0.5]
    assert 5.0 < best.hours.p50 <= 8.0
    exchange = {term.name: term.usd for term in best.terms}["site-exchange"]
    assert exchange > 0
    parts = [part.cost_usd.p50 for part in best.parts if part.cost_usd is not None]
    assert best.cost_usd.p50 == pytest.approx(sum(parts) + exchange)
    assert any("DiLoCo" in note for note in made.notes)


def test_sites_between_which_nobody_measured_the_bandwidth_are_left_out() -> None:
    made = planned(training(limits=Limits(deadline_s=8 * 3600.0)), snapshot(*TWO_SITES, network=network()))
    assert made.ranked == ()
    assert "nobody measured the bandwidth between acme/eu-central-1 and acme/us-east-1" in made.notes[-1]


def test_a_budget_holds_for_both_sites_together() -> None:
    job = training(limits=Limits(deadline_s=8 * 3600.0, budget_usd=500.0))
    assert planned(job, snapshot(*TWO_SITES, network=network(links=(LINK,)))).ranked == ()


def test_an_adapter_is_trained_in_one_place() -> None:
    job = fine_tune(limits=Limits(deadline_s=8 * 3600.0))
    made = planned(job, snapshot(*TWO_SITES, network=network(links=(LINK,))))
    assert made.ranked == ()
    assert made.notes[-1].startswith("an adapter is trained in one place")


def test_sites_whose_leases_end_before_the_training_are_no_sites_for_it() -> None:
    job = training(limits=Limits(deadline_s=8 * 3600.0))
    brief, long = ([replace(site, max_lease_s=hours * 3600.0) for site in TWO_SITES] for hours in (3.0, 9.0))
    market = network(links=(LINK,))
    assert not [one for one in planned(job, snapshot(*brief, network=market)).ranked if len(one.parts) > 1]
    assert len(planned(job, snapshot(*long, network=market)).ranked[0].parts) == 2


def test_parts_of_a_batch_are_in_time_with_the_ends_of_their_leases() -> None:
    brief = replace(CHEAP, max_lease_s=2 * 3600.0, boot_s=1800.0)
    whole = planned(batch(10.0), snapshot(replace(brief, max_lease_s=None), DEAR)).ranked[0]
    best = planned(batch(10.0), snapshot(brief, DEAR)).ranked[0]
    shares = [{part.offer.instance_type: part.share for part in each.parts} for each in (best, whole)]
    assert 0.0 < shares[0]["h100.8x"] < shares[1]["h100.8x"]
    for part in best.parts:
        assert part.hours is not None
        assert part.hours.p50 <= 10.0 * (1 + 1e-9)
        if part.offer.max_lease_s is not None:
            read_h = 2.0 * 6.74 / 3600.0  # the weights, at a GB/s
            for band, factor in ((part.hours.p10, 0.5), (part.hours.p50, 1.0), (part.hours.p90, 1.5)):
                work_h = factor * part.share * 160.0 / 8.0
                ends = ceil((work_h - 2.0) / (2.0 - read_h))
                assert band == pytest.approx(0.5 + work_h + ends * (30.0 / 3600.0 + 0.5 + read_h))
    restarts = sum(term.usd for term in best.terms if term.name == "restarts")
    assert restarts > 0.0
