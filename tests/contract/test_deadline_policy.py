"""The deadline policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.deadline.policy import create

SETTINGS: list[dict[str, object]] = [{}, {"confidence": 0.9, "usd_per_hour": 2.0, "late_usd_per_hour": 50.0}]


class TestDeadlinePolicy(PolicyContract):
    @pytest.fixture(params=SETTINGS)
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return create(PolicyContext(settings=request.param))
