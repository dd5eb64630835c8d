"""The talk with Azure: its compute SDK, and the few network calls through the same authenticated pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest, HttpResponse
from azure.mgmt.compute.models import VirtualMachine

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import TransientError
from orchestrator.domain.secret import Secret
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.paging import pages
from orchestrator.kit.rest import retry_after_s
from providers.azure.errors import Refused, explain
from providers.azure.session import connect, refused_by, troubles
from providers.azure.settings import NAME, AzureSettings

NETWORK_VERSION, GROUP_VERSION, LOCATION_VERSION = "2023-05-01", "2021-04-01", "2022-12-01"
EXISTS = 412  # the answer to If-None-Match: * where there is such a thing
ASK_AGAIN_S = 5.0  # about an operation, where Azure does not say when


class Started(NamedTuple):
    """A machine that is being made; `operation` is the address that tells how it goes, "" where there is none."""

    machine: Document
    operation: str


class Outcome(NamedTuple):
    """How a long-running operation stands."""

    done: bool
    refused: Refused | None
    wait_s: float


class Azure:
    """One subscription and one resource group of it. Safe between threads."""

    def __init__(self, settings: AzureSettings, secret: Secret | None, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._session = connect(settings, secret, clock)
        self._sdk = self._session.sdk
        self._subscription = f"/subscriptions/{settings.subscription_id}"
        self._group = settings.resource_group

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    # What is sold

    def locations(self) -> tuple[str, ...]:
        """The physical regions that the subscription has. Raises: AuthError, TransientError."""
        rows = self._listed(f"{self._subscription}/locations", LOCATION_VERSION)
        found = []
        for row in rows:
            about = row.within("metadata") if "metadata" in row else row
            if about.text("regionType", "Physical") == "Physical":
                found.append(row.text("name").lower())
        return tuple(sorted(found))

    def skus(self, region: str) -> list[Document]:
        """Rows of the SKU list of a region. Raises: AuthError, TransientError."""
        rows = self._sdk.resource_skus
        return self._paged(f"SKUs of {region}", lambda: rows.list(filter=f"location eq '{region}'"))

    def usages(self, region: str) -> list[Document]:
        """Quotas of a region and what is used of them. Raises: AuthError, TransientError."""
        return self._paged(f"quotas of {region}", lambda: self._sdk.usage.list(region))

    # Machines

    def machines(self) -> list[Document]:
        """Every machine of the group; none where there is no such group. Raises: AuthError, TransientError."""
        return self._paged("machines", lambda: self._sdk.virtual_machines.list(self._group), absent_is_empty=True)

    def power(self) -> Mapping[str, str]:
        """What each machine of the subscription does, by resource id in lower case: "running", "deallocated".

        Raises: AuthError, TransientError.
        """
        found = self._paged("power states", lambda: self._sdk.virtual_machines.list_all(status_only="true"))
        states: dict[str, str] = {}
        for machine in found:
            properties = machine.within("properties") if "properties" in machine else machine
            view = properties.within("instanceView") if "instanceView" in properties else properties
            for status in view.each("statuses"):
                kind, _, word = status.text("code", "").partition("/")
                if kind == "PowerState":
                    states[machine.text("id").lower()] = word.lower()
        return states

    def machine(self, name: str) -> Document | None:
        """One machine, also one that listings do not show yet; None once it is gone. Raises: as `machines`."""
        with troubles(f"machine {name}", self._clock):
            try:
                return Document(self._sdk.virtual_machines.get(self._group, name), name)
            except ResourceNotFoundError:
                return None

    def create(self, name: str, body: Mapping[str, object]) -> Started | None:
        """Begin to make a machine; None where there is one of that name already. Sent once.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which it is in doubt.
        """
        with troubles(f"launch of {name}", self._clock, launch=True):
            try:
                poller = self._sdk.virtual_machines.begin_create_or_update(
                    self._group,
                    name,
                    VirtualMachine(body),
                    match_condition=MatchConditions.IfMissing,
                    polling=False,
                    retry_total=0,
                    cls=_begun,
                )
                found = cast(Started, poller.result())  # what `cls` made of it
            except ResourceExistsError as error:
                if error.status_code != EXISTS:
                    raise
                return None
        return found

    def outcome(self, operation: str) -> Outcome:
        """How the operation stands. Raises: AuthError, TransientError."""
        answer = self._send("GET", _path(operation), absent="operation")
        body = self._document(answer, "operation")
        wait_s = retry_after_s(answer.headers.get("Retry-After"), self._clock.now())
        status = body.text("status", "")
        if status == "Succeeded":
            return Outcome(True, None, 0.0)
        if status in {"Failed", "Canceled"}:
            return Outcome(True, refused_by(answer.json(), 200, None), 0.0)
        return Outcome(False, None, ASK_AGAIN_S if wait_s is None else wait_s)

    def delete(self, name: str) -> None:
        """Begin to delete a machine, with its disk, card and address. Raises: AuthError, TransientError."""
        with troubles(f"deletion of {name}", self._clock):
            try:
                self._sdk.virtual_machines.begin_delete(self._group, name, polling=False)
            except ResourceNotFoundError:
                return

    # Network

    def interfaces(self) -> list[Document]:
        """Network interfaces of the group. Raises: AuthError, TransientError."""
        return self._network("networkInterfaces")

    def addresses(self) -> list[Document]:
        """Public addresses of the group. Raises: AuthError, TransientError."""
        return self._network("publicIPAddresses")

    def resource(self, path: str, version: str) -> Document | None:
        """A resource of the subscription by its path; None where there is none. Raises: AuthError, TransientError."""
        answer = self._send("GET", f"{self._subscription}{path}?api-version={version}")
        return None if answer.status_code == 404 else self._document(answer, path)

    def put(self, path: str, version: str, body: Mapping[str, object]) -> Document:
        """Make a resource. Raises: QuotaError, AuthError, TransientError."""
        answer = self._send("PUT", f"{self._subscription}{path}?api-version={version}", body)
        return self._document(answer, path)

    @property
    def group_path(self) -> str:
        """Of the resource group, below the subscription."""
        return f"/resourceGroups/{self._group}"

    @property
    def subscription_path(self) -> str:
        """Of the subscription."""
        return self._subscription

    def _network(self, kind: str) -> list[Document]:
        path = f"{self._subscription}{self.group_path}/providers/Microsoft.Network/{kind}"
        return self._listed(path, NETWORK_VERSION)

    # The talk

    def _paged(self, call: str, ask: Callable[[], Any], *, absent_is_empty: bool = False) -> list[Document]:
        """Every row of a list of the SDK's, page by page, guarded against lists without end."""

        def page(mark: str) -> tuple[list[Document], str]:
            with troubles(call, self._clock):
                try:
                    one = ask().by_page(continuation_token=mark or None)
                    rows = [Document(row, call) for row in next(one, ())]
                except ResourceNotFoundError:
                    if not absent_is_empty:
                        raise
                    return [], ""
                return rows, one.continuation_token or ""

        return [row for rows, _ in pages(NAME, page, lambda found: found[1]) for row in rows]

    def _listed(self, path: str, version: str) -> list[Document]:
        """Every row of a list that the compute SDK does not know; none where there is no such group."""

        def page(mark: str) -> Document:
            answer = self._send("GET", _path(mark) if mark else f"{path}?api-version={version}")
            if answer.status_code == 404:
                return Document({"value": []}, path)
            found = self._document(answer, path)
            if "value" not in found:
                raise TransientError(NAME, f"{path}: a list without its value", 10.0)
            return found

        rows: list[Document] = []
        for found in pages(NAME, page, lambda one: one.text("nextLink", "")):
            rows += found.each("value")
        return rows

    def _send(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, absent: str = ""
    ) -> HttpResponse:
        """A request that the SDK has no name for. 404 is an answer, unless `absent` says what must be there."""
        call = absent or f"{method} {path.partition('?')[0].rpartition('/')[2]}"
        with troubles(call, self._clock):
            answer = self._sdk.send_request(HttpRequest(method, f"{{endpoint}}{path}", json=body))
            if answer.status_code < 400 or (answer.status_code == 404 and not absent):
                return answer
            wait_s = retry_after_s(answer.headers.get("Retry-After"), self._clock.now())
            refused = refused_by(answer.json(), answer.status_code, wait_s)
        raise explain(refused, call)

    def _document(self, answer: HttpResponse, place: str) -> Document:
        with troubles(place, self._clock):
            return Document(answer.json(), place)


def _begun(response: Any, _: object, __: object) -> Started:
    answer = response.http_response
    machine = Document(answer.json(), "machine")
    for name in ("id", "name", "properties"):
        if name not in machine:
            raise Malformed(f"machine.{name} is missing")
    return Started(machine, answer.headers.get("Azure-AsyncOperation", ""))


def _path(address: str) -> str:
    """Path and query of an address that Azure hands out: the token goes to our endpoint alone, whatever it says."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
