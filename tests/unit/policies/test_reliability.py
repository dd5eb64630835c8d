"""The reliability policy: only what is worse than usual costs, and limits refuse."""

import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.interruptions import USUAL_FAILURES_PER_NODE_HOUR
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import ProviderScore
from orchestrator.planning.plan import plan_sized
from orchestrator.sizing.goodput import node_failures_per_day
from orchestrator.sizing.parameters import bundled
from orchestrator.testing.builders import offer, sizing, snapshot, training
from policies.reliability.policy import DETECT_H, DEVICE_SHARE, create

GOOD, BAD = offer(provider="good", boot_s=0.0), offer(provider="bad", boot_s=0.0)
BAD_SCORE = ProviderScore(provider="bad", failures_per_node_hour=0.01, refused=0.5, origin="test")


def planned(*offers: Offer, scores: tuple[ProviderScore, ...] = (), **settings: float) -> Plan:
    market = snapshot(*offers, scores=scores)
    return plan_sized(training(), market, {"H100-SXM": sizing()}, (create(PolicyContext(settings=settings)),))


def usd(made: Plan, provider: str) -> dict[str, float]:
    (placement,) = [one for one in made.ranked if one.parts[0].offer.provider == provider]
    return {term.name: term.usd for term in placement.terms}


def test_without_scores_and_limits_it_has_no_say() -> None:
    made = planned(GOOD, BAD)
    assert made.ranked[0].terms == ()
    assert not made.refusals
    assert not any(note.startswith("reliability") for note in made.notes)


def test_failures_beyond_the_usual_cost_their_rework() -> None:
    made = planned(GOOD, BAD, scores=(BAD_SCORE,))
    assert usd(made, "good") == {"failures": 0.0, "refused": 0.0}
    # 12.5 hours of one node at $32; a failure loses half of 15 minutes and 12 minutes of restart.
    extra = (0.01 - USUAL_FAILURES_PER_NODE_HOUR) * (0.25 / 2 + DETECT_H)
    assert usd(made, "bad")["failures"] == pytest.approx(12.5 * 32.0 * extra, rel=0.01)


def test_purchases_that_come_to_nothing_are_waited_for() -> None:
    # Half fail, so that one in vain goes before each: five minutes of one node.
    assert usd(planned(BAD, scores=(BAD_SCORE,)), "bad")["refused"] == pytest.approx(32.0 / 12.0)


def test_a_provider_that_is_better_than_usual_gets_no_credit() -> None:
    score = ProviderScore(provider="good", failures_per_node_hour=0.0)
    assert usd(planned(GOOD, scores=(score,)), "good") == {"failures": 0.0}


def test_a_share_of_one_is_a_long_wait_and_not_an_endless_one() -> None:
    score = ProviderScore(provider="bad", refused=1.0)
    assert usd(planned(BAD, scores=(score,)), "bad")["refused"] == pytest.approx(19 * 32.0 / 12.0)


def test_what_is_owned_is_not_bought_and_so_not_refused() -> None:
    own = offer(provider="bad", billing=Billing.OWNED)
    assert usd(planned(own, scores=(BAD_SCORE,)), "bad")["refused"] == 0.0


def test_limits_refuse_the_scored_and_let_the_usual_through() -> None:
    made = planned(GOOD, BAD, scores=(BAD_SCORE,), max_failures_per_node_hour=1e-3)
    assert [(r.code, r.count) for r in made.refusals] == [(ReasonCode.RELIABILITY, 1)]
    assert made.refusals[0].examples[0].detail == "a node fails 0.01 times an hour; the limit is 0.001"
    made = planned(GOOD, BAD, scores=(BAD_SCORE,), max_refused=0.25)
    assert made.refusals[0].examples[0].detail == "50% of the purchases come to nothing; the limit is 25%"


@pytest.mark.parametrize("nonsense", [float("nan"), -1.0])
def test_what_is_no_number_is_no_score(nonsense: float) -> None:
    score = ProviderScore(provider="bad", failures_per_node_hour=nonsense, refused=nonsense)
    assert usd(planned(BAD, scores=(score,)), "bad") == {"failures": 0.0, "refused": 0.0}


def test_notes_name_the_score_and_its_origin() -> None:
    made = planned(BAD, scores=(BAD_SCORE,))
    assert made.notes[-1] == (
        "reliability: bad has 10 failures per 1000 node-hours and 50% of purchases refused (test)"
    )


def test_the_usual_rate_is_the_sizings() -> None:
    assert pytest.approx(node_failures_per_day()) == USUAL_FAILURES_PER_NODE_HOUR * 24.0
    assert bundled()["failure.device_share"] == DEVICE_SHARE
    assert bundled()["failure.restart_s"] == DETECT_H * 3600.0


def test_advice_on_an_offer_goes_before_the_score_of_its_provider() -> None:
    told = offer(provider="bad", boot_s=0.0, obtainability=0.2)
    made = planned(told, GOOD, scores=(BAD_SCORE,))
    assert usd(made, "bad")["refused"] == pytest.approx(4 * 32.0 / 12.0)  # four in vain before each
    assert usd(made, "good")["refused"] == 0.0
    assert any("1 placements shown are hard to get now" in note for note in made.notes)


def test_advice_counts_without_any_score_and_refuses_beyond_the_limit() -> None:
    told = offer(provider="bad", boot_s=0.0, obtainability=0.5)
    assert usd(planned(told, GOOD), "bad") == {"refused": pytest.approx(32.0 / 12.0)}
    (refusal,) = planned(told, GOOD, max_refused=0.4).refusals
    assert refusal.code is ReasonCode.RELIABILITY
