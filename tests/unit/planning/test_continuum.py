from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf

import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.workload import LatencyTarget, Limits, Population
from orchestrator.planning.autoscale.queueing import Promise
from orchestrator.planning.continuum.capacity import Curve
from orchestrator.planning.continuum.generate import CHAT, DEVICES, ONE, Case, generate, mix_of, replica_of
from orchestrator.planning.continuum.losses import losses
from orchestrator.planning.continuum.market import Ask
from orchestrator.planning.continuum.plan import choose, plan_continuum, unserved
from orchestrator.planning.continuum.problem import options, slices_of
from orchestrator.planning.continuum.solve import solve
from orchestrator.testing import builders
from policies.cost.policy import create as cost_policy
from policies.latency.policy import create as latency_policy

POLICIES = (cost_policy(PolicyContext()), latency_policy(PolicyContext()))


class Budget:
    name = "budget"
    enforces = frozenset({"budget_usd"})

    def refuse(self, view: object, candidates: object) -> tuple[()]:
        return ()

    def price(self, view: object, candidates: object) -> dict[str, object]:
        return {}


BUDGET = Budget()


def service(**overrides: object) -> object:
    users = (Population("acme/us-east-1", 20.0), Population("Frankfurt", 20.0))
    limits = Limits(latency=LatencyTarget(first_token_s=0.4))
    return replace(builders.inference(users=users, limits=limits), **overrides)


def market(**overrides: object) -> object:
    one = {"gpus": 1.0, "instance_type": "h100.1x", "usd_per_hour": 4.0, "available": 50}
    here = builders.offer(region="us-east-1", **{**one, **overrides})
    there = builders.offer(region="eu-central-1", **{**one, **overrides})
    return builders.snapshot(here, there)


def test_the_terms_add_up_to_the_objective_and_every_user_is_served() -> None:
    plan = plan_continuum(service(), market(), POLICIES)
    assert sum(term.usd for term in plan.terms) == pytest.approx(plan.objective_usd)
    for name in ("acme/us-east-1", "Frankfurt"):
        assert sum(route.share for route in plan.routes if route.population == name) == pytest.approx(1.0)
    assert plan.bound is not None
    assert plan.bound.lower_usd <= plan.objective_usd * (1 + 1e-9)


def test_a_tight_limit_serves_everybody_nearby_and_a_loose_one_pools() -> None:
    near = plan_continuum(service(limits=Limits(latency=LatencyTarget(first_token_s=0.22))), market(), POLICIES)
    assert near.sites == ("acme/eu-central-1", "acme/us-east-1")
    assert all(route.rtt_ms < 10 for route in near.routes)
    loose = plan_continuum(service(limits=Limits(latency=LatencyTarget(first_token_s=2.0))), market(), POLICIES)
    assert len(loose.sites) == 1
    assert loose.objective_usd <= near.objective_usd


def test_every_route_keeps_its_limit() -> None:
    plan = plan_continuum(service(), market(), POLICIES)
    assert all(route.first_token_s <= route.limit_s * 1.001 for route in plan.routes)


def test_a_millisecond_that_is_worth_much_brings_the_service_near() -> None:
    priced = (POLICIES[0], latency_policy(PolicyContext(settings={"usd_per_ms": 1000.0})))
    plan = plan_continuum(service(limits=Limits(latency=LatencyTarget(first_token_s=2.0))), market(), priced)
    assert len(plan.sites) == 2
    assert any(term.name == "latency" for term in plan.terms)


def test_who_cannot_be_served_is_named_with_the_nearest_miss() -> None:
    plan = plan_continuum(service(limits=Limits(latency=LatencyTarget(first_token_s=0.06))), market(), POLICIES)
    assert plan.pools == ()
    assert len(plan.unserved) == 2
    assert "Frankfurt: the nearest miss is H100-SXM in acme/eu-central-1" in " ".join(plan.unserved)


def test_a_market_without_nodes_serves_nobody_and_says_so() -> None:
    plan = plan_continuum(service(), market(available=0), POLICIES)
    assert plan.pools == ()
    assert plan.unserved[0].endswith("no offer in a place that is known passes every limit")
    assert sum(refusal.count for refusal in plan.refusals) == 2


def test_too_few_nodes_are_counted() -> None:
    plan = plan_continuum(service(users=(Population("Frankfurt", 500.0),)), market(available=1), POLICIES)
    assert plan.pools == ()
    assert "of 500 requests/s" in plan.unserved[0]


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ((Population("Frankfrt", 1.0),), "is unknown; did you mean Frankfurt"),
        ((Population("Frankfurt", 0.0),), "nobody sends requests"),
    ],
)
def test_users_who_are_nowhere_or_silent_are_refused(users: tuple[Population, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_continuum(service(users=users), market(), POLICIES)


def test_a_budget_below_the_cheapest_plan_leaves_none() -> None:
    cheapest = plan_continuum(service(), market(), POLICIES)
    limits = Limits(latency=LatencyTarget(first_token_s=0.4), budget_usd=cheapest.cost_usd * 0.9)
    plan = plan_continuum(service(limits=limits), market(), (*POLICIES, BUDGET))
    assert plan.pools == ()


def test_spare_nodes_keep_every_limit_when_a_site_is_lost() -> None:
    loose = Limits(latency=LatencyTarget(first_token_s=1.0))
    plain = plan_continuum(service(limits=loose), market(), POLICIES)
    assert not all(loss.harmless for loss in plain.losses)
    safe = plan_continuum(service(limits=loose), market(), POLICIES, Ask(survive=True))
    assert len(safe.sites) == 2
    assert all(loss.harmless for loss in safe.losses)
    assert any(loss.moved for loss in safe.losses)
    assert safe.objective_usd > plain.objective_usd


def test_what_is_lost_with_a_site_is_accounted_for_wholly() -> None:
    problem = generate(Case(6, 3, 4, 40.0), 3)
    pools = options(problem)
    solution = solve(problem, pools).solution
    assert solution is not None
    for loss in losses(problem, pools, solution):
        site = [one.label for one in problem.sites].index(loss.site)
        away = sum(
            share
            for (_, index, _who), share in solution.flow.items()
            if problem.columns[pools[index].column].site == site
        )
        assert sum(one.share for one in loss.moved) == pytest.approx(away, abs=1e-4)


def test_the_slices_of_a_spiky_load_have_its_mean_and_its_peak() -> None:
    for peak in (1.5, 2.0, 4.0):
        base, rest = slices_of(peak)
        assert base.share + rest.share == pytest.approx(1.0)
        assert base.share == pytest.approx(1.0 / peak)
        # The triangle of k = 2 by hand: above the mean for half of the time, a quarter of it on the average.
        if peak == 2.0:
            assert (rest.duty, rest.extra) == (pytest.approx(0.25), pytest.approx(0.25))


def test_a_spiky_load_costs_less_than_its_peak_all_the_time() -> None:
    spiky = plan_continuum(service(peak_over_mean=3.0), market(), POLICIES)
    constant = plan_continuum(
        service(users=(Population("acme/us-east-1", 60.0), Population("Frankfurt", 60.0))), market(), POLICIES
    )
    assert {pool.layer for pool in spiky.pools} == {"base", "peak"}
    assert spiky.objective_usd < constant.objective_usd


def test_the_money_is_that_of_the_pools_and_within_the_terms() -> None:
    plan = plan_continuum(service(peak_over_mean=4.0), market(), POLICIES[:1])
    assert any(pool.duty < 1.0 for pool in plan.pools)
    assert plan.cost_usd == pytest.approx(sum(pool.cost_usd for pool in plan.pools))
    assert plan.cost_usd == pytest.approx(plan.objective_usd)


def test_a_budget_counts_the_first_node_of_a_peak_longer_than_the_last() -> None:
    asked = service(peak_over_mean=4.0)
    least = plan_continuum(asked, market(), POLICIES[:1]).cost_usd
    for share, feasible in ((1.0001, True), (0.97, False)):
        limits = replace(asked.limits, budget_usd=least * share)
        assert bool(plan_continuum(replace(asked, limits=limits), market(), (POLICIES[0], BUDGET)).pools) == feasible


def test_lines_lie_on_or_above_the_curve() -> None:
    mix = mix_of(ONE.buckets, ONE.scv)
    for device in DEVICES[:4]:
        curve = Curve(replica_of(device, mix), mix, Promise(0.8, 0.99), 1)
        for segment in curve.segments(70):
            for nodes in range(segment.low, min(segment.high, 70) + 1):
                assert segment.rate(nodes) >= curve.rate(nodes) * (1 - 1e-6)


def test_the_optimum_of_a_tiny_case_is_found_and_bounded() -> None:
    """Every whole assignment of populations to pools, by hand; splitting can only be cheaper."""
    for seed in range(6):
        problem = generate(Case(3, 2, 3, 12.0), seed)
        pools = options(problem)
        found = solve(problem, pools)
        choices = [[i for i, option in enumerate(pools) if who in option.allowed] for who in range(3)]
        least = inf
        for picked in product(*choices):
            loads: dict[int, float] = {}
            for who, index in enumerate(picked):
                loads[index] = loads.get(index, 0.0) + problem.rates[who]
            needs = {index: pools[index].curve.need(load, pools[index].most + 5) for index, load in loads.items()}
            held: dict[int, int] = {}
            for index, count in needs.items():
                held[pools[index].column] = held.get(pools[index].column, 0) + (count or 10**9)
            if any(count > problem.columns[column].stock for column, count in held.items()):
                continue
            least = min(least, sum(pools[index].usd * (count or 0) for index, count in needs.items()))
        assert found.bound <= least * (1 + 1e-9)
        if found.solution is not None:
            assert found.solution.usd <= least * (1 + 1e-3)


def test_no_single_kind_and_no_single_site_is_cheaper() -> None:
    problem = generate(Case(6, 4, 4, 40.0, CHAT), 5)
    chosen = choose(problem, options(problem))
    assert chosen.found.solution is not None
    for one in chosen.alternatives:
        assert one.usd is None or chosen.found.solution.usd <= one.usd * (1 + 1e-9)


def test_the_order_of_columns_does_not_change_the_cost() -> None:
    problem = generate(Case(5, 3, 3, 30.0), 2)
    turned = problem._replace(columns=problem.columns[::-1])
    first, second = (solve(one, options(one)) for one in (problem, turned))
    assert first.solution is not None
    assert second.solution is not None
    assert first.solution.usd == pytest.approx(second.solution.usd, rel=2e-3)


def test_nobody_is_out_of_reach_of_a_generated_case() -> None:
    problem = generate(Case(6, 3, 4, 40.0), 1)
    assert unserved(problem, options(problem)) == ()
    assert len(unserved(problem._replace(columns=()), ())) == 4
