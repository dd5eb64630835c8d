"""The budget policy's arithmetic, by hand."""

import numpy as np

from orchestrator.domain.candidates import PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.workload import Limits
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.policy_contract import candidates_of
from policies.budget.policy import create

POLICY = create(PolicyContext())


def test_over_the_budget_is_refused_with_the_sum() -> None:
    view = PlanView(workload=training(limits=Limits(budget_usd=600.0)), snapshot=snapshot(offer()))
    (refusals,) = POLICY.audit(view, candidates_of(view), np.array([640.0]))
    assert refusals.refused.tolist() == [True]
    assert refusals.reason("budget", 0).detail == "is expected to cost $640.00; the budget is $600.00"


def test_exactly_the_budget_is_within_it() -> None:
    view = PlanView(workload=training(limits=Limits(budget_usd=640.0)), snapshot=snapshot(offer()))
    (refusals,) = POLICY.audit(view, candidates_of(view), np.array([640.0]))
    assert not refusals.refused.any()
