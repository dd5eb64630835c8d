"""The reliability policy keeps the promises of every policy."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import ProviderScore
from orchestrator.testing.policy_contract import PolicyContract, contract_market
from policies.reliability.policy import create

SCORES = (
    ProviderScore(provider="acme", failures_per_node_hour=1e-3, refused=0.4, origin="test"),
    ProviderScore(provider="lab", refused=1.0),
    ProviderScore(provider="zed", failures_per_node_hour=float("nan")),
)


class TestReliabilityPolicy(PolicyContract):
    @pytest.fixture(
        params=[{}, {"max_failures_per_node_hour": 2e-4, "max_refused": 0.3}], ids=["as it comes", "with limits"]
    )
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        settings: Mapping[str, float] = request.param
        return create(PolicyContext(settings=settings))

    @pytest.fixture(params=[(), SCORES], ids=["no scores", "scores"])
    def market(self, request: pytest.FixtureRequest) -> Snapshot:
        return replace(contract_market(), scores=request.param)
