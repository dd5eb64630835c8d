"""The deadline policy: probabilities, expected lateness and the value of time, by hand and by simulation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.deadline import Spread, expected_lateness_h, hours_left, probability
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import Limits, Setting, Workload
from orchestrator.testing.builders import batch_inference, inference, offer, snapshot, training
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.policy_contract import candidates_of
from policies.deadline.policy import DeadlinePolicy, create

SPREAD = Spread(np.array([8.0]), np.array([10.0]), np.array([16.0]))


def policy(**settings: float) -> DeadlinePolicy:
    return create(PolicyContext(settings=settings))


def seen(workload: Workload, hours: tuple[float, float, float], **changes: object) -> tuple[PlanView, Candidates]:
    """One candidate on two nodes that takes `hours`, boot included."""
    view = PlanView(workload=workload, snapshot=snapshot(offer(**changes)))
    p10, p50, p90 = (np.array([each]) for each in hours)
    return view, replace(candidates_of(view), hours=p50, hours_p10=p10, hours_p90=p90)


def due(hours: float, **changes: object) -> Workload:
    return training(limits=Limits(deadline_s=hours * 3600.0), **changes)


@pytest.mark.parametrize(("left_h", "expected"), [(8.0, 0.1), (10.0, 0.5), (16.0, 0.9), (0.0, 0.0), (-1.0, 0.0)])
def test_the_three_percentiles_are_met(left_h: float, expected: float) -> None:
    assert probability(SPREAD, left_h)[0] == pytest.approx(expected, abs=1e-9)


def test_hours_that_are_sure_are_in_time_or_not() -> None:
    sure = Spread(*(np.array([10.0, 10.0]) for _ in range(3)))
    assert probability(sure, np.array([9.99, 10.0])).tolist() == [0.0, 1.0]
    assert expected_lateness_h(sure, np.array([9.0, 10.0])).tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("left_h", [-2.0, 0.0, 5.0, 8.0, 10.0, 12.0, 16.0, 30.0])
def test_the_expected_lateness_is_what_a_simulation_finds(left_h: float) -> None:
    z = np.random.default_rng(1).standard_normal(2_000_000)
    below, above = np.log(10.0 / 8.0) / 1.2815515655446, np.log(16.0 / 10.0) / 1.2815515655446
    hours = 10.0 * np.exp(z * np.where(z < 0, below, above))
    late = np.maximum(hours - left_h, 0.0)
    assert expected_lateness_h(SPREAD, left_h)[0] == pytest.approx(late.mean(), abs=0.02)


def test_the_earlier_of_two_deadlines_counts_and_a_service_has_none() -> None:
    limits = Limits(deadline_s=7200.0, finish_by=EPOCH + timedelta(hours=1))
    assert hours_left(training(limits=limits), EPOCH) == 1.0
    assert hours_left(inference(limits=limits), EPOCH) is None
    assert hours_left(training(), EPOCH) is None


def test_without_a_confidence_the_median_is_the_planners_and_nothing_is_refused() -> None:
    assert policy().refuse(*seen(due(5.0), (8.0, 10.0, 16.0))) == ()


def test_below_the_confidence_is_refused_with_the_points_missing() -> None:
    view, candidates = seen(due(12.0), (8.0, 10.0, 16.0), boot_s=0.0)
    (refusals,) = policy(confidence=0.9).refuse(view, candidates)
    assert refusals.refused.tolist() == [True]
    likely = probability(SPREAD, 12.0)[0]
    assert refusals.reason("deadline", 0).detail == (
        f"is in time {100 * (0.9 - likely):.0f} points less often than the 90 % asked for, interruptions included; "
        "the deadline leaves 12.0 h"
    )
    assert not policy(confidence=0.6).refuse(view, candidates)[0].refused.any()


def test_the_boot_is_certain_and_comes_off_the_time_that_is_left() -> None:
    # 2 h of boot and 8, 10, 16 h of work: 18 h leave the 90th percentile of the work.
    view, candidates = seen(due(18.0), (10.0, 12.0, 18.0), boot_s=7200.0)
    assert not policy(confidence=0.899).refuse(view, candidates)[0].refused.any()
    assert policy(confidence=0.901).refuse(view, candidates)[0].refused.all()


def test_interruptions_make_a_deadline_less_likely() -> None:
    steady = seen(due(16.0), (8.0, 10.0, 16.0), boot_s=600.0, interruption_rate=0.0)
    risky = seen(due(16.0), (8.0, 10.0, 16.0), boot_s=600.0, interruption_rate=0.5, billing=Billing.SPOT)
    figures = [policy(confidence=0.95).refuse(*case)[0].figure[0] for case in (steady, risky)]
    assert figures[1] > figures[0] + 5


def test_an_unknown_hazard_of_spot_is_assumed() -> None:
    case = seen(due(16.0), (8.0, 10.0, 16.0), billing=Billing.SPOT, interruption_rate=None)
    some = policy(confidence=0.95).refuse(*case)[0].figure[0]
    none = policy(confidence=0.95, assumed_spot_interruptions_per_hour=0.0).refuse(*case)[0].figure[0]
    assert some > none


def test_an_hour_is_worth_its_price_and_lateness_its_own() -> None:
    view, candidates = seen(due(12.0), (8.0, 10.0, 16.0), boot_s=0.0)
    terms = policy(usd_per_hour=3.0, late_usd_per_hour=100.0).price(view, candidates)
    assert terms["time"].tolist() == pytest.approx([30.0])
    assert terms["late"].tolist() == pytest.approx([100.0 * expected_lateness_h(SPREAD, 12.0)[0]])
    assert policy().price(view, candidates) == {}


def test_lateness_has_no_price_without_a_deadline_and_neither_has_a_service() -> None:
    both = policy(usd_per_hour=1.0, late_usd_per_hour=1.0)
    assert set(both.price(*seen(batch_inference(), (8.0, 10.0, 16.0)))) == {"time"}
    assert both.price(*seen(inference(), (720.0, 720.0, 720.0))) == {}


def test_an_unlikely_best_is_pointed_out() -> None:
    (note,) = policy().notes(*seen(due(10.0), (8.0, 10.0, 16.0), boot_s=0.0))
    assert note.startswith("the best placement is in time with a probability of 50 %")
    assert policy().notes(*seen(due(40.0), (8.0, 10.0, 16.0), boot_s=0.0)) == ()


def test_certainty_is_not_for_sale() -> None:
    with pytest.raises(ConfigError, match="never reached"):
        policy(confidence=1.0)
    job = due(10.0, settings=(Setting("deadline", "confidence", 1.5),))
    with pytest.raises(UserError, match="never reached"):
        policy().refuse(*seen(job, (8.0, 10.0, 16.0)))


def test_hours_that_ends_of_leases_take_are_time_and_no_work_that_could_be_lost() -> None:
    job = training(limits=Limits(deadline_s=400 * 3600.0))
    ends = {"billing": Billing.SPOT, "interruption_rate": 0.01, "boot_s": 3600.0}
    whole, cut = seen(job, (49.0, 49.0, 49.0), **ends), seen(job, (49.0, 49.0, 49.0), max_lease_s=86400.0, **ends)
    usd = [policy(usd_per_hour=1.0).price(*each)["time"][0] for each in (whole, cut)]
    change_h = 1.0 + (30.0 + 14.0 * 6.74) / 3600.0  # the boot, the grace, and reading back
    assert usd[1] - 49.0 == pytest.approx((usd[0] - 49.0) * (48.0 - change_h) / 48.0)
