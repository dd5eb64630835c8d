"""The simulated CoreWeave: its cluster API and the Kubernetes API of every cluster, in front of the market."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from orchestrator.simulation.clouds.coreweave import clusters, nodepools, nodes, schema
from orchestrator.simulation.clouds.coreweave.clusters import CLOUD, Cluster
from orchestrator.simulation.clouds.coreweave.errors import Failure, unauthorised
from orchestrator.simulation.clouds.coreweave.nodepools import NodePools, stamp
from orchestrator.simulation.clouds.coreweave.selectors import matches
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Nonconforming, Reply, Request

CLUSTERS = "/v1beta1/cks/clusters"
SERVER = r"/clusters/(?P<cluster>[0-9a-f]+)"
POOLS = rf"{SERVER}/apis/{re.escape(schema.GROUP)}/{schema.VERSION}/{schema.PLURAL}"
MERGE_PATCH = "application/merge-patch+json"
PAGE = 500  # objects, where the client names no limit
AGAIN = "again"  # the mark of a page that comes round for ever


class Place(NamedTuple):
    """Who calls, and about what."""

    account: str
    cluster: Cluster | None
    name: str
    request: Request


class Route(NamedTuple):
    """One call."""

    operation: str
    method: str
    path: re.Pattern[str]
    answer: Callable[[Place], tuple[int, object]]


class CoreWeaveCloud:
    """One endpoint for both APIs; `tokens` gives the account of every access token."""

    name = CLOUD

    def __init__(self, market: Market, *, tokens: Mapping[str, str]) -> None:
        self._market, self._tokens = market, dict(tokens)
        self._clusters = clusters.of_market(market)
        self._pools = NodePools(market)
        self._opened = stamp(market.clock.now())
        self._routes = tuple(
            Route(operation, method, re.compile(path), answer)
            for operation, method, path, answer in (
                ("listClusters", "GET", CLUSTERS, self._list_clusters),
                ("getCluster", "GET", rf"{CLUSTERS}/(?P<name>[^/]+)", self._get_cluster),
                ("listNodePools", "GET", POOLS, self._list_pools),
                ("createNodePool", "POST", POOLS, self._create_pool),
                ("getNodePool", "GET", rf"{POOLS}/(?P<name>[^/]+)", self._get_pool),
                ("patchNodePool", "PATCH", rf"{POOLS}/(?P<name>[^/]+)", self._patch_pool),
                ("deleteNodePool", "DELETE", rf"{POOLS}/(?P<name>[^/]+)", self._delete_pool),
                ("listNodes", "GET", rf"{SERVER}/api/v1/nodes", self._list_nodes),
            )
        )

    def operation(self, request: Request) -> str:
        """See Cloud: names of our own for Kubernetes' calls."""
        found = self._find(request)
        return found[0].operation if found else ""

    def handle(self, request: Request) -> Reply:
        """See Cloud."""
        try:
            account = self._account(request)
            found = self._find(request)
            if found is None:
                raise Failure(404, "NotFound", "the server could not find the requested resource")
            route, groups = found
            cluster = self._cluster(groups.get("cluster"))
            with self._market.lock:
                code, body = route.answer(Place(account, cluster, groups.get("name", ""), request))
        except Failure as failure:
            return failure.reply(kubernetes=not request.path.startswith(CLUSTERS))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Reply(code, content)

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """See Cloud. Nothing of a call is signed by the time: a wrong clock is no reason to refuse it."""
        kubernetes = not request.path.startswith(CLUSTERS)
        if fault.kind is Kind.THROTTLE:
            wait_s = max(1, round(fault.seconds))
            failure = Failure(
                429, "TooManyRequests", "Too many requests, please try again later.", retry_after_s=wait_s
            )
        elif fault.kind is Kind.ERROR:
            failure = Failure(500, "InternalError", "Internal error occurred: etcdserver: leader changed")
        else:
            failure = unauthorised()
        return failure.reply(kubernetes=kubernetes)

    def failing(self, request: Request, reply: Reply) -> Reply:  # noqa: ARG002
        """See Cloud: a Status in place of what was asked for."""
        status = Failure(500, "InternalError", "Internal error occurred").status()
        return Reply(200, json.dumps(status).encode())

    def endless(self, request: Request, reply: Reply) -> Reply:  # noqa: ARG002
        """See Cloud: lists of Kubernetes name a page to continue with."""
        body = json.loads(reply.body)
        if not str(body.get("kind", "")).endswith("List"):
            return reply
        body["metadata"]["continue"] = AGAIN
        return reply._replace(body=json.dumps(body).encode())

    def check(self, request: Request, reply: Reply) -> None:
        """See Cloud: pools against what the documentation says of them."""
        if reply.status >= 300 or request.param("watch"):
            return
        body = json.loads(reply.body)
        if request.path == CLUSTERS and not all(item.get("id") and item.get("name") for item in body["items"]):
            raise Nonconforming("a cluster without id or name")
        pools = body.get("items", ()) if body.get("kind") == "NodePoolList" else (body,)
        for pool in pools:
            if pool.get("kind") == schema.KIND and (faults := schema.faults_of_answer(pool)):
                raise Nonconforming("; ".join(faults))

    # Clusters

    def _list_clusters(self, place: Place) -> tuple[int, object]:
        return 200, {"items": [each.shown(place.request.base_url, self._opened) for each in self._clusters.values()]}

    def _get_cluster(self, place: Place) -> tuple[int, object]:
        found = self._clusters.get(place.name)
        if found is None:
            raise Failure(404, "not_found", "cluster not found")
        return 200, found.shown(place.request.base_url, self._opened)

    # Pools

    def _list_pools(self, place: Place) -> tuple[int, object]:
        cluster, request = _there(place), place.request
        if request.param("watch") in {"true", "1"}:
            events = self._pools.since(place.account, cluster, _version(request.param("resourceVersion")))
            lines = (json.dumps({"type": event.kind, "object": event.shown}) + "\n" for event in events)
            return 200, "".join(lines).encode()  # a watch that ends at once, as one may at any time
        wanted = [
            self._pools.shown(stored)
            for stored in self._pools.all(place.account, cluster)
            if matches(stored.metadata.get("labels") or {}, request.param("labelSelector"))
        ]
        items, more = _page(wanted, request)
        return 200, nodepools.listing(items, self._pools.version, more)

    def _create_pool(self, place: Place) -> tuple[int, object]:
        return 201, self._pools.create(place.account, _there(place), _body(place.request))

    def _get_pool(self, place: Place) -> tuple[int, object]:
        return 200, self._pools.get(place.account, _there(place), place.name)

    def _patch_pool(self, place: Place) -> tuple[int, object]:
        kind = place.request.headers.get("content-type", "").split(";")[0]
        if kind != MERGE_PATCH:
            raise Failure(415, "UnsupportedMediaType", f"a patch of a custom resource is {MERGE_PATCH}, not {kind}")
        return 200, self._pools.patch(place.account, _there(place), place.name, _body(place.request))

    def _delete_pool(self, place: Place) -> tuple[int, object]:
        body = _body(place.request) if place.request.body else None
        return 200, self._pools.delete(place.account, _there(place), place.name, body)

    # Nodes

    def _list_nodes(self, place: Place) -> tuple[int, object]:
        now, request = self._market.clock.now(), place.request
        shown = [
            nodes.node(machine, stored, self._market.pools[machine.key], now)
            for stored in self._pools.all(place.account, _there(place))
            for machine in self._pools.machines(stored)
            if machine.phase(now) is not Phase.BOOTING and machine.visible_at <= now
        ]
        wanted = [each for each in shown if matches(each["metadata"]["labels"], request.param("labelSelector"))]
        items, more = _page(wanted, request)
        return 200, nodes.listing(items, self._pools.version, more)

    # What all calls share

    def _find(self, request: Request) -> tuple[Route, Mapping[str, str]] | None:
        for route in self._routes:
            match = route.path.fullmatch(request.path)
            if match and route.method == request.method:
                return route, match.groupdict()
        return None

    def _account(self, request: Request) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        account = self._tokens.get(token) if kind.lower() == "bearer" else None
        if account is None:
            raise unauthorised()
        return account

    def _cluster(self, identifier: str | None) -> Cluster | None:
        if identifier is None:
            return None
        found = self._clusters.get(identifier)
        if found is None:
            raise Failure(404, "NotFound", "no such cluster")
        return found


def _there(place: Place) -> Cluster:
    if place.cluster is None:
        raise Failure(404, "NotFound", "no such cluster")
    return place.cluster


def _body(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise Failure(400, "BadRequest", f"the object provided is unrecognized: {error}") from error


def _version(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _page(items: list[dict[str, Any]], request: Request) -> tuple[list[dict[str, Any]], str]:
    limit, mark = request.param("limit"), request.param("continue")
    size = int(limit) if limit.isdecimal() and int(limit) else PAGE
    start = int(mark) if mark.isdecimal() else 0
    more = str(start + size) if start + size < len(items) else ""
    return items[start : start + size], more
