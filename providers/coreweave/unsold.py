"""Which types a zone does not sell, as its refusals have taught us: CoreWeave has no list of them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

LASTS = timedelta(days=1)  # zones get new types now and then


class Unsold:
    """Refusals of the last day, in a file; one that cannot be read or written is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, zone: str, instance_type: str, now: datetime) -> None:
        """`zone` has refused `instance_type` as one that it does not have."""
        known = {place: moment for place, moment in self._read().items() if now - moment < LASTS}
        record = {place: moment.isoformat() for place, moment in {**known, f"{zone} {instance_type}": now}.items()}
        fresh = self._path.with_name(f".{self._path.name}-{os.getpid()}-{os.urandom(4).hex()}")
        with suppress(OSError):
            fresh.write_text(json.dumps(record))
            fresh.replace(self._path)

    def at(self, now: datetime) -> frozenset[tuple[str, str]]:
        """(zone, type) of what is not sold, as far as we know."""
        known = (place.partition(" ") for place, moment in self._read().items() if now - moment < LASTS)
        return frozenset((zone, kind) for zone, _, kind in known)

    def _read(self) -> dict[str, datetime]:
        try:
            raw = json.loads(self._path.read_text())
            return {str(place): datetime.fromisoformat(moment) for place, moment in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
