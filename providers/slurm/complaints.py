"""What Slurm complains about, as our errors: the same texts come from its commands and from slurmrestd."""

from __future__ import annotations

import re

from orchestrator.domain.errors import AuthError, CapacityError, ProviderError, QuotaError, Scope, TransientError
from providers.slurm.settings import NAME

RETRY_AFTER_S = 15.0

DOWN = re.compile(
    r"Unable to contact slurm controller|Connection (?:refused|timed out|reset)|Socket timed out|Zero Bytes|"
    r"Transport endpoint|Slurm backup controller|slurmctld is not|not responding|Resource temporarily unavailable|"
    r"DNS SRV|Unexpected message|Kill task|Slurm temporarily unable|Unable to connect to database|"
    r"Send/recv|receive failure|send failure",
    re.IGNORECASE,
)
REFUSED = re.compile(
    r"munge|authentication|Access/permission denied|User's group not permitted|Invalid user|not authorized|"
    r"Protocol authentication error|Operation not permitted",
    re.IGNORECASE,
)
QUOTA = re.compile(
    r"Invalid account|Invalid qos|accounting/QOS policy|QOS|Assoc|job submit limit|association|exceeds? .*limit|"
    r"Budget|balance",
    re.IGNORECASE,
)
UNKNOWN_JOB = re.compile(r"Invalid job id|already completing or completed", re.IGNORECASE)


def telling(said: str) -> str:
    """The line that says what is wrong: the first that we know, else the last."""
    lines = [line.strip() for line in said.strip().splitlines()]
    known = (line for line in lines for known in (DOWN, REFUSED, QUOTA) if known.search(line))
    return next(known, lines[-1] if lines else "")


def complaint(said: str, detail: str, *, buying: bool) -> ProviderError:
    """Our error for what was `said`, of which `detail` and the line that tells are shown.

    The order matters, for the texts are alike. `buying` is of a submission: what is no other fault of it is one of what
    was ordered.
    """
    detail += telling(said)
    if DOWN.search(said):
        return TransientError(NAME, detail, RETRY_AFTER_S)
    if not buying:
        return AuthError(NAME, detail) if REFUSED.search(said) else TransientError(NAME, detail, RETRY_AFTER_S)
    if QUOTA.search(said):
        return QuotaError(NAME, detail, Scope.REGION)
    if REFUSED.search(said):
        return AuthError(NAME, detail)
    return CapacityError(NAME, detail)
