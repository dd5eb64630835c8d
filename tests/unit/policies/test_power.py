"""The power policy: kilowatts at the most, and the electricity of machines of one's own."""

import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.planning.plan import plan_sized
from orchestrator.testing.builders import offer, place, sizing, snapshot, training
from policies.power.policy import create

RENTED = offer(boot_s=0.0)
OWN = offer(provider="lab", region="cellar", billing=Billing.OWNED, usd_per_hour=0.0, boot_s=0.0, gpus=2.0)
PLACES = Network(places=(place(key="lab/cellar", pue=1.5), place(pue=1.2)))


def planned(*offers: Offer, **settings: float) -> Plan:
    market = snapshot(*offers, network=PLACES)
    policies = (create(PolicyContext(settings=settings)),)
    return plan_sized(training(), market, {"H100-SXM": sizing()}, policies)


def test_only_machines_of_ones_own_pay_for_electricity() -> None:
    made = planned(RENTED, OWN, usd_per_kwh=0.3)
    usd = {placement.parts[0].offer.provider: placement.terms[0].usd for placement in made.ranked}
    assert usd == pytest.approx({"acme": 0.0, "lab": 70.0 * 1.5 * 0.3})
    assert {placement.cost_usd.p50 for placement in made.ranked} == set(usd.values())


def test_the_limit_counts_cooling_and_losses() -> None:
    # Eight devices of 700 W at a PUE of 1.2, and two at 1.5.
    made = planned(RENTED, OWN, max_kw=6.0)
    (refusal,) = made.refusals
    assert (refusal.code, refusal.count) == (ReasonCode.POWER, 1)
    assert refusal.examples[0].detail == "draws 6.7 kW with cooling and losses; the limit is 6.0 kW"


def test_as_it_comes_it_has_no_say() -> None:
    made = planned(RENTED, OWN)
    assert not made.refusals
    assert made.ranked[0].terms == ()
