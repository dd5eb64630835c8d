"""The budget policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.budget.policy import create


class TestBudgetPolicy(PolicyContract):
    @pytest.fixture
    def policy(self) -> Policy:
        return create(PolicyContext())
