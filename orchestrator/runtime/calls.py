"""Calls in flight: slow work runs beside the controller, and never twice at once about the same thing."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

THREADS_PER_LANE = 8


class Calls(Protocol[T]):
    """Work that was begun and not yet collected. Used by one thread, the controller's."""

    def start(self, lane: str, key: str, work: Callable[[], T]) -> bool:
        """Begin `work`; False, and nothing is begun, while a call about `key` is in flight.

        Work of one lane may queue behind other work of it, never behind that of another.
        """
        ...

    def busy(self) -> frozenset[str]:
        """Keys whose work was begun and whose outcome was not yet collected."""
        ...

    def collect(self) -> tuple[T, ...]:
        """Outcomes since the last time, in the order they came. Raises what the work raised: it is a bug there."""
        ...


class ThreadCalls(Generic[T]):
    """Calls on daemon threads: one that hangs keeps nothing but its own lane waiting, and no process alive."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._done: queue.SimpleQueue[tuple[str, T | None, BaseException | None]] = queue.SimpleQueue()
        self._lanes: dict[str, queue.SimpleQueue[tuple[str, Callable[[], T]]]] = {}
        self._threads: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, int] = defaultdict(int)  # work begun and not collected, by lane
        self._lane_of: dict[str, str] = {}

    def start(self, lane: str, key: str, work: Callable[[], T]) -> bool:
        """See Calls."""
        if key in self._busy:
            return False
        self._busy.add(key)
        self._lane_of[key] = lane
        self._waiting[lane] += 1
        tasks = self._lanes.setdefault(lane, queue.SimpleQueue())
        if self._threads[lane] < min(self._waiting[lane], THREADS_PER_LANE):
            self._threads[lane] += 1
            threading.Thread(target=self._serve, args=(tasks,), name=f"calls-{lane}", daemon=True).start()
        tasks.put((key, work))
        return True

    def busy(self) -> frozenset[str]:
        """See Calls."""
        return frozenset(self._busy)

    def collect(self) -> tuple[T, ...]:
        """See Calls."""
        outcomes: list[T] = []
        while True:
            try:
                key, outcome, error = self._done.get_nowait()
            except queue.Empty:
                return tuple(outcomes)
            self._busy.discard(key)
            self._waiting[self._lane_of.pop(key)] -= 1
            if error is not None:
                raise error
            if outcome is not None:
                outcomes.append(outcome)

    def _serve(self, tasks: queue.SimpleQueue[tuple[str, Callable[[], T]]]) -> None:
        while True:
            key, work = tasks.get()
            try:
                self._done.put((key, work(), None))
            except BaseException as error:  # raised again in `collect`, in the controller's thread
                self._done.put((key, None, error))
