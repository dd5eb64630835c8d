"""AWS's error codes, and what the caller does next."""

from __future__ import annotations

import pickle

import pytest

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
)
from providers.aws.refusals import Rejected, explain, of_launch

SECRET = "x-amz-security-token:canary-5521"


@pytest.mark.parametrize(
    ("code", "status", "kind", "scope"),
    [
        ("InsufficientInstanceCapacity", 500, CapacityError, Scope.ZONE),
        ("Unsupported", 400, CapacityError, Scope.ZONE),
        ("SpotMaxPriceTooLow", 400, CapacityError, Scope.ZONE),
        ("InsufficientFreeAddressesInSubnet", 400, CapacityError, Scope.ZONE),
        ("VcpuLimitExceeded", 400, QuotaError, Scope.REGION),
        ("MaxSpotInstanceCountExceeded", 400, QuotaError, Scope.REGION),
        ("RequestLimitExceeded", 503, ThrottledError, None),
        ("ThrottlingException", 400, ThrottledError, None),
        ("AnythingNew", 429, ThrottledError, None),
        ("InternalError", 500, TransientError, None),
        ("Unavailable", 503, TransientError, None),
        ("", 200, TransientError, None),
        ("AuthFailure", 401, AuthError, None),
        ("UnauthorizedOperation", 403, AuthError, None),
        ("AnythingNew", 403, AuthError, None),
        ("ExpiredTokenException", 400, AuthError, None),
        ("InvalidGroup.NotFound", 400, Rejected, None),
    ],
)
def test_every_code_has_its_error(code: str, status: int, kind: type[ProviderError], scope: Scope | None) -> None:
    error = explain("RunInstances in us-east-1", code, status, "a message")
    assert type(error) is kind
    assert getattr(error, "scope", None) is scope
    assert "RunInstances in us-east-1" in str(error)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("RequestExpired", "Request has expired."),
        ("InvalidSignatureException", "Signature expired: 20261120T1 is now earlier than 20261120T2"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20261120T2"),
    ],
)
def test_a_wrong_clock_is_named(code: str, message: str) -> None:
    assert "clock" in str(explain("call", code, 400, message))


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidSignatureException", "ExpiredToken", "AccessDenied"])
def test_messages_about_credentials_are_not_repeated(code: str) -> None:
    error = explain("call", code, 403, f"The Canonical String for this request should have been {SECRET}")
    assert "canary" not in str(error)


def test_a_wait_that_aws_asks_for_is_kept() -> None:
    error = explain("call", "RequestLimitExceeded", 503, "", 42.0)
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 42.0


def test_what_aws_will_reject_again_at_a_launch_is_a_candidate_that_cannot_be_had() -> None:
    error = of_launch(explain("call", "InvalidParameterValue", 400, "Invalid value"))
    assert isinstance(error, CapacityError)
    assert error.scope is Scope.ZONE
    image = of_launch(explain("call", "InvalidAMIID.NotFound", 400, "The image id does not exist"))
    assert isinstance(image, CapacityError)
    assert image.scope is Scope.REGION
    other = explain("call", "RequestLimitExceeded", 503, "")
    assert of_launch(other) is other


def test_a_rejection_travels_between_processes() -> None:
    error = explain("call", "InvalidGroup.NotFound", 400, "gone")
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, Rejected)
    assert (back.code, str(back)) == ("InvalidGroup.NotFound", str(error))
