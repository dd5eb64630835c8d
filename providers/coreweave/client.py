"""CoreWeave's REST API for clusters, and with it the Kubernetes API of each."""

from __future__ import annotations

import threading
from typing import NamedTuple

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.domain.secret import Secret
from orchestrator.kit.documents import Document, Malformed, readable
from orchestrator.kit.rest import Rest
from providers.coreweave.kube import Kube
from providers.coreweave.pricing import NAME, region_of

CLUSTERS = "/v1beta1/cks/clusters"
ENDING = ("DELET", "FAIL")  # in the status of a cluster in which nothing can be bought


class Cluster(NamedTuple):
    """A cluster of the account that has an API server."""

    id: str
    name: str
    zone: str
    endpoint: str
    usable: bool  # for purchases

    @property
    def region(self) -> str:
        """The region of its zone."""
        return region_of(self.zone)


class CoreWeaveClient:
    """One organisation."""

    def __init__(self, *, endpoint_url: str, token: Secret, ca_file: str, clock: Clock) -> None:
        """Raises: TransientError where `ca_file` cannot be read."""
        self._token, self._ca_file, self._clock = token, ca_file, clock
        self._kubes: dict[str, Kube] = {}
        self._lock = threading.Lock()
        self._rest = Rest(
            NAME,
            endpoint_url,
            authorise=lambda: {"authorization": f"Bearer {token.reveal()}"},
            explain=explain,
            clock=clock,
            ca_file=ca_file,
        )

    def clusters(self, names: tuple[str, ...] = ()) -> tuple[Cluster, ...]:
        """The clusters called `names`, or all, in the order of zones and names. Raises: AuthError, TransientError."""
        body = self._rest.read(CLUSTERS).body
        with readable(NAME):
            document = Document(body, "clusters")
            if "items" not in document:
                raise Malformed("clusters without items")
            found = [_cluster(item) for item in document.each("items")]
        wanted = [each for each in found if each.endpoint and (not names or each.name in names)]
        return tuple(sorted(wanted, key=lambda each: (each.zone, each.name, each.id)))

    def kube(self, cluster: Cluster) -> Kube:
        """The Kubernetes API of a cluster."""
        with self._lock:
            known = self._kubes.get(cluster.endpoint)
            if known is None:
                known = Kube(cluster.endpoint, self._token, ca_file=self._ca_file, clock=self._clock)
                self._kubes[cluster.endpoint] = known
            return known


def explain(status: int, body: object) -> ProviderError | None:
    """Our error for one of the cluster API's, whose form is Connect's {code, message}; None for a success."""
    if not isinstance(body, dict) or "items" in body:
        return None
    code, message = body.get("code"), str(body.get("message", ""))[:300]
    if isinstance(code, str) and code.lower() in {"unauthenticated", "unauthorized", "permission_denied"}:
        return AuthError(NAME, f"{code}: {message}")
    if status < 300 and (code is not None or body.get("kind") == "Status"):
        return TransientError(NAME, f"an error inside a success: {code} {message}", 15.0)
    return None


def _cluster(item: Document) -> Cluster:
    status = item.text("status", "").upper()
    return Cluster(
        id=item.text("id"),
        name=item.text("name"),
        zone=item.text("zone", ""),
        endpoint=item.text("apiServerEndpoint", ""),
        usable=not any(word in status for word in ENDING),
    )
