"""What a simulation came to: money, lateness, interruptions and device-hours, folded from the events it left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from orchestrator.domain.events import Event, PurchaseRefused, ReclaimNoticed
from orchestrator.domain.run import Run, RunState
from orchestrator.domain.workload import Inference
from orchestrator.lifecycle import billing
from orchestrator.lifecycle.billing import Ledger, Line
from orchestrator.lifecycle.fold import fold


class JobTally(NamedTuple):
    """One job: when it was handed in and ended, hours late (0 in time, None without a deadline), what it took."""

    run_id: str
    state: RunState
    submitted_at: datetime
    ended_at: datetime
    late_h: float | None
    usd: float
    gpu_hours: float
    leases: int
    interruptions: int
    served: float | None  # of a service: the share of its time in which it ran
    detail: str


class Tally(NamedTuple):
    """All jobs together, and the bill."""

    jobs: tuple[JobTally, ...]
    bill: Ledger
    refused: int  # purchases that a provider refused
    events: int
    until: datetime

    @property
    def usd(self) -> float:
        """The bill's total."""
        return self.bill.total_usd

    @property
    def succeeded(self) -> int:
        """Jobs that ended well."""
        return sum(job.state is RunState.SUCCEEDED for job in self.jobs)

    @property
    def late(self) -> int:
        """Jobs that missed their deadline, unfinished ones included."""
        return sum(job.late_h is not None and job.late_h > 0.0 for job in self.jobs)

    @property
    def late_h(self) -> float:
        """Hours after deadlines, over all jobs; of what is unfinished, to the end of the simulation."""
        return sum(job.late_h or 0.0 for job in self.jobs)

    @property
    def gpu_hours(self) -> float:
        """Device-hours held."""
        return sum(job.gpu_hours for job in self.jobs)

    @property
    def leases(self) -> int:
        """Purchases that went through."""
        return sum(job.leases for job in self.jobs)

    @property
    def interruptions(self) -> int:
        """Leases that a provider took back."""
        return sum(job.interruptions for job in self.jobs)

    @property
    def served(self) -> float | None:
        """The least share of its time in which a service ran; None without services."""
        shares = [job.served for job in self.jobs if job.served is not None]
        return min(shares) if shares else None


def tally(events: Sequence[Event], until: datetime) -> Tally:
    """The sums of a history that ends at `until`; what is held then is billed to then."""
    runs = fold(events)
    bill = Ledger(tuple(line for run in runs.values() for line in billing.lines(run, until)))
    own: dict[str, list[Line]] = {run_id: [] for run_id in runs}
    for line in bill.lines:
        own[line.run_id].append(line)
    noticed: dict[str, int] = {}
    for event in events:
        if isinstance(event, ReclaimNoticed):
            noticed[event.run_id] = noticed.get(event.run_id, 0) + 1
    ended = {run.id: run.entered_at if run.state.final else until for run in runs.values()}
    jobs = tuple(_job(run, ended[run.id], Ledger(tuple(own[run.id])), noticed.get(run.id, 0)) for run in runs.values())
    refused = sum(isinstance(event, PurchaseRefused) for event in events)
    return Tally(jobs, bill, refused, len(events), until)


def due_at(run: Run) -> datetime | None:
    """The deadline of a run, from its submission."""
    limits = run.workload.limits
    ends = [limits.finish_by] if limits.finish_by is not None else []
    if limits.deadline_s is not None:
        ends.append(run.submitted_at + timedelta(seconds=limits.deadline_s))
    return min(ends, default=None)


def _job(run: Run, ended_at: datetime, bill: Ledger, noticed: int) -> JobTally:
    due = due_at(run)
    done = run.state is RunState.SUCCEEDED
    late_h = None
    if due is not None:
        late_h = max(0.0, (ended_at - due) / timedelta(hours=1))
        if run.state.final and not done:
            late_h = max(late_h, 1e-9)  # what failed is not in time, whenever it failed
    gpus = {attempt.number: attempt.nodes * attempt.offer.gpus for attempt in run.attempts}
    gpu_hours = sum(line.held_s / 3600.0 * gpus[line.attempt] for line in bill.lines)
    return JobTally(
        run_id=run.id,
        state=run.state,
        submitted_at=run.submitted_at,
        ended_at=ended_at,
        late_h=late_h,
        usd=bill.total_usd,
        gpu_hours=gpu_hours,
        leases=len(bill.lines),
        interruptions=noticed,
        served=_served(run, ended_at),
        detail=run.detail,
    )


def _served(run: Run, ended_at: datetime) -> float | None:
    if not isinstance(run.workload, Inference):
        return None
    progress = max((attempt.progress.done for attempt in run.attempts if attempt.progress is not None), default=0.0)
    done = 1.0 if run.state is RunState.SUCCEEDED else progress
    spent_s = (ended_at - run.submitted_at) / timedelta(seconds=1)
    return min(1.0, done * run.workload.duration_s / spent_s) if spent_s > 0.0 else 0.0
