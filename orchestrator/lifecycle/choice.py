"""Which candidate is bought next, or why none is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Placement
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.run import Attempt, Run
from orchestrator.domain.standing import Block
from orchestrator.lifecycle.actions import Buy
from orchestrator.lifecycle.billing import price_usd, spent_usd
from orchestrator.lifecycle.draft import Draft
from orchestrator.lifecycle.ending import lasted
from orchestrator.lifecycle.punctual import fits

TOO_LATE = "on spot, with no time left to fall back"
REFUSED = "refused a short while ago"
SILENT = "of a provider that does not answer"


@dataclass(frozen=True, slots=True)
class Pick:
    """Buy `nodes` of `offer`: candidate `index` of the plan."""

    index: int
    offer: Offer
    nodes: int
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class UsedUp:
    """No candidate of this plan is left; a new one may help, or the one that may be asked for again at `until`."""

    cause: str
    until: datetime | None = None
    told: str = ""  # what is refused, in words
    silent: bool = False  # a provider that does not answer may have something too


@dataclass(frozen=True, slots=True)
class NoMore:
    """No plan would help: out of attempts or budget."""

    cause: str


Choice: TypeAlias = Pick | UsedUp | NoMore


def choose(draft: Draft) -> Choice:
    """The next candidate of the plan that can be bought."""
    run = draft.run
    program = run.workload.program
    leases = _tried(run)
    if program is not None and leases >= program.max_attempts:
        return NoMore(f"{leases} leases were tried, as many as the job allows: {run.detail}")
    if draft.over_budget(0.0):
        return NoMore("over budget")
    skipped: Counter[str] = Counter()
    refused: list[Block] = []
    ranked = run.plan.ranked if run.plan is not None else ()
    for index in range(_first(run), len(ranked)):
        why = _unfit(draft, ranked[index]) or ("" if fits(draft, index) else TOO_LATE)
        if not why:
            (part,) = ranked[index].parts
            return Pick(index, part.offer, part.nodes, ranked[index].usd_per_hour)
        skipped[why] += 1
        block = _block(draft, ranked[index]) if why == REFUSED else None
        refused += [block] if block is not None else []
    if skipped and set(skipped) == {"over budget"}:
        return NoMore("over budget: no candidate left fits in what remains of it")
    told = ", ".join(f"{count} {why}" for why, count in sorted(skipped.items()))
    last = run.attempts[-1].cause if run.attempts else ""
    cause = "no candidate is left" + (f" ({told})" if told else "") + (f"; last: {last}" if last else "")
    first = min(refused, key=lambda block: block.until, default=None)
    if first is None:
        return UsedUp(cause, silent=SILENT in skipped)
    return UsedUp(cause, until=first.until, told=first.sentence(draft.now), silent=SILENT in skipped)


def _tried(run: Run) -> int:
    """Leases that count towards those that a job may fail by: not one that lasted, unless it got the job no further."""
    program = run.workload.program
    once, done, tried = program is not None and program.max_attempts <= 1, 0.0, 0
    for attempt in run.attempts:
        reported = attempt.progress.done if attempt.progress is not None else None
        stuck = reported is not None and reported <= done
        tried += attempt.lease is not None and (once or stuck or not lasted(attempt))
        done = max(done, reported or 0.0)
    return tried


def _first(run: Run) -> int:
    """The first candidate to look at: the next, or again the one whose lease lasted as long as it was to."""
    last = run.attempt
    if last is not None and last.plan == run.plans and lasted(last):
        return last.candidate
    return run.next_candidate


def _unfit(draft: Draft, placement: Placement) -> str:
    """Why `placement` is passed over, or ""."""
    run = draft.run
    if len(placement.parts) != 1:
        return "in several parts, which this release does not buy"
    offer = placement.parts[0].offer
    if not placement.buyable:
        return "cannot be bought"
    if _block(draft, placement) is not None:
        return REFUSED
    if draft.blind(offer.provider):
        return SILENT
    budget = run.workload.limits.budget_usd
    if budget is not None:
        least_s = max(offer.boot_s + draft.grace_s + draft.leave_s, offer.min_billing_s)
        least = price_usd(least_s, 0.0, placement.usd_per_hour)
        if least > 0 and spent_usd(run, draft.now) + least >= budget:
            return "over budget"
    return ""


def next_look(draft: Draft, choice: UsedUp) -> datetime | None:
    """When the market is looked at again, where fresh refusals are in the way of all that suits; else None.

    The first moment at which something may be asked for again; sooner where that is long, for quotas are raised and
    offers come up meanwhile, and within minutes where a provider that does not answer may have something too.
    """
    plan = draft.run.plan
    moments = (choice.until, plan.blocked_until if plan is not None else None)
    until = min((moment for moment in moments if moment is not None and moment > draft.now), default=None)
    if until is None:
        return None
    most_s = draft.rules.plan_backoff_cap_s if choice.silent else draft.rules.postponed_look_s
    return min(until, draft.now + timedelta(seconds=most_s))


def refused_lately(draft: Draft, choice: UsedUp) -> str:
    """What is in the way, in words."""
    plan = draft.run.plan
    told = [choice.told] if choice.told else []
    for refusal in plan.refusals if plan is not None else ():
        if refusal.code is ReasonCode.RECENTLY_REFUSED:
            told += [example.detail for example in refusal.examples if example.detail not in told]
    return "; ".join(told)


def _block(draft: Draft, placement: Placement) -> Block | None:
    (part,) = placement.parts
    return draft.block(part.offer, part.nodes)


def lifetime_s(draft: Draft, usd_per_hour: float) -> float | None:
    """How long the machines may live if we are gone for good: until the budget is used up."""
    budget = draft.run.workload.limits.budget_usd
    if budget is None or usd_per_hour <= 0:
        return None
    return (budget - spent_usd(draft.run, draft.now)) / usd_per_hour * 3600.0


def buy(draft: Draft, attempt: Attempt) -> Buy:
    """The purchase that `attempt` intends: the same every time it is asked for."""
    program = draft.run.workload.program
    image = program.image if program is not None else ""
    boot = Boot(run_id=draft.run.id, image=image, lifetime_s=lifetime_s(draft, attempt.usd_per_hour))
    return Buy(run_id=draft.run.id, token=attempt.token, offer=attempt.offer, nodes=attempt.nodes, boot=boot)
