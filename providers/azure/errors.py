"""What Azure's error codes mean for the caller."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
)
from providers.azure.settings import NAME

LONGEST = 300  # of a message that is passed on
THROTTLED = 429
# Microsoft Learn: "Troubleshoot allocation failures" and "SKU not available errors"; read 2026-11.
_NO_CAPACITY: Mapping[str, Scope] = MappingProxyType(
    {
        "AllocationFailed": Scope.REGION,
        "OverconstrainedAllocationRequest": Scope.REGION,
        "SkuNotAvailable": Scope.REGION,
        "LocationNotAvailableForResourceGroup": Scope.REGION,
        "LocationNotAvailableForResourceType": Scope.REGION,
        "NoRegisteredProviderFound": Scope.REGION,
        "SpotVMNotSupported": Scope.REGION,
        "ZonalAllocationFailed": Scope.ZONE,
        "OverconstrainedZonalAllocationRequest": Scope.ZONE,
    }
)
_QUOTA = frozenset(
    {"QuotaExceeded", "ResourceQuotaExceeded", "PublicIPCountLimitReached", "PublicIpAddressCountLimitReached"}
)
# Somebody else is at the same resource: the same request may do later.
_IN_THE_WAY = frozenset({"AnotherOperationInProgress", "Conflict", "OperationPreempted", "RetryableError"})
_ACCOUNT = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailed",
        "ExpiredAuthenticationToken",
        "InvalidAuthenticationToken",
        "InvalidAuthenticationTokenTenant",
        "InvalidSubscriptionId",
        "LinkedAuthorizationFailed",
        "ReadOnlyDisabledSubscription",
        "RequestDisallowedByPolicy",
        "SubscriptionNotFound",
    }
)
_CLOCK = ("not yet valid", "lifetime validation", "valid time range", "earlier than current")


class Refused(NamedTuple):
    """An answer that is no success: HTTP status (200 where an operation failed later), Azure's code and message."""

    status: int
    code: str
    message: str
    retry_after_s: float | None = None

    @property
    def told(self) -> str:
        """Code and message in one line."""
        words = " ".join(self.message.split())
        return f"{self.code}: {words[:LONGEST]}" if self.code else words[:LONGEST] or f"status {self.status}"


def explain(refused: Refused, call: str, *, launch: bool = False) -> ProviderError:
    """Our error for what Azure said to `call`.

    Quotas and stock are a region's. A `launch` that is refused for a reason of its own is a CapacityError, since the
    next candidate may do; any other call that we do not understand is transient.
    """
    detail = f"{call}: {refused.told}"
    if refused.status == THROTTLED or refused.code == "TooManyRequests":
        return ThrottledError(NAME, detail, _wait(refused, 10.0))
    if refused.code in _QUOTA or (refused.code == "OperationNotAllowed" and "quota" in refused.message.lower()):
        return QuotaError(NAME, detail, Scope.REGION)
    if refused.code in _ACCOUNT or refused.status in {401, 403}:
        return AuthError(NAME, detail + clock_hint(refused.message))
    if refused.code in _NO_CAPACITY:
        return CapacityError(NAME, detail, _NO_CAPACITY[refused.code])
    if launch and refused.status < 500 and refused.code not in _IN_THE_WAY:
        return CapacityError(NAME, detail, Scope.ZONE)
    return TransientError(NAME, detail, _wait(refused, 5.0 if refused.status >= 500 else 30.0))


def no_login(message: str, *, sure: bool) -> ProviderError:
    """Our error for a login that failed: `sure` where the credential is at fault and not the way to the login."""
    words = " ".join(message.split())[:LONGEST]
    if sure or "AADSTS" in message:
        return AuthError(NAME, f"no login: {words}{clock_hint(message)}")
    return TransientError(NAME, f"no login: {words}", 10.0)


def clock_hint(message: str) -> str:
    """A question to add where a token is refused for its time."""
    return " (is this machine's clock right?)" if any(word in message.lower() for word in _CLOCK) else ""


def _wait(refused: Refused, default_s: float) -> float:
    return default_s if refused.retry_after_s is None else refused.retry_after_s
