"""One cluster's Kubernetes API through the official client; the only place that sees its exceptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from kubernetes.client import (
    ApiClient,
    Configuration,
    CoreV1Api,
    CustomObjectsApi,
    V1DeleteOptions,
    V1Preconditions,
)
from kubernetes.client.exceptions import ApiException

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import (
    AuthError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.secret import Secret
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.paging import pages
from orchestrator.kit.rest import retry_after_s
from providers.coreweave.pricing import NAME

GROUP, VERSION, PLURAL, KIND = "compute.coreweave.com", "v1alpha1", "nodepools", "NodePool"
TIMEOUT_S = (5.0, 20.0)  # to connect, to read
PAGE = 500
ATTEMPTS = 4  # of a read
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0


class Taken(TransientError):
    """An object of that name is there already, or is not the one that was meant."""


class Refused(TransientError):
    """The API server does not take the object as it is."""


class Kube:
    """NodePools and nodes of one cluster."""

    def __init__(self, endpoint: str, token: Secret, *, ca_file: str, clock: Clock) -> None:
        self.endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
        self._token, self._clock = token, clock
        configuration = Configuration(host=self.endpoint)
        configuration.ssl_ca_cert = ca_file or None
        configuration.retries = False  # ours are counted and wait on our clock
        client = ApiClient(configuration)
        self._pools, self._core = CustomObjectsApi(client), CoreV1Api(client)

    def pools(self, selector: str) -> tuple[Document, ...]:
        """NodePools by labels. Raises: AuthError, TransientError."""
        return self._listed(
            lambda mark: self._pools.list_cluster_custom_object(
                GROUP, VERSION, PLURAL, label_selector=selector, limit=PAGE, _continue=mark, **self._options()
            )
        )

    def nodes(self, selector: str) -> tuple[Document, ...]:
        """Nodes by labels. Raises: AuthError, TransientError."""
        return self._listed(
            lambda mark: self._core.list_node(label_selector=selector, limit=PAGE, _continue=mark, **self._options())
        )

    def pool(self, name: str) -> Document | None:
        """The NodePool of that name; None where there is none. Raises: AuthError, TransientError."""
        try:
            return self._read(
                lambda: self._pools.get_cluster_custom_object(GROUP, VERSION, PLURAL, name, **self._options())
            )
        except LeaseNotFound:
            return None

    def create(self, pool: Mapping[str, object]) -> Document:
        """Raises: Taken for a name that is; Refused, QuotaError, AuthError; TransientError: it is in doubt."""
        return self._called(
            lambda: self._pools.create_cluster_custom_object(GROUP, VERSION, PLURAL, dict(pool), **self._options())
        )

    def annotate(self, name: str, annotations: Mapping[str, str]) -> None:
        """Add annotations. Raises: LeaseNotFound, AuthError, TransientError."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        self._called(
            lambda: self._pools.patch_cluster_custom_object(
                GROUP, VERSION, PLURAL, name, patch, _content_type="application/merge-patch+json", **self._options()
            )
        )

    def delete(self, name: str, uid: str) -> None:
        """Delete the very pool with that uid. Raises: LeaseNotFound, Taken for another's; AuthError, TransientError."""
        body = V1DeleteOptions(preconditions=V1Preconditions(uid=uid))
        self._called(
            lambda: self._pools.delete_cluster_custom_object(GROUP, VERSION, PLURAL, name, body=body, **self._options())
        )

    def _options(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token.reveal()}"}
        return {"_preload_content": False, "_request_timeout": TIMEOUT_S, "_headers": headers}

    def _listed(self, fetch: Callable[[str | None], Any]) -> tuple[Document, ...]:
        def following(page: Document) -> str:
            return page.within("metadata").text("continue", "")

        try:
            found: list[Document] = []
            for page in pages(NAME, lambda mark: self._read(lambda: fetch(mark or None)), following):
                if not isinstance(page.raw("items"), list):  # a missing list is no empty one
                    raise Malformed(f"{page.place} has no items")
                found += page.each("items")
            return tuple(found)
        except LeaseNotFound as error:  # the kind itself is unknown there
            raise TransientError(NAME, f"{self.endpoint} serves no such list: {error.detail}", 60.0) from error
        except Malformed as error:
            raise TransientError(NAME, f"an answer that cannot be read: {error}", 30.0) from error

    def _read(self, call: Callable[[], Any]) -> Document:
        """`call`, tried again where that may help, as long after as the server asks."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._called(call)
            except TransientError as error:
                if attempt == ATTEMPTS or error.retry_after_s > LONGEST_WAIT_S:
                    raise
                self._clock.sleep(max(error.retry_after_s, FIRST_WAIT_S * 2 ** (attempt - 1)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _called(self, call: Callable[[], Any]) -> Document:
        try:
            content: bytes = call().data
        except ApiException as error:
            raise self._judged(error) from None  # its text is the whole answer, headers and all
        except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise TransientError(NAME, f"{self.endpoint}: no answer in time") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(NAME, f"{self.endpoint}: {type(error).__name__}: {error}", 5.0) from error
        parsed = _parsed(content, self.endpoint)
        status = parsed.get("status")
        if parsed.get("kind") == "Status" and status == "Failure":  # a failure inside a success
            raise explain(int(parsed.get("code") or 500), parsed, None)
        return Document(parsed, self.endpoint)

    def _judged(self, error: ApiException) -> ProviderError:
        headers = error.headers or {}
        wait_s = retry_after_s(headers.get("Retry-After"), self._clock.now())
        if not error.status:
            return TransientError(NAME, f"{self.endpoint}: {str(error.reason)[:300]}", 30.0)
        try:
            parsed = json.loads(error.body or b"{}")
        except ValueError:
            parsed = {}
        return explain(int(error.status), parsed if isinstance(parsed, dict) else {}, wait_s)


def explain(code: int, status: Mapping[str, Any], wait_s: float | None) -> ProviderError:
    """Our error for a Status of Kubernetes, by its code; `wait_s` is what the server asks to wait."""
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))[:400]
    detail = f"{code} {reason}: {message}" if message else f"the API server answered {code}"
    if code == 401:
        return AuthError(NAME, detail)
    if code == 403:
        return QuotaError(NAME, detail, Scope.ZONE) if "quota" in message.lower() else AuthError(NAME, detail)
    if code == 404 and status.get("kind") == "Status":  # a proxy's 404 says nothing about our object
        return LeaseNotFound(NAME, detail)
    if code == 409:
        return Taken(NAME, detail, 5.0)
    if code in {400, 405, 415, 422}:
        return Refused(NAME, detail, 60.0)
    return TransientError(NAME, detail, 1.0 if wait_s is None else wait_s)


def _parsed(content: bytes, place: str) -> dict[str, Any]:
    if content.lstrip()[:1] == b"<":
        raise TransientError(NAME, f"{place}: answered with a web page, not JSON: a proxy or a login in between?", 30.0)
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise TransientError(NAME, f"{place}: broken JSON (cut off?)") from error
    if not isinstance(parsed, dict):
        raise TransientError(NAME, f"{place}: a {type(parsed).__name__}, not an object", 30.0)
    return parsed
