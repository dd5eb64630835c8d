"""The commitment policy's arithmetic, by hand."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.standing import Commitment, Holding
from orchestrator.domain.workload import Limits
from orchestrator.planning.candidates import build
from orchestrator.planning.plan import plan_sized
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import offer, sizing, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as create_budget
from policies.commitment.policy import create
from policies.cost.policy import create as create_cost

POLICY = create(PolicyContext())
# Two nodes for ten hours of work and a boot of half an hour.
SIZED = sizing(min_gpus=16, effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))
FREE_DISKS = create_cost(PolicyContext(settings={"storage_usd_per_gib_month": 0}))


def booted(**overrides: object) -> Offer:
    return offer(**{"boot_s": 1800.0, **overrides})


def committed(**overrides: object) -> Commitment:
    return Commitment(**{"provider": "acme", "instance_type": "h100.8x", "nodes": 4, **overrides})


def held(**overrides: object) -> Holding:
    default: dict[str, object] = {"run": "r", "provider": "acme", "region": "us-east-1", "zone": ""}
    default |= {"instance_type": "h100.8x", "billing": "on-demand", "nodes": 1, "gpus": 8.0, "usd_per_hour": 32.0}
    return Holding(**default | overrides)


def candidates_of(view: PlanView) -> Candidates:
    return build(view.workload, view.snapshot, {"H100-SXM": SIZED}, Sieve(view.snapshot.book))


def prices(*offers: Offer, **standing: object) -> Mapping[str, list[float]]:
    view = PlanView(workload=training(), snapshot=snapshot(*offers, **standing))
    return {name: usd.tolist() for name, usd in POLICY.price(view, candidates_of(view)).items()}


def test_covered_nodes_add_nothing_to_the_invoice() -> None:
    market = snapshot(booted(), booted(region="eu-central-1"), commitments=(committed(region="us-east-1"),))
    made = plan_sized(training(), market, {"H100-SXM": SIZED}, (POLICY, FREE_DISKS))
    covered, other = made.ranked
    assert covered.parts[0].offer.region == "us-east-1"
    assert covered.cost_usd.p50 == covered.objective_usd == 0.0
    assert covered.cost_usd.p90 == 0.0
    assert other.cost_usd.p50 == pytest.approx(2 * 32.0 * 10.5)


def test_only_as_many_nodes_as_are_committed_are_free() -> None:
    assert prices(booted(), commitments=(committed(nodes=1),))["already-paid"] == pytest.approx([-32.0 * 10.5])
    twice = (committed(nodes=1), committed(nodes=3, region="us-east-1"))
    assert prices(booted(), commitments=twice)["already-paid"] == pytest.approx([-2 * 32.0 * 10.5])


def test_spot_and_other_types_and_regions_are_not_covered() -> None:
    offers = (booted(billing=Billing.SPOT), booted(instance_type="other"), booted(provider="zed"))
    assert prices(*offers, commitments=(committed(),))["already-paid"] == [0.0, 0.0, 0.0]
    assert prices(booted(), commitments=(committed(region="eu-central-1"),))["already-paid"] == [0.0]


def test_what_others_hold_is_used_already() -> None:
    commitments = (committed(nodes=3),)
    free = prices(booted(), commitments=commitments, holdings=(held(nodes=2),))["already-paid"]
    assert free == pytest.approx([-32.0 * 10.5])
    spot = prices(booted(), commitments=commitments, holdings=(held(nodes=2, billing="spot"),))["already-paid"]
    assert spot == pytest.approx([-2 * 32.0 * 10.5])
    assert prices(booted(), commitments=commitments, holdings=(held(nodes=9),))["already-paid"] == [0.0]


def test_a_machine_that_is_held_fills_its_own_regions_commitment_first() -> None:
    commitments = (committed(nodes=1), committed(nodes=1, region="eu-central-1"))
    there = (held(region="eu-central-1"),)
    assert prices(booted(), commitments=commitments, holdings=there)["already-paid"] == pytest.approx([-32.0 * 10.5])
    assert prices(booted(), commitments=commitments, holdings=(held(),))["already-paid"] == [0.0]


def test_after_the_end_the_hours_are_billed_and_it_is_said() -> None:
    ending = committed(ends_at=EPOCH + timedelta(hours=4))
    assert prices(booted(), commitments=(ending,))["already-paid"] == pytest.approx([-2 * 32.0 * 4.0])
    view = PlanView(workload=training(), snapshot=snapshot(booted(), commitments=(ending,)))
    (note,) = POLICY.notes(view, candidates_of(view))
    assert note == "a commitment ends before 1 of the placements shown do; the hours after it are billed"
    ended = committed(ends_at=EPOCH - timedelta(hours=4))
    assert prices(booted(), commitments=(ended,))["already-paid"] == [0.0]


def test_the_least_billing_time_of_a_reservation_is_paid_too() -> None:
    reserved = booted(billing=Billing.RESERVED, min_billing_s=365 * 86400.0)
    job = training(limits=Limits(billing=(Billing.RESERVED,), budget_usd=100.0))
    market = snapshot(reserved, commitments=(committed(),))
    (placement,) = plan_sized(
        job, market, {"H100-SXM": SIZED}, (create_budget(PolicyContext()), POLICY, FREE_DISKS)
    ).ranked
    assert placement.cost_usd.p50 == 0.0


def test_most_of_an_owned_machine_is_paid_whether_it_works_or_not() -> None:
    ours = booted(billing=Billing.OWNED, usd_per_hour=8.0)
    terms = prices(ours, booted(zone="b"))
    assert terms == {"owned-paid": pytest.approx([-0.75 * 2 * 8.0 * 10.5, 0.0])}
    assert "owned-paid" not in POLICY.bills
    both = prices(ours, commitments=(committed(nodes=1),))
    assert both["owned-paid"] == pytest.approx([-0.75 * 8.0 * 10.5]), "what a commitment covers is not paid twice"


def test_no_placement_is_worth_less_than_nothing() -> None:
    ours = booted(billing=Billing.OWNED, usd_per_hour=8.0)
    everything = create(PolicyContext(settings={"owned_paid_share": 1}))
    made = plan_sized(
        training(), snapshot(ours, commitments=(committed(),)), {"H100-SXM": SIZED}, (everything, FREE_DISKS)
    )
    assert made.ranked[0].objective_usd == 0.0


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"owned_paid_share.* is 1\.5; a share is at most 1"):
        create(PolicyContext(settings={"owned_paid_share": 1.5}))
