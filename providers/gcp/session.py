"""Credentials and connections of Google's SDK: whose, how long they may take, whom they trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import billing_v1, compute_v1
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from orchestrator.domain.errors import AuthError
from orchestrator.domain.secret import Secret
from providers.gcp.settings import AMBIENT, NONE, GcpSettings
from providers.gcp.shapes import NAME

CONNECT_S = 5.0
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
CONNECTIONS = 16
PUBLIC = ".googleapis.com"

C = TypeVar("C")


class Bounded(HTTPAdapter):
    """Connects within CONNECT_S, whatever the call as a whole may take, and to whom `ca_file` trusts.

    A session's own setting for the latter gives way to variables of the environment.
    """

    def __init__(self, ca_file: str) -> None:
        super().__init__(pool_maxsize=CONNECTIONS)
        self._ca_file = ca_file

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """See HTTPAdapter."""
        options["timeout"] = (CONNECT_S, options.get("timeout"))
        if self._ca_file:
            options["verify"] = self._ca_file
        return super().send(request, *args, **options)


class Elsewhere(service_account.Credentials):
    """A service account at an endpoint that is not Google's public one.

    Google's library would go on asking Google's public servers, in threads of its own, for the regions that the account
    is allowed; who has an endpoint of their own means no others.
    """

    def _maybe_start_regional_access_boundary_refresh(self, request: object, url: str) -> None:
        """See service_account.Credentials: does not ask."""


class Session:
    """The SDK's clients of one account, each made when it is first needed.

    Raises: AuthError from every one of them where there are no credentials that can be used.
    """

    def __init__(self, settings: GcpSettings, secret: Callable[[str], Secret]) -> None:
        self._settings, self._secret = settings, secret

    @cached_property
    def _credentials(self) -> Any:
        reference = self._settings.credentials
        if reference == NONE:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        if reference == AMBIENT:
            try:
                return google.auth.default(scopes=SCOPES)[0]
            except GoogleAuthError as error:
                raise AuthError(NAME, f"no credentials: {str(error)[:200]}") from error
        kind = service_account.Credentials if self._settings.compute_endpoint.endswith(PUBLIC) else Elsewhere
        key = self._secret(reference).reveal()
        try:
            return kind.from_service_account_info(json.loads(key), scopes=SCOPES)  # type: ignore[no-untyped-call]
        except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError):
            # Its own message may hold parts of the key.
            raise AuthError(NAME, f"{reference} holds no key of a service account in JSON") from None

    def _made(self, kind: type[C], endpoint: str, **more: object) -> C:
        client: Any = kind(credentials=self._credentials, client_options={"api_endpoint": endpoint}, **more)  # type: ignore[call-arg]
        # The SDK has no setting for any of this: its session is the place.
        session = client.transport._session
        for scheme in ("https://", "http://"):
            session.mount(scheme, Bounded(self._settings.ca_file))
        return client  # type: ignore[no-any-return]

    def _compute(self, kind: type[C]) -> C:
        return self._made(kind, self._settings.compute_endpoint)

    @cached_property
    def instances(self) -> Any:
        """compute.instances."""
        return self._compute(compute_v1.InstancesClient)

    @cached_property
    def zone_operations(self) -> Any:
        """compute.zoneOperations."""
        return self._compute(compute_v1.ZoneOperationsClient)

    @cached_property
    def global_operations(self) -> Any:
        """compute.globalOperations."""
        return self._compute(compute_v1.GlobalOperationsClient)

    @cached_property
    def machine_types(self) -> Any:
        """compute.machineTypes."""
        return self._compute(compute_v1.MachineTypesClient)

    @cached_property
    def accelerator_types(self) -> Any:
        """compute.acceleratorTypes."""
        return self._compute(compute_v1.AcceleratorTypesClient)

    @cached_property
    def regions(self) -> Any:
        """compute.regions."""
        return self._compute(compute_v1.RegionsClient)

    @cached_property
    def projects(self) -> Any:
        """compute.projects."""
        return self._compute(compute_v1.ProjectsClient)

    @cached_property
    def firewalls(self) -> Any:
        """compute.firewalls."""
        return self._compute(compute_v1.FirewallsClient)

    @cached_property
    def advice(self) -> Any:
        """compute.advice; None where the installed SDK is too old to have it."""
        kind = getattr(compute_v1, "AdviceClient", None)
        return None if kind is None else self._compute(kind)

    @cached_property
    def catalogue(self) -> Any:
        """cloudbilling.services.skus."""
        return self._made(billing_v1.CloudCatalogClient, self._settings.billing_endpoint, transport="rest")
