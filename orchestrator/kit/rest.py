"""JSON over HTTP for vendors without an SDK: every way that an answer can fail has its error."""

from __future__ import annotations

import json
import ssl
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, ProviderError, TransientError

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
ATTEMPTS = 4  # of a read; a write is sent once, for nobody knows what the lost one did
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
THROTTLED = 429
LARGEST = 64 * 2**20  # bytes of one answer
LONGEST_TEXT = 1000  # characters of an error that comes as text


class Answer(NamedTuple):
    """A success: status, parsed body (None where it is empty) and headers."""

    status: int
    body: object
    headers: Mapping[str, str]


Explain = Callable[[int, object], ProviderError | None]


class Rest:
    """One vendor's HTTP API.

    `authorise` gives the headers that carry the credential, asked for at every call. `explain(status, body)` makes the
    vendor's own error codes our errors, the body being JSON or, of a failure, text; what it answers None to is judged
    by the status alone.
    """

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        authorise: Callable[[], Mapping[str, str]],
        explain: Explain,
        clock: Clock,
        ca_file: str = "",
        attempts: int = ATTEMPTS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`transport` is how requests travel, where that is not TCP: over a socket of this machine.

        Raises: TransientError where `ca_file` holds no certificates.
        """
        self._provider, self._authorise, self._explain = provider, authorise, explain
        self._clock, self._attempts = clock, attempts
        try:
            trust = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise TransientError(provider, f"the certificates of {ca_file} cannot be read: {error}", 60.0) from error
        self._client = httpx.Client(
            base_url=base_url,
            timeout=TIMEOUT,
            verify=trust,
            follow_redirects=False,
            trust_env=transport is None,
            transport=transport,
        )
        weakref.finalize(self, self._client.close)  # providers are dropped, not closed

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET, tried again where that may help, as long after as the vendor asks.

        Raises: AuthError, TransientError, or what `explain` makes of the answer.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return self._send("GET", path, params=params, body=None)
            except TransientError as error:
                if attempt == self._attempts or error.retry_after_s > LONGEST_WAIT_S:
                    raise
                self._clock.sleep(max(error.retry_after_s, FIRST_WAIT_S * 2 ** (attempt - 1)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def write(self, method: str, path: str, body: object = None) -> Answer:
        """Any other method, once. Raises: as `read`; after TransientError the effect is in doubt."""
        return self._send(method, path, params=None, body=body)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _send(self, method: str, path: str, *, params: Mapping[str, str] | None, body: object) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        headers = {**self._authorise(), "accept": "application/json"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            answer = self._client.request(method, path, params=params, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise TransientError(self._provider, f"{method} {path}: no answer in time") from error
        except httpx.TransportError as error:
            raise TransientError(self._provider, f"{method} {path}: {_transport(error)}", 5.0) from error
        return self._judged(answer, f"{method} {path}")

    def _judged(self, answer: httpx.Response, call: str) -> Answer:
        status, retry_s = answer.status_code, retry_after_s(answer.headers.get("retry-after"), self._clock.now())
        body = self._parsed(answer, call) if answer.content else None
        if answer.is_success:
            refused = self._explain(status, body)  # an error inside a success
            if refused is not None:
                raise refused
            return Answer(status, body, answer.headers)
        known = self._explain(status, body)
        if isinstance(known, TransientError) and retry_s is not None:
            known.retry_after_s = retry_s
        if known is not None:
            raise known
        if status in {401, 403}:
            raise AuthError(self._provider, f"{call}: refused with {status}")
        if status == THROTTLED:
            raise TransientError(self._provider, f"{call}: too many requests", retry_s if retry_s is not None else 5.0)
        if 300 <= status < 400:
            raise TransientError(self._provider, f"{call}: sent elsewhere ({status}); is the address right?", 60.0)
        wait_s = retry_s if retry_s is not None else 1.0
        raise TransientError(self._provider, f"{call}: failed with {status}", wait_s)

    def _parsed(self, answer: httpx.Response, call: str) -> object:
        if len(answer.content) > LARGEST:
            raise TransientError(self._provider, f"{call}: an answer of {len(answer.content)} bytes", 60.0)
        kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind in {"text/html", "application/xhtml+xml"} or answer.content.lstrip()[:1] == b"<":
            detail = f"{call}: answered {answer.status_code} with a web page, not JSON: a proxy or a login in between?"
            raise TransientError(self._provider, detail, 30.0)
        if kind == "text/plain" and not answer.is_success:
            return answer.text[:LONGEST_TEXT]  # some say in plain words why they refuse
        try:
            parsed: object = json.loads(answer.content)
        except ValueError as error:
            detail = f"{call}: answered {answer.status_code} with broken JSON (cut off?)"
            raise TransientError(self._provider, detail) from error
        return parsed


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, 10.2.3: seconds or a date) asks to wait; None without one."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


def _transport(error: httpx.TransportError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"the connection cannot be trusted (TLS): {cause.reason or cause}"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
