"""A Store that lives in memory, for tests and virtual time; it passes StoreContract."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain.errors import Fenced, UserError
from orchestrator.domain.events import Approved, CancelAsked, Event, Recorded, Submitted


@dataclass
class Shelf:
    """What several MemoryStore objects share, as processes share a file."""

    recorded: list[Recorded] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    holder: str = ""
    fence: int = 0
    expires_at: datetime | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


class MemoryStore:
    """See Store. Sequence numbers count from 1."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._shelf = shelf if shelf is not None else Shelf()

    def lead(self, holder: str, *, now: datetime, ttl_s: float) -> int | None:
        """See Store.lead."""
        shelf = self._shelf
        with shelf.lock:
            if shelf.holder != holder:
                if shelf.holder and shelf.expires_at is not None and now < shelf.expires_at:
                    return None
                shelf.fence += 1
            shelf.holder, shelf.expires_at = holder, now + timedelta(seconds=ttl_s)
            return shelf.fence

    def resign(self, holder: str) -> None:
        """See Store.resign."""
        with self._shelf.lock:
            if self._shelf.holder == holder:
                self._shelf.holder = ""

    def submit(self, event: Submitted) -> tuple[str, bool]:
        """See Store.submit."""
        shelf = self._shelf
        with shelf.lock:
            if event.key and event.key in shelf.keys:
                return shelf.keys[event.key], False
            if event.run_id in shelf.runs:
                return event.run_id, False
            if event.key:
                shelf.keys[event.key] = event.run_id
            self._record(event)
            return event.run_id, True

    def request(self, event: Event) -> None:
        """See Store.request. Raises: UserError for an unknown run; ValueError for an event that is no request."""
        if not isinstance(event, CancelAsked | Approved):
            raise ValueError(f"{event.kind} is not a request of a user")
        with self._shelf.lock:
            if event.run_id not in self._shelf.runs:
                raise UserError(f"no run is called {event.run_id!r}")
            self._record(event)

    def append(self, events: Sequence[Event], *, fence: int) -> None:
        """See Store.append."""
        with self._shelf.lock:
            if fence != self._shelf.fence:
                raise Fenced(f"fencing token {fence} is not the newest, {self._shelf.fence}")
            for event in events:
                self._record(event)

    def events(self, *, run_id: str | None = None, since: int = 0) -> Sequence[Recorded]:
        """See Store.events."""
        with self._shelf.lock:
            newer = self._shelf.recorded[max(0, since) :]
        return newer if run_id is None else [one for one in newer if one.event.run_id == run_id]

    def close(self) -> None:
        """See Store.close."""

    def _record(self, event: Event) -> None:
        if isinstance(event, Submitted):
            self._shelf.runs.add(event.run_id)
        self._shelf.recorded.append(Recorded(len(self._shelf.recorded) + 1, event))
