"""The cost policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.cost.policy import create


class TestCostPolicy(PolicyContract):
    @pytest.fixture
    def policy(self) -> Policy:
        return create(PolicyContext())
