"""Errors over the wire: each comes back as what it was."""

from __future__ import annotations

import json

import pytest

from orchestrator.domain import errors
from orchestrator.domain.errors import IsoflopError, Problem, ProviderError, SpecError, TransientError
from orchestrator.interfaces.api import faults

EACH = [
    IsoflopError("x"),
    errors.UserError("the user"),
    errors.ConfigError("the disk is full"),
    errors.MissingCredentials("env:NOPE"),
    errors.StalePlan("moved"),
    errors.JobFailed("exit 3"),
    errors.Unplaced("2 jobs have no place"),
    errors.Fenced("newer"),
    ProviderError("acme", "no"),
    errors.Blocking("acme", "no"),
    errors.CapacityError("acme", "sold out"),
    errors.CapacityError("acme", "sold out", errors.Scope.REGION),
    errors.QuotaError("acme", "used up"),
    errors.AuthError("acme", "who?"),
    errors.LeaseNotFound("acme", "gone"),
    TransientError("acme", "later", 7.5),
    errors.ThrottledError("acme", "slower", 2.5),
    SpecError("job.yaml", (Problem(3, 4, "tokens", "expected a number", "2T"), Problem(0, 0, "", "empty"))),
    faults.UnknownRun("who?"),
    faults.RunsOpen("2 runs"),
    faults.Refused("no"),
]


@pytest.mark.parametrize("error", EACH, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_what_it_was(error: IsoflopError) -> None:
    status, body = faults.dump(error)
    back = faults.load(status, json.dumps(body).encode())
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.exit_code == error.exit_code
    assert vars(back) == vars(error)
    assert 400 <= status < 600


def test_every_error_of_the_domain_but_infeasible_can_travel() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, IsoflopError)]
    travelling = {type(error) for error in EACH}
    assert {kind.__name__ for kind in kinds if kind not in travelling} == {"Infeasible"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error": 3}',
        b'{"error": {"code": "SpecError", "message": "x"}}',
        b'{"error": {"code": "SpecError", "message": "x", "file": "f", "problems": 3}}',
        b'{"error": {"code": "TransientError", "message": "x", "provider": "p", "detail": "d", "retry_after_s": "y"}}',
        b'{"error": {"code": "CapacityError", "message": "x"}}',
    ],
)
def test_an_answer_that_is_not_ours_is_a_bug_and_not_a_crash(body: bytes) -> None:
    error = faults.load(502, body)
    assert type(error) is IsoflopError
    assert "502" in str(error)


def test_an_error_of_a_later_version_keeps_its_message() -> None:
    error = faults.load(418, b'{"error": {"code": "Teapot", "message": "short and stout"}}')
    assert type(error) is IsoflopError
    assert str(error) == "short and stout"
