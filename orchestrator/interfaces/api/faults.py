"""Errors over HTTP: each of ours has a status and a body, and comes back on the other side as the same error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from orchestrator.domain import errors
from orchestrator.domain.errors import (
    Blocking,
    IsoflopError,
    Problem,
    ProviderError,
    SpecError,
    TransientError,
    UserError,
)


class UnknownRun(UserError):
    """No run has the id asked for."""


class RunsOpen(UserError):
    """The control plane does not go down while runs are open, unless told what becomes of them."""


class Refused(UserError):
    """The control plane refused the request itself: its token, its host, its size or its form."""


STATUSES: Mapping[type[IsoflopError], int] = {
    UnknownRun: 404,
    RunsOpen: 409,
    Refused: 400,
    errors.TransientError: 503,
    errors.ProviderError: 502,
    errors.StalePlan: 409,
    errors.Fenced: 409,
    errors.ConfigError: 500,  # the control plane's own settings or disk
    errors.UserError: 400,
    IsoflopError: 500,
}

PLAIN: Mapping[str, type[IsoflopError]] = {
    kind.__name__: kind
    for kind in (
        IsoflopError,
        UnknownRun,
        RunsOpen,
        Refused,
        errors.UserError,
        errors.ConfigError,
        errors.MissingCredentials,
        errors.StalePlan,
        errors.JobFailed,
        errors.Unplaced,
        errors.Fenced,
    )
}
OF_PROVIDERS: Mapping[str, type[ProviderError]] = {
    kind.__name__: kind for kind in (errors.ProviderError, errors.AuthError, errors.LeaseNotFound)
}
BLOCKING = (errors.Blocking, errors.CapacityError, errors.QuotaError)


def dump(error: IsoflopError) -> tuple[int, dict[str, object]]:
    """HTTP status and body of `error`."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    body: dict[str, object] = {"code": type(error).__name__, "message": str(error)}
    if isinstance(error, ProviderError):
        body |= {"provider": error.provider, "detail": error.detail}
    if isinstance(error, TransientError):
        body |= {"retry_after_s": error.retry_after_s}
    if isinstance(error, Blocking):
        body |= {"scope": error.scope.value}
    if isinstance(error, SpecError):
        body |= {
            "file": error.file,
            "problems": [
                {"line": p.line, "column": p.column, "field": p.field, "message": p.message, "hint": p.hint}
                for p in error.problems
            ],
        }
    return status, {"error": body}


def load(status: int, body: bytes) -> IsoflopError:
    """The error that an answer of `status` carries; an answer that is not ours becomes an IsoflopError (exit 1)."""
    try:
        fault = json.loads(body)["error"]
        code, message = str(fault["code"]), str(fault["message"])
        special = _SPECIAL.get(code)
        if special is not None:
            return special(fault)
        if code in OF_PROVIDERS:
            return OF_PROVIDERS[code](str(fault["provider"]), str(fault["detail"]))
        return PLAIN.get(code, IsoflopError)(message)
    except (ValueError, KeyError, TypeError):
        return IsoflopError(f"the control plane answered {status}: {body[:200].decode(errors='replace')}")


def _transient(fault: Mapping[str, object]) -> IsoflopError:
    kind = errors.ThrottledError if fault["code"] == errors.ThrottledError.__name__ else TransientError
    return kind(str(fault["provider"]), str(fault["detail"]), float(str(fault["retry_after_s"])))


def _blocking(fault: Mapping[str, object]) -> IsoflopError:
    kinds: Mapping[object, type[Blocking]] = {kind.__name__: kind for kind in BLOCKING}
    return kinds[fault["code"]](str(fault["provider"]), str(fault["detail"]), errors.Scope(str(fault["scope"])))


def _spec(fault: Mapping[str, object]) -> IsoflopError:
    problems = fault["problems"]
    if not isinstance(problems, list):
        raise TypeError("problems is a list")
    return SpecError(str(fault["file"]), tuple(Problem(**problem) for problem in problems))


_SPECIAL: Mapping[str, Callable[[Mapping[str, object]], IsoflopError]] = {
    "TransientError": _transient,
    "ThrottledError": _transient,
    **{kind.__name__: _blocking for kind in BLOCKING},
    "SpecError": _spec,
}
