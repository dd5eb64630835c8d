"""The active half of the lifecycle: from a run and what was seen of the world to events and actions; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from orchestrator.domain.events import ApprovalAsked, Event, LaunchIntended, Planned, Postponed, PurchaseIntended
from orchestrator.domain.lease import LeaseState
from orchestrator.domain.run import Attempt, AttemptState, Run, RunState
from orchestrator.lifecycle.absorb import absorb
from orchestrator.lifecycle.actions import Action, Launch, MakePlan
from orchestrator.lifecycle.approving import asking, granted, needed
from orchestrator.lifecycle.choice import NoMore, Pick, UsedUp, buy, choose, next_look, refused_lately
from orchestrator.lifecycle.draft import Draft, held
from orchestrator.lifecycle.ending import ENDING, over, ran_out, taken
from orchestrator.lifecycle.observed import DEFAULT_RULES, Observed, Rules
from orchestrator.lifecycle.punctual import FALL_BACK, must_fall_back, remaining
from orchestrator.lifecycle.winddown import ask_to_stop, out_of_patience, settle_by_buying, wind_down

MOST_STEPS = 20  # in one tick; a run walks at most through each of its states


@dataclass(frozen=True, slots=True)
class Decision:
    """Store the events, all or none; only then carry out the actions."""

    events: tuple[Event, ...]
    actions: tuple[Action, ...]


def reconcile(run: Run, observed: Observed, now: datetime, rules: Rules = DEFAULT_RULES) -> Decision:
    """The next step of `run`: first what was seen is written down, then what follows from it is decided.

    Raises: IllegalMove where this module is wrong.
    """
    draft = Draft(run, observed, now, rules)
    if run.state.final:
        return Decision((), ())
    absorb(draft)
    for _ in range(MOST_STEPS):
        written = len(draft.events)
        step = STEPS.get(draft.run.state)
        if step is not None:
            step(draft)
        if len(draft.events) == written:
            return Decision(tuple(draft.events), tuple(draft.actions))
    raise RuntimeError(f"run {run.id} does not come to rest: {[event.kind for event in draft.events]}")


def _submitted(draft: Draft) -> None:
    run = draft.run
    if run.cancel_asked_at is not None:
        draft.move(RunState.CANCELLED, CANCELLED)
    elif run.workload.program is None:
        draft.move(RunState.FAILED, "the workload has no program to run: give the job file a command")
    elif run.plan is not None:
        draft.move(RunState.ACQUIRING, "walking the plan given")
    else:
        draft.move(RunState.PLANNING, "looking at the market")


def _planning(draft: Draft) -> None:
    run = draft.run
    choice = choose(draft)
    planned = any(isinstance(event, Planned) for event in draft.events)
    if run.cancel_asked_at is not None:
        draft.move(RunState.CANCELLED, CANCELLED)
    elif isinstance(choice, NoMore):
        draft.move(RunState.FAILED, choice.cause)
    elif isinstance(choice, UsedUp):
        _nothing_left(draft, choice, planned=planned)
    elif planned:
        draft.move(RunState.ACQUIRING, f"plan {run.plans} has candidates")
    else:  # a plan too old to be walked on
        _plan_again(draft, _dry_plans(run))


def _nothing_left(draft: Draft, choice: UsedUp, *, planned: bool) -> None:
    """No candidate: another plan, at once, after a pause, or once refusals have run out."""
    run, dry = draft.run, _dry_plans(draft.run)
    if run.postponed_until is not None and draft.now < run.postponed_until and draft.blocks:
        return
    until = next_look(draft, choice) if planned and run.postponed_until is None else None
    if until is not None:
        _postpone(draft, choice, until)
    elif planned and run.plans == 1 and not run.attempts and not _buyable(run):
        draft.move(RunState.FAILED, _infeasible(run))
    elif dry >= draft.rules.plans:
        draft.move(RunState.FAILED, f"{dry} plans in a row led to no lease: {choice.cause}")
    else:
        _plan_again(draft, dry)


def _postpone(draft: Draft, choice: UsedUp, until: datetime) -> None:
    run, why = draft.run, refused_lately(draft, choice)
    since = run.postponed_since
    if since is not None and draft.now >= since + timedelta(seconds=draft.rules.postpone_s):
        hours = (draft.now - since) / timedelta(hours=1)
        draft.move(RunState.FAILED, f"nothing could be bought for {hours:,.1f} h: {why}")
        return
    cause = f"all that suits was refused a short while ago; next look at {until:%Y-%m-%d %H:%M:%S} UTC: {why}"
    draft.emit(Postponed(run_id=run.id, at=draft.now, until=until, cause=cause))


def _plan_again(draft: Draft, dry: int) -> None:
    run, rules = draft.run, draft.rules
    tries = draft.tries(run.id)
    if tries is not None and tries.calls >= rules.calls:
        draft.move(RunState.FAILED, f"planning failed {tries.calls} times: {tries.detail}")
        return
    last = max(run.entered_at, run.plan.made_at) if run.plan is not None and run.plans else run.entered_at
    wait_s = min(rules.plan_backoff_s * 2 ** (dry - 1), rules.plan_backoff_cap_s) if dry else 0.0
    if draft.now >= last + timedelta(seconds=wait_s) and draft.due(run.id):
        draft.act(MakePlan(run_id=run.id, workload=remaining(run, draft.now)))


def _acquiring(draft: Draft) -> None:
    run, attempt = draft.run, draft.run.attempt
    if attempt is not None and attempt.state is AttemptState.HELD:
        draft.move(RunState.STARTING, f"holding {attempt.offer.label}")
    elif attempt is not None and attempt.state is AttemptState.INTENDED:
        if run.cancel_asked_at is not None:
            draft.end(RunState.CANCELLED, CANCELLED)
        else:
            settle_by_buying(draft, attempt)
    elif run.cancel_asked_at is not None:
        draft.move(RunState.CANCELLED, CANCELLED)
    else:
        _buy_next(draft)


def _buy_next(draft: Draft) -> None:
    run, choice = draft.run, choose(draft)
    if isinstance(choice, NoMore):
        draft.move(RunState.FAILED, choice.cause)
        return
    if not isinstance(choice, Pick):
        draft.move(RunState.PLANNING, choice.cause)
        return
    approval = needed(draft, choice.index)
    if approval is not None:
        draft.emit(ApprovalAsked(run_id=run.id, at=draft.now, approval=approval))
        draft.move(RunState.WAITING, asking(approval))
        return
    intended = PurchaseIntended(
        run_id=run.id,
        at=draft.now,
        token=f"{run.id}-{len(run.attempts) + 1}",
        candidate=choice.index,
        offer=choice.offer,
        nodes=choice.nodes,
        usd_per_hour=choice.usd_per_hour,
        fence=draft.observed.fence,
    )
    draft.emit(intended)
    draft.act(buy(draft, draft.run.attempts[-1]))


def _waiting(draft: Draft) -> None:
    if draft.run.cancel_asked_at is not None:
        draft.move(RunState.CANCELLED, CANCELLED)
    elif granted(draft):
        draft.move(RunState.PLANNING if draft.plan_is_old else RunState.ACQUIRING, "approved")


def _starting(draft: Draft) -> None:
    attempt = draft.run.attempts[-1]
    lost = draft.lost(attempt)
    if draft.run.cancel_asked_at is not None:
        draft.end(RunState.CANCELLED, CANCELLED)
    elif draft.over_budget(0.0 if attempt.launch_intended else draft.grace_s):  # a job once begun takes its grace
        draft.end(RunState.FAILED, OVER_BUDGET)
    elif lost:
        draft.move(RunState.RECOVERING, lost)
    elif attempt.reclaim_at is not None:
        draft.move(RunState.RECOVERING, taken(attempt))
    elif attempt.job_ended:
        draft.move(RunState.RECOVERING, f"the launch failed: {attempt.cause}")
    elif attempt.handle is not None:
        draft.move(RunState.RUNNING, "the job started")
    else:
        _launch(draft, attempt)


def _launch(draft: Draft, attempt: Attempt) -> None:
    run, lease, program = draft.run, held(attempt), draft.run.workload.program
    if lease is None or program is None:
        raise ValueError(f"run {run.id} is starting without a lease or a program")
    if lease.state is not LeaseState.READY or not lease.endpoints:
        limit_s = max(draft.rules.boot_timeout_s, 5 * lease.offer.boot_s)
        if draft.now > (attempt.held_at or draft.now) + timedelta(seconds=limit_s):
            draft.move(RunState.RECOVERING, f"the machines were not ready within {limit_s:.0f} s")
        return
    tries = draft.tries(attempt.token)
    if not attempt.launch_intended:
        draft.emit(LaunchIntended(run_id=run.id, at=draft.now, token=attempt.token))
    elif tries is not None and tries.calls >= draft.rules.calls:
        # No LaunchFailed: the job may be running after all, and winding down has to look for it.
        draft.move(RunState.RECOVERING, f"the launch failed {tries.calls} times: {tries.detail}")
        return
    if draft.due(attempt.token):
        launch = Launch(run_id=run.id, token=attempt.token, attempt=attempt.number, lease=lease, program=program)
        draft.act(launch)


def _running(draft: Draft) -> None:
    attempt = draft.run.attempts[-1]
    lost = draft.lost(attempt)
    if attempt.job_ended:
        _ended(draft, attempt)
    elif draft.run.cancel_asked_at is not None:
        _stop(draft, attempt, CANCELLED)
    elif draft.over_budget(draft.grace_s):
        _stop(draft, attempt, OVER_BUDGET)
    elif lost:
        draft.move(RunState.RECOVERING, ENDING if over(draft, attempt) else lost)
    elif attempt.reclaim_at is not None:
        _stop(draft, attempt, taken(attempt))
    elif must_fall_back(draft):
        _stop(draft, attempt, FALL_BACK)


def _ended(draft: Draft, attempt: Attempt) -> None:
    """The job ended without being asked to."""
    if attempt.exit_code == 0:
        draft.end(RunState.SUCCEEDED, "the job finished")
    elif attempt.exit_code is None:
        draft.move(RunState.RECOVERING, attempt.cause)
    elif draft.lost(attempt) or attempt.reclaim_at is not None or ran_out(attempt):
        draft.move(RunState.RECOVERING, ENDING if over(draft, attempt) else draft.lost(attempt) or taken(attempt))
    else:
        # A failure is the job's own only where the machines outlived it: that takes a look that is newer than its end.
        listing = draft.listing(attempt.offer.provider)
        if listing is not None and attempt.job_ended_at is not None and listing.asked_at >= attempt.job_ended_at:
            draft.end(RunState.FAILED, f"the job failed: {attempt.cause}")


def _stop(draft: Draft, attempt: Attempt, cause: str) -> None:
    ask_to_stop(draft, attempt, cause)
    draft.move(RunState.STOPPING, cause)


def _stopping(draft: Draft) -> None:
    attempt, cancelled = draft.run.attempts[-1], draft.run.cancel_asked_at is not None
    over_budget = draft.over_budget(draft.grace_s)
    if attempt.job_ended and _finished(attempt, wanted=not (cancelled or over_budget)):
        draft.end(RunState.SUCCEEDED, "the job finished while it was being stopped")
    elif not (attempt.job_ended or draft.lost(attempt) or out_of_patience(draft, attempt)):
        ask_to_stop(draft, attempt, attempt.cause)
    elif cancelled:
        draft.end(RunState.CANCELLED, CANCELLED)
    elif over_budget:
        draft.end(RunState.FAILED, OVER_BUDGET)
    else:
        draft.move(RunState.RECOVERING, taken(attempt) if attempt.reclaim_at is not None else FALL_BACK)


def _finished(attempt: Attempt, *, wanted: bool) -> bool:
    """Whether a job that was asked to stop had done its work.

    Many programs save and exit with 0 when they are asked to stop, so 0 alone does not say so: what the program
    reported decides, and where it reported nothing, 0 counts as done unless nobody wants the run any more.
    """
    if attempt.exit_code != 0:
        return False
    return attempt.progress.done >= 1.0 if attempt.progress is not None else wanted


def _recovering(draft: Draft) -> None:
    if draft.run.cancel_asked_at is not None:
        draft.end(RunState.CANCELLED, CANCELLED)
        return
    if not wind_down(draft):
        return
    choice = choose(draft)
    if isinstance(choice, NoMore):
        draft.move(RunState.FAILED, choice.cause)
    elif isinstance(choice, Pick):
        stale = draft.plan_is_old
        cause = "the plan is old: looking at the market again" if stale else "going on at the next candidate"
        draft.move(RunState.PLANNING if stale else RunState.ACQUIRING, cause)
    else:
        draft.move(RunState.PLANNING, "no candidate is left: looking at the market again")


def _releasing(draft: Draft) -> None:
    if wind_down(draft) and draft.run.outcome is not None:
        draft.move(draft.run.outcome, draft.run.detail)


def _dry_plans(run: Run) -> int:
    """Plans in a row that led to no lease, since it was last known why."""
    leased = max((attempt.plan for attempt in run.attempts if attempt.lease is not None), default=0)
    return run.plans - max(leased, run.postponed_plans)


def _buyable(run: Run) -> bool:
    return run.plan is not None and any(one.buyable and len(one.parts) == 1 for one in run.plan.ranked)


def _infeasible(run: Run) -> str:
    plan = run.plan
    if plan is None or plan.ranked:
        return "no placement can be bought: `isoflop plan` shows what is on sale"
    told = [f"{refusal.count} {refusal.code}" for refusal in plan.refusals]
    gaps = [f"{gap.provider}: {gap.detail}" for gap in plan.gaps]
    parts = (f"refused {', '.join(told)}" if told else "", f"not seen: {'; '.join(gaps)}" if gaps else "")
    why = "; ".join(part for part in parts if part)
    return f"no feasible placement among {plan.considered} offers" + (f" ({why})" if why else "")


CANCELLED = "cancelled by the user"
OVER_BUDGET = "over budget"

STEPS: Mapping[RunState, Callable[[Draft], None]] = MappingProxyType(
    {
        RunState.SUBMITTED: _submitted,
        RunState.PLANNING: _planning,
        RunState.ACQUIRING: _acquiring,
        RunState.WAITING: _waiting,
        RunState.STARTING: _starting,
        RunState.RUNNING: _running,
        RunState.STOPPING: _stopping,
        RunState.RECOVERING: _recovering,
        RunState.RELEASING: _releasing,
    }
)
