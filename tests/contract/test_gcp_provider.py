"""The Google Cloud provider keeps the promises of a provider, through Google's SDK against the simulated cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="Google's SDK is not installed (extra gcp)")
pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

from orchestrator.simulation.clouds.account import CloudAccount
from orchestrator.simulation.clouds.gcp.books import ALL_REGIONS
from orchestrator.testing.provider_contract import Account, ProviderContract
from tests.wire.gcp_cloud import key_file, private_key_body, public_keys, served


class GcpAccount(CloudAccount):
    launches = ("compute.instances.insert",)
    releases = ("compute.instances.delete",)
    listings = ("compute.instances.aggregatedList",)
    catalogues = (
        "compute.machineTypes.aggregatedList",
        "compute.acceleratorTypes.aggregatedList",
        "compute.regions.list",
        "compute.projects.get",
        "cloudbilling.services.skus.list",
    )


class TestGcpProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        with served(tmp_path, accounts=public_keys(), secret=key_file()) as cloud:
            yield GcpAccount(cloud.wire, cloud.provider, secrets=(private_key_body(),), quotas={ALL_REGIONS: 64.0})
