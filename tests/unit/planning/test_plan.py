"""Plans over small markets, by hand."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork, Service, Sizing
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.domain.workload import Limits, Setting, Workload
from orchestrator.planning.plan import PlanOptions, plan, plan_sized
from orchestrator.testing.builders import inference, network, offer, sizing, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as create_budget
from policies.cost.policy import create as create_cost
from policies.latency.policy import create as create_latency

FREE_DISKS = PolicyContext(settings={"storage_usd_per_gib_month": 0})  # round figures
POLICIES: tuple[Policy, ...] = (create_cost(FREE_DISKS), create_latency(PolicyContext()))
BUDGETED: tuple[Policy, ...] = (create_budget(PolicyContext()), *POLICIES)
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))
OPTIONS = PlanOptions()


def planned(
    market: Snapshot,
    workload: Workload | None = None,
    *,
    sized: Sizing | Reason = SIZED,
    options: PlanOptions = OPTIONS,
    policies: Sequence[Policy] = POLICIES,
) -> Plan:
    return plan_sized(workload or training(), market, {"H100-SXM": sized}, policies, options)


def refused(made: Plan) -> dict[str, str]:
    """The one refusal of each code with its detail."""
    return {refusal.code.value: refusal.examples[0].detail for refusal in made.refusals}


def only_refusal(limits: Limits, *offers: Offer, **options: object) -> str:
    made = planned(snapshot(*offers), training(limits=limits))
    assert made.ranked == ()
    (refusal,) = made.refusals
    assert refusal.by == "planning"
    return f"{refusal.code.value}: {refusal.examples[0].detail}"


def test_the_cheapest_by_the_job_wins_not_by_the_hour() -> None:
    slow = offer(instance_type="one", gpus=1.0, usd_per_hour=5.0)  # $800 for the job
    fast = offer(instance_type="eight", gpus=8.0, usd_per_hour=32.0)  # $640
    made = planned(snapshot(slow, fast))
    assert [placement.parts[0].offer.instance_type for placement in made.ranked] == ["eight", "one"]


def test_the_whole_of_plan_sizes_and_ranks() -> None:
    made = plan(training(), snapshot(), POLICIES)
    assert made.best is not None
    assert made.best.parts[0].offer == offer()
    assert made.policies == ("cost", "latency")


def test_money_and_hours_have_their_range() -> None:
    best = planned(snapshot(offer(boot_s=0.0))).ranked[0]
    assert best.hours == Band(10.0, 20.0, 30.0)
    assert best.cost_usd == Band(320.0, 640.0, 960.0)


def test_a_deadline_takes_as_many_nodes_as_it_needs() -> None:
    limits = Limits(deadline_s=6 * 3600.0)
    best = planned(snapshot(offer(boot_s=3600.0)), training(limits=limits)).ranked[0]
    assert best.parts[0].nodes == 4  # 20 node-hours in the 5 h after the boot
    assert best.hours.p50 == pytest.approx(6.0)


def test_the_earlier_of_two_deadlines_counts() -> None:
    limits = Limits(deadline_s=6 * 3600.0, finish_by=EPOCH + timedelta(hours=5))
    best = planned(snapshot(offer(boot_s=0.0)), training(limits=limits)).ranked[0]
    assert best.parts[0].nodes == 4


def test_too_few_nodes_for_the_deadline() -> None:
    detail = only_refusal(Limits(deadline_s=2 * 3600.0), offer(boot_s=0.0))
    assert detail == "too-few-nodes: needs 10 nodes to hold the state and finish within 2.0 h; 4 on sale"


def test_a_count_beyond_any_site_is_refused_even_where_the_stock_is_unknown() -> None:
    detail = only_refusal(Limits(deadline_s=0.001), offer(boot_s=0.0, available=None))
    assert "no site has more than 1,000,000" in detail


def test_a_boot_longer_than_the_deadline() -> None:
    detail = only_refusal(Limits(deadline_s=3600.0), offer(boot_s=7200.0))
    assert detail == "deadline: boots for 2.0 h; the deadline leaves 1.0 h"


def test_a_deadline_in_the_past_refuses_everything_by_it() -> None:
    limits = Limits(finish_by=EPOCH - timedelta(hours=3), providers=("nobody",))
    detail = only_refusal(limits, offer(), offer(provider="b", available=0))
    assert detail.startswith("deadline: the deadline was 3.0 h before the snapshot")


def test_a_state_larger_than_a_node_takes_several() -> None:
    big = sizing(min_gpus=20, effort=SIZED.effort)
    assert planned(snapshot(), sized=big).ranked[0].parts[0].nodes == 3
    assert "needs 9 nodes" in refused(planned(snapshot(), sized=sizing(min_gpus=70)))["too-few-nodes"]


def test_a_fraction_of_a_gpu_holds_a_fraction_of_the_memory() -> None:
    quarter = offer(gpus=0.25, instance_type="quarter")  # 18 GiB of 72: holds 14.6
    eighth = offer(gpus=0.125, instance_type="eighth")  # 9 GiB
    made = planned(snapshot(quarter, eighth))
    assert made.ranked[0].parts[0].offer == quarter
    assert made.ranked[0].hours.p50 == pytest.approx(640.0 + 120 / 3600)
    assert refused(made) == {"no-fit": "needs 14.6 GiB; 0.125 of a device holds 9.0 GiB"}


@pytest.mark.parametrize("gpus", [0.0, -1.0, float("nan")])
def test_an_offer_without_a_device_does_not_fit(gpus: float) -> None:
    assert "no-fit" in refused(planned(snapshot(offer(gpus=gpus))))


def service(replicas: int) -> Service:
    return Service(
        replicas=replicas,
        requests_per_s_per_replica=1.0,
        ttft_s=Band(0.1, 0.1, 0.1),
        tpot_s=Band(0.01, 0.01, 0.01),
        watts_per_replica=700.0,
    )


@pytest.mark.parametrize(("gpus", "replicas", "nodes"), [(8.0, 5, 3), (8.0, 1, 1), (3.0, 3, 3), (11.0, 6, 2)])
def test_a_service_packs_whole_replicas_onto_nodes(gpus: float, replicas: int, nodes: int) -> None:
    sized = sizing(min_gpus=3, effort=service(replicas))
    assert planned(snapshot(offer(gpus=gpus)), inference(), sized=sized).ranked[0].parts[0].nodes == nodes


def test_a_replica_does_not_span_nodes() -> None:
    made = planned(snapshot(), inference(), sized=sizing(min_gpus=16, effort=service(1)))
    assert refused(made) == {"no-fit": "a replica of 16 GPUs does not fit one node of 8"}


def test_a_fraction_serves_a_fraction_of_the_requests() -> None:
    made = planned(snapshot(offer(gpus=0.5)), inference(), sized=sizing(effort=service(2)))
    assert made.ranked[0].parts[0].nodes == 4


def test_a_service_knows_how_far_its_users_are() -> None:
    best = planned(snapshot(), inference(), sized=sizing(effort=service(1))).ranked[0]
    assert best.rtt_ms == pytest.approx(117.0, abs=1.0)
    assert best.rtt_origin == "great-circle estimate, 8 of 10 are 90 to 180 ms"
    assert planned(snapshot()).ranked[0].rtt_ms is None


LIMITS: dict[str, tuple[Limits, Offer, str]] = {
    "provider": (Limits(providers=("aws",)), offer(), "acme is not among the providers allowed: aws"),
    "accelerator": (Limits(accelerators=("A100",)), offer(), "H100-SXM is not among the accelerators allowed: A100"),
    "region": (Limits(regions=("eu-*",)), offer(), "us-east-1 is outside the regions allowed: eu-*"),
    "billing": (
        Limits(billing=(Billing.SPOT,)),
        offer(),
        "on-demand is not among the kinds of billing allowed: spot",
    ),
    "no-price": (Limits(), offer(usd_per_hour=float("nan")), "nan USD/h is no usable price (source: test)"),
    "sold-out": (Limits(), offer(available=0), "sold out: 0 nodes on sale"),
}


@pytest.mark.parametrize("code", LIMITS)
def test_a_limit_refuses_with_its_reason(code: str) -> None:
    limits, listed, detail = LIMITS[code]
    assert only_refusal(limits, listed) == f"{code}: {detail}"


@pytest.mark.parametrize(
    "limits",
    [
        Limits(providers=("ACME", "x")),
        Limits(accelerators=("h100",)),
        Limits(accelerators=("H100-SXM",)),
        Limits(accelerators=("h*",)),
        Limits(regions=("us-*",)),
        Limits(regions=("acme/us-east-1",)),
        Limits(regions=("acme/*",)),
        Limits(billing=(Billing.ON_DEMAND,)),
    ],
)
def test_a_limit_lets_through_what_it_allows(limits: Limits) -> None:
    assert planned(snapshot(), training(limits=limits)).feasible == 1


def test_a_reservation_is_used_only_if_asked_for() -> None:
    reserved = offer(billing=Billing.RESERVED)
    assert "billing" in refused(planned(snapshot(reserved)))
    allowed = training(limits=Limits(billing=(Billing.RESERVED,)))
    assert planned(snapshot(reserved), allowed).feasible == 1


def test_ones_own_machine_may_cost_nothing_and_nobody_elses() -> None:
    own = offer(billing=Billing.OWNED, usd_per_hour=0.0)
    assert planned(snapshot(own)).ranked[0].objective_usd == 0.0
    assert "no-price" in refused(planned(snapshot(offer(usd_per_hour=0.0))))
    assert "no-price" in refused(planned(snapshot(offer(billing=Billing.OWNED, usd_per_hour=-1.0))))


def test_a_boot_time_that_is_no_number_is_refused_before_it_reaches_a_policy() -> None:
    assert "boot time of nan s" in refused(planned(snapshot(offer(boot_s=float("nan")))))["no-price"]


def test_sizing_refuses_in_its_own_name_and_words() -> None:
    made = planned(snapshot(), sized=Reason("sizing", ReasonCode.NO_PRECISION, "no fp8 on it"))
    (refusal,) = made.refusals
    assert (refusal.by, refusal.code, refusal.examples[0].detail) == ("sizing", ReasonCode.NO_PRECISION, "no fp8 on it")


def test_examples_come_from_different_devices() -> None:
    offers = [offer(accelerator=name, instance_type=f"{name}{i}") for name in "ABC" for i in range(4)]
    (refusal,) = planned(snapshot(*offers)).refusals
    assert refusal.count == 12
    assert {example.detail[-3:] for example in refusal.examples} == {"'A'", "'B'", "'C'"}


def test_the_examples_of_a_policy_are_the_nearest_misses() -> None:
    offers = [offer(instance_type=f"t{i}", usd_per_hour=100.0 - i, boot_s=0.0) for i in range(9)]
    (refusal,) = planned(snapshot(*offers), training(limits=Limits(budget_usd=5.0)), policies=BUDGETED).refusals
    assert (refusal.by, refusal.code, refusal.count) == ("budget", ReasonCode.BUDGET, 9)
    assert [example.offer.split()[2] for example in refusal.examples] == ["t8", "t7", "t6"]


def test_an_empty_market_is_a_plan_without_placements() -> None:
    made = planned(Snapshot(taken_at=EPOCH, book=snapshot().book.take(np.zeros(0, np.int64)), accelerators=()))
    assert (made.ranked, made.feasible, made.considered, made.refusals, made.bound) == ((), 0, 0, (), None)
    assert "no offers" in made.notes[0]


def test_everything_counts_once() -> None:
    offers = [offer(instance_type=f"t{i}", available=i % 3, usd_per_hour=i % 5) for i in range(1, 60)]
    made = planned(snapshot(*offers), training(limits=Limits(deadline_s=36000.0, budget_usd=150.0)), policies=BUDGETED)
    assert made.feasible + sum(refusal.count for refusal in made.refusals) == made.considered == 59


def test_the_bound_is_the_optimum() -> None:
    made = planned(snapshot(offer(), offer(instance_type="b", usd_per_hour=9.0)))
    assert made.bound is not None
    assert made.bound.lower_usd == made.ranked[0].objective_usd
    assert made.bound.gap(made.ranked[0].objective_usd) == 0.0


def test_equal_prices_rank_by_risk_then_purchase_then_stock_then_name() -> None:
    safe = offer(instance_type="d")
    risky = offer(instance_type="a", interruption_rate=1e-12)
    listed = offer(provider="zed", instance_type="a")
    unknown = offer(instance_type="c", available=None)
    market = snapshot(safe, risky, listed, unknown, buyable=("acme",))
    order = [placement.parts[0].offer.instance_type for placement in planned(market).ranked]
    assert order == ["d", "c", "a", "a"]
    assert planned(market).ranked[2].parts[0].offer == listed


def test_spot_ranks_behind_on_demand_at_the_same_price() -> None:
    spot = offer(billing=Billing.SPOT, instance_type="a", interruption_rate=0.0)
    made = planned(snapshot(spot, offer(instance_type="b")))
    assert [placement.parts[0].offer.billing for placement in made.ranked] == [Billing.ON_DEMAND, Billing.SPOT]


def test_only_the_best_few_are_kept_and_all_are_counted() -> None:
    offers = [offer(instance_type=f"t{i:02}", usd_per_hour=1.0 + i // 10) for i in range(50)]
    made = planned(snapshot(*offers), options=PlanOptions(keep=3))
    assert made.feasible == 50
    assert [placement.parts[0].offer.instance_type for placement in made.ranked] == ["t00", "t01", "t02"]
    assert planned(snapshot(*offers), options=PlanOptions(keep=0)).ranked == ()


def test_a_list_price_can_win_and_says_so() -> None:
    market = snapshot(offer(), offer(provider="zed", usd_per_hour=1.0), buyable=("acme",))
    made = planned(market)
    assert not made.ranked[0].buyable
    assert "credentials for zed; the best that can be bought now is no. 2, 1x acme us-east-1" in " ".join(made.notes)


def test_only_what_can_be_bought_on_request() -> None:
    market = snapshot(offer(), offer(provider="zed", usd_per_hour=1.0), buyable=("acme",))
    made = planned(market, options=PlanOptions(buyable_only=True))
    assert made.ranked[0].buyable
    assert "zed" in refused(made)["not-buyable"]


def test_old_prices_are_pointed_out_not_refused() -> None:
    market = snapshot(offer(observed_at=EPOCH - timedelta(days=100)), offer(instance_type="new"))
    made = planned(market, options=PlanOptions(max_price_age_s=90 * 86400.0))
    assert made.feasible == 2
    assert "prices of 1 of 2 feasible offers are older than 90 days; the best placement's is 100 days old" in made.notes


def test_unknown_stock_is_pointed_out() -> None:
    assert "1 feasible offers of acme do not say how many" in planned(snapshot(offer(available=None))).notes[0]


def test_a_long_job_without_a_deadline_is_pointed_out() -> None:
    long = sizing(effort=FiniteWork(gpu_hours=Band(1e5, 1e5, 1e5), energy_kwh=Band(1.0, 1.0, 1.0)))
    assert any("limits.deadline" in note for note in planned(snapshot(), sized=long).notes)


@pytest.mark.parametrize(("fabric", "said"), [("", True), ("ethernet", True), ("infiniband", False)])
def test_training_on_several_nodes_over_a_slow_network_is_pointed_out(fabric: str, said: bool) -> None:
    tight = Limits(deadline_s=30 * 3600.0)
    market = snapshot(offer(gpus=1.0, fabric=fabric, available=9))
    assert any("with a fast fabric" in note for note in planned(market, training(limits=tight)).notes) is said
    assert not any("with a fast fabric" in note for note in planned(market).notes)  # one node: nothing to exchange


@pytest.mark.parametrize(
    "limits", [Limits(providers=("acem",)), Limits(regions=("us-esat-1",)), Limits(accelerators=("H100-SXN",))]
)
def test_a_limit_that_matches_nothing_suggests_the_nearest(limits: Limits) -> None:
    assert "did you mean" in planned(snapshot(), training(limits=limits)).notes[0]


def test_gaps_and_the_moment_are_the_snapshots() -> None:
    market = snapshot(gaps=(Gap("zed", "no credentials"),))
    made = planned(market)
    assert (made.gaps, made.made_at, made.snapshot_id) == (market.gaps, market.taken_at, market.id)


def test_the_same_question_has_the_same_answer() -> None:
    market = snapshot(*(offer(instance_type=f"t{i}", usd_per_hour=1.0 + i % 7) for i in range(40)), network=network())
    assert repr(planned(market)) == repr(planned(market))


def test_a_setting_of_an_unknown_policy_is_refused() -> None:
    job = training(settings=(Setting("latancy", "usd_per_ms", 1.0),))
    with pytest.raises(UserError, match="did you mean 'latency'"):
        planned(snapshot(), job)
