"""Events as JSON text."""

from __future__ import annotations

from functools import lru_cache

from pydantic import TypeAdapter

from orchestrator.domain.events import Event


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def dump_event(event: Event) -> str:
    """One line of JSON."""
    return _adapter().dump_json(event).decode()


def load_event(text: str) -> Event:
    """The event that `dump_event` wrote."""
    return _adapter().validate_json(text)
