"""The clock of the simulated clouds: moved by hand, or running at a multiple of real time."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta


class MarketClock:
    """A Clock that starts at `start` and runs `scale` times as fast as real time; at 0 it stands until it is moved.

    Sleeping on a clock that stands moves it, so that whoever waits for the market waits no real time. Safe between
    threads.
    """

    def __init__(self, start: datetime, *, scale: float = 0.0) -> None:
        if start.tzinfo is None:
            raise ValueError("a market's time is aware")
        self._start, self._scale = start, scale
        self._began = time.monotonic()
        self._moved_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Aware, in the zone of `start`."""
        with self._lock:
            passed_s = self._moved_s + self._scale * (time.monotonic() - self._began)
        return self._start + timedelta(seconds=passed_s)

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        if self._scale > 0:
            time.sleep(seconds / self._scale)
        else:
            self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on. Raises: ValueError for a negative time."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards, by {seconds} s")
        with self._lock:
            self._moved_s += seconds
