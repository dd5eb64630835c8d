"""Money: tiers are concave, terms never fall with hours or nodes where they must not, and commitments only help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.egress import billed
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Commitment, Holding
from orchestrator.domain.workload import Limits
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.policy_contract import candidates_of
from policies.commitment.policy import create as create_commitment
from policies.cost.policy import create as create_cost
from policies.spot.policy import create as create_spot

POLICIES: tuple[Policy, ...] = tuple(
    create(PolicyContext()) for create in (create_commitment, create_cost, create_spot)
)
PROVIDERS = ("acme", "lambda", "fluidstack")
prices = st.floats(0.01, 200.0)
offers = st.lists(
    st.builds(
        lambda provider, region, billing, usd, hazard, boot_s, least_s: offer(
            provider=provider,
            region=region,
            billing=billing,
            usd_per_hour=usd,
            interruption_rate=hazard if billing is Billing.SPOT else 0.0,
            boot_s=boot_s,
            min_billing_s=least_s,
        ),
        st.sampled_from(PROVIDERS),
        st.sampled_from(("us-east-1", "eu-central-1")),
        st.sampled_from((Billing.ON_DEMAND, Billing.SPOT, Billing.OWNED)),
        prices,
        st.none() | st.floats(0.0, 2.0),
        st.floats(0.0, 7200.0),
        st.sampled_from((0.0, 60.0, 3600.0, 1e6)),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda found: found.label,
)
commitments = st.lists(
    st.builds(
        lambda provider, region, nodes: Commitment(
            provider=provider, instance_type="h100.8x", region=region, nodes=nodes
        ),
        st.sampled_from(PROVIDERS),
        st.sampled_from(("", "us-east-1", "eu-central-1")),
        st.integers(1, 4),
    ),
    max_size=4,
).map(tuple)
holdings = st.lists(
    st.builds(
        lambda provider, region, nodes: Holding(
            run="r",
            provider=provider,
            region=region,
            zone="",
            instance_type="h100.8x",
            billing="on-demand",
            nodes=nodes,
            gpus=8.0 * nodes,
            usd_per_hour=1.0,
        ),
        st.sampled_from(PROVIDERS),
        st.sampled_from(("us-east-1", "eu-central-1")),
        st.integers(1, 3),
    ),
    max_size=3,
).map(tuple)
JOB = training(limits=Limits(deadline_s=40 * 86400.0))


def totals(
    market: Snapshot, candidates: Candidates, policies: tuple[Policy, ...] = POLICIES
) -> tuple[list[float], ...]:
    """(money, objective) of every candidate."""
    view = PlanView(workload=JOB, snapshot=market)
    money, objective = np.zeros(len(candidates)), np.zeros(len(candidates))
    for policy in policies:
        for name, usd in policy.price(view, candidates).items():
            objective += usd
            if name in getattr(policy, "bills", ()):
                money += usd
    return money.tolist(), objective.tolist()


def market_of(found: list[Offer], **standing: object) -> tuple[Snapshot, Candidates]:
    market = snapshot(*found, **standing)
    return market, candidates_of(PlanView(workload=JOB, snapshot=market))


tiers = st.lists(st.tuples(st.floats(0.1, 1e5), st.floats(0.0, 0.3)), max_size=5, unique_by=lambda tier: tier[0]).map(
    lambda found: [
        (start, usd)
        for start, usd in zip(
            [0.0, *sorted(start for start, _ in found)],
            sorted((0.3, *(usd for _, usd in found)), reverse=True),
            strict=True,
        )
    ]
)


@given(tiers, st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_more_data_never_costs_less_and_falling_tiers_never_more_than_in_parts(
    rates: list[tuple[float, float]], some: float, more: float
) -> None:
    whole, first, second = billed(rates, some + more), billed(rates, some), billed(rates, more)
    assert whole >= max(first, second) - 1e-6
    assert whole <= first + second + 1e-6


@given(offers, commitments, holdings)
def test_no_placement_costs_or_is_worth_less_than_nothing(
    found: list[Offer], committed: tuple[Commitment, ...], held: tuple[Holding, ...]
) -> None:
    money, objective = totals(*market_of(found, commitments=committed, holdings=held))
    assert min(money) >= -1e-6
    assert min(objective) >= -1e-6


@given(offers, commitments, holdings, st.integers(1, 3))
def test_more_that_is_committed_never_makes_anything_dearer(
    found: list[Offer], committed: tuple[Commitment, ...], held: tuple[Holding, ...], more: int
) -> None:
    market, candidates = market_of(found, commitments=committed, holdings=held)
    extra = Commitment(provider="acme", instance_type="h100.8x", nodes=more)
    before = totals(market, candidates)
    after = totals(replace(market, commitments=(*committed, extra)), candidates)
    for old, new in zip(before, after, strict=True):
        assert all(now <= then + 1e-6 for then, now in zip(old, new, strict=True))


@given(offers, commitments, holdings)
def test_longer_hours_never_cost_less_even_with_what_is_paid_already(
    found: list[Offer], committed: tuple[Commitment, ...], held: tuple[Holding, ...]
) -> None:
    market, candidates = market_of(found, commitments=committed, holdings=held)
    short, _ = totals(market, candidates.at(candidates.hours_p10))
    long, _ = totals(market, candidates.at(candidates.hours_p90))
    assert all(high >= low * (1 - 1e-9) - 1e-6 for low, high in zip(short, long, strict=True))


@settings(max_examples=30)
@given(offers, commitments)
def test_the_terms_of_a_plan_sum_to_its_objective(found: list[Offer], committed: tuple[Commitment, ...]) -> None:
    made = plan(JOB, snapshot(*found, commitments=committed), POLICIES)
    for placement in made.ranked:
        assert abs(sum(term.usd for term in placement.terms) - placement.objective_usd) < 1e-6
        assert placement.cost_usd.p10 <= placement.cost_usd.p50 + 1e-6 <= placement.cost_usd.p90 + 2e-6
