"""What purses have paid and are still expected to pay: a fold over the events of all runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.events import Event, OrphanReleased
from orchestrator.domain.run import Attempt, Run, RunState
from orchestrator.domain.standing import Spend
from orchestrator.lifecycle.billing import Line, lines, orphan_lines
from orchestrator.lifecycle.fold import OPEN, fold

HOUR = timedelta(hours=1)


def spends(purses: Sequence[Spend], events: Iterable[Event], *, now: datetime) -> tuple[Spend, ...]:
    """`purses` with what their teams' runs have cost within the purse's time, and what they are expected to add in it.

    The purse "" is everybody's and pays for every run and for orphans. A lease is spread evenly over the time that it
    was held. What is held, or about to be bought, is expected to add the rest of its plan's 50th percentile.

    Raises: IllegalMove where the events are no history of runs.
    """
    history = tuple(events)
    runs = tuple(fold(history).values())
    orphans = orphan_lines((event for event in history if isinstance(event, OrphanReleased)), runs)
    return tuple(_spend(purse, runs, orphans, now) for purse in purses)


def _spend(purse: Spend, runs: Sequence[Run], orphans: Sequence[Line], now: datetime) -> Spend:
    own = [run for run in runs if purse.name in {"", run.workload.team}]
    bought = [line for run in own for line in lines(run, now)]
    if not purse.name:
        bought += orphans
    return replace(
        purse,
        spent_usd=sum(line.usd * _share(line, purse) for line in bought),
        committed_usd=sum(_committed_usd(run, purse, now) for run in own if not run.state.final),
    )


def _share(line: Line, purse: Spend) -> float:
    """How much of a lease's time is within the purse's."""
    if line.until <= line.since:
        return 1.0 if purse.starts_at <= line.since < purse.ends_at else 0.0
    within = min(line.until, purse.ends_at) - max(line.since, purse.starts_at)
    return max(within, timedelta()) / (line.until - line.since)


def _committed_usd(run: Run, purse: Spend, now: datetime) -> float:
    """What `run` is expected to add within the purse's time to what it has cost so far."""
    attempt, ranked = run.attempt, run.plan.ranked if run.plan is not None else ()
    is_open = attempt is not None and attempt.state in OPEN
    index = attempt.candidate if is_open and attempt is not None else run.next_candidate
    if not (is_open or run.state is RunState.ACQUIRING) or index >= len(ranked) or now >= purse.ends_at:
        return 0.0
    paid = _paid_usd(run, attempt, now) if is_open and attempt is not None else 0.0
    left_usd, rate = max(0.0, ranked[index].cost_usd.p50 - paid), ranked[index].usd_per_hour
    if left_usd <= 0 or rate <= 0:
        return left_usd
    left_h, from_h, to_h = left_usd / rate, (purse.starts_at - now) / HOUR, (purse.ends_at - now) / HOUR
    return left_usd * max(0.0, min(left_h, to_h) - max(from_h, 0.0)) / left_h


def _paid_usd(run: Run, attempt: Attempt, now: datetime) -> float:
    return sum(line.usd for line in lines(run, now) if line.attempt == attempt.number)
