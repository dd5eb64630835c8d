"""Being in time: what is left to do and until when, and when work on spot has to fall back to be in time.

The safety net: a job on machines that may be taken back goes on there only while, were they lost now, what is left of
it could still be done in time on the next candidate whose machines are not taken back. Before that moment passes, the
job is stopped gently and goes on there. The same rule says whether another spot candidate may be bought. It holds for
programs that report their progress, and for jobs with the slack for it: where the first plan leaves no time to fall
back, there is no net to hold, and the job is left where that plan put it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.plan import Placement
from orchestrator.domain.run import Run
from orchestrator.domain.workload import BatchInference, Inference, Workload
from orchestrator.lifecycle.billing import spent_usd
from orchestrator.lifecycle.draft import Draft

LEAST_LEFT = 1e-3  # of the work: a program that reports all of it done may still be saving
LEAST_GAINED = 0.02  # of the work: before that a rate says nothing
MOST_SLOWER = 3.0  # times: a job that hardly moves is no measure of another machine
FALL_BACK = "falling back to machines that are not taken back, to be in time"


def due_at(run: Run) -> datetime | None:
    """The earlier of `finish_by` and `deadline_s` after the submission; None without a deadline, and for services."""
    limits = run.workload.limits
    if isinstance(run.workload, Inference):
        return None
    moments = [] if limits.finish_by is None else [limits.finish_by]
    if limits.deadline_s is not None:
        moments.append(run.submitted_at + timedelta(seconds=limits.deadline_s))
    return min(moments, default=None)


def done(run: Run) -> float | None:
    """The share of the work that the newest report says is done, in [0, 1]; None where nothing was reported."""
    reports = (attempt.progress for attempt in reversed(run.attempts) if attempt.progress is not None)
    report = next(reports, None)
    return None if report is None else min(max(report.done, 0.0), 1.0)


def remaining(run: Run, now: datetime) -> Workload:
    """The workload as it stands `now`: what is left of it, of its budget, and until the same moment as ever."""
    workload, limits = run.workload, run.workload.limits
    due = due_at(run)
    if due is not None and run.plans + len(run.attempts) > 0:
        limits = replace(limits, deadline_s=None, finish_by=due)
    spent = spent_usd(run, now)
    if limits.budget_usd is not None and 0 < spent < limits.budget_usd:
        limits = replace(limits, budget_usd=limits.budget_usd - spent)
    if limits is not workload.limits:
        workload = replace(workload, limits=limits)
    left = 1.0 - (done(run) or 0.0)
    return workload if left >= 1.0 else _scaled(workload, max(left, LEAST_LEFT))


def fits(draft: Draft, index: int) -> bool:
    """Whether candidate `index` of the plan leaves time to fall back; what is not taken back always does."""
    plan = draft.run.plan
    if plan is None:
        return True
    (part,) = plan.ranked[index].parts
    return not _too_late(draft, part.offer, index + 1, boots=True)


def must_fall_back(draft: Draft) -> bool:
    """Whether the job that runs now has to go on elsewhere at once to be in time."""
    attempt = draft.run.attempt
    if attempt is None or attempt.progress is None:
        return False
    return _too_late(draft, attempt.offer, draft.run.next_candidate, boots=False)


def _too_late(draft: Draft, offer: Offer, first: int, *, boots: bool) -> bool:
    run, due = draft.run, due_at(draft.run)
    if due is None or run.plan is None or offer.billing is not Billing.SPOT:
        return False
    rescue = _rescue(draft, first)
    if rescue is None:
        return False
    boot = timedelta(seconds=offer.boot_s)
    first_plan = all(attempt.plan == run.plans for attempt in run.attempts)
    if first_plan and run.plan.made_at + boot + _need(draft, rescue, 1.0) > due:
        return False  # there never was the slack for a net
    left = 1.0 - (done(run) or 0.0)
    need = _need(draft, rescue, min(left / _share(run), 1.0) * _pace(run))
    return draft.now + (boot if boots else timedelta(0)) + need > due


def _rescue(draft: Draft, first: int) -> Placement | None:
    """The next candidate whose machines are not taken back and that could be bought now."""
    plan = draft.run.plan
    for placement in plan.ranked[first:] if plan is not None else ():
        if placement.buyable and len(placement.parts) == 1:
            (part,) = placement.parts
            stays = part.offer.billing is not Billing.SPOT
            if stays and not draft.blind(part.offer.provider) and draft.block(part.offer, part.nodes) is None:
                return placement
    return None


def _need(draft: Draft, placement: Placement, left: float) -> timedelta:
    """From a loss now to the end on `placement`, with `left` of the plan's work to do, at the median.

    The loss is noticed, the machines boot, and what was done since the last checkpoint is done again.
    """
    program = draft.run.workload.program
    boot_s = placement.parts[0].offer.boot_s
    work_s = max(placement.hours.p50 * 3600.0 - boot_s, 0.0) * left
    again_s = min(program.checkpoint.interval_s, work_s) if program is not None else 0.0
    return timedelta(seconds=boot_s + work_s + again_s + draft.grace_s + draft.leave_s)


def _pace(run: Run) -> float:
    """How much slower than planned the present attempt works, at least 1: what is left may be slower elsewhere too."""
    attempt = run.attempt
    if attempt is None or attempt.progress is None or attempt.progress_at is None or attempt.handle is None:
        return 1.0
    if run.plan is None or attempt.plan != run.plans or attempt.candidate >= len(run.plan.ranked):
        return 1.0
    earlier = [one.progress.done for one in run.attempts[:-1] if one.progress is not None]
    gained = (attempt.progress.done - (earlier[-1] if earlier else 0.0)) / _share(run)
    placement = run.plan.ranked[attempt.candidate]
    work_s = placement.hours.p50 * 3600.0 - placement.parts[0].offer.boot_s
    took_s = (attempt.progress_at - attempt.handle.started_at).total_seconds()
    if gained < LEAST_GAINED or work_s <= 0:
        return 1.0
    return min(max(took_s / (gained * work_s), 1.0), MOST_SLOWER)


def _share(run: Run) -> float:
    """What share of the run's work its present plan was made for."""
    return share_of(run.plan.workload, run.workload) if run.plan is not None else 1.0


def share_of(part: Workload, whole: Workload) -> float:
    """What share of the work of `whole` is in `part`, in (0, 1]; a service is never a part."""
    all_of_it, planned = _amount(whole), _amount(part)
    return min(planned / all_of_it, 1.0) if all_of_it > 0 and planned > 0 else 1.0


def _amount(workload: Workload) -> float:
    if isinstance(workload, Inference):
        return 0.0
    return workload.requests if isinstance(workload, BatchInference) else workload.tokens


def _scaled(workload: Workload, left: float) -> Workload:
    if isinstance(workload, Inference):
        return workload
    if isinstance(workload, BatchInference):
        return replace(workload, requests=workload.requests * left)
    return replace(workload, tokens=workload.tokens * left)
