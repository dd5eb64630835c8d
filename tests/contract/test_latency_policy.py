"""The latency policy keeps the promises of every policy."""

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.testing.policy_contract import PolicyContract
from policies.latency.policy import create


class TestLatencyPolicy(PolicyContract):
    @pytest.fixture(params=[0.0, 2.5], ids=["a millisecond is free", "a millisecond has a price"])
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return create(PolicyContext(settings={"usd_per_ms": request.param}))
