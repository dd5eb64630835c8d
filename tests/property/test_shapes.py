"""More nodes than the fewest: what is found is what looking at every count finds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Limits
from orchestrator.planning import shapes
from orchestrator.planning.plan import PlanOptions, plan_sized
from orchestrator.testing.builders import network, offer, sizing, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as create_budget
from policies.cost.policy import create as create_cost

FREE_DISKS = PolicyContext(settings={"storage_usd_per_gib_month": 0})  # a machine bought at once has one disk, not n
MONEY: tuple[Policy, ...] = (create_budget(PolicyContext()), create_cost(FREE_DISKS))


class Impatient:
    """An hour is worth `usd`; what takes more than `most_h` at the 90th percentile is refused."""

    name = "impatient"

    def __init__(self, usd: float, most_h: float) -> None:
        self._usd, self._most_h = usd, most_h

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        return frozenset({"time", "refusals"})

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        slow = candidates.hours_p90 > self._most_h
        return (Refusals(ReasonCode.POLICY, slow, "takes {figure:.1f} h", candidates.hours_p90),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        return {"time": self._usd * candidates.hours}


class Silent(Impatient):
    """The same, and does not say what more nodes may better."""

    rewards_speed = None  # type: ignore[assignment]


offers = st.builds(
    offer,
    instance_type=st.sampled_from(["s", "m", "l", "xl", "xxl"]),
    zone=st.sampled_from(["", "a", "b"]),
    accelerator=st.sampled_from(["H100-SXM", "A100-80GB"]),
    gpus=st.sampled_from([0.5, 1.0, 2.0, 8.0]),
    billing=st.sampled_from([Billing.ON_DEMAND, Billing.SPOT]),
    usd_per_hour=st.one_of(st.just(4.0), st.floats(0.5, 100.0)),
    available=st.sampled_from([1, 2, 3, 7, 40]),
    interruption_rate=st.sampled_from([0.0, 0.001, 0.05]),
    boot_s=st.sampled_from([0.0, 120.0, 3600.0]),
    min_billing_s=st.sampled_from([0.0, 86400.0]),
)
markets = st.lists(offers, min_size=1, max_size=14, unique_by=lambda o: o.label)
growths = st.sampled_from([0.0, 0.05, 0.3])


def sized(growth: float) -> dict[str, Sizing | Reason]:
    def work(hours: float) -> FiniteWork:
        return FiniteWork(gpu_hours=Band(0.8 * hours, hours, 1.5 * hours), energy_kwh=Band(1, 1, 1), growth=growth)

    return {
        "H100-SXM": sizing(effort=work(100.0)),
        "A100-80GB": sizing(accelerator="A100-80GB", min_gpus=2, memory_per_gpu_gib=60.0, effort=work(250.0)),
    }


def made(listed: Sequence[Offer], policies: Sequence[Policy], growth: float, limits: Limits, keep: int = 100) -> Plan:
    market = Snapshot(taken_at=EPOCH, book=OfferBook.of(listed), accelerators=(), network=network())
    return plan_sized(training(limits=limits), market, sized(growth), policies, PlanOptions(keep=keep))


def every_count(listed: Offer, impatient: Impatient, growth: float, limits: Limits) -> float | None:
    """The least objective over every count on sale, each priced as if no other could be had.

    A market of exactly n nodes with a deadline that only n meet takes n; instead the count is forced by an offer of
    n-fold nodes at the n-fold price, which is the same machine bought at once.
    """
    found = []
    for nodes in range(1, 1 + (listed.available or 0)):
        if listed.gpus < 1 and nodes > 1:
            continue  # fractions do not add up to a device here, so they are not to be multiplied
        bundle = replace(
            listed,
            gpus=listed.gpus * nodes,
            usd_per_hour=listed.usd_per_hour * nodes,
            interruption_rate=(listed.interruption_rate or 0.0) * nodes,
            available=1,
        )
        alone = made([bundle], (*MONEY, impatient), growth, limits).best
        if alone is not None:
            found.append(alone.objective_usd)
    return min(found, default=None)


@given(markets, growths, st.sampled_from([0.0, 1.0, 40.0, 2000.0]), st.sampled_from([1e9, 200.0, 40.0, 9.0]))
@settings(deadline=None, max_examples=60)
def test_the_best_is_that_of_looking_at_every_count(
    listed: list[Offer], growth: float, usd: float, most_h: float
) -> None:
    whole = [each for each in listed if each.gpus >= 1]
    policies = (*MONEY, Impatient(usd, most_h))
    best = made(whole, policies, growth, Limits()).best
    every = [every_count(each, Impatient(usd, most_h), growth, Limits()) for each in whole]
    known = [each for each in every if each is not None]
    if best is None:
        # A step of 1.4 may pass over the one count that would do only where more nodes are refused again.
        assert known == []
    else:
        assert min(known) - 1e-6 <= best.objective_usd <= min(known) * 1.005 + 1e-6


@given(markets, growths, st.sampled_from([1.0, 40.0, 2000.0]), st.sampled_from([1e9, 40.0]), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_the_best_few_of_a_search_that_stops_early_are_the_best_of_all(
    listed: list[Offer], growth: float, usd: float, most_h: float, keep: int
) -> None:
    policies = (*MONEY, Impatient(usd, most_h))
    every = made(listed, policies, growth, Limits(), keep=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "CHUNK", 1)  # so that a market of a few offers is not looked at whole
        few = made(listed, policies, growth, Limits(), keep=keep)
    assert [shown(each) for each in few.ranked] == [shown(each) for each in every.ranked[:keep]]
    assert few.feasible == every.feasible == len(every.ranked)
    assert few.feasible + sum(refusal.count for refusal in few.refusals) == few.considered == len(listed)
    assert all(0 < len(refusal.examples) <= refusal.count for refusal in few.refusals)


@given(markets, growths, st.sampled_from([0.0, 40.0, 2000.0]), st.sampled_from([1e9, 40.0]))
@settings(deadline=None, max_examples=60)
def test_a_policy_that_does_not_say_what_more_nodes_better_is_planned_with_all_the_same(
    listed: list[Offer], growth: float, usd: float, most_h: float
) -> None:
    said = made(listed, (*MONEY, Impatient(usd, most_h)), growth, Limits())
    silent = made(listed, (*MONEY, Silent(usd, most_h)), growth, Limits())
    assert [shown(each) for each in silent.ranked] == [shown(each) for each in said.ranked]


@given(markets, growths, st.sampled_from([1.0, 40.0, 2000.0]))
@settings(deadline=None, max_examples=60)
def test_more_counts_are_never_worse_than_the_fewest_nodes(listed: list[Offer], growth: float, usd: float) -> None:
    class Blind(Impatient):
        def rewards_speed(self, view: PlanView) -> frozenset[str]:
            return frozenset()

    fewest = {
        each.parts[0].offer.label: each for each in made(listed, (*MONEY, Blind(usd, 1e9)), growth, Limits()).ranked
    }
    more = made(listed, (*MONEY, Impatient(usd, 1e9)), growth, Limits())
    assert len(more.ranked) == len(fewest)
    for each in more.ranked:
        assert each.objective_usd <= fewest[each.parts[0].offer.label].objective_usd + 1e-6
        assert each.parts[0].nodes >= fewest[each.parts[0].offer.label].parts[0].nodes


@given(
    markets, growths, st.sampled_from([40.0, 2000.0]), st.sampled_from([1e9, 40.0]), st.randoms(use_true_random=False)
)
@settings(deadline=None, max_examples=60)
def test_the_order_of_offers_changes_no_count(
    listed: list[Offer], growth: float, usd: float, most_h: float, random: object
) -> None:
    policies = (*MONEY, Impatient(usd, most_h))
    first = made(listed, policies, growth, Limits(), keep=3)
    shuffled = OfferBook.of(listed).take(np.random.default_rng(len(listed)).permutation(len(listed)))
    market = Snapshot(taken_at=EPOCH, book=shuffled, accelerators=(), network=network())
    second = plan_sized(training(), market, sized(growth), policies, PlanOptions(keep=3))
    assert [shown(each) for each in second.ranked] == [shown(each) for each in first.ranked]


@given(markets, growths, st.sampled_from([40.0, 2000.0]), st.floats(200.0, 3000.0))
@settings(deadline=None, max_examples=60)
def test_no_count_that_is_chosen_breaks_a_limit_and_terms_add_up(
    listed: list[Offer], growth: float, usd: float, budget: float
) -> None:
    made_ = made(listed, (*MONEY, Impatient(usd, 60.0)), growth, Limits(budget_usd=budget))
    for each in made_.ranked:
        total = 0.0
        for term in each.terms:
            total += term.usd
        assert total == each.objective_usd
        assert each.cost_usd.p50 <= budget
        assert each.hours.p90 <= 60.0
        assert each.parts[0].nodes <= (each.parts[0].offer.available or 0)
        assert each.gpus >= each.sizing.min_gpus or each.parts[0].offer.gpus < 1


def shown(each: Placement) -> tuple[str, float]:
    return each.label, round(each.objective_usd, 6)


def test_what_time_is_worth_buys_more_nodes_and_nothing_does_not() -> None:
    market = [offer(gpus=1.0, usd_per_hour=2.0, available=400, boot_s=600.0)]
    slow = made(market, MONEY, 0.0, Limits()).best
    quick = made(market, (*MONEY, Impatient(100.0, 1e9)), 0.0, Limits()).best
    assert slow is not None
    assert quick is not None
    assert slow.parts[0].nodes == 1
    methods = [made(market, each, 0.0, Limits()).bound for each in (MONEY, (*MONEY, Impatient(100.0, 1e9)))]
    assert [bound.method.startswith("exhaustive") for bound in methods if bound is not None] == [True, False]
    # n·2·(1/6) + 100·100/n is least at n = sqrt(10000·3) = 173.
    assert quick.parts[0].nodes == pytest.approx(173, abs=8)


def test_refused_offers_that_more_nodes_save_are_no_longer_counted_as_refused() -> None:
    market = [offer(gpus=1.0, available=40, instance_type="many"), offer(gpus=1.0, available=2, instance_type="few")]
    plan = made(market, (*MONEY, Impatient(0.0, 20.0)), 0.0, Limits())
    assert plan.feasible == 1
    assert plan.best is not None
    assert plan.best.parts[0].nodes == 8  # 150 h at the 90th percentile on 8 nodes take 18.75 h and the boot
    (refusal,) = plan.refusals
    assert (refusal.by, refusal.count) == ("impatient", 1)
    assert "few" in refusal.examples[0].offer
