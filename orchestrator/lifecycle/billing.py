"""What runs cost: a fold over their events, to the millionth of a dollar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.events import Event, OrphanReleased
from orchestrator.domain.lease import Lease
from orchestrator.domain.run import Run
from orchestrator.lifecycle.fold import fold as fold_runs

MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One lease on the bill: `usd` is `billed_s / 3600 * usd_per_hour`, rounded to 1e-6 USD."""

    run_id: str  # "" for an orphan: a lease under our tag that no run knew
    attempt: int
    offer: str  # its label
    nodes: int
    since: datetime
    until: datetime  # the moment of the bill where the lease is still held
    held_s: float
    billed_s: float  # at least the offer's minimum
    usd_per_hour: float  # for all nodes, as bought
    usd: float
    open: bool  # still running up


@dataclass(frozen=True, slots=True)
class Ledger:
    """A bill. `total_usd` is the sum of the lines as they are printed, not of what was rounded away."""

    lines: tuple[Line, ...]

    @property
    def total_usd(self) -> float:
        """All lines."""
        return total_usd(self.lines)

    def of(self, run_id: str) -> Ledger:
        """The bill of one run."""
        return Ledger(tuple(line for line in self.lines if line.run_id == run_id))


def fold(events: Iterable[Event], *, now: datetime) -> Ledger:
    """The bill of every run at `now`, by submission and attempt, then of orphans. What is held is billed to `now`.

    Raises: IllegalMove where the events are no history of runs.
    """
    history = tuple(events)
    runs = fold_runs(history).values()
    bought = (line for run in runs for line in lines(run, now))
    orphans = (event for event in history if isinstance(event, OrphanReleased))
    return Ledger((*bought, *orphan_lines(orphans, runs)))


def lines(run: Run, now: datetime) -> tuple[Line, ...]:
    """One line per lease that `run` held or holds."""
    return tuple(
        _line(run.id, attempt.number, attempt.lease, attempt.gone_at or now, is_open=attempt.gone_at is None)
        for attempt in run.attempts
        if attempt.lease is not None
    )


def orphan_lines(orphans: Iterable[OrphanReleased], runs: Iterable[Run]) -> tuple[Line, ...]:
    """One line per lease that none of `runs` has on its bill, until its release was last asked for."""
    attempts = (attempt for run in runs for attempt in run.attempts)
    known = {(attempt.lease.provider, attempt.lease.id) for attempt in attempts if attempt.lease is not None}
    last = {(orphan.provider, orphan.lease_id): orphan for orphan in orphans}
    return tuple(
        _line("", 0, orphan.lease, orphan.at, is_open=False)
        for key, orphan in last.items()
        if orphan.lease is not None and key not in known
    )


def spent_usd(run: Run, at: datetime) -> float:
    """What `run` has cost by `at`, should it keep what it holds until then."""
    return total_usd(lines(run, at))


def price_usd(seconds: float, min_billing_s: float, usd_per_hour: float) -> float:
    """What a lease held for `seconds` costs, rounded to 1e-6 USD."""
    return _micro(seconds, min_billing_s, usd_per_hour) / MICRO


def total_usd(parts: Iterable[Line]) -> float:
    """The exact sum of the lines' amounts: added up in millionths, where floats would drift."""
    return sum(round(line.usd * MICRO) for line in parts) / MICRO


def _micro(seconds: float, min_billing_s: float, usd_per_hour: float) -> int:
    return round(max(seconds, min_billing_s) / 3600.0 * usd_per_hour * MICRO)


def _line(run_id: str, attempt: int, lease: Lease, end: datetime, *, is_open: bool) -> Line:
    until = max(end, lease.acquired_at)  # clocks differ: no lease is billed for less than nothing
    held_s = (until - lease.acquired_at) / timedelta(seconds=1)
    billed_s = max(held_s, lease.offer.min_billing_s)
    return Line(
        run_id=run_id,
        attempt=attempt,
        offer=lease.offer.label,
        nodes=lease.nodes,
        since=lease.acquired_at,
        until=until,
        held_s=held_s,
        billed_s=billed_s,
        usd_per_hour=lease.usd_per_hour,
        usd=price_usd(held_s, lease.offer.min_billing_s, lease.usd_per_hour),
        open=is_open,
    )
