"""Leases that end: hours grow with every end, never shrink with a longer lease, and terms add up all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.tenure import Tenure
from orchestrator.domain.workload import BatchInference, Checkpointing, Limits, Training
from orchestrator.planning.plan import plan_sized
from orchestrator.testing.builders import batch_inference, offer, program, sizing, snapshot, training
from policies.carbon.policy import create as create_carbon
from policies.cost.policy import create as create_cost
from policies.deadline.policy import create as create_deadline
from policies.reliability.policy import create as create_reliability
from policies.spot.policy import create as create_spot

WITHIN = 0.04  # of the optimum: counts are looked at in steps of 4 % or less, up to 1024 times the fewest
LEASE_S = st.floats(1800.0, 30 * 86400.0)
PROGRAMS = st.builds(
    lambda interval_s, grace_s: program(checkpoint=Checkpointing(interval_s=interval_s, grace_s=grace_s)),
    interval_s=st.floats(60.0, 7200.0),
    grace_s=st.sampled_from([0.0, 30.0, 600.0]),
)
JOBS = st.builds(lambda make, program: make(program=program), st.sampled_from([training, batch_inference]), PROGRAMS)
HOURS = st.floats(1.0, 4000.0)  # of one device
POLICIES: tuple[Policy, ...] = (
    create_carbon(PolicyContext(settings={"usd_per_tonne": 100.0})),
    create_cost(PolicyContext()),
    create_deadline(PolicyContext(settings={"usd_per_hour": 2.0})),
    create_reliability(PolicyContext()),
    create_spot(PolicyContext()),
)


def planned(job: Training | BatchInference, hours: float, *offers: Offer) -> Plan:
    found = sizing(effort=FiniteWork(gpu_hours=Band(0.8 * hours, hours, 1.3 * hours), energy_kwh=Band(1.0, 1.0, 1.0)))
    return plan_sized(job, snapshot(*offers), {"H100-SXM": found}, POLICIES)


@st.composite
def tenures(draw: st.DrawFn) -> Tenure:
    first, lost = draw(st.floats(0.1, 100.0)), draw(st.floats(0.0, 2.0))
    pause = draw(st.floats(0.01, 20.0))
    columns = (first, max(first - lost, 0.0), pause + lost)
    return Tenure(*(np.array([value], np.float64) for value in columns))


@given(tenures(), st.floats(0.0, 1e4), st.floats(0.0, 1e4))
@settings(deadline=None)
def test_more_work_takes_no_less_time_and_the_inverses_are_inverses(leases: Tenure, a: float, b: float) -> None:
    less, more = (np.array([hours]) for hours in sorted((a, b)))
    assert leases.lasts_h(less) <= leases.lasts_h(more)
    assert leases.within_h(less) <= leases.within_h(more) + 1e-9
    held = leases.lasts_h(more)
    assert leases.ends_within(held) == leases.ends(more)
    if not leases.once.any():
        assert leases.within_h(held)[0] == pytest.approx(more[0], rel=1e-9, abs=1e-9)
    assert leases.lasts_h(leases.within_h(more))[0] <= more[0] * (1.0 + 1e-9) + 1e-9


@given(tenures(), st.integers(1, 50))
@settings(deadline=None)
def test_each_end_adds_its_change_and_work_that_fills_its_leases_has_no_further_end(leases: Tenure, count: int) -> None:
    if leases.once.any():
        return
    full = leases.first_h + count * leases.next_h
    assert leases.ends(full) == count
    assert leases.lasts_h(full)[0] == pytest.approx((full + count * leases.change_h)[0])
    assert leases.ends(leases.first_h) == 0
    assert leases.ends(full * (1.0 + 1e-6)) == count + 1


@given(JOBS, HOURS, LEASE_S, st.floats(1.0, 4.0))
@settings(deadline=None, max_examples=60)
def test_a_longer_lease_never_takes_longer_or_costs_more(
    job: Training | BatchInference, hours: float, lease_s: float, factor: float
) -> None:
    seller = offer(available=None)
    without, short, long = (
        planned(job, hours, replace(seller, max_lease_s=each)).ranked for each in (None, lease_s, lease_s * factor)
    )
    assert without
    assert long or not short, "a longer lease was refused where a shorter one was not"
    if not short:
        return
    assert without[0].objective_usd <= long[0].objective_usd + 1e-6
    assert long[0].objective_usd <= short[0].objective_usd * (1.0 + WITHIN) + 1e-6
    if long[0].parts[0].nodes == short[0].parts[0].nodes == without[0].parts[0].nodes:
        for band in ("p10", "p50", "p90"):
            each = [getattr(found[0].hours, band) for found in (without, long, short)]
            assert each == sorted(each)


@given(JOBS, HOURS, LEASE_S, st.sampled_from([Billing.ON_DEMAND, Billing.SPOT, Billing.OWNED]))
@settings(deadline=None, max_examples=60)
def test_the_terms_add_up_and_a_lease_as_long_as_the_job_changes_nothing(
    job: Training | BatchInference, hours: float, lease_s: float, billing: Billing
) -> None:
    seller = offer(available=None, billing=billing)
    (endless,) = planned(job, hours, seller).ranked
    enough_s = 3600.0 * 1.3 * hours
    (ample,) = planned(job, hours, replace(seller, max_lease_s=enough_s)).ranked
    assert (ample.hours, ample.cost_usd) == (endless.hours, endless.cost_usd)
    assert tuple(term for term in ample.terms if term.name != "restarts") == endless.terms
    assert [term.usd for term in ample.terms if term.name == "restarts"] == [0.0]
    for placement in planned(job, hours, replace(seller, max_lease_s=lease_s)).ranked:
        total = 0.0
        for term in placement.terms:
            assert term.usd >= 0.0
            total += term.usd
        assert total == placement.objective_usd
        (part,) = placement.parts
        billed = sum(term.usd for term in placement.terms if term.name in {"compute", "boot", "restarts"})
        held = max(placement.hours.p50, part.offer.min_billing_s / 3600.0)
        assert billed == pytest.approx(part.nodes * part.offer.usd_per_hour * held)


@given(JOBS, HOURS, st.lists(st.none() | LEASE_S, min_size=2, max_size=5))
@settings(deadline=None, max_examples=60)
def test_the_order_of_offers_changes_nothing(
    job: Training | BatchInference, hours: float, leases: list[float | None]
) -> None:
    sold = [offer(region=f"r{number}", available=None, max_lease_s=each) for number, each in enumerate(leases)]
    for each in (job, replace(job, limits=Limits(deadline_s=40 * 86400.0))):
        assert planned(each, hours, *sold) == planned(each, hours, *sold[::-1])


@given(JOBS, HOURS, LEASE_S, st.floats(0.1, 60.0))
@settings(deadline=None, max_examples=60)
def test_what_is_planned_to_be_in_time_is(
    job: Training | BatchInference, hours: float, lease_s: float, days: float
) -> None:
    dated = replace(job, limits=Limits(deadline_s=days * 86400.0))
    for placement in planned(dated, hours, offer(available=None, max_lease_s=lease_s)).ranked:
        assert placement.hours.p50 <= days * 24.0 * (1.0 + 1e-9)


@given(HOURS, LEASE_S, st.none() | st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_what_cannot_be_resumed_ends_within_one_lease_or_is_refused_with_the_reason(
    hours: float, lease_s: float, stock: int | None
) -> None:
    job = training(program=program(max_attempts=1))
    plan = planned(job, hours, offer(available=stock, max_lease_s=lease_s))
    for placement in plan.ranked:
        assert (placement.hours.p50 * 3600.0 - 120.0) <= lease_s * (1.0 + 1e-9)
        assert [term.usd for term in placement.terms if term.name == "restarts"] == [0.0]
    for refusal in plan.refusals:
        assert refusal.code is ReasonCode.LEASE_TOO_SHORT
        assert stock is not None
        assert hours / 8.0 / stock * 3600.0 > lease_s
