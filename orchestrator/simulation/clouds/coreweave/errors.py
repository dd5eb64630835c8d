"""Failures in the words of a Kubernetes API server (a Status object) and of CoreWeave's own REST API."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.simulation.clouds.wire import Reply


class Failure(Exception):
    """A call that is refused."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after_s: int | None = None) -> None:
        self.code, self.reason, self.message, self.retry_after_s = code, reason, message, retry_after_s
        super().__init__(f"{code} {reason}: {message}")

    def status(self) -> dict[str, Any]:
        """As Kubernetes says it."""
        shown: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.retry_after_s is not None:
            shown["details"] = {"retryAfterSeconds": self.retry_after_s}
        return shown

    def reply(self, *, kubernetes: bool) -> Reply:
        """The answer. The REST API's form is that of Connect, which its protocol definitions are made for."""
        body = self.status() if kubernetes else {"code": self.reason, "message": self.message}
        headers = (("Retry-After", str(self.retry_after_s)),) if self.retry_after_s is not None else ()
        return Reply(self.code, json.dumps(body).encode(), headers)


def unauthorised() -> Failure:
    """The token is unknown or has run out."""
    return Failure(401, "Unauthorized", "Unauthorized")


def not_found(name: str) -> Failure:
    """No such object."""
    return Failure(404, "NotFound", f'nodepools.compute.coreweave.com "{name}" not found')


def exists(name: str) -> Failure:
    """The name is taken."""
    return Failure(409, "AlreadyExists", f'nodepools.compute.coreweave.com "{name}" already exists')


def conflict(name: str, why: str) -> Failure:
    """A precondition does not hold."""
    return Failure(409, "Conflict", f'Operation cannot be fulfilled on nodepools.compute.coreweave.com "{name}": {why}')


def invalid(name: str, faults: list[str]) -> Failure:
    """The object is not what it may be."""
    return Failure(422, "Invalid", f'NodePool.compute.coreweave.com "{name}" is invalid: {"; ".join(faults)}')


def forbidden(why: str) -> Failure:
    """Admission refuses."""
    return Failure(403, "Forbidden", f'admission webhook "nodepool.compute.coreweave.com" denied the request: {why}')
