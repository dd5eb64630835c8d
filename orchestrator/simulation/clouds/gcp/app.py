"""A simulated Google Cloud: Compute Engine and the billing catalogue, checked against Google's own descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.gcp import documents, lists, requests, tokens
from orchestrator.simulation.clouds.gcp.books import Books
from orchestrator.simulation.clouds.gcp.discovery import BILLING, COMPUTE, Route, load
from orchestrator.simulation.clouds.gcp.parts import rates
from orchestrator.simulation.clouds.gcp.requests import Bad
from orchestrator.simulation.clouds.gcp.shapes import NAME, Shape, shape
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key
from orchestrator.simulation.clouds.wire import Nonconforming, Reply, Request, Wire

PROJECT = "isoflop-simulated"
ROOT = "https://www.googleapis.com/compute/v1/projects"
LARGEST_SKUS = 5000
Json = dict[str, Any]
Handler = Callable[["GoogleCloud", Request, Mapping[str, str], Any], Json]

STATUS_WORDS: Mapping[int, str] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ALREADY_EXISTS",
        503: "UNAVAILABLE",
    }
)
UNAUTHENTICATED = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
REFUSALS: Mapping[Kind, Bad] = MappingProxyType(
    {
        Kind.THROTTLE: Bad(403, "rateLimitExceeded", "Rate Limit Exceeded"),
        Kind.ERROR: Bad(503, "backendError", "Backend Error"),
        Kind.UNAUTHORISED: Bad(401, "authError", UNAUTHENTICATED),
        Kind.EXPIRED: Bad(401, "authError", f"{UNAUTHENTICATED} (ACCESS_TOKEN_EXPIRED)"),
        Kind.SKEW: Bad(401, "authError", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
                       "reasonable timeframe. Check your iat and exp values in the JWT claim."),
    }
)  # fmt: skip


class GoogleCloud:
    """See Cloud. `accounts` gives the public keys of service accounts by e-mail; without any, nobody is asked."""

    name = NAME

    def __init__(self, market: Market, project: str, accounts: Mapping[str, str]) -> None:
        self._market, self._project, self._accounts = market, project, accounts
        self._root = f"{ROOT}/{project}"
        self._books = Books(market, project)
        self._apis = (load(COMPUTE), load(BILLING))
        found = ((pool.key, shape(pool)) for pool in market.sold_by(NAME) if pool.key.zone)
        self._forms: Mapping[Key, Shape] = {key: form for key, form in found if form is not None}
        self._zones = tuple(sorted({key.zone for key in self._forms}))

    # The wire's questions

    def operation(self, request: Request) -> str:
        """See Cloud: the method's id in Google's description, "compute.instances.insert"."""
        found = self._route(request)
        return found[1].method.id if found else ""

    def handle(self, request: Request) -> Reply:
        """See Cloud."""
        try:
            if self._accounts and (fault := tokens.fault(request.headers.get("authorization", ""), self._accounts)):
                raise Bad(401, "authError", fault)
            return _reply(200, self._answer(request))
        except Bad as bad:
            return _refusal(bad)

    def refuse(self, request: Request, fault: Fault) -> Reply:  # noqa: ARG002 - the same for every call
        """See Cloud."""
        return _refusal(REFUSALS[fault.kind])

    def failing(self, request: Request, reply: Reply) -> Reply:  # noqa: ARG002
        """See Cloud: Google does no such thing, but a proxy in between may."""
        return _refusal(REFUSALS[Kind.ERROR])._replace(status=200) if reply.status == 200 else reply

    def endless(self, request: Request, reply: Reply) -> Reply:
        """See Cloud."""
        found = self._route(request)
        if reply.status != 200 or found is None or "pageToken" not in found[1].method.parameters:
            return reply
        return _reply(200, {**json.loads(reply.body), "nextPageToken": lists.AGAIN})

    def check(self, request: Request, reply: Reply) -> None:
        """See Cloud."""
        found = self._route(request)
        if reply.status != 200 or found is None:
            return
        if fault := found[0].faults_of_answer(found[1].method, reply.body):
            raise Nonconforming(fault)

    def _route(self, request: Request) -> tuple[Any, Route] | None:
        for api in self._apis:
            if found := api.route(request.method, request.path):
                return api, found
        return None

    def _answer(self, request: Request) -> Json:
        found = self._route(request)
        if found is None:
            raise Bad(404, "notFound", f"The requested URL {request.path} was not found on this server.")
        api, route = found
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError as error:
            raise Bad(400, "parseError", "Invalid JSON payload received.") from error
        fault = api.faults_of_query(route.method, request.query) or api.faults_of_body(route.method, body)
        if fault:
            raise Bad(400, "invalid", fault)
        handler = HANDLERS.get(route.method.id)
        if handler is None:
            raise Bad(501, "notImplemented", f"{route.method.id} is not simulated.")
        if route.names.get("project", self._project) != self._project:
            raise Bad(403, "forbidden", f"Required permission on 'projects/{route.names['project']}'")
        zone = route.names.get("zone")
        if zone is not None and zone not in self._zones:
            raise Bad(404, "notFound", f"The resource 'projects/{self._project}/zones/{zone}' was not found")
        with self._market.lock:
            return handler(self, request, route.names, body)

    # What is sold

    def accelerator_types(self, request: Request, _: Mapping[str, str], __: Any) -> Json:
        """compute.acceleratorTypes.aggregatedList."""
        most: dict[tuple[str, str], int] = {}
        for key, form in self._forms.items():
            place = (key.zone, form.accelerator)
            most[place] = max(most.get(place, 0), form.cards)
        items = [
            (zone, documents.accelerator_type_json(name, zone, cards, self._root))
            for (zone, name), cards in sorted(most.items())
        ]
        return self._by_zone(request, items, of="acceleratorTypes", kind="compute#acceleratorTypeAggregatedList")

    def machine_types(self, request: Request, _: Mapping[str, str], __: Any) -> Json:
        """compute.machineTypes.aggregatedList."""
        return self._by_zone(request, self._machine_types, of="machineTypes", kind="compute#machineTypeAggregatedList")

    @cached_property
    def _machine_types(self) -> list[tuple[str, Json]]:
        """By zone; they stay as they are, and a list of thousands has many pages."""
        found = {(key.zone, form.machine_type): form for key, form in self._forms.items()}
        return [
            (zone, documents.machine_type_json(form, zone, self._root)) for (zone, _), form in sorted(found.items())
        ]

    def regions(self, request: Request, _: Mapping[str, str], __: Any) -> Json:
        """compute.regions.list."""
        items = [self._region(region) for region in sorted({key.region for key in self._forms})]
        return lists.plain(request, lists.filtered(request, items), kind="compute#regionList")

    def region(self, _: Request, names: Mapping[str, str], __: Any) -> Json:
        """compute.regions.get."""
        return self._region(names["region"])

    def project(self, _: Request, __: Mapping[str, str], ___: Any) -> Json:
        """compute.projects.get."""
        quotas = [
            {"metric": state.name, "limit": state.limit, "usage": state.used}
            for state in self._market.quotas(NAME)
            if not state.region
        ]
        return {"kind": "compute#project", "id": "1", "name": self._project, "quotas": quotas}

    def advice(self, _: Request, names: Mapping[str, str], body: Any) -> Json:
        """compute.advice.capacity: of the selections' machines in the region, the zone with the most."""
        model = body.get("instanceProperties", {}).get("scheduling", {}).get("provisioningModel", "STANDARD")
        billing = Billing.SPOT if model == "SPOT" else Billing.ON_DEMAND
        chosen = body.get("instanceFlexibilityPolicy", {}).get("instanceSelections", {}).values()
        wanted = {name for selection in chosen for name in selection.get("machineTypes", [])}
        size = int(body.get("size", 0))
        if not wanted or size < 1:
            raise Bad(400, "invalid", "A size and machine types are required.")
        found = [
            (self._market.available(key), key)
            for key, form in self._forms.items()
            if key.region == names["region"] and key.billing is billing and form.machine_type in wanted
        ]
        if not found:
            raise Bad(400, "invalid", f"None of {', '.join(sorted(wanted))} is in region {names['region']}.")
        left, key = max(found)
        score = 0.9 if left >= size else 0.1 + 0.6 * left / size
        shard = {"machineType": self._forms[key].machine_type, "zone": f"{self._root}/zones/{key.zone}"}
        shard |= {"instanceCount": size, "provisioningModel": model}  # type: ignore[dict-item]
        return {"recommendations": [{"scores": {"obtainability": round(score, 2)}, "shards": [shard]}]}

    def skus(self, request: Request, names: Mapping[str, str], _: Any) -> Json:
        """cloudbilling.services.skus.list."""
        if f"services/{names['servicesId']}" != documents.SERVICE:
            raise Bad(404, "notFound", f"Service services/{names['servicesId']} not found.")
        if request.param("currencyCode", "USD") != "USD":
            raise Bad(400, "invalid", "Prices in other currencies are not simulated.")
        items = [documents.sku_json(rate) for rate in rates(self._market, self._forms)]
        shown = lists.page(request, items, size="pageSize", largest=LARGEST_SKUS)
        return {"skus": list(shown.items), "nextPageToken": shown.following}

    # Machines

    def insert(self, request: Request, names: Mapping[str, str], body: Any) -> Json:
        """compute.instances.insert."""
        request_id = requests.request_id(request.param("requestId"))
        operation = self._books.repeated(request_id)
        if operation is None:
            operation = self._books.insert(requests.order(body, names["zone"], self._forms), request_id)
        return self._operation(operation)

    def delete(self, request: Request, names: Mapping[str, str], _: Any) -> Json:
        """compute.instances.delete."""
        request_id = requests.request_id(request.param("requestId"))
        operation = self._books.repeated(request_id) or self._books.delete(names["zone"], names["instance"], request_id)
        return self._operation(operation)

    def instance(self, _: Request, names: Mapping[str, str], __: Any) -> Json:
        """compute.instances.get."""
        machine = self._books.machine(names["zone"], names["instance"])
        return documents.instance_json(machine, self._market.clock.now(), self._root)

    def instances(self, request: Request, _: Mapping[str, str], __: Any) -> Json:
        """compute.instances.aggregatedList: what was bought a moment ago may not be in it yet."""
        now = self._market.clock.now()
        shown = [
            (machine.key.zone, documents.instance_json(machine, now, self._root))
            for machine in self._books.machines()
            if machine.visible_at <= now
        ]
        return self._by_zone(request, shown, of="instances", kind="compute#instanceAggregatedList")

    # Operations and rules

    def operation_of_zone(self, _: Request, names: Mapping[str, str], __: Any) -> Json:
        """compute.zoneOperations.get and .wait, which here never waits."""
        return self._operation(self._books.operation(names["zone"], names["operation"]))

    def operation_of_all(self, _: Request, names: Mapping[str, str], __: Any) -> Json:
        """compute.globalOperations.get and .wait."""
        return self._operation(self._books.operation("", names["operation"]))

    def operations(self, request: Request, _: Mapping[str, str], __: Any) -> Json:
        """compute.globalOperations.aggregatedList."""
        items = [
            (operation.zone, self._operation(operation)) for operation in self._books.operations() if operation.zone
        ]
        return self._by_zone(request, items, of="operations", kind="compute#operationAggregatedList")

    def firewall(self, _: Request, names: Mapping[str, str], __: Any) -> Json:
        """compute.firewalls.get."""
        return dict(self._books.firewall(names["firewall"]))

    def open(self, request: Request, _: Mapping[str, str], body: Any) -> Json:
        """compute.firewalls.insert."""
        request_id = requests.request_id(request.param("requestId"))
        return self._operation(self._books.repeated(request_id) or self._books.open(body, request_id))

    def reopen(self, request: Request, names: Mapping[str, str], body: Any) -> Json:
        """compute.firewalls.patch."""
        request_id = requests.request_id(request.param("requestId"))
        operation = self._books.repeated(request_id) or self._books.reopen(names["firewall"], body, request_id)
        return self._operation(operation)

    # Inside

    def _by_zone(self, request: Request, items: list[tuple[str, Json]], *, of: str, kind: str) -> Json:
        kept = {id(item) for item in lists.filtered(request, [item for _, item in items])}
        left = [(zone, item) for zone, item in items if id(item) in kept]
        return lists.by_zone(request, left, of=of, kind=kind, zones=self._zones)

    def _operation(self, operation: documents.Operation) -> Json:
        return documents.operation_json(operation, self._market.clock.now(), self._root)

    def _region(self, region: str) -> Json:
        zones = sorted({key.zone for key in self._forms if key.region == region})
        if not zones:
            raise Bad(404, "notFound", f"The resource 'projects/{self._project}/regions/{region}' was not found")
        quotas = [
            {"metric": state.name, "limit": state.limit, "usage": state.used}
            for state in self._market.quotas(NAME)
            if state.region == region
        ]
        return {
            "kind": "compute#region",
            "id": "1000",
            "name": region,
            "status": "UP",
            "zones": [f"{self._root}/zones/{zone}" for zone in zones],
            "quotas": quotas,
        }


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "compute.acceleratorTypes.aggregatedList": GoogleCloud.accelerator_types,
        "compute.machineTypes.aggregatedList": GoogleCloud.machine_types,
        "compute.regions.list": GoogleCloud.regions,
        "compute.regions.get": GoogleCloud.region,
        "compute.projects.get": GoogleCloud.project,
        "compute.advice.capacity": GoogleCloud.advice,
        "cloudbilling.services.skus.list": GoogleCloud.skus,
        "compute.instances.insert": GoogleCloud.insert,
        "compute.instances.delete": GoogleCloud.delete,
        "compute.instances.get": GoogleCloud.instance,
        "compute.instances.aggregatedList": GoogleCloud.instances,
        "compute.zoneOperations.get": GoogleCloud.operation_of_zone,
        "compute.zoneOperations.wait": GoogleCloud.operation_of_zone,
        "compute.globalOperations.get": GoogleCloud.operation_of_all,
        "compute.globalOperations.wait": GoogleCloud.operation_of_all,
        "compute.globalOperations.aggregatedList": GoogleCloud.operations,
        "compute.firewalls.get": GoogleCloud.firewall,
        "compute.firewalls.insert": GoogleCloud.open,
        "compute.firewalls.patch": GoogleCloud.reopen,
    }
)


def create(
    market: Market,
    *,
    project: str = PROJECT,
    accounts: Mapping[str, str] | None = None,
    specs: Path | None = None,  # noqa: ARG001 - Google's descriptions come with its client library
) -> Wire:
    """The application; see GoogleCloud. Pools without a zone and what is no machine type of Google's are not sold."""
    return Wire(GoogleCloud(market, project, accounts or {}), market)


def settings(url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:  # noqa: ARG001 - nothing to write
    """The table `[providers.gcp]` for this cloud at `url`: it asks nobody for credentials."""
    table = {"project": PROJECT, "credentials": "none", "compute_endpoint": url, "billing_endpoint": url}
    return {**table, "ca_file": ca_file} if ca_file else table


def _reply(status: int, body: Json) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _refusal(bad: Bad) -> Reply:
    inner = {"message": bad.message, "domain": "global", "reason": bad.reason}
    body: Json = {"code": bad.status, "message": bad.message, "errors": [inner]}
    if bad.status in STATUS_WORDS:
        body["status"] = STATUS_WORDS[bad.status]
    return _reply(bad.status, {"error": body})
