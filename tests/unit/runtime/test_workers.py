"""Workers: nothing is started where nothing is asked for."""

from __future__ import annotations

import os

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.runtime import workers
from orchestrator.runtime.workers import Workers


def test_one_worker_is_this_process_and_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LIBRARY", "no_such_library")
    one = Workers(1)
    one.begin()
    assert list(one(abs, [-1, 2, -3])) == [1, 2, 3]
    one.close()


def test_before_they_begin_tasks_run_in_this_process() -> None:
    two = Workers(2)
    assert list(two(lambda _: os.getpid(), [0, 1])) == [os.getpid()] * 2
    two.close()


def test_two_workers_without_ray_are_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LIBRARY", "no_such_library")
    with pytest.raises(ConfigError, match=r"isoflop\[run\]"):
        Workers(2)
