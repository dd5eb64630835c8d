"""A clock that tests move by hand."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # where time begins in every test


class FakeClock:
    """A Clock whose time stands still until `advance`; `sleep` advances it and returns at once. Thread-safe."""

    def __init__(self, now: datetime = EPOCH) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._slept_s = 0.0

    def now(self) -> datetime:
        """Aware, UTC."""
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        """Advance by `seconds` and return at once."""
        with self._lock:
            self._slept_s += seconds
        self.advance(seconds)

    def advance(self, seconds: float) -> datetime:
        """Move the time on by `seconds` (at least 0) and return it.

        Raises: ValueError for a negative step: time does not run backwards.
        """
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds} s")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now

    @property
    def slept_s(self) -> float:
        """All that was slept on this clock, in seconds."""
        with self._lock:
            return self._slept_s
