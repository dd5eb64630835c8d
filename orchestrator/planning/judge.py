"""Judging: every offer of a snapshot used or refused, and every candidate priced by every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Bills, Policy
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import Workload
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
    """Judge every offer of `snapshot`. Each policy sees the candidates that those before it did not refuse.

    Raises: UserError where the workload sets a policy that is not there or that a policy cannot read; ConfigError where
    a policy breaks its contract, naming it.
    """
    _check_names(workload, policies)
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
    objective = np.zeros(len(candidates), np.float64)
    for term in terms:
        objective += term.usd
    return Judgement(view, sieve, candidates, tuple(zip(policies, bills, strict=True)), terms, objective)


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


def _refuse(policy: Policy, view: PlanView, candidates: Candidates, sieve: Sieve) -> Candidates:
    """The candidates that `policy` lets through."""
    open_ = np.ones(len(candidates), np.bool_)
    offers = candidates.offer
    for refusals in policy.refuse(view, candidates):
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
    return candidates if open_.all() else candidates.take(np.flatnonzero(open_))


def _sentence(policy: Policy, refusals: Refusals, offers: IntArray) -> Callable[[int], str]:
    def sentence(row: int) -> str:
        try:
            return refusals.reason(policy.name, int(np.searchsorted(offers, row))).detail
        except (KeyError, IndexError, ValueError) as error:
            raise _broken(policy, f"refused with the template {refusals.template!r}, which cannot be filled") from error

    return sentence
