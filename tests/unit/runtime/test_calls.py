"""Calls in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from orchestrator.runtime.calls import THREADS_PER_LANE, ThreadCalls

PATIENCE_S = 20.0


def collected(calls: ThreadCalls[str], count: int) -> list[str]:
    """Wait for `count` outcomes."""
    outcomes: list[str] = []
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        outcomes += calls.collect()
        if len(outcomes) >= count:
            return outcomes
        pause.wait(0.005)
    raise AssertionError(f"{outcomes} is all that came")


def held(gate: threading.Event, answer: str) -> Callable[[], str]:
    def work() -> str:
        assert gate.wait(PATIENCE_S)
        return answer

    return work


def test_what_was_begun_is_busy_until_it_is_collected() -> None:
    calls: ThreadCalls[str] = ThreadCalls()
    gate = threading.Event()
    assert calls.start("lane", "key", held(gate, "done"))
    assert calls.busy() == {"key"}
    assert calls.collect() == ()
    gate.set()
    assert collected(calls, 1) == ["done"]
    assert calls.busy() == frozenset()


def test_a_second_call_about_one_key_is_not_begun() -> None:
    calls: ThreadCalls[str] = ThreadCalls()
    gate = threading.Event()
    assert calls.start("lane", "key", held(gate, "first"))
    assert not calls.start("other lane", "key", held(gate, "second"))
    gate.set()
    assert collected(calls, 1) == ["first"]
    assert calls.start("lane", "key", held(gate, "third"))
    assert collected(calls, 1) == ["third"]


def test_a_lane_that_hangs_keeps_no_other_waiting() -> None:
    calls: ThreadCalls[str] = ThreadCalls()
    gate = threading.Event()
    for number in range(2 * THREADS_PER_LANE):
        calls.start("hung", f"hung-{number}", held(gate, "late"))
    calls.start("well", "key", lambda: "prompt")
    assert collected(calls, 1) == ["prompt"]
    gate.set()
    assert collected(calls, 2 * THREADS_PER_LANE) == ["late"] * 2 * THREADS_PER_LANE


def test_a_lane_has_a_bounded_number_of_threads() -> None:
    calls: ThreadCalls[str] = ThreadCalls()
    gate = threading.Event()
    before = threading.active_count()
    for number in range(50):
        calls.start("lane", f"{number}", held(gate, "done"))
    assert threading.active_count() - before <= THREADS_PER_LANE
    gate.set()
    assert len(collected(calls, 50)) == 50


def test_a_bug_in_the_work_is_raised_where_it_is_collected() -> None:
    calls: ThreadCalls[str] = ThreadCalls()

    def broken() -> str:
        raise ZeroDivisionError

    calls.start("lane", "key", broken)
    with pytest.raises(ZeroDivisionError):
        collected(calls, 1)
    assert calls.busy() == frozenset()
