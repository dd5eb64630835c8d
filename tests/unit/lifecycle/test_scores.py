"""What is learned of providers from the history, and what runs hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.domain.events import (
    Event,
    LeaseGone,
    Moved,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.interruptions import USUAL_FAILURES_PER_NODE_HOUR
from orchestrator.domain.lease import ReclaimNotice
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.run import RunState
from orchestrator.domain.standing import Holding, ProviderScore
from orchestrator.lifecycle.actions import GiveBack
from orchestrator.lifecycle.fold import fold
from orchestrator.lifecycle.holdings import holdings
from orchestrator.lifecycle.scores import HALF_LIFE, merged, scores
from orchestrator.testing.builders import lease, offer
from orchestrator.testing.clock import EPOCH
from tests.unit.lifecycle.scene import ALPHA, BETA, Scene, market

HOUR = timedelta(hours=1)


def tried(number: int, at: datetime, *, error: str = "", bought: Offer = ALPHA) -> list[Event]:
    """One run's purchase: refused with `error`, or held."""
    run, token = f"run-{number}", f"token-{number}"
    intended = PurchaseIntended(
        run_id=run, at=at, token=token, candidate=0, offer=bought, nodes=2, usd_per_hour=64.0, fence=1
    )
    if error:
        return [intended, PurchaseRefused(run_id=run, at=at, token=token, error=error, detail="")]
    held = lease(provider=bought.provider, token=token, offer=bought, nodes=2, acquired_at=at)
    return [intended, Purchased(run_id=run, at=at, token=token, lease=held)]


def failed(number: int, at: datetime) -> list[Event]:
    run, token = f"run-{number}", f"token-{number}"
    return [
        Moved(run_id=run, at=at, to=RunState.RECOVERING, cause="lost"),
        LeaseGone(run_id=run, at=at, token=token, cause="lost"),
    ]


def score(events: Sequence[Event], now: datetime, provider: str = "alpha") -> ProviderScore:
    return {one.provider: one for one in scores(events, now)}[provider]


def test_no_history_is_no_score() -> None:
    assert scores((), EPOCH) == ()


def test_refusals_weigh_against_purchases_and_two_more() -> None:
    events = [*tried(1, EPOCH, error="CapacityError"), *tried(2, EPOCH)]
    assert score(events, EPOCH).refused == pytest.approx(1 / 4)
    assert score(events[:2], EPOCH).refused == pytest.approx(1 / 3)
    assert score(events[:2], EPOCH).failures_per_node_hour is None


def test_refusals_are_forgotten_by_halves() -> None:
    events = [event for number in range(4) for event in tried(number, EPOCH, error="CapacityError")]
    assert score(events, EPOCH + HALF_LIFE).refused == pytest.approx(2 / 4)
    assert score(events, EPOCH + 20 * HALF_LIFE).refused == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("error", ["QuotaError", "AuthError", "LeaseNotFound"])
def test_only_a_lack_of_capacity_is_the_providers_fault(error: str) -> None:
    events = [*tried(1, EPOCH, error=error), *tried(2, EPOCH)]
    assert score(events, EPOCH).refused == 0.0


def test_one_failure_does_not_condemn_and_twenty_do() -> None:
    def after(count: int) -> float:
        events = [event for n in range(count) for event in (*tried(n, EPOCH), *failed(n, EPOCH + 24 * HOUR))]
        rate = score(events, EPOCH + 24 * HOUR).failures_per_node_hour
        assert rate is not None
        return rate / USUAL_FAILURES_PER_NODE_HOUR

    assert after(1) == pytest.approx(2.0, rel=0.01)
    assert after(20) > 15.0


def test_long_service_without_failures_makes_a_provider_better_than_usual() -> None:
    rate = score(tried(1, EPOCH), EPOCH + 10_000 * HOUR).failures_per_node_hour  # 20 000 node-hours
    assert rate == pytest.approx(1.0 / (1.0 / USUAL_FAILURES_PER_NODE_HOUR + 20_000.0))


def test_what_spot_machines_lose_is_no_failure() -> None:
    spot = replace(ALPHA, billing=Billing.SPOT)
    events = [*tried(1, EPOCH, bought=spot), *failed(1, EPOCH + HOUR)]
    assert score(events, EPOCH + HOUR).failures_per_node_hour is None


def test_a_lease_that_vanishes_in_a_run_is_one_failure_of_its_provider() -> None:
    scene = Scene(plan=market(ALPHA, BETA))
    scene.to_running()
    scene.step(sights=scene.shown())
    scene.step(wait_s=3600.0, sights=scene.empty())
    assert scene.state is RunState.RECOVERING
    rate = score(scene.history, scene.now).failures_per_node_hour
    assert rate == pytest.approx(2.0 * USUAL_FAILURES_PER_NODE_HOUR, rel=0.01)


def test_a_reclaim_that_was_announced_is_no_failure() -> None:
    scene = Scene(plan=market(ALPHA, BETA))
    scene.to_starting()
    scene.step(sights=scene.shown(ReclaimNotice("lease-r-1", scene.now + HOUR)))
    assert scene.state is RunState.RECOVERING
    rate = score(scene.history, scene.now).failures_per_node_hour
    assert rate == pytest.approx(USUAL_FAILURES_PER_NODE_HOUR, rel=0.01)


def test_what_runs_hold_is_held_until_its_end_is_confirmed() -> None:
    scene = Scene(plan=market(offer(provider="alpha", zone="z"), BETA))
    scene.to_acquiring()
    assert holdings(fold(scene.history).values()) == ()  # in doubt
    scene = Scene(plan=market(offer(provider="alpha", zone="z"), BETA))
    scene.to_releasing(0)
    assert scene.action(GiveBack)
    assert holdings(fold(scene.history).values()) == (
        Holding(
            run="r",
            provider="alpha",
            region="us-east-1",
            zone="z",
            instance_type="h100.8x",
            billing="on-demand",
            nodes=1,
            gpus=8.0,
            usd_per_hour=32.0,
        ),
    )
    scene.given_back()
    assert holdings(fold(scene.history).values()) == ()


def test_what_the_user_says_goes_before_what_was_learned_number_by_number() -> None:
    learned = (
        ProviderScore(provider="a", failures_per_node_hour=0.1, refused=0.2, origin="learned"),
        ProviderScore(provider="b", refused=0.3, origin="learned"),
    )
    own = (ProviderScore(provider="a", refused=0.0, origin="said"), ProviderScore(provider="c", refused=1.0))
    assert merged(own, learned) == (
        ProviderScore(provider="a", failures_per_node_hour=0.1, refused=0.0, origin="said; learned"),
        learned[1],
        own[1],
    )
