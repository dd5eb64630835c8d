"""The carbon policy: what a tonne costs, what is too much, and what it says."""

import pytest

from orchestrator.domain import footprint
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.workload import Setting
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import offer, place, snapshot, training
from policies.carbon.policy import create
from policies.cost.policy import create as create_cost

CLEAN, DIRTY = offer(region="clean", usd_per_hour=33.0), offer(region="dirty")
PLACES = Network(
    places=(
        place(key="acme/clean", g_co2_per_kwh=30.0, pue=1.1),
        place(key="acme/dirty", g_co2_per_kwh=700.0, pue=1.1),
    )
)


def planned(*offers: Offer, **settings: float) -> Plan:
    policies = (create(PolicyContext(settings=settings)), create_cost(PolicyContext()))
    return plan(training(), snapshot(*offers, network=PLACES), policies)


def test_without_a_price_and_without_a_limit_it_has_no_say() -> None:
    made = planned(CLEAN, DIRTY)
    assert made.ranked[0].parts[0].offer.region == "dirty"
    assert not [term for term in made.ranked[0].terms if term.by == "carbon"]
    assert not [note for note in made.notes if note.startswith("carbon")]


def test_a_price_on_carbon_moves_the_work_to_a_clean_grid_and_is_no_money() -> None:
    made = planned(CLEAN, DIRTY, usd_per_tonne=500.0)
    best = made.ranked[0]
    assert best.parts[0].offer.region == "clean"
    (term,) = [term for term in best.terms if term.by == "carbon"]
    assert best.objective_usd - best.cost_usd.p50 == pytest.approx(term.usd)
    assert any("the best placement causes about" in note for note in made.notes)


def test_a_limit_refuses_and_says_by_how_much() -> None:
    made = planned(CLEAN, DIRTY, max_kg=10.0)
    (refusal,) = made.refusals
    assert refusal.code is ReasonCode.CARBON
    assert refusal.examples[0].detail.endswith("kg of CO2; the limit is 10.0 kg")
    assert [placement.parts[0].offer.region for placement in made.ranked] == ["clean"]


def test_the_job_file_sets_the_price_of_one_job() -> None:
    job = training(settings=(Setting("carbon", "usd_per_tonne", 80.0),))
    made = plan(job, snapshot(CLEAN, network=PLACES), (create(PolicyContext()),))
    assert [term.name for term in made.ranked[0].terms] == ["carbon"]


def test_an_unknown_grid_counts_as_the_worlds_and_is_noted() -> None:
    made = planned(offer(region="mars-1"), usd_per_tonne=80.0)
    assert any(f"assumed {footprint.WORLD_G_PER_KWH:g} g" in note for note in made.notes)
