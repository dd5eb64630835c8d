"""The AWS provider keeps the promises of a provider, through boto3 and over HTTP, at a simulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.testing.accounts import Account
from orchestrator.testing.provider_contract import ProviderContract
from tests.wire.aws_cloud import SimulatedAws, pools


class TestAwsProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        stock = [
            *pools("us-east-1/us-east-1a", "p5.48xlarge", "H100-SXM", 8, (55.04, 20.0)),
            *pools("us-east-1/us-east-1b", "p5.48xlarge", "H100-SXM", 8, (55.04, 21.0)),
        ]
        with SimulatedAws(tmp_path, stock) as account:
            yield account
