"""Price paths: what offers cost since when, from the histories of all sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from orchestrator.catalog import history
from orchestrator.catalog.history import FACTS, History, State
from orchestrator.catalog.query import OfferFilter, matching


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """From `at` on the offer cost `usd_per_hour` a node, or had no price; `state` as in a history."""

    at: datetime
    usd_per_hour: float | None
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The changes of one offer's price, in order; at least one. `source` names the history."""

    source: str
    provider: str
    region: str
    zone: str
    instance_type: str
    billing: str
    accelerator: str
    gpus: float
    points: tuple[Point, ...]

    @property
    def prices(self) -> tuple[float, ...]:
        """Every price that it had, in order."""
        return tuple(point.usd_per_hour for point in self.points if point.usd_per_hour is not None)


def select(histories: Mapping[str, History], wanted: OfferFilter, *, now: datetime) -> list[Path]:
    """The paths of every offer that passes `wanted` with its last price: most changes first, then by offer."""
    found: list[Path] = []
    for source, known in histories.items():
        chosen = np.flatnonzero(matching(history.last_seen(known), wanted, now=now))
        starts = np.argsort(known.key, kind="stable")  # the changes of every offer together, in order
        first = np.searchsorted(known.key[starts], chosen, "left")
        last = np.searchsorted(known.key[starts], chosen, "right")
        for offer, begin, end in zip(chosen.tolist(), first.tolist(), last.tolist(), strict=True):
            if begin < end:
                found.append(_path(source, known, offer, starts[begin:end].tolist()))
    return sorted(found, key=lambda path: (-len(path.points), _key(path)))


def _key(path: Path) -> tuple[str, ...]:
    return (path.provider, path.region, path.zone, path.instance_type, path.billing, path.source)


def _path(source: str, known: History, offer: int, rows: list[int]) -> Path:
    points = []
    seconds = 0
    for row in rows:
        seconds = max(seconds, int(known.observed_at[row]))  # learned later, whatever its date says
        usd = float(known.usd_per_hour[row])
        points.append(
            Point(
                at=datetime.fromtimestamp(seconds, UTC),
                usd_per_hour=None if np.isnan(usd) else usd,
                state=State(int(known.state[row])),
            )
        )
    words = {name: known.offers[name][offer] for name in FACTS}
    return Path(source=source, gpus=float(known.gpus[offer]), points=tuple(points), **words)
