"""Judging: every offer of a snapshot used or refused, and every candidate priced by every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals
from orchestrator.domain.contracts import Audits, Policy
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook, Words
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import Inference, LatencyTarget, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.delays import with_delays
from orchestrator.planning.limits import apply_limits
from orchestrator.planning.pricing import (
    REFUSALS,
    Column,
    Panel,
    Seat,
    added,
    audited,
    broken,
    enforced,
    panel,
    refused,
)
from orchestrator.planning.shapes import Priced, competing
from orchestrator.planning.sieve import Sieve

MANY = 50_000  # offers from which the memory of columns is worth keeping
BLOCK_FLOATS = 1 << 21  # 16 MiB
KEEP = 20  # offers that are told apart to the best number of their nodes, unless more are asked for
RISK = {Billing.OWNED: 0, Billing.ON_DEMAND: 1, Billing.RESERVED: 1, Billing.SPOT: 2}


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Every offer used or refused: `len(candidates)` used, the rest in `sieve`, which add up to the book.

    `objective` is the terms added from the first to the last, so the terms of a row sum to it exactly.
    """

    view: PlanView
    sieve: Sieve
    candidates: Candidates
    panel: Panel
    terms: tuple[Column, ...]
    objective: FloatArray

    @property
    def competes(self) -> bool:
        """Whether more nodes than the fewest could be better for some offer."""
        lifts = any(seat.rewards(REFUSALS) for seat in self.panel.seats)
        finite = not isinstance(self.view.workload, Inference)
        return finite and (lifts or any(self.panel.may_fall(term) and term.usd.any() for term in self.terms))

    def best(self, keep: int) -> IntArray:
        """The best `keep` candidates in order.

        The order is total and does not depend on the order of offers: the objective to a millionth of a dollar, then
        the risk (owned, on demand or reserved, spot; then the interruption rate, unknown last), what can be bought
        before what cannot, known stock before unknown, then the offer's key.
        """
        usd = np.round(self.objective, 6)
        rows = np.arange(len(usd))
        if keep < len(usd):
            rows = np.flatnonzero(usd <= np.partition(usd, keep - 1)[keep - 1]) if keep > 0 else rows[:0]
        book = self.candidates.book
        risk = np.array([RISK[Billing(word)] for word in book.billing.vocab], np.int64)[book.billing.codes[rows]]
        hazard = book.interruption_rate[rows]
        buyable = book.provider.isin(frozenset(self.view.snapshot.buyable))[rows]
        keys = (book.billing, book.instance_type, book.zone, book.region, book.provider)
        order = np.lexsort(
            (
                *(column.codes[rows] for column in keys),
                book.available[rows] < 0,
                ~buyable,
                np.where(np.isnan(hazard), np.inf, hazard),
                risk,
                usd[rows],
            )
        )
        return rows[order[:keep]]

    def with_shapes(self, parts: Sequence[tuple[Candidates, tuple[Column, ...]]]) -> Judgement:
        """The same judgement over the candidates of `parts`, each with its terms: an offer may be there in many shapes.

        Terms that one part lacks are 0 there.
        """
        names = dict.fromkeys((term.by, term.name, term.money) for _, terms in parts for term in terms)
        columns = []
        for by, name, money in names:
            usd = [
                next((term.usd for term in terms if (term.by, term.name) == (by, name)), np.zeros(len(candidates)))
                for candidates, terms in parts
            ]
            columns.append(Column(by, name, np.concatenate(usd), money))
        joined = joined_candidates([candidates for candidates, _ in parts])
        return replace(self, candidates=joined, terms=tuple(columns), objective=added(columns, len(joined)))


def joined_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of one judgement behind one another."""
    first = parts[0]
    book = OfferBook.from_columns(
        {
            name: Words(np.concatenate([getattr(part.book, name).codes for part in parts]), column.vocab)
            if isinstance(column, Words)
            else np.concatenate([getattr(part.book, name) for part in parts])
            for name, column in first.book.columns().items()
        }
    )
    return Candidates(
        book=book,
        offer=np.concatenate([part.offer for part in parts]),
        sizing=np.concatenate([part.sizing for part in parts]),
        sizings=first.sizings,
        nodes=np.concatenate([part.nodes for part in parts]),
        hours=np.concatenate([part.hours for part in parts]),
        hours_p10=np.concatenate([part.hours_p10 for part in parts]),
        hours_p90=np.concatenate([part.hours_p90 for part in parts]),
    )


def judge(
    workload: Workload,
    snapshot: Snapshot,
    sizings: Mapping[str, Sizing | Reason],
    policies: Sequence[Policy],
    *,
    buyable_only: bool = False,
    keep: int = KEEP,
    among: BoolArray | None = None,
) -> Judgement:
    """Judge every offer of `snapshot`, or those where `among`, shape (len(snapshot.book),), is True.

    Each policy sees the candidates that those before it did not refuse. Those that none refused are priced, and then
    audited by the policies that look at the bill. Where more nodes may be better, the best `keep` offers stand with
    their best number of nodes, and the others with one that is no better than the best `keep`: see `shapes`.

    Raises: UserError where the workload sets a policy that is not there or that a policy cannot read; ConfigError where
    a policy breaks its contract, naming it, and where the workload has a limit that no policy stands for.
    """
    _check_names(workload, policies)
    _check_limits(workload, policies)
    if len(snapshot.book) >= MANY:
        # glibc returns freed columns to the kernel at once, until it has seen a block as large as this come and go:
        # fetching every page again takes a fifth of the time. The block is never written to and takes no memory.
        np.empty(BLOCK_FLOATS)
    view = PlanView(workload=workload, snapshot=snapshot)
    sieve = Sieve(snapshot.book, among=among)
    apply_limits(sieve, workload, snapshot, buyable_only=buyable_only)
    judges = panel(policies, view)
    least = with_delays(judges, build(workload, snapshot, sizings, sieve))
    again: list[IntArray] = []  # offers that more nodes may save
    candidates = least
    for seat in judges.seats:
        found = refused(seat.policy, view, candidates)
        open_ = _open(seat.policy, found, candidates, sieve)
        if not open_.all():
            if seat.rewards(REFUSALS):
                again.append(candidates.offer[~open_])
            candidates = candidates.take(np.flatnonzero(open_))
    candidates, terms, dear = _audited(judges, candidates, sieve)
    again += dear
    objective = added(terms, len(candidates))
    if not isinstance(workload, Inference) and any(seat.faster != frozenset() for seat in judges.seats):
        shaped = competing(judges, least, Priced(candidates, terms, objective), _joined(again), keep)
        candidates, terms, objective = shaped.candidates, shaped.terms, shaped.objective
        sieve.reopen(candidates.offer)
    return Judgement(view, sieve, candidates, judges, terms, objective)


def _joined(offers: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *offers])


def _audited(
    judges: Panel, candidates: Candidates, sieve: Sieve
) -> tuple[Candidates, tuple[Column, ...], list[IntArray]]:
    """The candidates whose bill every auditor accepts, their terms, and the offers that more nodes may save."""
    terms = judges.price(candidates)
    bill = added(terms, len(candidates), money=True)
    open_, again = np.ones(len(candidates), np.bool_), []
    falls = any(judges.may_fall(term) for term in terms if term.money)
    for seat in judges.seats:
        if seat.audits is None:
            continue
        before = open_.copy()
        found = audited(seat.policy, seat.audits, judges.view, candidates, bill)
        open_ &= _open(seat.policy, found, candidates, sieve, open_)
        lost = before & ~open_
        if lost.any() and (falls or seat.rewards(REFUSALS)):
            again.append(candidates.offer[lost & ~_hopeless(judges, seat, seat.audits, candidates, terms)])
    if open_.all():
        return candidates, terms, again
    rows = np.flatnonzero(open_)
    kept = tuple(Column(term.by, term.name, term.usd[rows], term.money) for term in terms)
    return candidates.take(rows), kept, again


def _hopeless(judges: Panel, seat: Seat, auditor: Audits, candidates: Candidates, terms: Sequence[Column]) -> BoolArray:
    """Where `auditor` refuses even the part of the bill that no number of nodes brings down, shape (n,)."""
    hopeless = np.zeros(len(candidates), np.bool_)
    if seat.rewards(REFUSALS):
        return hopeless
    bill = added([term for term in terms if not judges.may_fall(term)], len(candidates), money=True)
    for refusals in audited(seat.policy, auditor, judges.view, candidates, bill):
        hopeless |= refusals.refused
    for term in terms:
        if judges.may_fall(term) and (term.usd < 0).any():  # a reward below nothing has no bound
            hopeless &= term.usd >= 0
    return hopeless


def _check_names(workload: Workload, policies: Sequence[Policy]) -> None:
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        raise ConfigError(f"two policies share a name: {', '.join(names)}")
    for setting in workload.settings:
        if setting.policy not in names:
            raise UserError(
                f"the job sets '{setting.name}' of policy '{setting.policy}'; {hint(setting.policy, names)}"
            )


def _check_limits(workload: Workload, policies: Sequence[Policy]) -> None:
    """A limit that nobody stands for would be broken without a word."""
    limits = workload.limits
    set_ = {
        "budget_usd": limits.budget_usd is not None,
        "latency": limits.latency != LatencyTarget(),
        "residency": bool(limits.residency),
        "data.stays": workload.data.stays,
    }
    kept = {name for policy in policies for name in enforced(policy)}
    for name, given in set_.items():
        if given and name not in kept:
            raise ConfigError(f"the job sets {name}, and none of the policies in use stands for it")


def _open(
    policy: Policy,
    found: Sequence[Refusals],
    candidates: Candidates,
    sieve: Sieve,
    before: BoolArray | None = None,
) -> BoolArray:
    """Of the candidates that were open `before`, those that `policy` did not refuse; the rest goes to the sieve."""
    open_ = np.ones(len(candidates), np.bool_) if before is None else before.copy()
    offers = candidates.offer
    for refusals in found:
        caught = np.flatnonzero(refusals.refused & open_)
        if len(caught):
            sentence = _sentence(policy, refusals, offers)
            sieve.refuse_rows(offers[caught], policy.name, refusals.code, sentence, figure=refusals.figure[caught])
            open_[caught] = False
    return open_


def _sentence(policy: Policy, refusals: Refusals, offers: IntArray) -> Callable[[int], str]:
    def sentence(row: int) -> str:
        try:
            return refusals.reason(policy.name, int(np.searchsorted(offers, row))).detail
        except (KeyError, IndexError, ValueError) as error:
            raise broken(policy, f"refused with the template {refusals.template!r}, which cannot be filled") from error

    return sentence
