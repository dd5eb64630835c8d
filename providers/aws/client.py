"""Talks to AWS through boto3: the only module that sees its exceptions."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import boto3
from botocore import loaders, xform_name
from botocore import session as sessions
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, ConfigError, ProviderError, TransientError
from orchestrator.domain.secret import Secret
from orchestrator.kit.documents import Document, readable
from orchestrator.kit.paging import pages
from orchestrator.kit.rest import retry_after_s
from providers.aws.refusals import NAME, Rejected, explain
from providers.aws.settings import AwsSettings

T = TypeVar("T")
S = TypeVar("S")
ATTEMPTS = 4  # of a read; a write is sent once: nobody knows what the lost one did
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
CONNECTIONS = 32
PARAMETER = re.compile(r"for parameter ([\w.\[\]]+)")
NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)


class Keys(NamedTuple):
    """Credentials; all None leaves the choice to the SDK's own chain."""

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class Client:
    """Calls by service, region and operation.

    Every answer is a Document. The SDK itself never tries again: reads are repeated here, as long after as AWS asks,
    and a launch that finds nothing left (HTTP 500 at EC2) is refused at once instead of being sent five times.
    """

    def __init__(self, settings: AwsSettings, keys: Keys, clock: Clock) -> None:
        """Raises: ConfigError for an address that is none."""
        self._settings, self._clock = settings, clock
        self._session = _session(keys)
        self._config = Config(
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            user_agent_extra="isoflop",
        )
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def read(self, service: str, region: str, operation: str, **params: object) -> Document:
        """One answer, tried again where that may help. Raises: AuthError, TransientError."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.once(service, region, operation, **params)
            except Rejected:
                raise
            except TransientError as error:
                if attempt == ATTEMPTS or error.retry_after_s > LONGEST_WAIT_S:
                    raise
                self._clock.sleep(max(error.retry_after_s, FIRST_WAIT_S * 2 ** (attempt - 1)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def each(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[Document]:
        """The objects of `field` on every page. Raises: as `read`; TransientError for pages without end or without it.

        An answer that lacks the field is none: EC2 sends an empty list as such, and an error inside a success has no
        list.
        """
        for page in self._pages(service, region, operation, field, params):
            with readable(NAME, page.place):
                yield from page.each(field)

    def texts(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[str]:
        """As `each`, of a list of texts."""
        for page in self._pages(service, region, operation, field, params):
            with readable(NAME, page.place):
                yield from page.texts(field)

    def _pages(
        self, service: str, region: str, operation: str, field: str, params: Mapping[str, object]
    ) -> Iterator[Document]:
        def fetch(mark: str) -> Document:
            answer = self.read(service, region, operation, **params, **({"NextToken": mark} if mark else {}))
            if answer.raw(field) is None:
                raise TransientError(NAME, f"{answer.place}: a success without {field}", 5.0)
            return answer

        return pages(NAME, fetch, lambda page: page.text("NextToken", ""))

    def once(self, service: str, region: str, operation: str, **params: object) -> Document:
        """One answer to one request. Raises: AuthError, CapacityError, QuotaError, TransientError.

        After TransientError the effect is in doubt, except after Rejected.
        """
        call = f"{operation} in {region}"
        client = self._client(service, region)
        try:
            answer = getattr(client, xform_name(operation))(**params)
        except ClientError as error:
            raise _refusal(call, error, self._clock) from None
        except NO_CREDENTIALS as error:
            raise AuthError(NAME, f"{call}: the SDK finds no credentials: {type(error).__name__}") from None
        except SSLError as error:
            raise TransientError(NAME, f"{call}: the connection cannot be trusted (TLS)", 60.0) from error
        except ResponseParserError:
            raise TransientError(NAME, f"{call}: the answer cannot be read: cut off, or a web page?", 5.0) from None
        except ParamValidationError as error:
            # Its text quotes values, and the machine's host key is one of them.
            named = ", ".join(sorted(set(PARAMETER.findall(str(error))))) or "a parameter"
            raise Rejected(NAME, f"{call}: the SDK takes no such {named}", "InvalidParameterValue") from None
        except BotoCoreError as error:
            raise TransientError(NAME, f"{call}: {_brief(error)}") from error
        return Document(answer, call)

    def _client(self, service: str, region: str) -> Any:
        key = (service, region)
        with self._lock:  # a session is not safe between threads, its clients are
            if key not in self._clients:
                url = self._settings.endpoints.get(service) or self._settings.endpoint_url or None
                try:
                    self._clients[key] = self._session.client(
                        service,
                        region_name=region,
                        endpoint_url=url,
                        verify=self._settings.ca_file or None,
                        config=self._config,
                    )
                except (BotoCoreError, ValueError) as error:
                    raise ConfigError(f"providers.{NAME}: {service} in {region}: {_brief(error)}") from error
            return self._clients[key]


def settled(call: Callable[[], T], codes: frozenset[str], instead: S) -> T | S:
    """What `call` answers, or `instead` where AWS rejects it with one of `codes`. Raises: as `call` otherwise."""
    try:
        return call()
    except Rejected as error:
        if error.code in codes:
            return instead
        raise


@cache
def _loader() -> loaders.Loader:
    """Reads each service's description once per process: EC2's takes a third of a second."""
    return loaders.create_loader()


def _session(keys: Keys) -> boto3.Session:
    core = sessions.Session()
    core.register_component("data_loader", _loader())
    revealed = {name: None if key is None else key.reveal() for name, key in keys._asdict().items()}
    return boto3.Session(
        botocore_session=core,
        aws_access_key_id=revealed["access_key_id"],
        aws_secret_access_key=revealed["secret_access_key"],
        aws_session_token=revealed["session_token"],
    )


def _refusal(call: str, error: ClientError, clock: Clock) -> ProviderError:
    detail: Mapping[str, Any] = error.response.get("Error", {})
    meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    wait_s = retry_after_s(meta.get("HTTPHeaders", {}).get("retry-after"), clock.now())
    code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
    return explain(call, code, int(meta.get("HTTPStatusCode", 0)), message, wait_s)


def _brief(error: BaseException) -> str:
    """The kind of an SDK's error and the beginning of its text, which for these kinds quotes no request."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
