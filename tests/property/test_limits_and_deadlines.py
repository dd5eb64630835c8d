"""What holds of probabilities, purses, residency and conflicts, whatever the figures."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.deadline import Spread, expected_lateness_h, probability
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.workload import DataSet, Limits, Workload
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import offer, snapshot, training
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline
from policies.residency.policy import create as residency

POLICIES: tuple[Policy, ...] = tuple(create(PolicyContext()) for create in (budget, cost, deadline, residency))

hours = st.floats(1e-3, 1e5)
factors = st.floats(1.0, 50.0)
spreads = st.builds(
    lambda p50, low, high: Spread(np.array([p50 / low]), np.array([p50]), np.array([p50 * high])),
    hours,
    factors,
    factors,
)


@given(spreads, st.lists(st.floats(-10.0, 1e6), min_size=2, max_size=20))
def test_more_time_is_never_less_likely_and_never_later(spread: Spread, lefts: list[float]) -> None:
    ordered = sorted(lefts)
    likely = [float(probability(spread, left)[0]) for left in ordered]
    late = [float(expected_lateness_h(spread, left)[0]) for left in ordered]
    assert all(0.0 <= p <= 1.0 for p in likely)
    assert all(low <= high for low, high in itertools.pairwise(likely))
    assert all(high >= low - 1e-9 * max(1.0, high) for high, low in itertools.pairwise(late))
    # An hour less of time is at most an hour more of lateness.
    for (early, more), (later, less) in itertools.pairwise(zip(ordered, late, strict=True)):
        assert more - less <= (later - early) * (1 + 1e-9) + 1e-7 * max(1.0, more)


@given(spreads)
def test_the_percentiles_of_the_range_are_met(spread: Spread) -> None:
    for column, share in zip(spread, (0.1, 0.5, 0.9), strict=True):
        if share == 0.5 or abs(column[0] / spread.p50[0] - 1.0) > 1e-6:
            likely = float(probability(spread, column)[0])
            assert likely == pytest.approx(share, abs=1e-6) or (share == 0.5 and likely == 1.0)


@given(spreads, st.floats(1.0, 1e4), factors)
def test_hours_that_are_longer_are_never_likelier_in_time(spread: Spread, left: float, factor: float) -> None:
    longer = Spread(*(column * factor for column in spread))
    assert probability(longer, left)[0] <= probability(spread, left)[0] + 1e-12
    assert expected_lateness_h(longer, left)[0] >= expected_lateness_h(spread, left)[0] * (1 - 1e-9) - 1e-9


amounts = st.floats(0.0, 1e6)


@given(amounts, amounts, amounts, amounts)
def test_an_approval_covers_what_it_asks_for(above: float, approved: float, expected: float, most: float) -> None:
    rule = ApprovalRule("cfo", above)
    asked = rule.needed(expected, most, approved_usd=approved)
    assert (asked is None) == (expected <= max(above, approved) + 1e-6)
    if asked is not None:
        assert asked.usd >= expected
        assert rule.needed(expected, most, approved_usd=asked.usd) is None


offers = st.builds(
    offer,
    provider=st.sampled_from(["acme", "zed"]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "mars-1"]),
    instance_type=st.sampled_from(["s", "m"]),
    billing=st.sampled_from([Billing.ON_DEMAND, Billing.SPOT]),
    usd_per_hour=st.floats(1.0, 200.0),
    available=st.sampled_from([0, 1, 4, None]),
)
LIMITS: dict[str, st.SearchStrategy[object]] = {
    "budget_usd": st.sampled_from([None, 50.0, 500.0]),
    "deadline_s": st.sampled_from([None, 600.0, 20000.0]),
    "regions": st.sampled_from([(), ("us-*",), ("mars-1",)]),
    "residency": st.sampled_from([(), ("EU",), ("US",)]),
    "providers": st.sampled_from([(), ("acme",), ("nobody",)]),
    "billing": st.sampled_from([(), (Billing.SPOT,)]),
}
workloads = st.builds(
    lambda limits, stays: training(limits=limits, data=DataSet(location="Frankfurt", stays=stays)),
    st.builds(Limits, **LIMITS),
    st.booleans(),
)
NAMES = {
    "a budget": {"budget_usd": None},
    "a deadline": {"deadline_s": None},
    "residency in": {"residency": ()},
    "the regions": {"regions": ()},
    "the providers": {"providers": ()},
    "billing ": {"billing": ()},
}


def without(workload: Workload, name: str) -> Workload:
    if name == "data that stays":
        return replace(workload, data=replace(workload.data, stays=False))
    return replace(workload, limits=replace(workload.limits, **NAMES[name]))


def kept(workload: Workload, names: set[str]) -> Workload:
    """The job with the limits named alone."""
    for name in {*NAMES, "data that stays"} - names:
        workload = without(workload, name)
    return workload


@given(st.lists(offers, min_size=1, max_size=6, unique_by=lambda each: each.label), workloads)
@settings(deadline=None, max_examples=120)
def test_the_limits_of_a_conflict_refuse_everything_together_and_not_without_one(
    listed: list[Offer], workload: Workload
) -> None:
    market = snapshot(*listed)
    made = plan(workload, market, POLICIES)
    assert bool(made.conflicts) == (made.feasible == 0)
    for sentence in made.conflicts:
        if sentence.startswith("without any"):
            assert plan(kept(workload, set()), market, POLICIES).feasible == 0
            continue
        head = sentence.partition(" cannot be kept")[0].partition(" alone rules")[0]
        core = {name for name in (*NAMES, "data that stays") if name in head}
        assert core
        assert plan(kept(workload, core), market, POLICIES).feasible == 0
        for name in core:
            assert plan(kept(workload, core - {name}), market, POLICIES).feasible > 0, (sentence, name)
