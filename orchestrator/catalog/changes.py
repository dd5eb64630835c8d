"""What changed between two looks at a source of prices: new, gone, dearer, cheaper, sold out, back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from orchestrator.catalog.history import FACTS, History, State, of_states


class Kind(StrEnum):
    """What happened to an offer; the order is that in which a report lists them."""

    UP = "up"
    DOWN = "down"
    SOLD_OUT = "sold out"
    BACK = "back"  # in stock again
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one offer; prices are US dollars per node and hour, None where there was or is none."""

    kind: Kind
    provider: str
    region: str
    zone: str
    instance_type: str
    billing: str
    accelerator: str
    gpus: float
    before: float | None
    now: float | None

    @property
    def percent(self) -> float | None:
        """How much dearer it is, None where there are no two prices."""
        if self.before is None or self.now is None:
            return None
        return 100.0 * (self.now / self.before - 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes of `source` from `since` to `until`; the biggest price changes first, then by kind and offer.

    `since` is None where nothing was known before: then nothing is called a change, and `offers` counts what is known.
    """

    source: str
    since: datetime | None
    until: datetime
    offers: int
    changes: tuple[Change, ...]

    def counts(self) -> Mapping[str, Mapping[Kind, int]]:
        """How many changes of each kind, by provider."""
        found: dict[str, Counter[Kind]] = {}
        for change in self.changes:
            found.setdefault(change.provider, Counter())[change.kind] += 1
        return {provider: found[provider] for provider in sorted(found)}


def last_changes(source: str, history: History) -> Changes:
    """What the last refresh or import of `source` changed. Raises: ValueError for a history of nothing."""
    return _changes(source, history, len(history.batches) - 1)


def changes_since(source: str, history: History, moment: datetime) -> Changes:
    """What changed in `source` since it was last looked at by `moment`; since the first look where that was later.

    Raises: ValueError for a history of nothing.
    """
    looks = history.until(moment)
    if looks == 0 and len(history.batches) > 1:
        looks = 1
    return _changes(source, history, min(looks, len(history.batches)))


def _changes(source: str, history: History, looks: int) -> Changes:
    """From the first `looks` batches to all."""
    if not len(history.batches):
        raise ValueError(f"nothing was ever learned from {source}")
    usd, state = of_states(history, looks)
    now_usd, now_state = of_states(history, len(history.batches))
    until = _moment(history, len(history.batches) - 1)
    offers = int((now_state != State.GONE).sum())
    if looks == 0:
        return Changes(source=source, since=None, until=until, offers=offers, changes=())
    was, is_now = state != State.GONE, now_state != State.GONE
    both = was & is_now
    kinds = {
        Kind.UP: both & (now_usd > usd),
        Kind.DOWN: both & (now_usd < usd),
        Kind.SOLD_OUT: both & (now_state == State.SOLD_OUT) & (state != State.SOLD_OUT),
        Kind.BACK: both & (state == State.SOLD_OUT) & (now_state != State.SOLD_OUT),
        Kind.NEW: ~was & is_now,
        Kind.GONE: was & ~is_now,
    }
    found = [
        _change(history, kind, row, (usd[row], now_usd[row]))
        for kind, mask in kinds.items()
        for row in np.flatnonzero(mask).tolist()
    ]
    since = _moment(history, looks - 1)
    return Changes(source=source, since=since, until=until, offers=offers, changes=tuple(in_order(found)))


def in_order(changes: Sequence[Change]) -> list[Change]:
    """Changes of price first, the biggest in percent before the others; then by kind, then by offer."""
    kinds = list(Kind)

    def key(change: Change) -> tuple[int, float, int, tuple[str, ...]]:
        moved = change.kind in (Kind.UP, Kind.DOWN)
        offer = (change.provider, change.region, change.zone, change.instance_type, change.billing)
        size = -abs(change.percent or 0.0) if moved else 0.0
        return (0 if moved else 1, size, kinds.index(change.kind), offer)

    return sorted(changes, key=key)


def _change(history: History, kind: Kind, row: int, usd: tuple[float, float]) -> Change:
    words = {name: history.offers[name][row] for name in FACTS}
    before, now = (None if np.isnan(price) else float(price) for price in usd)
    return Change(kind=kind, gpus=float(history.gpus[row]), before=before, now=now, **words)


def _moment(history: History, batch: int) -> datetime:
    return datetime.fromtimestamp(int(history.batches[batch]), UTC)
