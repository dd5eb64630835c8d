"""Azure keeps the promises of a provider: through its own SDK, over TLS, against a simulated Azure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.testing.provider_contract import Account, ProviderContract
from tests.contract.azure_world import AzureAccount, world


class TestAzureProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        with world(tmp_path) as served:
            yield AzureAccount(served)
