"""Timed repeats: the median, the spread, and when to stop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.measure.repeats import LEAST, WARM_UP, Repeats, Watch
from orchestrator.testing.clock import EPOCH, FakeClock
from tests.unit.measure.bench_fakes import timer_of


def watch(clock: FakeClock, budget_s: float) -> Watch:
    deadline = EPOCH + timedelta(seconds=budget_s)
    return Watch(clock=clock, timer=timer_of(clock), deadline=deadline)


def test_the_warm_up_does_not_count() -> None:
    clock = FakeClock()
    steps = iter([9.0, 5.0, *[1.0] * 20])
    repeats = watch(clock, 1000.0).repeat(lambda: clock.advance(next(steps)) and None, most=6, share_s=1000.0)
    assert repeats == Repeats((1.0,) * 6)


def test_the_share_ends_the_repeats_once_there_are_enough() -> None:
    clock = FakeClock()
    repeats = watch(clock, 1000.0).repeat(lambda: clock.advance(1.0) and None, most=100, share_s=2.0)
    assert repeats is not None
    assert len(repeats.seconds) == LEAST


@pytest.mark.parametrize("budget_s", [0.5, 1.0, 3.5, WARM_UP + LEAST - 1.5])
def test_too_little_time_gives_nothing_and_passes_the_deadline_by_no_more_than_a_step(budget_s: float) -> None:
    clock = FakeClock()
    assert watch(clock, budget_s).repeat(lambda: clock.advance(1.0) and None, most=10, share_s=9.0) is None
    assert clock.now() <= EPOCH + timedelta(seconds=budget_s + 1.0)


def test_no_step_begins_after_the_deadline() -> None:
    clock = FakeClock()
    assert watch(clock, 0.0).repeat(lambda: pytest.fail("began"), most=10, share_s=9.0) is None


def test_one_pause_moves_neither_the_median_nor_the_verdict() -> None:
    repeats = Repeats((*[1.0] * 11, 30.0))
    assert repeats.median_s == 1.0
    assert repeats.steady


def test_steps_that_grow_slower_are_not_steady() -> None:
    assert not Repeats(tuple(1.0 + 0.1 * n for n in range(12))).steady
    assert Repeats((1.0, 1.1, 1.2, 1.3)).steady
