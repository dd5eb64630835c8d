"""What leases cost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.events import LeaseGone
from orchestrator.lifecycle import billing
from orchestrator.lifecycle.actions import Bought, GiveBack, Released
from orchestrator.testing.builders import offer
from tests.unit.lifecycle.scene import Scene, exited, market, ready, refused


def test_a_lease_is_billed_from_its_purchase_to_its_end() -> None:
    scene = Scene()
    scene.to_running()
    scene.step(job=exited(0), wait_s=3600.0)
    scene.step(Released(action=scene.action(GiveBack)))
    (line,) = billing.fold(scene.history, now=scene.now + timedelta(days=1)).lines
    (gone,) = scene.told(LeaseGone)
    assert line.until == gone.at
    assert line.held_s == line.billed_s == (gone.at - line.since) / timedelta(seconds=1)
    assert line.usd == pytest.approx(line.held_s / 3600 * 32.0, abs=1e-6)
    assert (line.offer, line.attempt, line.open) == ("alpha us-east-1 h100.8x on-demand", 1, False)


def test_a_lease_still_held_is_billed_to_this_moment_and_marked() -> None:
    scene = Scene()
    scene.to_running()
    (line,) = billing.fold(scene.history, now=line_end(scene, 7200.0)).lines
    assert line.open
    assert line.usd == pytest.approx(64.0)


def line_end(scene: Scene, held_s: float) -> object:
    assert scene.attempt.lease is not None
    return scene.attempt.lease.acquired_at + timedelta(seconds=held_s)  # type: ignore[return-value]


def test_a_short_lease_is_billed_its_minimum() -> None:
    scene = Scene(plan=market(offer(provider="alpha", min_billing_s=3600.0)))
    scene.to_running()
    (line,) = billing.fold(scene.history, now=line_end(scene, 10.0)).lines
    assert (line.held_s, line.billed_s, line.usd) == (10.0, 3600.0, 32.0)


def test_what_was_refused_costs_nothing() -> None:
    scene = Scene()
    scene.step(refused(scene.to_acquiring(), "CapacityError"))
    assert billing.fold(scene.history, now=scene.now).lines == ()


def test_a_provider_whose_clock_is_ahead_bills_no_less_than_the_minimum() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    scene.step(Bought(action=buy, lease=ready(buy, scene.now + timedelta(seconds=30))))
    (line,) = billing.fold(scene.history, now=scene.now).lines
    assert (line.held_s, line.billed_s) == (0.0, 60.0)


def test_the_bill_of_one_run_is_its_lines_alone() -> None:
    scene = Scene()
    scene.to_running()
    ledger = billing.fold(scene.history, now=scene.now)
    assert ledger.of("r") == ledger
    assert ledger.of("other").total_usd == 0.0
