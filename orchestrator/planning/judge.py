"""Judging: every offer of a snapshot used or refused, and every candidate priced by every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Audits, Bills, Enforces, Policy
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import LatencyTarget, Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.limits import apply_limits
from orchestrator.planning.sieve import Sieve

RISK = {Billing.OWNED: 0, Billing.ON_DEMAND: 1, Billing.RESERVED: 1, Billing.SPOT: 2}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One term over all candidates; `money` says whether somebody will invoice it."""

    by: str
    name: str
    usd: Usd
    money: bool


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Every offer used or refused: `len(candidates)` used, the rest in `sieve`, which add up to the book.

    `objective` is the terms added from the first to the last, so the terms of a row sum to it exactly.
    """

    view: PlanView
    sieve: Sieve
    candidates: Candidates
    policies: tuple[tuple[Policy, frozenset[str]], ...]  # each with the names of the terms it bills
    terms: tuple[Column, ...]
    objective: FloatArray

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


def judge(
    workload: Workload,
    snapshot: Snapshot,
    sizings: Mapping[str, Sizing | Reason],
    policies: Sequence[Policy],
    *,
    buyable_only: bool = False,
) -> Judgement:
    """Judge every offer of `snapshot`.

    Each policy sees the candidates that those before it did not refuse. Those that none refused are priced, and then
    audited by the policies that look at the bill.

    Raises: UserError where the workload sets a policy that is not there or that a policy cannot read; ConfigError where
    a policy breaks its contract, naming it, and where the workload has a limit that no policy stands for.
    """
    _check_names(workload, policies)
    _check_limits(workload, policies)
    view = PlanView(workload=workload, snapshot=snapshot)
    sieve = Sieve(snapshot.book)
    apply_limits(sieve, workload, snapshot, buyable_only=buyable_only)
    candidates = build(workload, snapshot, sizings, sieve)
    for policy in policies:
        candidates = _refuse(policy, view, candidates, sieve)
    bills = tuple(policy.bills if isinstance(policy, Bills) else frozenset[str]() for policy in policies)
    terms = tuple(
        term for policy, money in zip(policies, bills, strict=True) for term in price(policy, view, candidates, money)
    )
    auditors = [(policy, policy) for policy in policies if isinstance(policy, Audits)]
    candidates, terms = _audited(auditors, view, candidates, terms, sieve)
    objective = np.zeros(len(candidates), np.float64)
    for term in terms:
        objective += term.usd
    return Judgement(view, sieve, candidates, tuple(zip(policies, bills, strict=True)), terms, objective)


def _audited(
    auditors: Sequence[tuple[Policy, Audits]],
    view: PlanView,
    candidates: Candidates,
    terms: tuple[Column, ...],
    sieve: Sieve,
) -> tuple[Candidates, tuple[Column, ...]]:
    """The candidates whose bill every auditor accepts, and their terms."""
    bill = np.zeros(len(candidates), np.float64)
    for term in terms:
        if term.money:
            bill += term.usd
    open_ = np.ones(len(candidates), np.bool_)
    for policy, auditor in auditors:
        found = auditor.audit(view, candidates, bill)
        open_ &= _open(policy, found, candidates, sieve, open_)
    if open_.all():
        return candidates, terms
    rows = np.flatnonzero(open_)
    kept = tuple(Column(term.by, term.name, term.usd[rows], term.money) for term in terms)
    return candidates.take(rows), kept


def price(policy: Policy, view: PlanView, candidates: Candidates, money: frozenset[str]) -> tuple[Column, ...]:
    """The columns of `policy` over `candidates`, checked; those named in `money` are bills.

    Raises: ConfigError where one is not a finite number of dollars for every candidate: a plan on such a column would
    be wrong without a sign of it.
    """
    columns = []
    for name, usd in policy.price(view, candidates).items():
        column = np.asarray(usd, np.float64)
        if column.shape != (len(candidates),):
            raise _broken(policy, f"priced '{name}' in shape {column.shape}, not ({len(candidates)},)")
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            offer = candidates.book[int(wrong[0])].label
            raise _broken(policy, f"priced '{name}' as {column[wrong[0]]} for {offer} ({len(wrong)} candidates so)")
        columns.append(Column(policy.name, name, column, name in money))
    return tuple(columns)


def _broken(policy: Policy, what: str) -> ConfigError:
    return ConfigError(f"policy '{policy.name}' {what}: a fault of the policy; mend it or take it out of the settings")


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
        "data.stays": workload.data.stays,
    }
    kept = {name for policy in policies if isinstance(policy, Enforces) for name in policy.enforces}
    for name, given in set_.items():
        if given and name not in kept:
            raise ConfigError(f"the job sets {name}, and none of the policies in use stands for it")


def _refuse(policy: Policy, view: PlanView, candidates: Candidates, sieve: Sieve) -> Candidates:
    """The candidates that `policy` lets through."""
    found = policy.refuse(view, candidates)
    open_ = _open(policy, found, candidates, sieve, np.ones(len(candidates), np.bool_))
    return candidates if open_.all() else candidates.take(np.flatnonzero(open_))


def _open(
    policy: Policy, found: Sequence[Refusals], candidates: Candidates, sieve: Sieve, before: BoolArray
) -> BoolArray:
    """Of the candidates that were open `before`, those that `policy` did not refuse; the rest goes to the sieve."""
    open_, offers = before.copy(), candidates.offer
    for refusals in found:
        refused, figure = np.asarray(refusals.refused), np.asarray(refusals.figure, np.float64)
        if refused.dtype != np.bool_ or refused.shape != open_.shape or figure.shape != open_.shape:
            raise _broken(policy, f"refused in columns that are not {len(candidates)} truth values and figures")
        caught = np.flatnonzero(refused & open_)
        sieve.refuse_rows(
            offers[caught],
            policy.name,
            refusals.code,
            _sentence(policy, refusals, offers),
            figure=figure[caught],
        )
        open_[caught] = False
    return open_


def _sentence(policy: Policy, refusals: Refusals, offers: IntArray) -> Callable[[int], str]:
    def sentence(row: int) -> str:
        try:
            return refusals.reason(policy.name, int(np.searchsorted(offers, row))).detail
        except (KeyError, IndexError, ValueError) as error:
            raise _broken(policy, f"refused with the template {refusals.template!r}, which cannot be filled") from error

    return sentence
