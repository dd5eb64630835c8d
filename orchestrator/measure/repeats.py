"""Repeats: one step done again and again within a deadline, its median, and how far the repeats differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median, quantiles
from typing import Final

from orchestrator.domain.contracts import Clock

WARM_UP: Final = 2  # steps that are not counted: they allocate, choose kernels and fill caches
LEAST: Final = 4  # timed steps without which nothing is said
UNSTEADY: Final = 1.5  # 90th over 10th percentile of the timed steps, from which on they are not believed


@dataclass(frozen=True, slots=True)
class Repeats:
    """Seconds of every timed step, in the order of time; at least two of them."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one: a pause of the machine in one step does not move it."""
        return median(self.seconds)

    @property
    def quickest_s(self) -> float:
        """The one that other work on the machine disturbed least."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """The 90th over the 10th percentile: 1 where all are alike."""
        marks = quantiles(self.seconds, n=10, method="inclusive")
        return marks[-1] / max(marks[0], 1e-12)

    @property
    def steady(self) -> bool:
        """Whether the repeats are alike enough to be believed."""
        return self.spread <= UNSTEADY


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Times steps until the deadline of the whole session: `clock` is for the deadline, `timer` in s for the steps."""

    clock: Clock
    timer: Callable[[], float]
    deadline: datetime

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return (self.deadline - self.clock.now()).total_seconds()

    def repeat(self, step: Callable[[], None], *, most: int, share_s: float, warm_up: int = WARM_UP) -> Repeats | None:
        """`step` done `warm_up` times, then timed up to `most` times, or until LEAST are done and `share_s` is over.

        None where the deadline left no time for LEAST of them: no step starts that would, by the one before it, end
        after the deadline.
        """
        until = self.clock.now() + timedelta(seconds=share_s)
        seconds: list[float] = []
        for _ in range(warm_up + most):
            last = seconds[-1] if seconds else 0.0
            if self.left_s <= last or (len(seconds) - warm_up >= LEAST and self.clock.now() >= until):
                break
            start = self.timer()
            step()
            seconds.append(self.timer() - start)
        timed = seconds[warm_up:]
        return Repeats(tuple(timed)) if len(timed) >= LEAST else None
