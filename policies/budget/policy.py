"""The budget policy: a candidate whose expected bill is over the job's budget is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured
from orchestrator.domain.reason import ReasonCode

NAME = "budget"
DEFAULTS: Mapping[str, float] = {}


class BudgetPolicy:
    """Holds what all policies bill, at the 50th percentile of the hours, against `limits.budget_usd`."""

    name = NAME
    enforces = frozenset({"budget_usd"})

    def rewards_speed(self, _view: PlanView) -> frozenset[str]:
        """Nothing of its own: whether a bill falls with more nodes is said by who bills."""
        return frozenset()

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: the bill is not known yet."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """Nothing: a budget makes nothing dearer."""
        return {}

    def audit(self, view: PlanView, candidates: Candidates, bill: Usd) -> Sequence[Refusals]:
        """BUDGET where the expected bill is over the budget."""
        budget = view.workload.limits.budget_usd
        if budget is None:
            return ()
        template = f"is expected to cost ${{figure:,.2f}}; the budget is ${budget:,.2f}"
        return (Refusals(ReasonCode.BUDGET, bill > budget, template, bill),)


def create(context: PolicyContext) -> BudgetPolicy:
    """The policy; it has no settings. Raises: ConfigError for any."""
    configured(f"policy {NAME}", context.settings, DEFAULTS)
    return BudgetPolicy()
