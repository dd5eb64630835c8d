"""One run's next step while it is being decided: every event is folded in as soon as it is written."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain.errors import LeaseNotFound
from orchestrator.domain.events import Event, Moved, PurchaseRefused
from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.run import Attempt, AttemptState, Run, RunState
from orchestrator.domain.standing import Block
from orchestrator.lifecycle.actions import Action
from orchestrator.lifecycle.billing import spent_usd
from orchestrator.lifecycle.blocking import block_of
from orchestrator.lifecycle.fold import advance
from orchestrator.lifecycle.observed import Blind, Listing, Observed, Rules, Tries

NOTHING_HELD = LeaseNotFound.__name__  # the `error` of a purchase that a listing settled


class Draft:
    """The run as it will be, and the events and actions that make it so. An illegal event raises IllegalMove."""

    def __init__(self, run: Run, observed: Observed, now: datetime, rules: Rules) -> None:
        self.run = run
        self.observed = observed
        self.now = now
        self.rules = rules
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.blocks = [block for block in observed.blocks if block.until > now]

    def emit(self, event: Event) -> None:
        """Write `event`."""
        self.run = advance(self.run, event)
        self.events.append(event)
        if isinstance(event, PurchaseRefused):  # what others hear of with the next tick counts here at once
            attempt = self.run.attempts[-1]
            block = block_of(event, attempt.offer, attempt.nodes, self.rules.patience)
            self.blocks += [block] if block is not None else []

    def move(self, to: RunState, cause: str) -> None:
        """Go to `to`, which is not RELEASING."""
        self.emit(Moved(run_id=self.run.id, at=self.now, to=to, cause=cause))

    def end(self, outcome: RunState, cause: str) -> None:
        """Give everything back, then end as `outcome`."""
        self.emit(Moved(run_id=self.run.id, at=self.now, to=RunState.RELEASING, cause=cause, outcome=outcome))

    def act(self, action: Action) -> None:
        """Have `action` done once the events are stored."""
        self.actions.append(action)

    def busy(self, key: str) -> bool:
        """True while a call about `key` is in flight or about to be: a second one waits for its result."""
        return key in self.observed.busy or any(action.key == key for action in self.actions)

    def due(self, key: str) -> bool:
        """True where a call about `key` may be made now."""
        tries = self.tries(key)
        return not self.busy(key) and (tries is None or self.now >= tries.retry_at)

    def tries(self, key: str) -> Tries | None:
        """What is in doubt about `key`."""
        return self.observed.tries.get(key)

    def listing(self, provider: str) -> Listing | None:
        """The newest answer of `provider`; None while it is blind or was not asked yet."""
        sight = self.observed.sights.get(provider)
        return sight if isinstance(sight, Listing) else None

    def blind(self, provider: str) -> bool:
        """True where `provider` was asked and did not answer."""
        return isinstance(self.observed.sights.get(provider), Blind)

    def block(self, offer: Offer, nodes: int) -> Block | None:
        """The refusal that stands against buying `nodes` nodes of `offer`, of several the one that lasts longest."""
        found = [block for block in self.blocks if block.covers(offer, nodes)]
        return max(found, key=lambda block: block.until, default=None)

    def absent(self, attempt: Attempt, since: datetime) -> bool:
        """True where a listing asked for at `since` or later does not show the attempt's lease."""
        listing = self.listing(attempt.offer.provider)
        return listing is not None and listing.asked_at >= since and listing.by_token(attempt.token) is None

    def lost(self, attempt: Attempt) -> str:
        """Why the lease held is to be given up for lost, or "" while it is not.

        A lease may be lawfully missing from listings in its first minute, unless an earlier one has shown it already.
        """
        if attempt.held_at is None or attempt.lease is None:
            return ""
        listing = self.listing(attempt.lease.provider)
        if listing is None:
            return ""
        listed = listing.by_id(attempt.lease.id)
        if listed is not None:
            return "the lease is being released by somebody else" if listed.state is LeaseState.RELEASING else ""
        known = attempt.token in self.observed.seen
        settled = attempt.held_at + timedelta(seconds=self.rules.listing_lag_s)
        return "the provider no longer lists the lease" if known or listing.asked_at >= settled else ""

    def over_budget(self, hold_s: float) -> bool:
        """True where holding on for `hold_s` more, and then giving back, would reach the budget."""
        budget = self.run.workload.limits.budget_usd
        if budget is None:
            return False
        until = self.now + timedelta(seconds=hold_s + self.leave_s)
        return spent_usd(self.run, until) >= budget > 0

    @property
    def plan_is_old(self) -> bool:
        """True where the market has to be looked at again before anything is bought."""
        plan = self.run.plan
        return plan is None or self.now - plan.made_at > timedelta(seconds=self.rules.plan_age_s)

    @property
    def leave_s(self) -> float:
        """How long it takes to notice something and to give a lease back."""
        return self.rules.notice_s + self.rules.release_s

    @property
    def grace_s(self) -> float:
        """How long the job may take to stop."""
        program = self.run.workload.program
        return program.checkpoint.grace_s if program is not None else 0.0


def held(attempt: Attempt | None) -> Lease | None:
    """The lease that `attempt` holds and has not begun to give back."""
    return attempt.lease if attempt is not None and attempt.state is AttemptState.HELD else None
