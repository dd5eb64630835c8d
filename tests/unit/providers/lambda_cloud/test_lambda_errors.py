"""Every error code of Lambda's description has its meaning for us."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import (
    AuthError,
    Blocking,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from providers.lambda_cloud.client import Refused, Throttled, explain
from providers.lambda_cloud.settings import LambdaSettings


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "global/invalid-api-key", AuthError),
        (403, "global/account-inactive", AuthError),
        (403, "global/invalid-address", AuthError),
        (400, "global/quota-exceeded", QuotaError),
        (400, "instance-operations/launch/insufficient-capacity", CapacityError),
        (400, "instance-operations/launch/file-system-in-wrong-region", Refused),
        (400, "global/invalid-parameters", Refused),
        (400, "global/duplicate", Refused),
        (404, "global/object-does-not-exist", LeaseNotFound),
        (400, "global/object-does-not-exist", LeaseNotFound),
        (500, "global/internal-error", TransientError),
        (409, "global/internal-error", Refused),
        (503, "provider/internal-unavailable", TransientError),
        (400, "provider/internal-unavailable", TransientError),
        (400, "provider/quota-limit", QuotaError),
        (503, "provider/out-of-capacity", CapacityError),
        (503, "provider/resource-exhausted", CapacityError),
        (429, "global/too-many-requests", Throttled),
        (200, "global/internal-error", TransientError),
    ],
)
def test_a_code_is_an_error(status: int, code: str, kind: type[ProviderError]) -> None:
    error = explain(status, {"error": {"code": code, "message": "text that may change"}})
    assert type(error) is kind
    assert code in str(error)


def test_no_capacity_is_a_regions_matter_and_a_quota_the_accounts() -> None:
    sold_out = explain(400, {"error": {"code": "instance-operations/launch/insufficient-capacity", "message": ""}})
    over = explain(400, {"error": {"code": "global/quota-exceeded", "message": ""}})
    assert isinstance(sold_out, Blocking)
    assert isinstance(over, Blocking)
    assert (sold_out.scope, over.scope) == (Scope.REGION, Scope.PROVIDER)


@pytest.mark.parametrize("body", [None, [], {"data": []}, {"error": "text"}])
def test_what_names_no_code_is_judged_by_its_status(body: object) -> None:
    assert explain(200, body) is None
    assert type(explain(429, body)) is Throttled


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("control_cidr", "203.0.113.7/8"),
        ("control_cidr", "the office"),
        ("endpoint_url", "cloud.lambda.ai"),
        ("ssh_port", 0),
        ("settle_s", -1.0),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        LambdaSettings(**{setting: value})  # type: ignore[arg-type]
