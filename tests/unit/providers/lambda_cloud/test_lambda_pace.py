"""Moments given out by a file: apart, in order, across objects, and not for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.testing.clock import FakeClock
from providers.lambda_cloud.journal import Entry, Journal
from providers.lambda_cloud.names import token_digest
from providers.lambda_cloud.pace import Pace


def pace(folder: Path, clock: FakeClock, longest_s: float = 1000.0) -> Pace:
    return Pace(folder / "turn", clock, 12.0, provider="lambda", longest_s=longest_s)


def test_turns_are_apart_across_objects(tmp_path: Path) -> None:
    clock = FakeClock()
    pace(tmp_path, clock).wait()
    assert clock.slept_s == 0.0
    pace(tmp_path, clock).wait()
    assert clock.slept_s == pytest.approx(12.0, abs=0.01)


def test_who_comes_late_need_not_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    turns = pace(tmp_path, clock)
    turns.wait()
    clock.advance(30.0)
    turns.wait()
    assert clock.slept_s == 0.0


def test_a_turn_too_far_away_is_refused_with_the_time_to_come_again(tmp_path: Path) -> None:
    clock = _Standing()
    turns = pace(tmp_path, clock, longest_s=30.0)
    for _ in range(3):
        turns.wait()
    with pytest.raises(TransientError) as refused:
        turns.wait()
    assert refused.value.retry_after_s == pytest.approx(6.0, abs=0.01)


def test_many_threads_get_a_turn_each(tmp_path: Path) -> None:
    clock = _Standing()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pace(tmp_path, clock).wait(), range(20)))
    assert sorted(clock.slept) == pytest.approx([12.0 * number for number in range(1, 20)], abs=0.01)


def test_a_file_with_nonsense_or_from_the_future_is_no_sentence(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "turn").write_text("soon")
    pace(tmp_path, clock).wait()
    assert clock.slept_s == 0.0
    (tmp_path / "turn").write_text("99999999999")
    with pytest.raises(TransientError):
        pace(tmp_path, clock).wait()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransientError, match="file"):
        Pace(tmp_path / "file" / "turn", FakeClock(), 1.0, provider="lambda", longest_s=1.0).wait()


def test_an_entry_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    entry = Entry(token="run-1-1", lease_id="a-1", nodes=3, cents=199, ids={0: "x"}, asked_at={2: 7.5}, launched_at=3.0)
    journal = Journal(tmp_path, "me", "lambda")
    journal.write(entry)
    assert Journal(tmp_path, "me", "lambda").read(token_digest("run-1-1")) == entry
    assert Journal(tmp_path, "you", "lambda").read(token_digest("run-1-1")) is None
    journal.forget(token_digest("run-1-1"))
    assert journal.read(token_digest("run-1-1")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}', "null"])
def test_a_damaged_entry_is_no_entry(tmp_path: Path, text: str) -> None:
    journal = Journal(tmp_path, "me", "lambda")
    journal.write(Entry(token="run-1-1", lease_id="a-1", nodes=1, cents=1))
    (path,) = (each for each in tmp_path.rglob("*.json"))
    path.write_text(text)
    assert journal.read(token_digest("run-1-1")) is None


class _Standing(FakeClock):
    """A clock that notes sleeps and does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
