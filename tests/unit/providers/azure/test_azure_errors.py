"""What Azure's codes make the caller do, and which settings are refused."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ConfigError,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
)
from providers.azure.errors import Refused, explain, no_login
from providers.azure.session import refused_by
from providers.azure.settings import AzureSettings

QUOTA = "Operation could not be completed as it results in exceeding approved standardNDSH100v5Family Cores quota."


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "scope"),
    [
        (409, "OperationNotAllowed", QUOTA, QuotaError, Scope.REGION),
        (403, "QuotaExceeded", "", QuotaError, Scope.REGION),
        (409, "SkuNotAvailable", "", CapacityError, Scope.REGION),
        (200, "AllocationFailed", "", CapacityError, Scope.REGION),
        (200, "ZonalAllocationFailed", "", CapacityError, Scope.ZONE),
        (200, "OverconstrainedAllocationRequest", "", CapacityError, Scope.REGION),
        (200, "OverconstrainedZonalAllocationRequest", "", CapacityError, Scope.ZONE),
        (400, "InvalidParameter", "", CapacityError, Scope.ZONE),
        (409, "Conflict", "", TransientError, None),
        (200, "OSProvisioningTimedOut", "", CapacityError, Scope.ZONE),
        (429, "OperationNotAllowed", "throttled", ThrottledError, None),
        (429, "TooManyRequests", "", ThrottledError, None),
        (500, "InternalServerError", "", TransientError, None),
        (503, "", "", TransientError, None),
        (401, "ExpiredAuthenticationToken", "", AuthError, None),
        (403, "AuthorizationFailed", "", AuthError, None),
        (404, "SubscriptionNotFound", "", AuthError, None),
        (409, "ReadOnlyDisabledSubscription", "", AuthError, None),
    ],
)
def test_a_launch_that_is_refused(
    status: int, code: str, message: str, kind: type[ProviderError], scope: Scope | None
) -> None:
    error = explain(Refused(status, code, message), "launch", launch=True)
    assert type(error) is kind
    assert getattr(error, "scope", None) is scope


def test_a_read_that_is_not_understood_is_transient() -> None:
    assert isinstance(explain(Refused(400, "InvalidParameter", ""), "list"), TransientError)


def test_what_azure_asks_to_wait_is_waited() -> None:
    error = explain(Refused(429, "TooManyRequests", "", 42.0), "list")
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 42.0


def test_a_refusal_for_the_time_asks_for_the_clock() -> None:
    words = "Lifetime validation failed. The token is not yet valid."
    assert "clock" in explain(Refused(401, "InvalidAuthenticationToken", words), "list").detail
    assert "clock" not in explain(Refused(401, "InvalidAuthenticationToken", "no"), "list").detail


def test_a_login_that_is_out_of_reach_is_no_wrong_key() -> None:
    assert isinstance(no_login("Unable to get authority configuration", sure=False), TransientError)
    assert isinstance(no_login("AADSTS7000215: Invalid client secret", sure=False), AuthError)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "A", "message": "m"}}, "A"),
        (
            {"error": {"code": "DeploymentFailed", "details": [{"code": "SkuNotAvailable", "message": "m"}]}},
            "SkuNotAvailable",
        ),
        ({"error": "invalid_client", "error_description": "AADSTS7000215"}, "invalid_client"),
        ({"error": None}, ""),
        ([], ""),
        ("text", ""),
    ],
)
def test_codes_are_found_where_azure_puts_them(body: object, code: str) -> None:
    assert refused_by(body, 400, None).code == code


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"subscription_id": "mine"}, "GUID"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "https"),
        ({"client_secret": "env:S"}, "tenant_id and client_id"),
        ({"control_cidr": "0.0.0.0/0"}, "not everybody's"),
        ({"control_cidr": "10.0.0.1/8"}, "host bits"),
        ({"resource_group": "a b"}, "resource_group"),
        ({"image": "ubuntu"}, "publisher:offer:sku:version"),
        ({"end_identity": "'; rm -rf /"}, "identity"),
        ({"regions": "eastus"}, "list of regions"),
        ({"regions": ["x' or 1 eq 1"]}, "list of regions"),
        ({"subnets": {"eastus": "mine"}}, "resource id of a subnet"),
        ({"ssh_port": 0}, "ssh_port"),
        ({"disk_gib": 0}, "disk_gib"),
        ({"colour": "blue"}, "unknown setting"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(AzureSettings, table, where="providers.azure")


def test_regions_are_kept_in_one_spelling() -> None:
    assert read(AzureSettings, {"regions": ["EastUS", "eastus"]}, where="x").regions == ("eastus",)
