"""The interconnect policy keeps the promises of every policy."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.snapshot import Snapshot
from orchestrator.testing.policy_contract import PolicyContract, contract_market
from policies.interconnect.policy import create


class TestInterconnectPolicy(PolicyContract):
    @pytest.fixture(
        params=[{}, {"ethernet_gbit_s": 0.0, "min_gbit_s": 200.0, "need_links": 1.0, "hold_deadline": 1.0}],
        ids=["as it comes", "with limits"],
    )
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        settings: Mapping[str, float] = request.param
        return create(PolicyContext(settings=settings))

    @pytest.fixture(params=["infiniband", "ethernet", "", "efa"])
    def market(self, request: pytest.FixtureRequest) -> Snapshot:
        market = contract_market()
        return replace(market, book=OfferBook.of([replace(offer, fabric=request.param) for offer in market.book]))
