"""Google's errors, in HTTP answers and inside operations, as errors that say what the caller does next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import requests.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.protobuf import json_format

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.kit.rest import retry_after_s
from providers.gcp.shapes import NAME

# All that the SDK lets through; a ValueError is an answer that is no JSON or no UTF-8.
RAISED = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.exceptions.RequestException,
    json_format.ParseError,
    ValueError,
)
THROTTLED = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "concurrentLimitExceeded"})
QUOTA = frozenset({"quotaExceeded", "QUOTA_EXCEEDED", "limitExceeded"})
TAKEN = frozenset({"alreadyExists", "duplicate", "ALREADY_EXISTS"})
THROTTLED_WAIT_S, BROKEN_WAIT_S = 5.0, 5.0
LONGEST = 300  # characters of a message of Google's

RESOURCE = re.compile(r"resource '([^']+)' was not found")
STOCK_OUTS = re.compile(r"(ZONE|REGION)_RESOURCE_POOL_EXHAUSTED(_WITH_DETAILS)?|STOCKOUT|INSUFFICIENT_.*CAPACITY")
# Codes inside an operation after which the same call may succeed.
PASSING: frozenset[str] = frozenset(
    {"RESOURCE_NOT_READY", "RESOURCE_OPERATION_RATE_EXCEEDED", "RATE_LIMIT_EXCEEDED", "INTERNAL_ERROR", "BACKEND_ERROR"}
)
DENIED: frozenset[str] = frozenset({"PERMISSIONS_ERROR", "FORBIDDEN", "BILLING_NOT_ENABLED"})
HINTS: Mapping[int, str] = MappingProxyType(
    {
        401: "is the key right, is it switched on, and is this machine's clock?",
        403: "does the account have the role of docs/providers/gcp-role.yaml, and are the APIs switched on?",
    }
)


class Conflict(Exception):
    """The name is taken: it was bought before, or is still going."""


class NotThere(Exception):
    """No such thing, or it is gone; `resource` is what Google says is not there, "" where it does not say."""

    def __init__(self, said: str) -> None:
        found = RESOURCE.search(said)
        self.resource = found.group(1) if found else ""
        super().__init__(said)


def ours(error: Exception, call: str, now: datetime) -> Exception:
    """What `error`, one of RAISED, means for the caller; Conflict and NotThere are for the client's own use."""
    if isinstance(error, api.GoogleAPICallError):
        return _answered(error, call, now)
    if isinstance(error, auth.TransportError) or (isinstance(error, auth.RefreshError) and error.retryable):
        return TransientError(NAME, f"{call}: no token could be had: {_short(error)}", BROKEN_WAIT_S)
    if isinstance(error, auth.GoogleAuthError):
        return AuthError(NAME, f"{call}: {_short(error)}; {HINTS[401]}")
    return TransientError(NAME, f"{call}: {_broken(error)}", BROKEN_WAIT_S)


def _broken(error: Exception) -> str:
    """Why there is no answer that can be used."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the connection cannot be trusted (TLS): {_short(error)}"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection broke, or none could be made"
    return "the answer cannot be read (cut off, or no JSON?)"


def of_operation(code: str, message: str, call: str) -> ProviderError:
    """What the error code inside an operation that is done means."""
    said = f"{call}: {code}: {message[:LONGEST]}"
    if found := STOCK_OUTS.match(code):
        return CapacityError(NAME, said, Scope.REGION if found.group(1) == "REGION" else Scope.ZONE)
    if code in QUOTA:
        return QuotaError(NAME, said, quota_scope(message))
    if code in PASSING:
        return TransientError(NAME, said, THROTTLED_WAIT_S)
    if code in DENIED:
        return AuthError(NAME, said)
    return CapacityError(NAME, said)  # an unknown error shuts out what was tried, and no more


def quota_scope(message: str) -> Scope:
    """How far a used-up quota reaches, by Google's sentence about it."""
    return Scope.REGION if " in region " in message else Scope.PROVIDER


def _answered(error: api.GoogleAPICallError, call: str, now: datetime) -> Exception:
    status, reasons, message = int(error.code or 0), _reasons(error), _short(error)
    said = f"{call}: {status}: {message}"
    wait_s = _retry_after(error, now)
    if status == 429 or reasons & THROTTLED:
        return TransientError(NAME, said, THROTTLED_WAIT_S if wait_s is None else wait_s)
    if reasons & QUOTA:
        return QuotaError(NAME, said, quota_scope(str(error.message)))
    if status in HINTS:
        return AuthError(NAME, f"{said}; {HINTS[status]}")
    if status in {400, 410, 501}:
        return CapacityError(NAME, said)
    own: Exception = TransientError(NAME, said, 1.0 if wait_s is None else wait_s)
    if status == 409 and reasons & TAKEN:
        own = Conflict(said)
    return NotThere(said) if status == 404 else own


def _reasons(error: api.GoogleAPICallError) -> frozenset[str]:
    """Google's words for the reason: in the list of errors, or in the newer `ErrorInfo`."""
    listed = [item.get("reason") for item in error.errors if isinstance(item, Mapping)]
    return frozenset(str(word) for word in (*listed, error.reason) if word)


def _retry_after(error: api.GoogleAPICallError, now: datetime) -> float | None:
    headers = getattr(error.response, "headers", None)
    return retry_after_s(headers.get("retry-after"), now) if headers is not None else None


def _short(error: Exception) -> str:
    text = str(error.message) if isinstance(error, api.GoogleAPICallError) else str(error)
    if "<html" in text.lower() or "<!doctype" in text.lower():
        return "a web page, not JSON: a proxy or a login in between?"
    return text[:LONGEST]
