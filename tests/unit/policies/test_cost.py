"""The cost policy's arithmetic, by hand."""

from collections.abc import Mapping

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.network import EgressRate
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.workload import Checkpointing, DataSet, Limits, Program, Setting, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import (
    batch_inference,
    inference,
    network,
    offer,
    place,
    sizing,
    snapshot,
    training,
)
from policies.cost.policy import CostPolicy, create

POLICY = create(PolicyContext())
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))

SAVING = Checkpointing(interval_s=1800.0)


def candidates_of(view: PlanView) -> Candidates:
    return build(view.workload, view.snapshot, {"H100-SXM": SIZED}, Sieve(view.snapshot.book))


def prices(
    *offers: Offer, workload: Workload | None = None, policy: CostPolicy = POLICY, **market: object
) -> Mapping[str, list[float]]:
    view = PlanView(workload=workload or training(), snapshot=snapshot(*offers, **market))
    return {name: usd.tolist() for name, usd in policy.price(view, candidates_of(view)).items()}


def test_compute_and_boot_are_the_invoice_of_the_lease() -> None:
    # 160 device-hours on 8 devices are 20 h; boot 0.5 h; 20.5 h at 32 USD/h.
    terms = prices(offer(boot_s=1800.0, min_billing_s=0.0))
    assert terms["compute"] == pytest.approx([640.0])
    assert terms["boot"] == pytest.approx([16.0])


def test_a_lease_is_billed_for_at_least_its_minimum() -> None:
    terms = prices(offer(boot_s=1800.0, min_billing_s=100 * 3600.0))
    assert terms["compute"][0] + terms["boot"][0] == pytest.approx(3200.0)


def test_a_fraction_of_a_gpu_takes_as_much_longer() -> None:
    assert prices(offer(gpus=0.5, boot_s=0.0, usd_per_hour=1.0))["compute"] == pytest.approx([320.0])


def test_data_in_the_region_is_free_and_tiers_count_elsewhere() -> None:
    rates = (
        EgressRate(provider="acme", scope="internet", from_gib=0.0, usd_per_gib=0.10, source="test"),
        EgressRate(provider="acme", scope="internet", from_gib=1000.0, usd_per_gib=0.05, source="test"),
        EgressRate(provider="acme", scope="region", from_gib=0.0, usd_per_gib=0.02, source="test"),
    )
    job = training(data=DataSet(location="acme/us-east-1", size_gib=3000.0))
    terms = prices(
        offer(),
        offer(region="eu-central-1"),
        offer(provider="zed"),
        workload=job,
        network=network(egress=rates),
    )
    assert terms["egress"] == pytest.approx([60.0, 0.0, 200.0])  # by key: acme eu, acme us, zed


def test_data_that_comes_with_the_job_has_no_egress_term() -> None:
    assert "egress" not in prices(offer())


def test_data_at_a_place_of_ones_own_leaves_for_free() -> None:
    job = training(data=DataSet(location="Frankfurt", size_gib=3000.0))
    assert prices(offer(), workload=job)["egress"] == [0.0]


def test_an_unknown_egress_rate_is_assumed_high_and_said() -> None:
    job = training(data=DataSet(location="zed/r", size_gib=100.0))
    view = PlanView(workload=job, snapshot=snapshot(offer(), offer(provider="zed", region="r")))
    candidates = candidates_of(view)
    assert POLICY.price(view, candidates)["egress"].tolist() == pytest.approx([12.0, 0.0])
    assert POLICY.notes(view, candidates) == [
        "price of data leaving zed/r unknown for 1 of the placements shown; assumed 0.12 USD/GiB"
    ]


@pytest.mark.parametrize("location", ["acme/us-esat-1", "Frankfrut"])
def test_an_unknown_data_location_is_an_error_with_the_nearest_spelling(location: str) -> None:
    job = training(data=DataSet(location=location, size_gib=1.0))
    with pytest.raises(UserError, match=r"did you mean '(acme/us-east-1|Frankfurt)'"):
        prices(offer(), workload=job)


def test_a_place_of_a_provider_without_offers_is_its_own() -> None:
    here = place(key="bucket/eu", latitude=50.0, longitude=8.0)
    rate = EgressRate(provider="bucket", scope="internet", from_gib=0.0, usd_per_gib=0.2, source="test")
    job = training(data=DataSet(location="bucket/eu", size_gib=10.0))
    terms = prices(offer(), workload=job, network=network(places=(here,), egress=(rate,)))
    assert terms["egress"] == pytest.approx([2.0])


def test_rare_interruptions_cost_half_an_interval_and_a_boot_each() -> None:
    job = training(program=Program(command=("x",), checkpoint=Checkpointing(interval_s=3600.0)))
    spot = offer(billing=Billing.SPOT, interruption_rate=1e-5, boot_s=1800.0)
    lost = prices(spot, workload=job)["interruption"][0]
    assert lost == pytest.approx(32.0 * 20.0 * 1e-5 * (0.5 + 0.5), rel=1e-3)


def test_a_gang_is_lost_when_any_node_is() -> None:
    gang = sizing(min_gpus=16, effort=SIZED.effort)
    spot = offer(billing=Billing.SPOT, interruption_rate=1e-4)

    def lost(workload: Workload) -> float:
        view = PlanView(workload=workload, snapshot=snapshot(spot))
        pair = build(workload, view.snapshot, {"H100-SXM": gang}, Sieve(view.snapshot.book))
        return float(POLICY.price(view, pair)["interruption"][0])

    assert lost(training()) == pytest.approx(2 * lost(batch_inference()), rel=1e-3)


def test_a_hopeless_spot_market_costs_a_finite_fortune() -> None:
    term = prices(offer(billing=Billing.SPOT, interruption_rate=1e6))["interruption"]
    assert np.isfinite(term).all()
    assert term[0] > 1e12


def test_an_unknown_rate_counts_for_spot_alone_and_is_said() -> None:
    offers = (offer(interruption_rate=None), offer(billing=Billing.SPOT, interruption_rate=None))
    view = PlanView(workload=training(), snapshot=snapshot(*offers))
    candidates = candidates_of(view)
    free, risky = POLICY.price(view, candidates)["interruption"].tolist()
    assert free == 0.0
    assert risky > 0.0
    assert POLICY.notes(view, candidates) == [
        "interruption rate unknown for 1 of the spot placements shown; assumed 0.02 an hour"
    ]


def test_a_service_pays_for_its_horizon_and_for_replacements() -> None:
    view = PlanView(workload=inference(duration_s=36_000.0), snapshot=snapshot())
    held = candidates_of(PlanView(workload=training(), snapshot=view.snapshot)).at(np.array([10.0]))
    terms = POLICY.price(view, held)
    assert sum(float(usd[0]) for usd in terms.values()) == pytest.approx(320.0)


def test_settings_come_from_the_configuration_and_the_job_on_top() -> None:
    spot = offer(billing=Billing.SPOT, interruption_rate=None)
    none = create(PolicyContext(settings={"assumed_spot_interruptions_per_hour": 0}))
    assert prices(spot, policy=none)["interruption"] == [0.0]
    job = training(settings=(Setting("cost", "assumed_spot_interruptions_per_hour", 0.5),))
    assert prices(spot, policy=none, workload=job)["interruption"][0] > 0


@pytest.mark.parametrize("value", [-1, float("nan"), "much", True, None])
def test_a_setting_that_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="assumed_egress_usd_per_gib"):
        create(PolicyContext(settings={"assumed_egress_usd_per_gib": value}))


def test_a_misspelt_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'assumed_egress_usd_per_gib'"):
        create(PolicyContext(settings={"assumed_egres_usd_per_gib": 1.0}))
    with pytest.raises(UserError, match="did you mean 'assumed_egress_usd_per_gib'"):
        prices(offer(), workload=training(settings=(Setting("cost", "assumed_egres_usd_per_gib", 1.0),)))


def test_a_deadline_that_interruptions_would_break_is_said() -> None:
    # 20 h of work, and one loss an hour that costs a boot and a quarter of an hour or more.
    job = training(limits=Limits(deadline_s=30 * 3600.0), program=Program(command=("x",), checkpoint=SAVING))
    spot = offer(billing=Billing.SPOT, interruption_rate=1.0, boot_s=900.0)
    view = PlanView(workload=job, snapshot=snapshot(spot))
    (note,) = POLICY.notes(view, candidates_of(view))
    assert "1 of the placements shown would end after the deadline" in note
    calm = PlanView(workload=job, snapshot=snapshot(offer(billing=Billing.SPOT, interruption_rate=1e-4)))
    assert POLICY.notes(calm, candidates_of(calm)) == []
