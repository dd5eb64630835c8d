"""The spot policy's arithmetic, by hand."""

from collections.abc import Mapping
from dataclasses import replace
from math import exp, factorial

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.workload import Checkpointing, Limits, Program, Setting, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import batch_inference, inference, offer, sizing, snapshot, training
from policies.spot.poisson import excess
from policies.spot.policy import SpotPolicy, create

POLICY = create(PolicyContext())
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))
SAVING = Program(command=("x",), checkpoint=Checkpointing(interval_s=1800.0))


def spot(**overrides: object) -> Offer:
    return offer(**{"billing": Billing.SPOT, "usd_per_hour": 12.0, "interruption_rate": 1e-3, **overrides})


def candidates_of(view: PlanView) -> Candidates:
    return build(view.workload, view.snapshot, {"H100-SXM": SIZED}, Sieve(view.snapshot.book))


def prices(
    *offers: Offer, workload: Workload | None = None, policy: SpotPolicy = POLICY, slack: bool = True
) -> Mapping[str, list[float]]:
    """With `slack` nodes are counted for the deadline, with the way back from spot, else for none."""
    view = PlanView(workload=workload or training(), snapshot=snapshot(*offers))
    counted = view if slack else replace(view, workload=replace(view.workload, limits=Limits()))
    return {name: usd.tolist() for name, usd in policy.price(view, candidates_of(counted)).items()}


def notes(*offers: Offer, workload: Workload | None = None) -> list[str]:
    view = PlanView(workload=workload or training(), snapshot=snapshot(*offers))
    return list(POLICY.notes(view, candidates_of(view)))


def test_rare_interruptions_cost_half_an_interval_and_a_boot_each() -> None:
    job = training(program=Program(command=("x",), checkpoint=Checkpointing(interval_s=3600.0)))
    lost = prices(spot(interruption_rate=1e-5, boot_s=1800.0), workload=job)["interruption"][0]
    assert lost == pytest.approx(12.0 * 20.0 * 1e-5 * (0.5 + 0.5), rel=1e-3)


def pair(workload: Workload, policy: SpotPolicy = POLICY) -> float:
    """The interruptions of two nodes."""
    view = PlanView(workload=workload, snapshot=snapshot(spot(interruption_rate=1e-4)))
    gang = sizing(min_gpus=16, effort=SIZED.effort)
    two = build(workload, view.snapshot, {"H100-SXM": gang}, Sieve(view.snapshot.book))
    return float(policy.price(view, two)["interruption"][0])


def test_a_gang_is_lost_when_any_node_is() -> None:
    assert pair(training()) == pytest.approx(2 * pair(batch_inference()), rel=1e-3)


def test_nodes_that_are_lost_together_are_lost_less_often() -> None:
    half = create(PolicyContext(settings={"correlated_share": 0.5}))
    whole = create(PolicyContext(settings={"correlated_share": 1}))
    assert pair(training(), half) == pytest.approx(0.75 * pair(training()), rel=1e-3)
    assert pair(training(), whole) == pytest.approx(0.5 * pair(training()), rel=1e-3)
    assert pair(batch_inference(), whole) == pair(batch_inference())


def test_a_hopeless_spot_market_costs_a_finite_fortune() -> None:
    term = prices(spot(interruption_rate=1e6))["interruption"]
    assert np.isfinite(term).all()
    assert term[0] > 1e12


def test_an_unknown_rate_counts_for_spot_alone_and_is_said() -> None:
    offers = (offer(interruption_rate=None), spot(interruption_rate=None))
    free, risky = prices(*offers)["interruption"]
    assert free == 0.0
    assert risky > 0.0
    assert notes(*offers) == ["interruption rate unknown for 1 of the spot placements shown; assumed 0.02 an hour"]


def test_a_service_pays_for_the_boots_of_replacements() -> None:
    view = PlanView(workload=inference(duration_s=36_000.0), snapshot=snapshot(spot(boot_s=3600.0)))
    held = candidates_of(PlanView(workload=training(), snapshot=view.snapshot)).at(np.array([11.0]))
    assert POLICY.price(view, held)["interruption"].tolist() == pytest.approx([12.0 * 10.0 * 1e-3 * 1.0])


def test_without_slack_any_loss_sends_the_rest_on_demand() -> None:
    # 20 h of work; the first loss comes at T, and E[max(0, 20 - T)] = 20 - (1 - e^(-20 λ)) / λ for rate λ.
    rate = 0.01
    job = training(limits=Limits(deadline_s=20 * 3600.0), program=SAVING)
    offers = (spot(interruption_rate=rate, boot_s=0.0), offer(usd_per_hour=32.0))
    hours = 20.0 - (1.0 - exp(-20.0 * rate)) / rate
    on_demand, fallback = prices(*offers, workload=job, slack=False)["fallback"]
    assert on_demand == 0.0
    assert fallback == pytest.approx(hours * (32.0 - 12.0))


def test_slack_pays_for_losses_before_anything_falls_back() -> None:
    # A loss costs half an interval of 30 min and a boot of 15 min; two hours of slack pay for four of them.
    rate, work_h = 0.1, 20.0
    job = training(limits=Limits(deadline_s=22.25 * 3600.0), program=SAVING)
    offers = (spot(interruption_rate=rate, boot_s=900.0), offer(usd_per_hour=32.0))
    mean = rate * work_h
    past_four = mean - 5.0 + sum((5.0 - n) * exp(-mean) * mean**n / factorial(n) for n in range(5))
    assert prices(*offers, workload=job)["fallback"][1] == pytest.approx(past_four / rate * (32.0 - 12.0))


def test_there_is_no_fallback_without_a_deadline_or_where_on_demand_is_ruled_out() -> None:
    assert "fallback" not in prices(spot())
    bound = training(limits=Limits(deadline_s=20 * 3600.0, billing=(Billing.SPOT,)))
    assert "fallback" not in prices(spot(boot_s=0.0), workload=bound)


def test_the_cheapest_twin_of_the_region_is_fallen_back_on_and_a_missing_one_is_assumed() -> None:
    job = training(limits=Limits(deadline_s=20 * 3600.0), program=SAVING)
    risky = spot(interruption_rate=0.01, boot_s=0.0, zone="a")
    elsewhere = offer(region="eu-central-1", usd_per_hour=1.0)
    twins = (offer(usd_per_hour=40.0, zone="b"), offer(usd_per_hour=32.0, zone="c"), elsewhere)
    with_twin = max(prices(risky, *twins, workload=job, slack=False)["fallback"])
    alone = max(prices(risky, elsewhere, workload=job, slack=False)["fallback"])
    assert alone / with_twin == pytest.approx((3.0 * 12.0 - 12.0) / (32.0 - 12.0))
    assert "on-demand price unknown for 1 of the spot placements shown; assumed 3 times the spot price" in notes(
        risky, elsewhere, workload=replace(job, limits=Limits(deadline_s=22 * 3600.0))
    )


def test_machines_that_are_taken_back_too_often_are_refused() -> None:
    job = training(settings=(Setting("spot", "max_interruptions_per_hour", 0.01),))
    offers = (spot(interruption_rate=None), spot(interruption_rate=0.005, zone="b"), offer(interruption_rate=None))
    view = PlanView(workload=job, snapshot=snapshot(*offers))
    candidates = candidates_of(view)
    (refusals,) = POLICY.refuse(view, candidates)
    caught = [candidates.book[row].label for row in np.flatnonzero(refusals.refused).tolist()]
    assert caught == ["acme us-east-1 h100.8x spot"]
    sentence = refusals.reason("spot", int(np.flatnonzero(refusals.refused)[0])).detail
    assert sentence == "a node is taken back 0.02 times an hour; the limit is 0.01"


def test_a_deadline_that_interruptions_would_break_is_said() -> None:
    # 20 h of work, and one loss an hour that costs a boot and a quarter of an hour or more.
    job = training(limits=Limits(deadline_s=30 * 3600.0, billing=(Billing.SPOT,)), program=SAVING)
    (note,) = notes(spot(interruption_rate=1.0, boot_s=900.0), workload=job)
    assert "1 of the placements shown would end after the deadline" in note
    assert notes(spot(interruption_rate=1e-4), workload=job) == []


@pytest.mark.parametrize("mark", [1, 3, 20, 64, 65, 200])
@pytest.mark.parametrize("mean", [0.05, 2.0, 40.0, 190.0])
def test_the_excess_of_a_poisson_count_is_its_sum(mean: float, mark: int) -> None:
    chance, whole = exp(-mean), 0.0
    for count in range(600):
        whole += max(0.0, count - mark) * chance
        chance *= mean / (count + 1)
    found = excess(np.array([mean]), np.array([float(mark)]))[0]
    assert found == pytest.approx(whole, rel=1e-9, abs=1e-9 if mark <= 64 else 0.01 * mean**0.5)


@pytest.mark.parametrize("value", [-1, float("nan"), "much", True, None])
def test_a_setting_that_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="correlated_share"):
        create(PolicyContext(settings={"correlated_share": value}))
