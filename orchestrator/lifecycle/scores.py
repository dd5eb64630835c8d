"""Scores: how providers have behaved, learned from the history of purchases and leases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain.errors import CapacityError
from orchestrator.domain.events import (
    Event,
    LeaseChanged,
    LeaseGone,
    Moved,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
    ReclaimNoticed,
    StopAsked,
)
from orchestrator.domain.interruptions import USUAL_FAILURES_PER_NODE_HOUR
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Billing
from orchestrator.domain.run import RunState
from orchestrator.domain.standing import ProviderScore
from orchestrator.lifecycle.ending import CLOSE

# As good as one failure in 6 300 node-hours seen before: two in the first day do not make a provider a hundred times
# worse than others, twenty in a week do.
PRIOR_FAILURES = 1.0
# As good as two purchases that went through: one refusal is a third, two are half.
PRIOR_PURCHASES = 2.0
HALF_LIFE = timedelta(hours=6)  # of the memory of refused purchases: capacity comes back within the day


@dataclass(slots=True)
class _Tally:
    """What is known of one provider so far."""

    refused: float = 0.0  # purchases, each worth half after a half-life
    bought: float = 0.0
    failures: int = 0
    node_hours: float = 0.0
    purchases: int = 0


@dataclass(slots=True)
class _Open:
    """What is known of one run's current attempt."""

    provider: str
    spot: bool
    token: str
    excused: bool = False  # announced, asked for, or counted already: no failure


@dataclass(slots=True)
class _Fold:
    now: datetime
    tallies: dict[str, _Tally] = field(default_factory=dict)
    attempts: dict[str, _Open] = field(default_factory=dict)  # by run
    leases: dict[str, Lease] = field(default_factory=dict)  # live, by token

    def tally(self, provider: str) -> _Tally:
        return self.tallies.setdefault(provider, _Tally())

    def take(self, event: Event) -> None:
        attempt = self.attempts.get(event.run_id)
        match event:
            case PurchaseIntended():
                spot = event.offer.billing is Billing.SPOT
                self.attempts[event.run_id] = _Open(event.offer.provider, spot, event.token)
            case Purchased():
                self.leases[event.token] = event.lease
                self.remember(event.lease.provider, event.at, refused=False)
            case LeaseChanged() if event.token in self.leases:
                self.leases[event.token] = event.lease
            case LeaseGone() if event.token in self.leases:
                self.hold(self.leases.pop(event.token), event.at)
        if attempt is not None:
            self.follow(attempt, event)

    def follow(self, attempt: _Open, event: Event) -> None:
        """What becomes of an attempt: once it has to go on elsewhere it has failed, unless that was announced or asked
        for.
        """
        match event:
            case PurchaseRefused() if event.error == CapacityError.__name__:
                self.remember(attempt.provider, event.at, refused=True)
            case ReclaimNoticed() | StopAsked():
                attempt.excused = True
            case Moved() if event.to is RunState.RECOVERING and not (attempt.excused or attempt.spot):
                attempt.excused = True
                lease = self.leases.get(attempt.token)
                if lease is None or lease.ends_at is None or event.at < lease.ends_at - CLOSE:
                    self.tally(attempt.provider).failures += 1

    def remember(self, provider: str, at: datetime, *, refused: bool) -> None:
        """A purchase of some time ago."""
        age = max(self.now - at, timedelta(0))
        weight, tally = 0.5 ** (age / HALF_LIFE), self.tally(provider)
        tally.purchases += 1
        if refused:
            tally.refused += weight
        else:
            tally.bought += weight

    def hold(self, lease: Lease, until: datetime) -> None:
        """A lease held until then. What spot machines lose is the hazard of their offers, and no failure."""
        if lease.offer.billing is not Billing.SPOT:
            hours = max(until - lease.acquired_at, timedelta(0)) / timedelta(hours=1)
            self.tally(lease.provider).node_hours += lease.nodes * hours


def scores(events: Iterable[Event], now: datetime) -> tuple[ProviderScore, ...]:
    """The score of every provider that anything was bought from, or tried to be, by name.

    Failures per node-hour are (1 + failures) / (6 300 + node-hours), the mean of a gamma prior of one failure at the
    usual rate: a failure is an attempt that had to go on elsewhere without a notice of reclaim, without being asked to
    stop and before its lease was to end, on machines that are not spot; of many nodes the first counts. None where no
    such machine was ever held. The share of refused purchases is r / (r + bought + 2), where each counts half after six
    hours, so that it fades with the shortage; quotas are the user's own and do not count.
    """
    fold = _Fold(now)
    for event in events:
        fold.take(event)
    for lease in fold.leases.values():
        fold.hold(lease, now)
    return tuple(_score(name, fold.tallies[name]) for name in sorted(fold.tallies))


def merged(configured: Sequence[ProviderScore], learned: Sequence[ProviderScore]) -> tuple[ProviderScore, ...]:
    """One score per provider, by name: what the user says goes before what was learned, number by number."""
    own = {score.provider: score for score in configured}
    seen = {score.provider: score for score in learned}
    return tuple(_merged(own.get(name), seen.get(name)) for name in sorted({*own, *seen}))


def _score(provider: str, tally: _Tally) -> ProviderScore:
    held = tally.node_hours > 0 or tally.failures > 0
    prior_hours = PRIOR_FAILURES / USUAL_FAILURES_PER_NODE_HOUR
    rate = (PRIOR_FAILURES + tally.failures) / (prior_hours + tally.node_hours)
    refused = tally.refused / (tally.refused + tally.bought + PRIOR_PURCHASES)
    return ProviderScore(
        provider=provider,
        failures_per_node_hour=rate if held else None,
        refused=refused,
        origin=f"learned from {tally.purchases:,} purchases and {tally.node_hours:,.0f} node-hours",
    )


def _merged(own: ProviderScore | None, seen: ProviderScore | None) -> ProviderScore:
    if own is None or seen is None:
        found = own or seen
        if found is None:
            raise ValueError("a provider without a score has none to merge")
        return found
    rate = seen.failures_per_node_hour if own.failures_per_node_hour is None else own.failures_per_node_hour
    refused = seen.refused if own.refused is None else own.refused
    whole = own.failures_per_node_hour is not None and own.refused is not None
    origin = own.origin if whole else f"{own.origin}; {seen.origin}"
    return ProviderScore(provider=own.provider, failures_per_node_hour=rate, refused=refused, origin=origin)
