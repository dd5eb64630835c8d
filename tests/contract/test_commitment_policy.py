"""The commitment policy keeps the promises of every policy, with commitments and without."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Commitment
from orchestrator.testing.policy_contract import PolicyContract, contract_market
from policies.commitment.policy import create


class TestCommitmentPolicy(PolicyContract):
    @pytest.fixture(params=[False, True], ids=["nothing-committed", "committed"])
    def market(self, request: pytest.FixtureRequest) -> Snapshot:
        every_offer = contract_market()
        ends_at = every_offer.taken_at + timedelta(hours=50)
        commitments = (
            Commitment(provider="acme", instance_type="h100.8x", nodes=1, ends_at=ends_at),
            Commitment(provider="acme", instance_type="h100.8x", nodes=5, region="eu-central-1"),
        )
        return replace(every_offer, commitments=commitments) if request.param else every_offer

    @pytest.fixture
    def policy(self) -> Policy:
        return create(PolicyContext())
