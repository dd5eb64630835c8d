from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestrator.domain.sizing import FiniteWork
from orchestrator.testing import builders as build
from orchestrator.testing.clock import EPOCH, FakeClock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = FakeClock()
    assert clock.now() == clock.now() == EPOCH
    assert clock.advance(90) == EPOCH + timedelta(seconds=90) == clock.now()


def test_sleeping_moves_the_time_and_is_counted() -> None:
    clock = FakeClock()
    clock.sleep(2.5)
    clock.sleep(1)
    assert (clock.now() - EPOCH, clock.slept_s) == (timedelta(seconds=3.5), 3.5)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        FakeClock().advance(-1)


BUILDERS = (
    build.accelerator,
    build.batch_inference,
    build.fine_tune,
    build.inference,
    build.job,
    build.lease,
    build.model,
    build.network,
    build.offer,
    build.place,
    build.placement,
    build.plan_of,
    build.program,
    build.sizing,
    build.training,
)


@pytest.mark.parametrize("builder", BUILDERS)
def test_defaults_are_the_same_every_time(builder: Callable[[], object]) -> None:
    assert builder() == builder()


def test_equal_snapshots_have_equal_ids() -> None:
    assert build.snapshot().id == build.snapshot(build.offer()).id != build.snapshot(build.offer(region="eu")).id


def test_any_field_can_be_overridden_by_name_and_no_other() -> None:
    assert build.offer(region="eu").region == "eu"
    with pytest.raises(TypeError):
        build.offer(regoin="eu")


def test_defaults_fit_together() -> None:
    snapshot = build.snapshot()
    devices = {device.name for device in snapshot.accelerators}
    assert set(snapshot.book.accelerator.vocab) <= devices
    assert snapshot.network.place("acme/us-east-1") is not None
    plan = build.plan_of(build.placement_on(build.offer(usd_per_hour=8.0), nodes=2))
    best = plan.best
    assert best is not None
    assert best.objective_usd == sum(term.usd for term in best.terms) == best.cost_usd.p50 == 200.0
    assert isinstance(best.sizing.effort, FiniteWork)
    assert best.hours.p50 * best.gpus / 2 == best.sizing.effort.gpu_hours.p50
