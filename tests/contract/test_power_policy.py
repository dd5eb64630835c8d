"""The power policy keeps the promises of every policy."""

from collections.abc import Mapping

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.power.policy import create


class TestPowerPolicy(PolicyContract):
    @pytest.fixture(params=[{}, {"usd_per_kwh": 0.2, "max_kw": 10.0}], ids=["as it comes", "priced and capped"])
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        settings: Mapping[str, float] = request.param
        return create(PolicyContext(settings=settings))
