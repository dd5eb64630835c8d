"""Properties of the policies about carbon, power, reliability, spread and interconnect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import footprint
from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.sizing import Band, FiniteWork, Sizing
from orchestrator.domain.standing import Holding, ProviderScore
from orchestrator.planning.candidates import build
from orchestrator.planning.shapes import counted
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import offer, place, sizing, snapshot, training
from policies.carbon.policy import create as carbon
from policies.interconnect.policy import create as interconnect
from policies.power.policy import create as power
from policies.reliability.policy import create as reliability
from policies.spread.policy import create as spread

PROVIDERS = ("a", "b", "c")
ACTIVE: tuple[Policy, ...] = (
    carbon(PolicyContext(settings={"usd_per_tonne": 80.0})),
    power(PolicyContext(settings={"usd_per_kwh": 0.3})),
    reliability(PolicyContext()),
    spread(PolicyContext(settings={"usd_per_share": 50.0, "usd_per_zone_share": 5.0})),
    interconnect(PolicyContext()),
)

amounts = st.floats(0.01, 1e4)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    return offer(
        provider=draw(st.sampled_from(PROVIDERS)),
        region=draw(st.sampled_from(("r", "s", "nowhere"))),
        zone=draw(st.sampled_from(("", "1"))),
        instance_type=f"t{draw(st.integers(0, 10**9))}",
        gpus=draw(st.sampled_from((0.5, 1.0, 4.0, 8.0))),
        billing=draw(st.sampled_from(list(Billing))),
        usd_per_hour=draw(amounts),
        available=None,
        tier=draw(st.sampled_from(list(Tier))),
        fabric=draw(st.sampled_from(("", "ethernet", "efa", "infiniband"))),
        boot_s=draw(st.floats(0.0, 7200.0)),
        max_lease_s=draw(st.sampled_from((None, None, None, 7200.0, 86400.0))),
    )


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    return Holding(
        run="r",
        provider=draw(st.sampled_from(PROVIDERS)),
        region=draw(st.sampled_from(("r", "s"))),
        zone="",
        instance_type="x",
        billing="on-demand",
        nodes=1,
        gpus=draw(amounts),
        usd_per_hour=draw(amounts),
    )


@st.composite
def works(draw: st.DrawFn) -> Sizing:
    hours = draw(st.floats(1.0, 1e5))
    effort = FiniteWork(
        gpu_hours=Band(0.8 * hours, hours, 1.3 * hours),
        energy_kwh=Band(0.0, draw(st.sampled_from((0.0, 0.7))) * hours, 0.0),
        growth=draw(st.sampled_from((0.0, 0.06))),
    )
    return sizing(effort=effort, min_gpus=draw(st.sampled_from((1, 1, 2, 16))), memory_per_gpu_gib=14.6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[PlanView, Candidates]:
    scores = tuple(
        ProviderScore(
            provider=name, failures_per_node_hour=draw(st.floats(0.0, 10.0)), refused=draw(st.floats(0.0, 1.0))
        )
        for name in draw(st.sets(st.sampled_from(PROVIDERS)))
    )
    market = snapshot(
        *draw(st.lists(offers(), min_size=1, max_size=6, unique_by=lambda one: one.label)),
        network=Network(places=(place(key="a/r", g_co2_per_kwh=30.0, pue=1.1), place(key="b/s", g_co2_per_kwh=700.0))),
        holdings=tuple(draw(st.lists(holdings(), max_size=3))),
        scores=scores,
    )
    job = training(tokens=draw(st.sampled_from((1e9, 2e12))))
    return PlanView(workload=job, snapshot=market), build(job, market, {"H100-SXM": draw(works())}, Sieve(market.book))


def priced(policy: Policy, view: PlanView, candidates: Candidates) -> FloatArray:
    return sum(policy.price(view, candidates).values(), np.zeros(len(candidates), np.float64))


@pytest.mark.parametrize("policy", ACTIVE, ids=lambda policy: policy.name)
@given(cases(), st.integers(1, 8), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_no_term_falls_with_more_nodes_or_is_below_nothing(
    policy: Policy, case: tuple[PlanView, Candidates], times: int, more: int
) -> None:
    """What `rewards_speed` promises to the search for the best number of nodes."""
    view, candidates = case
    rewarded = policy.rewards_speed(view)  # type: ignore[attr-defined]
    if view.snapshot.book.max_lease_s is None:  # on more nodes fewer leases may end
        assert not rewarded
    candidates = counted(view.workload, candidates, candidates.nodes * times)
    few = policy.price(view, candidates)
    many = policy.price(view, counted(view.workload, candidates, candidates.nodes + more))
    for name, usd in few.items():
        assert np.isfinite(usd).all()
        assert (usd >= 0.0).all()
        assert name in rewarded or (many[name] >= usd * (1.0 - 1e-9) - 1e-9).all()


@given(cases())
@settings(max_examples=100, deadline=None)
def test_a_cleaner_grid_and_a_better_pue_never_cost_more(case: tuple[PlanView, Candidates]) -> None:
    view, candidates = case
    places = view.snapshot.network.places
    before = footprint.kg_co2(view, candidates)
    for better in (
        [replace(one, g_co2_per_kwh=0.5 * (one.g_co2_per_kwh or 0.0)) for one in places],
        [replace(one, pue=1.0) for one in places],
    ):
        market = replace(view.snapshot, network=Network(places=tuple(better)))
        after = footprint.kg_co2(PlanView(workload=view.workload, snapshot=market), candidates)
        assert (after <= before + 1e-12).all()


@given(cases(), st.floats(0.0, 1.0))
@settings(max_examples=150, deadline=None)
def test_spread_always_leaves_the_least_held_place_open(case: tuple[PlanView, Candidates], limit: float) -> None:
    view, candidates = case
    refused = np.zeros(len(candidates), np.bool_)
    for refusals in spread(PolicyContext(settings={"max_share": limit})).refuse(view, candidates):
        refused |= refusals.refused
    held = dict.fromkeys(view.snapshot.buyable, 0.0)
    for holding in view.snapshot.holdings:
        if holding.provider in held:
            held[holding.provider] += holding.usd_per_hour
    least = min(held.values())
    for row, provider in enumerate(candidates.book.provider):
        if held[provider] <= least:
            assert not refused[row]


@given(cases(), st.floats(0.1, 100.0), st.floats(1.0, 100.0))
@settings(max_examples=100, deadline=None)
def test_a_faster_network_never_costs_more(case: tuple[PlanView, Candidates], gbit_s: float, faster: float) -> None:
    view, candidates = case
    slow = interconnect(PolicyContext(settings={"ethernet_gbit_s": gbit_s}))
    fast = interconnect(PolicyContext(settings={"ethernet_gbit_s": gbit_s * faster}))
    assert (priced(fast, view, candidates) <= priced(slow, view, candidates) * (1.0 + 1e-9) + 1e-9).all()


@given(cases())
@settings(max_examples=50, deadline=None)
def test_a_provider_that_fails_less_never_costs_more(case: tuple[PlanView, Candidates]) -> None:
    view, candidates = case
    better = tuple(
        replace(score, failures_per_node_hour=0.5 * (score.failures_per_node_hour or 0.0), refused=0.0)
        for score in view.snapshot.scores
    )
    mended = PlanView(workload=view.workload, snapshot=replace(view.snapshot, scores=better))
    policy = reliability(PolicyContext())
    assert (priced(policy, mended, candidates) <= priced(policy, view, candidates) + 1e-9).all()
