"""From a job and a market to its decision table on spot: which regions, which figures, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import Unplaced, UserError
from orchestrator.domain.network import EgressRate
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, Limits, Program, Training
from orchestrator.planning.spot.of_plan import MOST_REGIONS, SpotPlan, spot_plan
from orchestrator.testing.builders import fine_tune, inference, network, offer, snapshot, training
from policies.cost.policy import create as cost
from policies.spot.policy import create as spot

POLICIES: tuple[Policy, ...] = (cost(PolicyContext()), spot(PolicyContext()))
RATE = EgressRate(provider="acme", scope="region", from_gib=0.0, usd_per_gib=0.02, source="test")
DAY_S = 86400.0


def both(region: str, usd: float = 10.0, **changed: object) -> tuple[Offer, Offer]:
    """The same machine on spot and, at three times the price, on demand."""
    sold = offer(region=region, billing=Billing.SPOT, usd_per_hour=usd, interruption_rate=0.05, **changed)
    return sold, replace(sold, billing=Billing.ON_DEMAND, usd_per_hour=3.0 * usd, interruption_rate=0.0)


def market(*offers: Offer) -> Snapshot:
    return snapshot(*offers, network=network(egress=(RATE,)))


def job(**limits: object) -> Training:
    return training(limits=Limits(**{"deadline_s": 3.0 * DAY_S, **limits}))  # type: ignore[arg-type]


def planned(*offers: Offer, **limits: object) -> SpotPlan:
    return spot_plan(job(**limits), market(*offers), POLICIES)


def test_the_regions_that_sell_both_are_there_cheapest_first_with_the_prices_of_all_nodes() -> None:
    plan = planned(*both("eu-central-1", 11.0), *both("us-east-1"))
    assert [region.offer.region for region in plan.regions] == ["us-east-1", "eu-central-1"]
    assert plan.regions[0].spot_usd_per_hour == 10.0 * plan.nodes
    assert plan.regions[0].on_demand_usd_per_hour == 30.0 * plan.nodes


def test_the_expected_cost_lies_in_its_band_and_below_on_demand_only() -> None:
    cost = planned(*both("us-east-1"), *both("eu-central-1", 11.0)).expected
    assert 0.0 < cost.low_usd < cost.usd < cost.high_usd < cost.on_demand_usd
    assert cost.spot_h > cost.on_demand_h


def test_a_move_is_billed_as_the_egress_of_a_checkpoint_by_where_it_leaves() -> None:
    dear = replace(RATE, region="eu-central-1", usd_per_gib=0.05)
    sold = snapshot(*both("us-east-1"), *both("eu-central-1", 11.0), network=network(egress=(RATE, dear)))
    plan = spot_plan(job(), sold, POLICIES)
    assert plan.checkpoint_gib > 10.0
    assert plan.egress_usd[0] == pytest.approx((0.0, 0.02 * plan.checkpoint_gib))
    assert plan.egress_usd[1] == pytest.approx((0.05 * plan.checkpoint_gib, 0.0))


def test_time_for_the_work_but_for_no_change_over_is_refused() -> None:
    work_s = planned(*both("us-east-1")).work * 3600.0
    saves = Program(command=("true",), checkpoint=Checkpointing(interval_s=1e9))
    tight = replace(job(deadline_s=2.2 * work_s), program=saves)
    with pytest.raises(Unplaced, match="do not fit into"):
        spot_plan(tight, market(*both("us-east-1")), POLICIES)


def test_a_change_over_is_the_slower_boot_half_an_interval_and_the_reading() -> None:
    sold, twin = both("us-east-1", boot_s=300.0)
    (region,) = planned(sold, replace(twin, boot_s=600.0)).regions
    plan = planned(sold, twin)
    assert plan.regions[0].change_over_h == pytest.approx((300.0 + 450.0 + plan.checkpoint_gib) / 3600.0)
    assert region.change_over_h == pytest.approx((600.0 + 450.0 + plan.checkpoint_gib) / 3600.0)


def test_a_region_without_on_demand_is_left_out_and_said() -> None:
    plan = planned(*both("us-east-1"), both("eu-central-1", 5.0)[0])
    assert [region.offer.region for region in plan.regions] == ["us-east-1"]
    assert any("on spot only" in note for note in plan.notes)


def test_regions_of_unknown_egress_are_left_out_and_said() -> None:
    offers = (*both("us-east-1"), *both("eu-central-1", 11.0))
    plan = spot_plan(job(), snapshot(*offers, network=network(egress=())), POLICIES)
    assert len(plan.regions) == 1
    assert any("unknown egress" in note for note in plan.notes)


def test_at_most_the_cheapest_few_regions_count() -> None:
    offers = [one for number in range(8) for one in both(f"us-east-{number + 1}", 10.0 + number)]
    plan = planned(*reversed(offers))
    assert [region.offer.region for region in plan.regions] == [f"us-east-{n + 1}" for n in range(MOST_REGIONS)]


def test_what_is_sold_out_unpriced_or_of_another_shape_on_demand_is_no_fall_back() -> None:
    sold, twin = both("us-east-1")
    for other in (
        replace(twin, available=0),
        replace(twin, usd_per_hour=float("nan")),
        replace(twin, instance_type="h100.1x", gpus=1.0),
        replace(twin, region="eu-central-1"),
    ):
        with pytest.raises(Unplaced, match="both on spot and on demand"):
            planned(sold, other)


def test_the_table_waits_longer_the_more_time_there_is_to_spare() -> None:
    plan = planned(*both("us-east-1"), *both("eu-central-1", 11.0))
    assert plan.spare_h == tuple(sorted(plan.spare_h, reverse=True))
    assert len(plan.with_capacity) == len(plan.without) == len(plan.work_h)
    for row in plan.without:
        assert "spot" not in row
        assert "late" not in row
        assert list(row) == sorted(row, reverse=True)  # wait, then on-demand
    assert any("spot" in row for row in plan.with_capacity)


def test_the_order_of_offers_does_not_matter() -> None:
    offers = (*both("us-east-1"), *both("eu-central-1", 11.0))
    assert planned(*offers) == planned(*reversed(offers))


def test_spot_dearer_than_on_demand_saves_nothing_and_is_said() -> None:
    sold, twin = both("us-east-1")
    plan = planned(sold, replace(twin, usd_per_hour=9.0))
    assert plan.expected.usd == pytest.approx(plan.expected.on_demand_usd)
    assert any("nothing to save" in note for note in plan.notes)


def test_a_very_late_deadline_counts_as_nearer_and_is_said() -> None:
    plan = planned(*both("us-east-1"), deadline_s=3000.0 * DAY_S)
    assert plan.left == pytest.approx(72_000.0)
    assert plan.slot < 4.0
    assert any("the deadline counts as" in note for note in plan.notes)


def test_a_budget_below_the_band_is_pointed_out() -> None:
    free = planned(*both("us-east-1"))
    tight = spot_plan(job(budget_usd=free.expected.usd), market(*both("us-east-1")), (*POLICIES, _Budget()))
    assert any("above the job's budget" in note for note in tight.notes)


class _Budget:
    """Stands for the budget and refuses nothing."""

    name = "budget"
    enforces = frozenset({"budget_usd"})

    def refuse(self, view: PlanView, candidates: Candidates) -> tuple[Refusals, ...]:
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        return {}


def test_several_nodes_count_as_one_machine_and_that_is_said() -> None:
    assert not any("as one machine" in note for note in planned(*both("us-east-1")).notes)
    many = planned(*both("us-east-1"), deadline_s=5.5 * 3600.0)
    assert many.nodes > 1
    assert any("as one machine" in note for note in many.notes)


def test_a_job_without_a_deadline_is_told_to_set_one() -> None:
    with pytest.raises(UserError, match=r"needs a deadline; 'train' has none: set limits\.deadline"):
        spot_plan(training(), market(*both("us-east-1")), POLICIES)


def test_a_service_is_refused() -> None:
    with pytest.raises(UserError, match="'serve' is a service"):
        spot_plan(inference(), market(*both("us-east-1")), POLICIES)


@pytest.mark.parametrize("only", [Billing.SPOT, Billing.ON_DEMAND])
def test_limits_that_rule_out_either_billing_are_refused(only: Billing) -> None:
    with pytest.raises(UserError, match=r"limits\.billing rules"):
        planned(*both("us-east-1"), billing=(only,))


def test_a_market_without_spot_is_said_plainly() -> None:
    with pytest.raises(Unplaced, match="no spot offer is feasible"):
        planned(both("us-east-1")[1])


def test_an_adapter_is_a_smaller_checkpoint_than_the_model() -> None:
    small = fine_tune(limits=Limits(deadline_s=DAY_S))
    one = spot_plan(small, market(*both("us-east-1")), POLICIES)
    assert 0.0 < one.checkpoint_gib < 5.0
