"""The token that slurmrestd is shown: one that Slurm makes for us by a command, one that a reference names, or none."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, UserError
from orchestrator.domain.secret import Secret
from providers.slurm.settings import NAME

LIFESPAN_S = 1800
SAID = re.compile(r"^SLURM_JWT=(\S+)$", re.MULTILINE)
USER, TOKEN = "x-slurm-user-name", "x-slurm-user-token"


class Pass(NamedTuple):
    """Who we are to slurmrestd, and what proves it; None where the way there does."""

    user: str
    token: Secret | None

    def headers(self) -> Mapping[str, str]:
        """As slurmrestd's rest_auth/jwt reads them."""
        return {} if self.token is None else {USER: self.user, TOKEN: self.token.reveal()}


class Tokens(Protocol):
    """Where the token of a call comes from."""

    def show(self) -> Pass:
        """For the next call. Raises: AuthError, TransientError."""
        ...

    def renew(self) -> bool:
        """Forget the token: whether `show` makes another."""
        ...


class NoToken:
    """A socket that knows us by the user that connects."""

    def __init__(self, user: str) -> None:
        self._pass = Pass(user, None)

    def show(self) -> Pass:
        """See Tokens."""
        return self._pass

    def renew(self) -> bool:
        """See Tokens: there is none."""
        return False


class GivenToken:
    """A token that somebody else keeps fresh behind a reference, which is looked up for every call."""

    def __init__(self, resolve: Callable[[], Secret], user: str, clock: Clock) -> None:
        self._resolve, self._user, self._clock = resolve, user, clock

    def show(self) -> Pass:
        """See Tokens."""
        try:
            token = self._resolve()
        except UserError as error:  # it was there when we began, perhaps
            raise AuthError(NAME, f"the token of slurmrestd: {error}") from error
        claims = claimed(token)
        if claims.ends_at is not None and claims.ends_at <= self._clock.now():
            raise AuthError(NAME, f"the token of slurmrestd expired at {claims.ends_at:%Y-%m-%d %H:%M:%S} UTC")
        return passed(token, self._user or claims.user)

    def renew(self) -> bool:
        """See Tokens: it is looked up every time as it is."""
        return False


class MadeToken:
    """A token that `make(lifespan_s)` gets from Slurm, made anew after half its time."""

    def __init__(self, make: Callable[[int], str], user: str, clock: Clock) -> None:
        self._make, self._user, self._clock = make, user, clock
        self._lock = threading.Lock()
        self._kept: tuple[datetime, Pass] | None = None

    def show(self) -> Pass:
        """See Tokens."""
        with self._lock:
            now = self._clock.now()
            if self._kept is None or not 0 <= (now - self._kept[0]).total_seconds() < LIFESPAN_S / 2:
                self._kept = (now, self._made())
            return self._kept[1]

    def renew(self) -> bool:
        """See Tokens."""
        with self._lock:
            self._kept = None
        return True

    def _made(self) -> Pass:
        match = SAID.search(self._make(LIFESPAN_S))
        if match is None:  # what it said instead may be half a token: it is not repeated
            raise AuthError(NAME, "scontrol token printed no token: does the site have auth/jwt?")
        token = Secret(match[1])
        return passed(token, self._user or claimed(token).user)


class Claims(NamedTuple):
    """What a token says of itself, unchecked; empty and None where it does not."""

    user: str
    ends_at: datetime | None


def claimed(token: Secret) -> Claims:
    """The user (`sun`, Slurm's own claim) and the end (`exp`) that a JSON Web Token names (RFC 7519)."""
    parts = token.reveal().split(".")
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        found = json.loads(text)
        ends_s = found.get("exp")
        ends_at = datetime.fromtimestamp(ends_s, UTC) if isinstance(ends_s, int | float) else None
        return Claims(str(found.get("sun") or ""), ends_at)
    except (IndexError, binascii.Error, ValueError, AttributeError, OverflowError, OSError):
        return Claims("", None)


def passed(token: Secret, user: str) -> Pass:
    """Raises: AuthError where nobody says who the user is."""
    if not user:
        raise AuthError(NAME, "the token of slurmrestd names no user: `rest_user` of the site's settings does")
    if not token.reveal().isascii() or not token.reveal().isprintable() or not user.isascii():
        raise AuthError(NAME, "the token of slurmrestd, or its user, has characters that no header can hold")
    return Pass(user, token)
