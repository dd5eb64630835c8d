"""The virtual clock: time that jumps to the next moment at which something happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from heapq import heappop, heappush


class VirtualClock:
    """A Clock whose time moves only when told; moments at which something is due are kept in a heap."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._due: list[datetime] = []

    def now(self) -> datetime:
        """Aware, UTC."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds` and return at once. Raises: ValueError for a negative time."""
        self.move_to(self._now + timedelta(seconds=seconds))

    def wake_at(self, moment: datetime) -> None:
        """Something is due at `moment`; what lies behind is due no more."""
        if moment > self._now:
            heappush(self._due, moment)

    def next_due(self) -> datetime | None:
        """The first moment ahead at which something is due."""
        while self._due and self._due[0] <= self._now:
            heappop(self._due)
        return self._due[0] if self._due else None

    def move_to(self, moment: datetime) -> None:
        """Make `moment` now. Raises: ValueError where it lies behind: time does not run backwards."""
        if moment < self._now:
            raise ValueError(f"time does not run backwards, from {self._now} to {moment}")
        self._now = moment
