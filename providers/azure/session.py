"""Azure's SDK under our rules: whom to trust, how long to wait, what its exceptions mean."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential, CredentialUnavailableError, DefaultAzureCredential
from azure.mgmt.compute import ComputeManagementClient

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.secret import Secret
from orchestrator.kit import fanout
from orchestrator.kit.rest import retry_after_s
from providers.azure.errors import Refused, explain, no_login
from providers.azure.settings import NAME, AzureSettings

CONNECT_S, READ_S = 5.0, 20.0
RETRIES = 3  # of a read; a launch is sent once
LONGEST_WAIT_S = 30.0
TLS = "the connection cannot be trusted (TLS): is ca_file right?"


class Transport(RequestsTransport):  # type: ignore[misc]  # its own types are partial
    """The SDK's own transport, which waits on our clock and never longer than LONGEST_WAIT_S."""

    def __init__(self, clock: Clock, ca_file: str) -> None:
        super().__init__(
            connection_timeout=CONNECT_S, read_timeout=READ_S, connection_verify=ca_file if ca_file else True
        )
        self._clock = clock

    def open(self) -> None:
        """As the SDK's, with room for as many connections as regions are asked at once."""
        fresh = self.session is None
        super().open()
        if fresh:
            for adapter in self.session.adapters.values():
                adapter.init_poolmanager(fanout.WORKERS, fanout.WORKERS)

    def sleep(self, duration: float) -> None:
        """Wait before the same request is sent again. Raises: TransientError where that is too long."""
        if duration > LONGEST_WAIT_S:
            raise TransientError(NAME, f"Azure asks to wait for {duration:g} s", duration)
        self._clock.sleep(duration)


class Session(NamedTuple):
    """A client of the subscription, and the login behind it."""

    sdk: ComputeManagementClient
    login: ClientSecretCredential | DefaultAzureCredential

    def close(self) -> None:
        """Let go of the connections of both."""
        self.sdk.close()
        self.login.close()


def connect(settings: AzureSettings, secret: Secret | None, clock: Clock) -> Session:
    """A session as the settings say; nothing is sent yet."""
    endpoint, login = settings.endpoint_url.rstrip("/"), _credential(settings, secret, clock)
    sdk = ComputeManagementClient(
        login,
        settings.subscription_id,
        base_url=endpoint,
        credential_scopes=[f"{endpoint}/.default"],
        transport=Transport(clock, settings.ca_file),
        retry_total=RETRIES,
        raw_response_hook=_no_error_inside,
    )
    return Session(sdk, login)


def _credential(
    settings: AzureSettings, secret: Secret | None, clock: Clock
) -> ClientSecretCredential | DefaultAzureCredential:
    options: dict[str, Any] = {"transport": Transport(clock, settings.ca_file), "retry_total": RETRIES}
    if settings.authority:
        options |= {"authority": settings.authority, "disable_instance_discovery": True}
    if secret is None:
        return DefaultAzureCredential(**options)
    return ClientSecretCredential(settings.tenant_id, settings.client_id, secret.reveal(), **options)


def _no_error_inside(response: PipelineResponse[Any, Any]) -> None:
    """Refuse a success that holds an error, which the SDK would take for an empty list.

    The state of a long-running operation holds its error lawfully, beside a status.
    """
    answer = response.http_response
    if response.http_request.method != "GET" or answer.status_code != 200:
        return
    text = answer.text()
    if '"error"' not in text[:200].lower():
        return
    try:
        body = json.loads(text)
    except ValueError:
        return  # the SDK says so itself
    if isinstance(body, dict) and "error" in body and "status" not in body:
        refused = refused_by(body, 200, None)
        raise TransientError(NAME, f"a success with an error inside: {refused.told}", 10.0)


@contextmanager
def troubles(call: str, clock: Clock, *, launch: bool = False) -> Iterator[None]:
    """Turn what the SDK raises into our errors."""
    try:
        yield
    except (AzureError, ValueError) as error:
        logging.getLogger(__name__).debug("%s failed with %s", call, type(error).__name__)
        raise _explained(error, call, clock, launch=launch) from None  # the vendor's message may quote the request


def _explained(error: AzureError | ValueError, call: str, clock: Clock, *, launch: bool) -> ProviderError:
    if isinstance(error, CredentialUnavailableError):
        return no_login(str(error), sure=True)
    if isinstance(error, ClientAuthenticationError):
        return _login(error, call, clock)
    if isinstance(error, DecodeError | ValueError):
        return TransientError(NAME, f"{call}: the answer cannot be read (cut off, or a web page in between?)", 5.0)
    if isinstance(error, HttpResponseError) and error.response is not None:
        return explain(_refused(error, clock), call, launch=launch)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return TransientError(NAME, f"{call}: {_transport(error)}", 5.0)
    return TransientError(NAME, f"{call}: {type(error).__name__}", 5.0)


def _login(error: ClientAuthenticationError, call: str, clock: Clock) -> ProviderError:
    """A refusal by the login, or by the API itself, which answers 401 with a code of its own."""
    answer = error.response
    if answer is None:
        if str(error).startswith("DefaultAzureCredential failed"):
            return no_login("none of the SDK's ways is set up (environment, managed identity, az login)", sure=True)
        distrusted = "CERTIFICATE" in str(error).upper()
        return TransientError(NAME, f"no login: {TLS}", 60.0) if distrusted else no_login(str(error), sure=False)
    refused = _refused(error, clock)
    if "AADSTS" in refused.message or "/oauth2/" in _address(answer):
        return no_login(str(error.message), sure=answer.status_code in {400, 401, 403})
    return explain(refused, call)


def _address(answer: object) -> str:
    return str(getattr(getattr(answer, "request", None), "url", ""))


def _refused(error: HttpResponseError, clock: Clock) -> Refused:
    answer = error.response
    assert answer is not None  # noqa: S101 - looked at by the callers
    wait_s = retry_after_s(getattr(answer, "headers", {}).get("Retry-After"), clock.now())
    try:
        body = json.loads(answer.text())
    except (ValueError, AzureError):
        return Refused(answer.status_code or 0, "", f"answered {answer.status_code}, not in JSON", wait_s)
    return refused_by(body, answer.status_code or 0, wait_s)


def refused_by(body: object, status: int, wait_s: float | None) -> Refused:
    """Code and message of a body as Azure's APIs have it: `{"error": {"code", "message", "details"}}`."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):  # OAuth's form
        described = body.get("error_description") if isinstance(body, dict) else ""
        return Refused(status, error, str(described), wait_s)
    if not isinstance(error, dict):
        return Refused(status, "", "no error in the body", wait_s)
    details = [item for item in error.get("details") or [] if isinstance(item, dict)]
    inner = next((item for item in details if item.get("code")), None)
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    if inner is not None and code in {"", "DeploymentFailed", "ResourceDeploymentFailure", "BadRequest"}:
        code, message = str(inner["code"]), str(inner.get("message") or message)
    return Refused(status, code, message, wait_s)


def _transport(error: AzureError) -> str:
    words = str(error)
    if "CERTIFICATE" in words.upper() or "SSL" in words.upper():
        return TLS
    if "timed out" in words.lower():
        return "no answer in time"
    return f"no connection ({type(error).__name__})"
