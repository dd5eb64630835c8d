"""Leases that end, by hand: what is counted for each end, what is refused, and what a plan says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork, Service
from orchestrator.domain.workload import Checkpointing, Limits, Workload
from orchestrator.planning.plan import plan_sized
from orchestrator.planning.validity import still_valid
from orchestrator.testing.builders import (
    batch_inference,
    inference,
    offer,
    placement_on,
    plan_of,
    program,
    sizing,
    snapshot,
    training,
)
from policies.cost.policy import create as create_cost
from policies.reliability.policy import create as create_reliability
from policies.spot.policy import create as create_spot

POLICIES: tuple[Policy, ...] = tuple(
    create(PolicyContext()) for create in (create_cost, create_reliability, create_spot)
)
BOOT_H, GRACE_H = 120.0 / 3600.0, 30.0 / 3600.0
RESTORE_H = 14.0 * 6.74 / 3600.0  # of the default model at 1 GB/s
DAY = offer(available=None, max_lease_s=24 * 3600.0)


def planned(job: Workload, *offers: Offer, hours: float = 800.0) -> Plan:
    """`hours` of one device, so a hundred of a node by default; a service of three replicas."""
    effort: FiniteWork | Service = FiniteWork(gpu_hours=Band(hours, hours, hours), energy_kwh=Band(1.0, 1.0, 1.0))
    if job.KIND == "Inference":
        band = Band(0.1, 0.1, 0.1)
        effort = Service(replicas=3, requests_per_s_per_replica=2.0, ttft_s=band, tpot_s=band, watts_per_replica=500.0)
    return plan_sized(job, snapshot(*offers), {"H100-SXM": sizing(effort=effort)}, POLICIES)


def best(plan: Plan) -> Placement:
    assert plan.best is not None, plan.refusals
    return plan.best


def usd(placement: Placement, name: str) -> float:
    return sum(term.usd for term in placement.terms if term.name == name)


def refused(plan: Plan) -> tuple[ReasonCode, str]:
    (refusal,) = plan.refusals
    return refusal.code, refusal.examples[0].detail


def test_each_end_takes_a_grace_a_boot_and_reading_back() -> None:
    one_node = replace(DAY, available=1)
    found = best(planned(training(), one_node))
    change_h = GRACE_H + BOOT_H + RESTORE_H
    assert found.hours.p50 == pytest.approx(BOOT_H + 100.0 + 4 * change_h)  # 24 h, and four of a little less
    assert usd(found, "restarts") == pytest.approx(32.0 * 4 * change_h)
    assert usd(found, "compute") == pytest.approx(32.0 * 100.0)
    assert usd(found, "boot") == pytest.approx(32.0 * BOOT_H)


def test_the_plan_says_in_how_many_leases() -> None:
    plan = planned(training(), replace(DAY, available=1))
    assert "cost: the best placement takes 5 leases of 24 h: 16 min of restarts, in its time and its cost" in plan.notes
    assert not [note for note in planned(training(), offer()).notes if "leases" in note]


def test_without_a_grace_half_an_interval_is_done_again() -> None:
    kill = program(checkpoint=Checkpointing(interval_s=7200.0, grace_s=0.0))
    found = best(planned(training(program=kill), replace(DAY, available=1)))
    assert found.hours.p50 == pytest.approx(BOOT_H + 100.0 + 4 * (BOOT_H + RESTORE_H + 1.0))


def test_a_batch_reads_its_weights_alone_back() -> None:
    found = best(planned(batch_inference(), replace(DAY, available=1)))
    change_h = GRACE_H + BOOT_H + RESTORE_H / 7.0
    assert found.hours.p50 == pytest.approx(BOOT_H + 100.0 + 4 * change_h)


def test_the_ends_are_not_counted_again_as_work_that_can_be_lost() -> None:
    spot = replace(DAY, available=1, billing=Billing.SPOT, interruption_rate=0.01)
    with_ends = best(planned(training(), spot))
    without = best(planned(training(), replace(spot, max_lease_s=None)))
    assert usd(with_ends, "interruption") == pytest.approx(usd(without, "interruption"))
    assert usd(with_ends, "restarts") > 0.0


@pytest.mark.parametrize(
    "never",
    [
        program(max_attempts=1),
        program(checkpoint=Checkpointing(interval_s=2 * 86400.0, grace_s=0.0)),
    ],
)
def test_a_job_that_does_not_go_on_takes_the_nodes_that_end_it_in_one_lease(never: object) -> None:
    job = training(program=never)
    found = best(planned(job, DAY))
    assert found.parts[0].nodes == 5  # of 20 h each
    assert usd(found, "restarts") == 0.0
    code, detail = refused(planned(job, replace(DAY, available=4)))
    assert code is ReasonCode.LEASE_TOO_SHORT
    assert detail == "a lease ends after 24 h, from which the job does not go on; needs 5 nodes to end within it"


def test_a_lease_in_which_a_checkpoint_cannot_be_read_back_is_refused() -> None:
    code, detail = refused(planned(training(), replace(DAY, available=4, max_lease_s=90.0)))
    assert code is ReasonCode.LEASE_TOO_SHORT
    assert "a lease ends after 2 min" in detail


@pytest.mark.parametrize("lease_s", [0.0, 90.0])
def test_the_reason_is_the_lease_though_there_is_a_deadline_too(lease_s: float) -> None:
    job = training(limits=Limits(deadline_s=200 * 3600.0))
    code, _ = refused(planned(job, replace(DAY, available=4, max_lease_s=lease_s)))
    assert code is ReasonCode.LEASE_TOO_SHORT


def test_nodes_are_counted_to_be_in_time_with_the_ends() -> None:
    slow = offer(available=None, boot_s=4 * 3600.0, max_lease_s=4 * 3600.0)
    job = training(limits=Limits(deadline_s=48 * 3600.0))
    with_ends, without = (best(planned(job, each)) for each in (slow, replace(slow, max_lease_s=None)))
    assert without.parts[0].nodes == 3
    assert with_ends.parts[0].nodes > 3
    assert with_ends.hours.p50 <= 48.0


def test_a_longer_lease_is_worth_money() -> None:
    short = replace(DAY, region="us-east-1", max_lease_s=4 * 3600.0, available=1)
    long = replace(DAY, region="eu-central-1", max_lease_s=7 * 86400.0, available=1, usd_per_hour=32.4)
    assert best(planned(training(), short, long)).parts[0].offer.region == "eu-central-1"
    assert best(planned(training(), replace(short, max_lease_s=None), long)).parts[0].offer.region == "us-east-1"


def test_a_service_pays_the_boot_of_every_next_lease_and_the_plan_says_how_long_it_is_down() -> None:
    plan = planned(inference(duration_s=10 * 86400.0), replace(DAY, boot_s=160.0))
    found = best(plan)
    assert found.hours.p50 == 240.0
    assert usd(found, "restarts") == pytest.approx(9 * 32.0 * 160.0 / 3600.0)
    assert (
        "cost: the best placement is interrupted 9 times, for 3 min each: a lease of it ends after 24 h" in plan.notes
    )


def test_a_service_that_would_be_down_for_longer_than_up_is_refused() -> None:
    code, detail = refused(planned(inference(), replace(DAY, max_lease_s=3600.0, boot_s=7200.0)))
    assert code is ReasonCode.LEASE_TOO_SHORT
    assert "the next boots for 2 h" in detail


@pytest.mark.parametrize(("ends_h", "stale"), [(24.0, False), (23.9, False), (4.0, True), (None, False)])
def test_a_saved_plan_is_stale_where_leases_have_become_too_short_for_it(ends_h: float | None, stale: bool) -> None:
    saved = plan_of(placement_on(DAY))  # of 12.5 h
    now = replace(DAY, max_lease_s=None if ends_h is None else ends_h * 3600.0)
    reasons = still_valid(saved, snapshot(now))
    assert [reason.code for reason in reasons] == ([ReasonCode.LEASE_TOO_SHORT] if stale else [])
