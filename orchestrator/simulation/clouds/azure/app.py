"""The simulated Azure: login, Resource Manager and price list on one address, checked by Azure's own descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.simulation.clouds.azure import entra
from orchestrator.simulation.clouds.azure.arm import PROVIDER, Refusal, refused, reply
from orchestrator.simulation.clouds.azure.catalogue import Barred, Catalogue
from orchestrator.simulation.clouds.azure.compute import Compute
from orchestrator.simulation.clouds.azure.entra import Entra
from orchestrator.simulation.clouds.azure.network import Network
from orchestrator.simulation.clouds.azure.retail import Retail
from orchestrator.simulation.clouds.azure.spec import Specification, load
from orchestrator.simulation.clouds.azure.vm import Vm
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Nonconforming, Reply, Request, Wire

SUBSCRIPTION = "5b0c7a52-1f1e-4c1e-9a52-8d2f3a6f7c10"
SECRET = "azure-simulated-secret"  # noqa: S105 - what a newcomer is told to use
TENANT, CLIENT = "0e9b4d7a-3c2f-4a6e-8f1d-2b7c9d0e5f63", "9a1f2e3d-4b5c-4d6e-8f70-1a2b3c4d5e6f"
LOGIN = frozenset({"Login", "Discovery"})
CREDENTIALS = frozenset({Kind.UNAUTHORISED, Kind.EXPIRED, Kind.SKEW})
PRICES = "RetailPrices"
THROTTLED_S = 10.0  # that a call which came too early is told to wait, unless the fault says
HANDS_OUT_PAGES = re.compile(r"_List|^Locations")
WORDS = {
    Kind.UNAUTHORISED: (401, "InvalidAuthenticationToken", "The access token is invalid."),
    Kind.EXPIRED: (401, "ExpiredAuthenticationToken", "The access token expiry UTC time has passed."),
    Kind.SKEW: (401, "InvalidAuthenticationToken", "Lifetime validation failed: the token is not yet valid."),
    Kind.ERROR: (500, "InternalServerError", "An internal execution error occurred. Please retry later."),
}

Handler = Callable[[Request], Reply]


class Route(NamedTuple):
    """One call of Azure's, by its name in the descriptions."""

    id: str
    method: str
    pattern: re.Pattern[str]
    handler: Handler


class AzureCloud:
    """One subscription in front of the market."""

    name = PROVIDER

    def __init__(
        self, market: Market, *, login: Entra, subscription: str, specification: Specification | None, barred: Barred
    ) -> None:
        self._market, self._login, self._subscription = market, login, subscription
        self._specification = specification
        self._catalogue = Catalogue(market, subscription=subscription, barred=barred)
        self.network = Network(market, self._catalogue.regions)
        self._compute = Compute(market, self._catalogue, self.network, subscription=subscription)
        self._retail = Retail(market, self._catalogue)
        self._routes = tuple(self._routed())

    @property
    def checked(self) -> bool:
        """Whether Azure's own descriptions are at hand; without them only what handlers read is checked."""
        return self._specification is not None

    def machines(self) -> tuple[Vm, ...]:
        """The machines that listings show, as they were asked for."""
        return tuple(self._compute.visible(""))

    def operation(self, request: Request) -> str:
        """Azure's name of the call."""
        route = self._route(request)
        return "" if route is None else route.id

    def handle(self, request: Request) -> Reply:
        """Check and answer."""
        route = self._route(request)
        if route is None:
            return refused(404, "InvalidResourceType", f"{request.method} {request.path} is not known here.")
        if route.id in LOGIN or route.id == PRICES:
            with self._market.lock:
                return route.handler(request)
        try:
            self._admit(request)
            with self._market.lock:
                return route.handler(request)
        except Refusal as refusal:
            return refused(refusal.status, refusal.code, refusal.message)

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """In the words of the login, the price list, or the Resource Manager."""
        called = self.operation(request)
        if called == "Discovery" and fault.kind in CREDENTIALS:
            return self._login.discovery(request)  # which anybody may read
        if called in LOGIN:
            return entra.refuse(fault.kind)
        if fault.kind is Kind.THROTTLE:
            wait = f"{fault.seconds or THROTTLED_S:g}"
            answer = refused(429, "TooManyRequests", "The request is being throttled.", Retry_After=wait)
        else:
            answer = refused(*WORDS[fault.kind])
        if called == PRICES:
            words = json.loads(answer.body)["error"]
            body = {"Error": {"Code": words["code"], "Message": words["message"]}}
            return reply(body, answer.status)._replace(headers=answer.headers)
        return answer

    def failing(self, request: Request, reply: Reply) -> Reply:
        """A success with an error inside."""
        if reply.status >= 300 or self.operation(request) in LOGIN:
            return reply
        return refused(500, *WORDS[Kind.ERROR][1:])._replace(status=reply.status)

    def endless(self, request: Request, reply: Reply) -> Reply:
        """A list whose next page is itself."""
        called, here = self.operation(request), f"{request.base_url}{request.raw_path}"
        if reply.status != 200 or not (HANDS_OUT_PAGES.search(called) or called in {PRICES, "Usage_List"}):
            return reply
        query = "&".join(f"{name}={value}" for name, value in request.query).replace(" ", "%20")
        name = "NextPageLink" if called == PRICES else "nextLink"
        body = {**json.loads(reply.body), name: f"{here}?{query}"}
        return reply._replace(body=json.dumps(body).encode())

    def check(self, request: Request, reply: Reply) -> None:
        """Raises: Nonconforming where Azure's descriptions do not allow the answer."""
        if self._specification is None or not reply.body:
            return
        found = self._specification.operation(request.method, request.path)
        if found is None:
            return
        misfit = self._specification.misfit(found, reply.status, json.loads(reply.body))
        if misfit:
            raise Nonconforming(f"{found.id} {reply.status}: {misfit}")

    # Inside

    def _admit(self, request: Request) -> None:
        """Raises: Refusal for a stranger, another subscription, or a request that the description does not allow."""
        if not self._login.knows(request.headers.get("authorization", "")):
            raise Refusal(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        subscription = request.path.split("/")[2]
        if subscription.lower() != self._subscription:
            raise Refusal(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if not request.param("api-version"):
            raise Refusal(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        body: object = None
        if request.body:
            try:
                body = json.loads(request.body)
            except ValueError as error:
                raise Refusal(400, "InvalidRequestContent", "The request content was invalid JSON.") from error
        if request.method == "PUT" and not isinstance(body, dict):
            raise Refusal(400, "InvalidRequestContent", "The request content is no object.")
        if self._specification is None:
            return
        found = self._specification.operation(request.method, request.path)
        if found is None:
            return
        query = [pair for pair in request.query if pair[0] != "$skiptoken"]  # of our own next links
        fault = self._specification.fault(found, query, body)
        if fault:
            raise Refusal(400, "InvalidRequestContent", f"The request content was invalid: {fault}")

    def _route(self, request: Request) -> Route | None:
        return next(
            (
                route
                for route in self._routes
                if route.method == request.method and route.pattern.fullmatch(request.path)
            ),
            None,
        )

    def _routed(self) -> list[Route]:
        compute, network, catalogue = self._compute, self.network, self._catalogue
        tenant = re.escape(f"/{self._login.tenant}")
        root, group = "/subscriptions/[^/]+", "/subscriptions/[^/]+/resourceGroups/[^/]+"
        machines, net = f"{group}/providers/Microsoft.Compute/virtualMachines", f"{group}/providers/Microsoft.Network"
        regional = f"{root}/providers/Microsoft.Compute/locations/[^/]+"

        def made(kind: str) -> Handler:
            return lambda request: network.put(request.path, json.loads(request.body), kind)

        def got(request: Request) -> Reply:
            return network.get(request.path)

        calls: Mapping[str, tuple[str, str, Handler]] = {
            "Discovery": ("GET", f"{tenant}/v2.0/.well-known/openid-configuration", self._login.discovery),
            "Login": ("POST", f"{tenant}/oauth2/v2.0/token", self._login.token),
            PRICES: ("GET", "/api/retail/prices", self._retail.answer),
            "Locations_List": ("GET", f"{root}/locations", catalogue.locations),
            "ResourceSkus_List": ("GET", f"{root}/providers/Microsoft.Compute/skus", catalogue.skus),
            "Usage_List": ("GET", f"{regional}/usages", lambda r: catalogue.usages(r.path.split("/")[-2].lower())),
            "Operations_Get": ("GET", f"{regional}/operations/[^/]+", compute.operation),
            "VirtualMachines_CreateOrUpdate": ("PUT", f"{machines}/[^/]+", compute.put),
            "VirtualMachines_Get": ("GET", f"{machines}/[^/]+", compute.get),
            "VirtualMachines_Delete": ("DELETE", f"{machines}/[^/]+", compute.delete),
            "VirtualMachines_SimulateEviction": ("POST", f"{machines}/[^/]+/simulateEviction", compute.evict),
            "VirtualMachines_List": ("GET", machines, compute.listed),
            "VirtualMachines_ListAll": (
                "GET",
                f"{root}/providers/Microsoft.Compute/virtualMachines",
                compute.listed_everywhere,
            ),
            "ResourceGroups_Get": ("GET", group, lambda r: network.group(r.path)),
            "ResourceGroups_CreateOrUpdate": ("PUT", group, lambda r: network.put_group(r.path, json.loads(r.body))),
            "VirtualNetworks_Get": ("GET", f"{net}/virtualNetworks/[^/]+", got),
            "VirtualNetworks_CreateOrUpdate": ("PUT", f"{net}/virtualNetworks/[^/]+", made("virtualNetworks")),
            "NetworkSecurityGroups_Get": ("GET", f"{net}/networkSecurityGroups/[^/]+", got),
            "NetworkSecurityGroups_CreateOrUpdate": (
                "PUT",
                f"{net}/networkSecurityGroups/[^/]+",
                made("networkSecurityGroups"),
            ),
            "NetworkInterfaces_List": (
                "GET",
                f"{net}/networkInterfaces",
                lambda r: network.cards(r.path, compute.visible(r.path)),
            ),
            "PublicIPAddresses_List": (
                "GET",
                f"{net}/publicIPAddresses",
                lambda r: network.addresses(r.path, compute.visible(r.path)),
            ),
        }
        return [
            Route(name, method, re.compile(pattern, re.IGNORECASE), handler)
            for name, (method, pattern, handler) in calls.items()
        ]


def create(
    market: Market,
    *,
    secret: str = SECRET,
    subscription: str = SUBSCRIPTION,
    tenant: str = TENANT,
    client: str = CLIENT,
    specs: Path | None = None,
    barred: Barred | None = None,
) -> Wire:
    """The ASGI application. `specs` holds `azure/specification`, or requests are checked only as far as they are read.

    `barred` names what this subscription may not deploy: by region and size, the zones, or () for the whole region.

    Raises: OSError, ValueError where the descriptions cannot be read.
    """
    found = load(specs) if specs is not None and (specs / "azure").is_dir() else None
    login = Entra(tenant=tenant, client=client, secret=secret)
    cloud = AzureCloud(market, login=login, subscription=subscription, specification=found, barred=barred or {})
    return Wire(cloud, market)


def settings(url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:
    """The table `[providers.azure]` for this cloud at `url`; the secret of its login is written into `folder`."""
    secret = folder / "azure.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    table: dict[str, object] = {
        "subscription_id": SUBSCRIPTION,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": f"file:{secret}",
        "authority": url,
        "endpoint_url": url,
        "retail_url": url,
        "control_cidr": "127.0.0.1/32",
    }
    return {**table, "ca_file": ca_file} if ca_file else table
