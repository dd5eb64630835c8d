"""The AWS provider keeps the promises of a provider, through boto3 and over HTTP, at a simulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.testing.accounts import Account
from orchestrator.testing.provider_contract import ProviderContract
from tests.wire.aws_cloud import SimulatedAws, pools


@pytest.mark.enable_socket
class TestAwsProvider(ProviderContract):
    """What comes first in its book is sold on demand."""

    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        with SimulatedAws(tmp_path) as account:
            yield account


@pytest.mark.enable_socket
class TestAwsProviderOfSpotMachines(ProviderContract):
    """All that there is are spot machines."""

    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        stock = [*pools("us-east-1/us-east-1a", "p5.48xlarge", "H100-SXM", 8, (55.04, 20.0))]
        with SimulatedAws(tmp_path, [pool for pool in stock if pool.key.billing.value == "spot"]) as account:
            yield account
