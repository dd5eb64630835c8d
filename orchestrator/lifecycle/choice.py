"""Which candidate is bought next, or why none is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.errors import AuthError, QuotaError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Placement
from orchestrator.domain.run import Attempt, Run
from orchestrator.lifecycle.actions import Buy
from orchestrator.lifecycle.billing import price_usd, spent_usd
from orchestrator.lifecycle.draft import Draft
from orchestrator.lifecycle.punctual import fits

TOO_LATE = "on spot, with no time left to fall back"
PROVIDER_OFF = frozenset({QuotaError.__name__, AuthError.__name__})


@dataclass(frozen=True, slots=True)
class Pick:
    """Buy `nodes` of `offer`: candidate `index` of the plan."""

    index: int
    offer: Offer
    nodes: int
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class UsedUp:
    """No candidate of this plan is left; a new one may help."""

    cause: str


@dataclass(frozen=True, slots=True)
class NoMore:
    """No plan would help: out of attempts or budget."""

    cause: str


Choice: TypeAlias = Pick | UsedUp | NoMore


def choose(draft: Draft) -> Choice:
    """The next candidate of the plan that can be bought."""
    run = draft.run
    program = run.workload.program
    leases = sum(attempt.lease is not None for attempt in run.attempts)
    if program is not None and leases >= program.max_attempts:
        return NoMore(f"{leases} leases were tried, as many as the job allows: {run.detail}")
    if draft.over_budget(0.0):
        return NoMore("over budget")
    skipped: Counter[str] = Counter()
    ranked = run.plan.ranked if run.plan is not None else ()
    for index in range(run.next_candidate, len(ranked)):
        why = _unfit(draft, ranked[index]) or ("" if fits(draft, index) else TOO_LATE)
        if not why:
            (part,) = ranked[index].parts
            return Pick(index, part.offer, part.nodes, ranked[index].usd_per_hour)
        skipped[why] += 1
    if skipped and set(skipped) == {"over budget"}:
        return NoMore("over budget: no candidate left fits in what remains of it")
    told = ", ".join(f"{count} {why}" for why, count in sorted(skipped.items()))
    last = run.attempts[-1].cause if run.attempts else ""
    return UsedUp("no candidate is left" + (f" ({told})" if told else "") + (f"; last: {last}" if last else ""))


def _unfit(draft: Draft, placement: Placement) -> str:
    """Why `placement` is passed over, or ""."""
    run = draft.run
    if len(placement.parts) != 1:
        return "in several parts, which this release does not buy"
    offer = placement.parts[0].offer
    if not placement.buyable:
        return "cannot be bought"
    if offer.provider in _off(run):
        return "of a provider that refuses us"
    if draft.blind(offer.provider):
        return "of a provider that does not answer"
    budget = run.workload.limits.budget_usd
    if budget is not None:
        least_s = max(offer.boot_s + draft.grace_s + draft.leave_s, offer.min_billing_s)
        least = price_usd(least_s, 0.0, placement.usd_per_hour)
        if least > 0 and spent_usd(run, draft.now) + least >= budget:
            return "over budget"
    return ""


def _off(run: Run) -> set[str]:
    """Providers whose quota is used up or that refuse our credentials, as far as the present plan has learnt."""
    refusals = (attempt for attempt in run.attempts if attempt.plan == run.plans and attempt.error in PROVIDER_OFF)
    return {attempt.offer.provider for attempt in refusals}


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
