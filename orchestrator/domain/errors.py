"""The errors of isoflop, one class per what the caller does next.

    IsoflopError
    ├── UserError                 exit 2: the user mends the input
    │   ├── SpecError             the job file, with every problem and its place
    │   ├── ConfigError           settings, state folder, ports
    │   └── MissingCredentials    a secret reference that resolves to nothing
    ├── Infeasible                exit 3: no placement; carries the plan with its refusals
    ├── Unplaced                  exit 3: some jobs of a fleet have no place
    ├── ProviderError             exit 4
    │   ├── CapacityError         next candidate beyond its scope
    │   ├── QuotaError            next candidate beyond its scope: a provider, where it does not say
    │   ├── AuthError             provider off
    │   ├── TransientError        same call again after `retry_after_s`
    │   │   └── ThrottledError    likewise, and nothing was done: no purchase is in doubt
    │   └── LeaseNotFound         success for a release
    ├── StalePlan                 exit 5: plan again
    ├── JobFailed                 exit 6: the job ran and failed
    └── Fenced                    a newer controller leads: stop writing at once

Anything else that escapes is a bug and exits 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.plan import Plan


class IsoflopError(Exception):
    """Base of every error we raise on purpose; `exit_code` is what the CLI exits with."""

    exit_code = 1


class UserError(IsoflopError):
    """The user can mend this: a file, a flag, a setting."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a user's file: where, which field, what was found, what was expected.

    `line` and `column` count from 1; both are 0 where the format has no positions.
    """

    line: int
    column: int
    field: str
    message: str
    hint: str = ""

    def render(self, file: str) -> str:
        """`file:line:column: field: message (hint)`, the form editors make clickable."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        subject = f" {self.field}:" if self.field else ""
        tail = f" ({self.hint})" if self.hint else ""
        return f"{place}:{subject} {self.message}{tail}"


class SpecError(UserError):
    """A job file that cannot be read; carries every problem found, never only the first."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(problem.render(file) for problem in problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[str, tuple[Problem, ...]]]:
        return (type(self), (self.file, self.problems))


class ConfigError(UserError):
    """Settings, state folder, ports or installation are not usable as they are."""


class MissingCredentials(UserError):
    """A credential reference that resolves to nothing; names the reference, never a value."""


class Infeasible(IsoflopError):
    """No offer satisfies the hard limits; `plan` says why, offer by offer."""

    exit_code = 3

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__(f"no feasible placement among {plan.considered} offers")

    def __reduce__(self) -> tuple[type[Infeasible], tuple[Plan]]:
        return (type(self), (self.plan,))


class Unplaced(IsoflopError):
    """Some jobs of many have no place; the fleet plan says why and is shown before."""

    exit_code = 3


class ProviderError(IsoflopError):
    """A provider's failure; `provider` names it."""

    exit_code = 4

    def __init__(self, provider: str, detail: str) -> None:
        self.provider = provider
        self.detail = detail
        super().__init__(f"{provider}: {detail}")

    def __reduce__(self) -> tuple[type[ProviderError], tuple[object, ...]]:
        return (type(self), (self.provider, self.detail))


class Scope(StrEnum):
    """How far a refusal reaches: what else would be refused alike."""

    ZONE = "zone"  # this instance type in this zone
    REGION = "region"  # this instance type in this region
    PROVIDER = "provider"  # all that the provider sells


class Blocking(ProviderError):
    """A refusal that others would meet as well, as far as `scope` says."""

    default = Scope.ZONE

    def __init__(self, provider: str, detail: str, scope: Scope | None = None) -> None:
        self.scope = scope or self.default
        super().__init__(provider, detail)

    def __reduce__(self) -> tuple[type[Blocking], tuple[object, ...]]:
        return (type(self), (self.provider, self.detail, self.scope))


class CapacityError(Blocking):
    """Sold out: try the next candidate."""


class QuotaError(Blocking):
    """The account's quota is used up: try what the quota does not cover."""

    default = Scope.PROVIDER


class AuthError(ProviderError):
    """The provider refuses our credentials: switch it off until they change."""


class TransientError(ProviderError):
    """The same call may succeed after `retry_after_s` seconds."""

    def __init__(self, provider: str, detail: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(provider, detail)

    def __reduce__(self) -> tuple[type[TransientError], tuple[object, ...]]:
        return (type(self), (self.provider, self.detail, self.retry_after_s))


class ThrottledError(TransientError):
    """Turned away before anything was done: too many requests. A purchase is not in doubt after it."""


class LeaseNotFound(ProviderError):
    """The provider no longer knows the lease: for a release that is success."""


class StalePlan(IsoflopError):
    """Price or capacity moved since the plan was made: plan again."""

    exit_code = 5


class JobFailed(IsoflopError):
    """A job ran and failed; the message carries its exit code and where its logs are."""

    exit_code = 6


class Fenced(IsoflopError):
    """The store refused a write: a controller with a newer fencing token leads now."""
