"""The spread policy keeps the promises of every policy."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Holding
from orchestrator.testing.policy_contract import PolicyContract, contract_market
from policies.spread.policy import create

PRICED = {"usd_per_share": 100.0, "usd_per_zone_share": 10.0}
CAPPED = {"max_share": 0.5, "max_region_share": 0.4, "max_zone_share": 0.3, "count_gpus": 1.0}
HELD = (
    Holding(
        run="a",
        provider="acme",
        region="us-east-1",
        zone="",
        instance_type="x",
        billing="on-demand",
        nodes=4,
        gpus=32.0,
        usd_per_hour=128.0,
    ),
)


class TestSpreadPolicy(PolicyContract):
    @pytest.fixture(params=[{}, PRICED | CAPPED], ids=["as it comes", "priced and capped"])
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        settings: Mapping[str, float] = request.param
        return create(PolicyContext(settings=settings))

    @pytest.fixture(params=[(), HELD], ids=["nothing held", "much held"])
    def market(self, request: pytest.FixtureRequest) -> Snapshot:
        return replace(contract_market(), holdings=request.param)
