"""The budget policy: no bill over the job's budget, and none that a purse shared with other jobs cannot pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import Spend

NAME = "budget"
DEFAULTS: Mapping[str, float] = {
    "pace_usd_per_usd": 0.0,  # what a dollar that a purse spends ahead of its even pace costs on top
}
TOLERANCE_USD = 1e-6  # bills are rounded to it


class BudgetPolicy:
    """Holds what all policies bill, at the 50th percentile of the hours, against the job's budget and its purses.

    The purses are those of the snapshot's `spends` that are open at its moment, of the job's team or everybody's. Hard:
    BUDGET over `limits.budget_usd`; PACE where a purse's spent + committed + this bill is over its cap. Soft, and worth
    rather than money: `pace` is `pace_usd_per_usd` times the dollars of this lease that run ahead of an even pace of
    the purse, clip(spent + committed + b − cap·f, 0, b), with b = n·p·max(h, least billing) and f the share of the
    purse's time that has passed when the job ends; of several purses, the dearest counts.
    """

    name = NAME
    enforces = frozenset({"budget_usd"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing of its own: whether a bill falls with more nodes is said by who bills."""
        return frozenset()

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: the bill is not known yet."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term `pace`, where it has a price and the job a purse.

        Raises: UserError for a setting that the policy does not have or cannot read.
        """
        price, purses = overridden(view.workload, NAME, self._settings)["pace_usd_per_usd"], _purses(view)
        if not price or not purses:
            return {}
        book = candidates.book
        bill = candidates.nodes * book.usd_per_hour * np.maximum(candidates.hours, book.min_billing_s / 3600.0)
        ahead = np.zeros(len(candidates), np.float64)
        for purse in purses:
            ahead = np.maximum(ahead, _ahead_usd(purse, view, candidates.hours, bill))
        return {"pace": price * ahead}

    def audit(self, view: PlanView, candidates: Candidates, bill: Usd) -> Sequence[Refusals]:
        """BUDGET where the expected bill is over the budget, PACE where a purse cannot pay it."""
        found, budget = [], view.workload.limits.budget_usd
        if budget is not None:
            template = f"is expected to cost ${{figure:,.2f}}; the budget is ${budget:,.2f}"
            found.append(Refusals(ReasonCode.BUDGET, bill > budget, template, bill))
        for purse in _purses(view):
            left = purse.cap_usd - purse.spent_usd - purse.committed_usd
            template = f"is expected to cost ${{figure:,.2f}}; {_standing(purse)}"
            found.append(Refusals(ReasonCode.PACE, bill > left + TOLERANCE_USD, template, bill))
        return found

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """A team that has no purse, though others have one."""
        team, names = view.workload.team, {purse.name for purse in view.snapshot.spends if purse.name}
        if not team or not names or team in names:
            return ()
        return (f"team '{team}' has no budget in the settings; those that have: {', '.join(sorted(names))}",)


def _purses(view: PlanView) -> tuple[Spend, ...]:
    """Those that the job pays from now."""
    at, mine = view.snapshot.taken_at, {"", view.workload.team}
    return tuple(
        purse for purse in view.snapshot.spends if purse.name in mine and purse.starts_at <= at < purse.ends_at
    )


def _standing(purse: Spend) -> str:
    """How the purse stands, as part of a template."""
    whose = f"team {purse.name}'s" if purse.name else "everybody's"
    told = (
        f"of {whose} ${purse.cap_usd:,.2f} until {purse.ends_at:%Y-%m-%d} ${purse.spent_usd:,.2f} are spent and "
        f"${purse.committed_usd:,.2f} committed"
    )
    return told.replace("{", "{{").replace("}", "}}")


def _ahead_usd(purse: Spend, view: PlanView, hours: FloatArray, bill: FloatArray) -> FloatArray:
    """Dollars of each `bill` that run ahead of the purse's even pace, shape (n,)."""
    whole_s = (purse.ends_at - purse.starts_at).total_seconds()
    passed_s = (view.snapshot.taken_at - purse.starts_at).total_seconds()
    share = np.clip((passed_s + hours * 3600.0) / whole_s, 0.0, 1.0)
    return np.clip(purse.spent_usd + purse.committed_usd + bill - purse.cap_usd * share, 0.0, bill)


def create(context: PolicyContext) -> BudgetPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return BudgetPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
