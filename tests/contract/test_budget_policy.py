"""The budget policy keeps the promises of every policy."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.candidates import PlanView
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Spend
from orchestrator.domain.workload import Workload
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.policy_contract import PolicyContract
from policies.budget.policy import create

SETTINGS = [{}, {"pace_usd_per_usd": 0.5}]


class TestBudgetPolicy(PolicyContract):
    @pytest.fixture(params=SETTINGS)
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return create(PolicyContext(settings=request.param))


class TestBudgetPolicyWithAPurse(TestBudgetPolicy):
    @pytest.fixture
    def view(self, workload: Workload, market: Snapshot) -> PlanView:
        day = timedelta(days=1)
        purse = Spend(name="", cap_usd=1e4, starts_at=EPOCH - day, ends_at=EPOCH + 9 * day, spent_usd=500.0)
        return PlanView(workload=workload, snapshot=replace(market, spends=(purse,)))
