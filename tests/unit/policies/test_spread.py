"""The spread policy: shares of what is held, the rule of the least, and what concentration costs."""

import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import Holding
from orchestrator.domain.workload import Limits
from orchestrator.planning.plan import plan_sized
from orchestrator.testing.builders import offer, sizing, snapshot, training
from policies.spread.policy import create

ANY = Limits()
A, B = offer(provider="a"), offer(provider="b")  # $32/h and eight devices each


def holding(provider: str = "a", usd_per_hour: float = 96.0, zone: str = "", gpus: float = 8.0) -> Holding:
    return Holding(
        run="r",
        provider=provider,
        region="us-east-1",
        zone=zone,
        instance_type="x",
        billing="on-demand",
        nodes=1,
        gpus=gpus,
        usd_per_hour=usd_per_hour,
    )


def planned(*offers: Offer, held: tuple[Holding, ...] = (), limits: Limits = ANY, **settings: float) -> Plan:
    market = snapshot(*offers, holdings=held)
    policies = (create(PolicyContext(settings=settings)),)
    return plan_sized(training(limits=limits), market, {"H100-SXM": sizing()}, policies)


def concentration(made: Plan) -> dict[str, float]:
    return {placement.parts[0].offer.provider: placement.terms[0].usd for placement in made.ranked}


def test_a_share_over_the_limit_is_refused() -> None:
    made = planned(A, B, held=(holding(),), max_share=0.6)
    assert [placement.parts[0].offer.provider for placement in made.ranked] == ["b"]
    assert made.refusals[0].code is ReasonCode.SPREAD
    assert made.refusals[0].examples[0].detail == "100% of what is held would be at the provider; the limit is 60%"


def test_nothing_is_refused_while_nothing_is_held() -> None:
    assert not planned(A, B, max_share=0.1).refusals


def test_the_only_provider_is_never_refused() -> None:
    assert not planned(A, held=(holding(),), max_share=0.1).refusals
    # Of two, the job may use one alone.
    assert len(planned(A, B, held=(holding(),), max_share=0.1, limits=Limits(providers=("a",))).ranked) == 1


def test_where_all_are_over_the_limit_the_least_is_let_through() -> None:
    held = (holding("a", usd_per_hour=8.0), holding("b", usd_per_hour=4.0))
    made = planned(A, B, held=held, max_share=0.5)
    assert [placement.parts[0].offer.provider for placement in made.ranked] == ["b"]


def test_what_is_sold_out_is_no_way_to_spread() -> None:
    made = planned(A, offer(provider="b", available=0), held=(holding(),), max_share=0.5)
    assert [placement.parts[0].offer.provider for placement in made.ranked] == ["a"]


def test_zones_have_a_share_of_their_own() -> None:
    one, other = offer(provider="a", zone="1"), offer(provider="a", zone="2")
    made = planned(one, other, held=(holding(zone="1"),), max_zone_share=0.5)
    assert [placement.parts[0].offer.zone for placement in made.ranked] == ["2"]
    assert "in the zone" in made.refusals[0].examples[0].detail


def test_concentration_is_dollars_times_the_share_with_the_candidate() -> None:
    made = planned(A, B, held=(holding(), holding("b", usd_per_hour=32.0)), usd_per_share=100.0)
    # $96 and $32 an hour are held; each candidate adds $32.
    assert concentration(made) == pytest.approx({"a": 80.0, "b": 40.0})
    assert all(placement.cost_usd.p50 == 0.0 for placement in made.ranked)  # worth, no money


def test_shares_of_devices_count_what_costs_nothing() -> None:
    own = offer(provider="lab", billing=Billing.OWNED, usd_per_hour=0.0)
    held = (holding("lab", usd_per_hour=0.0, gpus=24.0), holding("a", gpus=8.0))
    assert concentration(planned(own, held=held, usd_per_share=100.0)) == {"lab": 0.0}
    assert concentration(planned(own, held=held, usd_per_share=100.0, count_gpus=1.0)) == {"lab": 80.0}


def test_with_nothing_held_there_is_no_term() -> None:
    assert planned(A, B, usd_per_share=100.0).ranked[0].terms == ()
