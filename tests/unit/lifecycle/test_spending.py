"""What purses have paid and will pay, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.events import (
    Event,
    LeaseGone,
    Moved,
    OrphanReleased,
    Planned,
    Purchased,
    PurchaseIntended,
    Submitted,
)
from orchestrator.domain.run import RunState
from orchestrator.domain.standing import Spend
from orchestrator.lifecycle.spending import spends
from orchestrator.testing.builders import lease, offer, placement_on, plan_of, program, training
from orchestrator.testing.clock import EPOCH

HOUR = timedelta(hours=1)
BOUGHT = offer(usd_per_hour=10.0)  # 12.5 h are planned: $125


def purse(name: str = "", *, starts_h: float = -100.0, ends_h: float = 1000.0) -> Spend:
    return Spend(name=name, cap_usd=1000.0, starts_at=EPOCH + starts_h * HOUR, ends_at=EPOCH + ends_h * HOUR)


def history(run_id: str = "r", *, team: str = "", gone_h: float | None = None) -> list[Event]:
    """A run that bought at once, and gave back after `gone_h`."""
    token, base = f"{run_id}-1", {"run_id": run_id, "at": EPOCH}
    bought = lease(id=f"l-{run_id}", token=token, offer=BOUGHT, nodes=1, usd_per_hour=10.0, acquired_at=EPOCH)
    told: list[Event] = [
        Submitted(**base, workload=training(team=team, program=program())),
        Moved(**base, to=RunState.PLANNING, cause=""),
        Planned(**base, plan=plan_of(placement_on(BOUGHT))),
        Moved(**base, to=RunState.ACQUIRING, cause=""),
    ]
    intended = PurchaseIntended(**base, token=token, candidate=0, offer=BOUGHT, nodes=1, usd_per_hour=10.0, fence=1)
    told += [intended, Purchased(**base, token=token, lease=bought)]
    if gone_h is not None:
        told.append(LeaseGone(run_id=run_id, at=EPOCH + gone_h * HOUR, token=token, cause=""))
    return told


def standing(given: Spend, events: list[Event], *, now_h: float) -> tuple[float, float]:
    (found,) = spends((given,), events, now=EPOCH + now_h * HOUR)
    assert replace(found, spent_usd=0.0, committed_usd=0.0) == given
    return found.spent_usd, found.committed_usd


def test_nothing_ran_and_nothing_is_spent() -> None:
    assert standing(purse(), [], now_h=0.0) == (0.0, 0.0)


def test_what_runs_is_spent_so_far_and_committed_for_the_rest_of_its_plan() -> None:
    assert standing(purse(), history(), now_h=5.0) == pytest.approx((50.0, 75.0))


def test_a_run_longer_than_planned_commits_to_nothing() -> None:
    assert standing(purse(), history(), now_h=20.0) == pytest.approx((200.0, 0.0))


def test_a_team_pays_for_its_own_runs_and_everybody_for_all() -> None:
    events = [*history("a", team="x", gone_h=1.0), *history("b", team="y", gone_h=2.0)]
    assert standing(purse("x"), events, now_h=5.0)[0] == pytest.approx(10.0)
    assert standing(purse(), events, now_h=5.0)[0] == pytest.approx(30.0)
    assert standing(purse("z"), events, now_h=5.0) == (0.0, 0.0)


def test_only_the_hours_within_the_period_count() -> None:
    assert standing(purse(starts_h=2.0, ends_h=7.0), history(), now_h=5.0) == pytest.approx((30.0, 20.0))
    assert standing(purse(starts_h=8.0), history(), now_h=5.0) == pytest.approx((0.0, 45.0))
    assert standing(purse(ends_h=3.0), history(), now_h=5.0) == pytest.approx((30.0, 0.0))


def test_what_is_about_to_be_bought_is_committed() -> None:
    assert standing(purse(), history()[:4], now_h=0.0) == pytest.approx((0.0, 125.0))
    assert standing(purse(), history()[:5], now_h=0.0) == pytest.approx((0.0, 125.0))
    assert standing(purse(), history()[:3], now_h=0.0) == (0.0, 0.0)


def test_an_orphan_is_everybodys() -> None:
    lost = lease(id="o", token="t", offer=BOUGHT, nodes=1, usd_per_hour=10.0, acquired_at=EPOCH)
    event = OrphanReleased(run_id="", at=EPOCH + HOUR, provider="acme", lease_id="o", token="t", lease=lost)
    assert standing(purse(), [event], now_h=5.0)[0] == pytest.approx(10.0)
    assert standing(purse("x"), [event], now_h=5.0)[0] == 0.0
