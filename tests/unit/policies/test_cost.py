"""The cost policy's arithmetic, by hand."""

from collections.abc import Mapping

import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.network import EgressRate
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.workload import DataSet, Method, Setting, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import (
    fine_tune,
    inference,
    network,
    offer,
    place,
    sizing,
    snapshot,
    training,
)
from policies.cost.policy import CostPolicy, create, node_gib

POLICY = create(PolicyContext())
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))


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


def test_half_a_begun_hour_or_minute_is_expected_where_the_vendor_counts_in_them() -> None:
    boot = {"boot_s": 0.0, "min_billing_s": 0.0}
    hours, minutes = offer(provider="fluidstack", **boot), offer(provider="lambda", **boot)
    terms = prices(offer(**boot), hours, minutes)
    assert terms["compute"] == pytest.approx([640.0, 640.0 + 16.0, 640.0 + 32.0 / 120])
    day = offer(provider="fluidstack", boot_s=0.0, min_billing_s=20.4 * 3600.0)
    assert prices(day)["compute"] == pytest.approx([640.0 + 16.0]), "the half hour counts towards the least time"


def test_every_node_stores_two_checkpoints_and_all_share_the_data() -> None:
    job = training(data=DataSet(location="Frankfurt", size_gib=1000.0, result_gib=20.0))
    state_gib = 2 * 14 * 6.74e9 / 2**30
    gang = sizing(min_gpus=16, effort=SIZED.effort)  # two nodes for ten hours
    market = snapshot(offer(boot_s=0.0), offer(provider="aws", boot_s=0.0))
    view = PlanView(workload=job, snapshot=market)
    two = build(job, market, {"H100-SXM": gang}, Sieve(market.book))
    stored = POLICY.price(view, two)["storage"].tolist()
    assert stored == pytest.approx([usd * (1020.0 + 2 * state_gib) * 10.0 / 730.0 for usd in (0.10, 0.08)])


def test_an_adapter_and_a_service_store_the_weights_alone() -> None:
    weights_gib = 2 * 6.74e9 / 2**30
    assert node_gib(inference()) == pytest.approx(weights_gib)
    assert node_gib(fine_tune()) == pytest.approx(weights_gib)
    assert node_gib(fine_tune(method=Method.FULL)) == pytest.approx(14 * weights_gib)


def test_ones_own_disks_cost_nothing() -> None:
    assert prices(offer(billing=Billing.OWNED), offer(tier=Tier.HPC, provider="lab"))["storage"] == [0.0, 0.0]


def test_the_result_is_brought_back_to_the_data_or_where_it_is_wanted() -> None:
    rates = (
        EgressRate(provider="acme", scope="region", from_gib=0.0, usd_per_gib=0.02, source="test"),
        EgressRate(provider="acme", scope="internet", from_gib=0.0, usd_per_gib=0.1, source="test"),
        EgressRate(provider="zed", scope="internet", from_gib=0.0, usd_per_gib=0.05, source="test"),
    )
    offers = (offer(), offer(region="eu-central-1"), offer(provider="zed"))  # by key: acme eu, acme us, zed

    def delivery(**data: object) -> list[float]:
        job = training(data=DataSet(result_gib=100.0, **data))
        return prices(*offers, workload=job, network=network(egress=rates))["delivery"]

    assert delivery(location="acme/us-east-1") == pytest.approx([2.0, 0.0, 5.0])
    assert delivery(deliver_to="acme/eu-central-1") == pytest.approx([0.0, 2.0, 5.0])
    assert delivery(deliver_to="Frankfurt") == pytest.approx([10.0, 10.0, 5.0])
    assert delivery() == pytest.approx([10.0, 10.0, 5.0]), "to the user's own machine"


def test_data_in_a_zone_pays_on_the_way_to_every_other() -> None:
    rate = EgressRate(provider="acme", scope="zone", from_gib=0.0, usd_per_gib=0.02, source="test")
    offers = (offer(zone="a"), offer(zone="b"), offer(zone="", instance_type="x"))
    job = training(data=DataSet(location="acme/us-east-1/b", size_gib=100.0))
    assert prices(*offers, workload=job, network=network(egress=(rate,)))["egress"] == pytest.approx([2.0, 2.0, 0.0])
    whole = training(data=DataSet(location="acme/us-east-1", size_gib=100.0))
    assert prices(*offers, workload=whole, network=network(egress=(rate,)))["egress"] == [0.0, 0.0, 0.0]


def test_what_left_this_month_has_used_up_the_first_tiers() -> None:
    rates = (
        EgressRate(provider="acme", scope="internet", from_gib=0.0, usd_per_gib=0.0, source="test"),
        EgressRate(provider="acme", scope="internet", from_gib=100.0, usd_per_gib=0.1, source="test"),
    )
    job = training(
        data=DataSet(location="acme/us-east-1", size_gib=100.0),
        settings=(Setting("cost", "egress_gib_this_month", 60),),
    )
    market = {"network": network(egress=rates)}
    assert prices(offer(provider="zed"), offer(), workload=job, **market)["egress"] == pytest.approx([0.0, 6.0])


def test_a_result_with_an_unknown_price_is_said() -> None:
    job = training(data=DataSet(result_gib=50.0))
    view = PlanView(workload=job, snapshot=snapshot(offer(provider="zed")))
    candidates = candidates_of(view)
    assert POLICY.price(view, candidates)["delivery"].tolist() == pytest.approx([6.0])
    assert POLICY.notes(view, candidates) == [
        "price of data that brings the result unknown for 1 of the placements shown; assumed 0.12 USD/GiB"
    ]


def test_settings_come_from_the_configuration_and_the_job_on_top() -> None:
    free = create(PolicyContext(settings={"storage_usd_per_gib_month": 0}))
    assert prices(offer(), policy=free)["storage"] == [0.0]
    job = training(settings=(Setting("cost", "storage_usd_per_gib_month", 0.5),))
    assert prices(offer(), policy=free, workload=job)["storage"][0] > 0


@pytest.mark.parametrize("value", [-1, float("nan"), "much", True, None])
def test_a_setting_that_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="assumed_egress_usd_per_gib"):
        create(PolicyContext(settings={"assumed_egress_usd_per_gib": value}))


def test_a_misspelt_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'assumed_egress_usd_per_gib'"):
        create(PolicyContext(settings={"assumed_egres_usd_per_gib": 1.0}))
    with pytest.raises(UserError, match="did you mean 'assumed_egress_usd_per_gib'"):
        prices(offer(), workload=training(settings=(Setting("cost", "assumed_egres_usd_per_gib", 1.0),)))
