"""The residency policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.residency.policy import create

SETTINGS: list[dict[str, object]] = [{}, {"everybody": ["EU"], "teams": {"health": "DE"}}]


class TestResidencyPolicy(PolicyContract):
    @pytest.fixture(params=SETTINGS)
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return create(PolicyContext(settings=request.param))
