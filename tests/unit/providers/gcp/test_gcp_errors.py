"""What Google's errors mean for the caller."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytest.importorskip("google.api_core", reason="Google's SDK is not installed (extra gcp)")

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.protobuf import json_format

from orchestrator.domain.errors import (
    AuthError,
    Blocking,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from providers.gcp.errors import Conflict, NotThere, of_operation, ours

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def answered(status: int, reason: str, message: str = "said so", headers: dict[str, str] | None = None) -> Exception:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    listed = [{"reason": reason, "domain": "global", "message": message}] if reason else []
    return api.from_http_status(status, message, errors=listed, response=response)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(401, "authError"), AuthError),
        (answered(403, "forbidden"), AuthError),
        (answered(403, "accessNotConfigured"), AuthError),
        (answered(403, "rateLimitExceeded"), TransientError),
        (answered(403, "quotaExceeded"), QuotaError),
        (answered(404, "notFound"), NotThere),
        (answered(409, "alreadyExists"), Conflict),
        (answered(409, "resourceInUseByAnotherResource"), TransientError),
        (answered(400, "invalid"), CapacityError),
        (answered(429, ""), TransientError),
        (answered(500, ""), TransientError),
        (answered(502, ""), TransientError),
        (answered(503, "backendError"), TransientError),
        (auth.RefreshError("no token"), AuthError),
        (auth.RefreshError("no token", retryable=True), TransientError),
        (auth.TransportError("no network"), TransientError),
        (auth.InvalidOperation("Anonymous credentials cannot be refreshed."), AuthError),
        (requests.exceptions.ReadTimeout("slow"), TransientError),
        (requests.exceptions.ConnectionError("cut"), TransientError),
        (requests.exceptions.SSLError("no trust"), TransientError),
        (json_format.ParseError("cut off"), TransientError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), TransientError),
    ],
    ids=str,
)
def test_an_error_says_what_to_do_next(error: Exception, kind: type[Exception]) -> None:
    assert type(ours(error, "call", NOW)) is kind


def test_a_refused_credential_hints_at_the_clock() -> None:
    assert "clock" in str(ours(answered(401, "authError"), "call", NOW))


def test_google_says_how_long_to_wait() -> None:
    error = ours(answered(429, "", headers={"retry-after": "17"}), "call", NOW)
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 17.0


def test_a_web_page_is_called_one() -> None:
    page = "<!DOCTYPE html><html><body>" + "x" * 5000
    text = str(ours(answered(502, "", page), "call", NOW))
    assert "web page" in text
    assert len(text) < 200


@pytest.mark.parametrize(
    ("code", "message", "kind", "scope"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "", CapacityError, Scope.ZONE),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "", CapacityError, Scope.ZONE),
        ("REGION_RESOURCE_POOL_EXHAUSTED", "", CapacityError, Scope.REGION),
        ("QUOTA_EXCEEDED", "Quota 'NVIDIA_L4_GPUS' exceeded. Limit: 1.0 in region x.", QuotaError, Scope.REGION),
        ("QUOTA_EXCEEDED", "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.", QuotaError, Scope.PROVIDER),
        ("UNSUPPORTED_OPERATION", "", CapacityError, Scope.ZONE),
        ("SOMETHING_NEW", "", CapacityError, Scope.ZONE),
    ],
)
def test_a_refusal_inside_an_operation_says_how_far_it_reaches(
    code: str, message: str, kind: type[Blocking], scope: Scope
) -> None:
    error = of_operation(code, message, "insert x")
    assert isinstance(error, kind)
    assert isinstance(error, Blocking)
    assert error.scope is scope
    assert code in error.detail


@pytest.mark.parametrize(
    ("code", "kind"),
    [("RESOURCE_OPERATION_RATE_EXCEEDED", TransientError), ("PERMISSIONS_ERROR", AuthError)],
)
def test_other_codes_inside_an_operation_have_their_class(code: str, kind: type[ProviderError]) -> None:
    assert isinstance(of_operation(code, "", "insert x"), kind)
