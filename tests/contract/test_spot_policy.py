"""The spot policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.spot.policy import create


class TestSpotPolicy(PolicyContract):
    @pytest.fixture(
        params=[{}, {"max_interruptions_per_hour": 0.03, "correlated_share": 0.5}], ids=["plain", "limited"]
    )
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return create(PolicyContext(settings=request.param))
