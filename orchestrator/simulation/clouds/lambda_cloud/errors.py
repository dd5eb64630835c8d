"""Lambda's error bodies, with the codes and default messages of its OpenAPI description 1.8.3."""

from __future__ import annotations

import json

from orchestrator.simulation.clouds.wire import Reply

SUPPORT = "Contact Support if problems continue."


class Failure(Exception):
    """A call that Lambda refuses."""

    def __init__(self, status: int, code: str, message: str, suggestion: str = "") -> None:
        self.status, self.code, self.message, self.suggestion = status, code, message, suggestion
        super().__init__(f"{code}: {message}")

    def reply(self, *headers: tuple[str, str]) -> Reply:
        """The answer that says so."""
        error = {"code": self.code, "message": self.message}
        if self.suggestion:
            error["suggestion"] = self.suggestion
        return Reply(self.status, json.dumps({"error": error}).encode(), headers)


def invalid_key() -> Failure:
    """ApiErrorUnauthorized."""
    suggestion = "Check your API key or create a new one, then try again."
    return Failure(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.", suggestion)


def inactive() -> Failure:
    """ApiErrorAccountInactive."""
    suggestion = f"Make sure you have verified your email address and have a valid payment method. {SUPPORT}"
    return Failure(403, "global/account-inactive", "Your account is inactive.", suggestion)


def invalid(message: str) -> Failure:
    """ApiErrorInvalidParameters."""
    return Failure(400, "global/invalid-parameters", message)


def missing(message: str) -> Failure:
    """ApiErrorInstanceNotFound and its like."""
    return Failure(404, "global/object-does-not-exist", message, "Check the identifier and try again.")


def no_capacity() -> Failure:
    """ApiErrorInsufficientCapacity: a 400, as the description has it."""
    code = "instance-operations/launch/insufficient-capacity"
    return Failure(400, code, "Not enough capacity to fulfill launch request.", "Try again later or another region.")


def over_quota() -> Failure:
    """ApiErrorQuotaExceeded."""
    return Failure(400, "global/quota-exceeded", "Quota exceeded.", "Contact Support to increase your quota.")


def internal() -> Failure:
    """ApiErrorInternal."""
    return Failure(500, "global/internal-error", "An internal server error occurred.", f"Try again later. {SUPPORT}")


def throttled() -> Failure:
    """Too many requests. The description has no such answer; its code here is made up."""
    return Failure(429, "global/too-many-requests", "Too many requests.", "Wait before you try again.")


def in_use() -> Failure:
    """ApiErrorFirewallRulesetInUse."""
    message = "Firewall ruleset is in use by one or more instances."
    suggestion = "Terminate all instances that are using the ruleset before deleting it."
    return Failure(400, "firewall-rulesets/firewall-ruleset-in-use", message, suggestion)
