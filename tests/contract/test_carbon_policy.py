"""The carbon policy keeps the promises of every policy."""

from collections.abc import Mapping

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.carbon.policy import create


class TestCarbonPolicy(PolicyContract):
    @pytest.fixture(params=[{}, {"usd_per_tonne": 80.0, "max_kg": 500.0}], ids=["as it comes", "priced and capped"])
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        settings: Mapping[str, float] = request.param
        return create(PolicyContext(settings=settings))
