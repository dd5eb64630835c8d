"""Standing: what the history of a control plane adds to a look at the market."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.domain.events import Event
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import ProviderScore, Spend
from orchestrator.lifecycle.blocking import blocks
from orchestrator.lifecycle.fold import fold
from orchestrator.lifecycle.holdings import holdings
from orchestrator.lifecycle.scores import merged, scores
from orchestrator.lifecycle.spending import spends


def standing(
    found: Snapshot, events: Iterable[Event], *, purses: Sequence[Spend], configured: Sequence[ProviderScore]
) -> Snapshot:
    """`found` with what is held, what the `purses` have paid, what was refused a short while ago, and the scores of
    providers: those `configured` before what was learned.

    Raises: IllegalMove where the events are no history of runs.
    """
    history, at = tuple(events), found.taken_at
    return replace(
        found,
        holdings=holdings(fold(history).values()),
        spends=spends(purses, history, now=at),
        scores=merged(configured, scores(history, at)),
        blocks=blocks(history, at),
    )
