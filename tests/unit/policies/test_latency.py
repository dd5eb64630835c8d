"""The latency policy: who is refused, and what a millisecond costs."""

from dataclasses import replace

import pytest

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Link
from orchestrator.domain.offer import Offer
from orchestrator.domain.sizing import Band, Service
from orchestrator.domain.workload import Inference, LatencyTarget, Limits, Population, Setting, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import inference, network, offer, sizing, snapshot, training
from policies.latency.policy import create

POLICY = create(PolicyContext())
SERVICE = Service(
    replicas=1,
    requests_per_s_per_replica=5.0,
    ttft_s=Band(0.05, 0.1, 0.2),
    tpot_s=Band(0.01, 0.02, 0.04),
    watts_per_replica=700.0,
)
QUEUED = replace(SERVICE, ttft_p95_s=Band(0.1, 0.2, 0.3))
LINKS = (
    Link(a="Frankfurt", b="acme/us-east-1", rtt_ms=90.0, gbit_s=1.0, origin="test"),
    Link(a="acme/eu-central-1", b="Frankfurt", rtt_ms=2.0, gbit_s=1.0, origin="test"),
    Link(a="acme/us-east-1", b="acme/eu-central-1", rtt_ms=95.0, gbit_s=1.0, origin="test"),
)
NEAR, FAR, NOWHERE = offer(region="eu-central-1"), offer(region="us-east-1"), offer(region="mars-1")


def look(workload: Workload, *offers: Offer, service: Service = SERVICE) -> tuple[PlanView, Candidates]:
    market = snapshot(*offers, network=network(links=LINKS))
    view = PlanView(workload=workload, snapshot=market)
    return view, build(workload, market, {"H100-SXM": sizing(effort=service)}, Sieve(market.book))


def serving(**target: float) -> Inference:
    return inference(limits=Limits(latency=LatencyTarget(**target)))


def refused(workload: Workload, *offers: Offer, service: Service = SERVICE) -> dict[str, str]:
    view, candidates = look(workload, *offers, service=service)
    details: dict[str, str] = {}
    for refusals in POLICY.refuse(view, candidates):
        for row, out in enumerate(refusals.refused.tolist()):
            if out:
                details.setdefault(candidates.book.region[row], refusals.reason("latency", row).detail)
    return details


def test_the_first_token_is_round_trip_and_prefill() -> None:
    assert refused(serving(first_token_s=0.25), NEAR, FAR) == {
        "us-east-1": "the first token takes 290 ms (round trip included, 90th percentile); the limit is 250 ms"
    }


def test_limits_are_about_95_of_100_requests_where_the_sizing_knows_them() -> None:
    assert refused(serving(first_token_s=0.35), NEAR, FAR, service=QUEUED) == {
        "us-east-1": "the first token takes 390 ms in 95 of 100 requests (round trip included, 90th percentile);"
        " the limit is 350 ms"
    }
    # 256 tokens at 40 ms, 300 ms to the first, and the round trip.
    whole = refused(serving(total_s=10.6), NEAR, FAR, service=QUEUED)
    assert list(whole) == ["us-east-1"]
    assert whole["us-east-1"].startswith("the whole answer takes 10,630 ms in 95 of 100 requests")


def test_further_tokens_have_no_round_trip() -> None:
    assert refused(serving(per_token_s=0.05), NEAR, FAR) == {}
    assert refused(serving(per_token_s=0.03), NEAR) == {
        "eu-central-1": "a further token takes 40 ms (90th percentile); the limit is 30 ms"
    }


def test_the_whole_answer_adds_all_tokens() -> None:
    # 256 tokens at 40 ms, 200 ms to the first, and the round trip.
    assert refused(serving(total_s=10.5), NEAR, FAR) == {
        "us-east-1": "the whole answer takes 10,530 ms (round trip included, 90th percentile); the limit is 10,500 ms"
    }


def test_a_region_whose_place_is_unknown_is_refused_not_guessed() -> None:
    assert "unknown" in refused(serving(first_token_s=10.0), NOWHERE)["mars-1"]


def test_a_fraction_of_a_gpu_answers_slower() -> None:
    half = offer(region="eu-central-1", gpus=0.5)
    assert "402 ms" in refused(serving(first_token_s=0.25), half)["eu-central-1"]


def test_without_limits_and_without_a_price_it_has_no_say() -> None:
    view, candidates = look(inference(), NEAR, FAR, NOWHERE)
    assert not POLICY.refuse(view, candidates)
    assert POLICY.price(view, candidates) == {}


def test_a_millisecond_has_a_price_by_request_rate() -> None:
    users = (Population("Frankfurt", 3.0), Population("acme/us-east-1", 1.0))
    job = inference(users=users, settings=(Setting("latency", "usd_per_ms", 2.0),))
    view, candidates = look(job, NEAR)
    # Three quarters at 2 ms and one at 95 ms.
    assert POLICY.price(view, candidates)["latency"].tolist() == pytest.approx([2.0 * (0.75 * 2.0 + 0.25 * 95.0)])


def test_an_unknown_region_is_priced_like_the_antipode() -> None:
    view, candidates = look(inference(settings=(Setting("latency", "usd_per_ms", 1.0),)), NOWHERE)
    assert POLICY.price(view, candidates)["latency"].tolist() == pytest.approx([351.3])


def test_the_farthest_users_decide_about_the_limit() -> None:
    job = inference(
        users=(Population("Frankfurt", 100.0), Population("acme/us-east-1", 0.1)),
        limits=Limits(latency=LatencyTarget(first_token_s=0.25)),
    )
    assert "295 ms" in refused(job, NEAR)["eu-central-1"]


def test_users_at_an_unknown_place_are_an_error_with_the_nearest() -> None:
    view, candidates = look(inference(users=(Population("Frankfrut", 1.0),)), NEAR)
    with pytest.raises(UserError, match="'Frankfrut' is unknown; did you mean Frankfurt"):
        POLICY.refuse(view, candidates)


def test_users_may_be_given_by_coordinates() -> None:
    job = inference(users=(Population("50.1,8.7", 1.0),), limits=Limits(latency=LatencyTarget(first_token_s=0.25)))
    assert refused(job, NEAR) == {}


def test_other_workloads_are_not_its_concern() -> None:
    view, candidates = look(inference(), NEAR)
    other = PlanView(workload=training(), snapshot=view.snapshot)
    assert not POLICY.refuse(other, candidates)
    assert POLICY.price(other, candidates) == {}
