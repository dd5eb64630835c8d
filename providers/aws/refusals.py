"""What AWS's error codes mean for the caller."""

from __future__ import annotations

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
)

NAME = "aws"
THROTTLED_S, FAILED_S = 5.0, 2.0

# Documented in the EC2 user guide ("Error codes"), the common errors of the other services, and the clients that run
# in production (Karpenter, SkyPilot).
CLOCK = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
AUTH = frozenset(
    {
        "AuthFailure",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "NotAuthorized",
        "OptInRequired",
        "Blocked",
    }
)
FORBIDDEN = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthorizationError"})
SOLD_OUT = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientReservedInstanceCapacity",
        "ReservationCapacityExceeded",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "UnsupportedOperation",
        "InsufficientFreeAddressesInSubnet",
    }
)
QUOTA = frozenset(
    {
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "MaxSpotFleetRequestCountExceeded",
        "MaxFleetCountExceeded",
        "SpotInstanceCountLimitExceeded",
    }
)
THROTTLE = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "EC2ThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "SlowDown",
    }
)
REGION_WIDE = ("InvalidAMIID", "InvalidIamInstanceProfile", "PendingVerification")


def explain(  # noqa: PLR0911 - one line per what the caller does next
    call: str, code: str, status: int, message: str, retry_after_s: float | None = None
) -> ProviderError:
    """The error that `code` stands for, of the call named `call`.

    Messages about credentials are not repeated: AWS's own quote the signed request, and with it a session token.
    """
    words = " ".join(message.split())[:300]
    if code in CLOCK or (code in AUTH and "signature" in words.lower() and _untimely(words)):
        return AuthError(NAME, f"{call}: {code}: the request's time is refused; is this machine's clock right?")
    if code in EXPIRED:
        return AuthError(NAME, f"{call}: {code}: the session's credentials have run out")
    if code in AUTH:
        return AuthError(NAME, f"{call}: {code}: the credentials are refused")
    if code in FORBIDDEN:
        return AuthError(NAME, f"{call}: {code}: the account's permissions do not allow it")
    if code in SOLD_OUT:
        return CapacityError(NAME, f"{call}: {code}: {words}", Scope.ZONE)
    if code in QUOTA:
        return QuotaError(NAME, f"{call}: {code}: {words}", Scope.REGION)
    if code in THROTTLE or status == 429:
        return ThrottledError(NAME, f"{call}: {code}: too many requests", _or(retry_after_s, THROTTLED_S))
    if status in {401, 403}:
        return AuthError(NAME, f"{call}: {code}: refused with {status}")
    if status >= 500 or status < 400:
        return TransientError(NAME, f"{call}: {code}: {words}", _or(retry_after_s, FAILED_S))
    return Rejected(NAME, f"{call}: {code}: {words}", code)


class Rejected(TransientError):
    """A request that AWS finds fault with, and will again; `code` is its word for the fault.

    It leaves this folder where nobody can tell what would mend it: as something to try again much later.
    """

    def __init__(self, provider: str, detail: str, code: str) -> None:
        self.code = code
        super().__init__(provider, detail, 300.0)

    def __reduce__(self) -> tuple[type[Rejected], tuple[object, ...]]:
        return (type(self), (self.provider, self.detail, self.code))


def of_launch(error: ProviderError) -> ProviderError:
    """What a refusal of a launch means: one that AWS will repeat is a candidate that cannot be had."""
    if isinstance(error, Rejected):
        scope = Scope.REGION if error.code.startswith(REGION_WIDE) else Scope.ZONE
        return CapacityError(NAME, error.detail, scope)
    return error


def _untimely(words: str) -> bool:
    return any(word in words.lower() for word in ("expired", "not yet current", "skew"))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
