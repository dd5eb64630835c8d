"""NodePools and nodes into leases, and orders into NodePools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.records import dump_lease, load_lease
from orchestrator.kit import tags
from orchestrator.kit.documents import Document, Malformed
from providers.coreweave.client import Cluster
from providers.coreweave.kube import GROUP, KIND, VERSION
from providers.coreweave.pricing import NAME, RACK_NODES, in_racks

LEASE, RECLAIMED = "isoflop-lease", "isoflop-reclaimed"  # annotations
TAINT = "isoflop.dev/lease"
LAUNCHER = "kubernetes"
FOLDER = "/var/lib/isoflop/lease"
CORDON = "node.kubernetes.io/unschedulable"
# "Spot Node Pools" in the vendor's documentation: a node is cordoned, drained after two minutes, gone after seven.
DRAINED_AFTER = timedelta(minutes=2)
SPOT = "spot"


class Verdict(StrEnum):
    """What CoreWeave says of a pool that was asked for."""

    OPEN = "open"  # nothing yet
    SERVED = "served"  # all of its nodes are there or coming
    QUEUED = "queued"  # some wait for capacity
    OVER_QUOTA = "over-quota"
    INVALID = "invalid"


class Pool(NamedTuple):
    """A NodePool of ours."""

    name: str
    uid: str
    token: str
    owner: str
    instance_type: str
    spot: bool
    target: int  # nodes
    created_at: datetime
    deleting: bool
    reclaimed: str  # when a node of it was first seen to be taken back; "" never
    record: str  # the lease as it was bought
    current: int
    in_progress: int
    queued: int
    conditions: Mapping[str, tuple[str, str, str]]  # type -> (status, reason, message)


class Node(NamedTuple):
    """One machine of a pool."""

    name: str
    pool_uid: str
    address: str
    ready: bool
    cordoned_at: datetime | None  # None while it takes work


def digest(text: str, size: int) -> str:
    """`size` hexadecimal digits: a label's value holds fewer characters than a token may."""
    return sha256(text.encode()).hexdigest()[:size]


def pool_name(owner: str, token: str) -> str:
    """The name of a token's pool: the same at every attempt, so that the API server refuses a second."""
    return f"isoflop-{digest(owner, 8)}-{digest(token, 12)}"


def selector(owner: str) -> str:
    """The label selector of an owner's pools and nodes."""
    return f"{tags.OWNER}={digest(owner, 8)}"


def lease_id(cluster: Cluster, name: str, uid: str) -> str:
    """The id of a lease: its cluster's id, its pool's name and the uid, which Kubernetes never gives twice."""
    return f"{cluster.id}/{name}/{uid}"


def order(offer: Offer, nodes: int, *, owner: str, token: str) -> dict[str, object]:
    """The NodePool to ask for. Its nodes are tainted, so that nobody else's work gets on them."""
    name = pool_name(owner, token)
    labels = {tags.OWNER: digest(owner, 8), tags.TOKEN: digest(token, 12)}
    target = {"targetRacks": nodes // RACK_NODES} if in_racks(offer.instance_type) else {"targetNodes": nodes}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {tags.OWNER: owner, tags.TOKEN: token, LEASE: _record(offer, nodes, owner, token)},
        },
        "spec": {
            "computeClass": SPOT if offer.billing is Billing.SPOT else "default",
            "instanceType": offer.instance_type,
            **target,
            "autoscaling": False,
            "nodeLabels": labels,
            "nodeTaints": [{"key": TAINT, "value": name, "effect": "NoSchedule"}],
        },
    }


def pool(document: Document) -> Pool:
    """A NodePool as it is shown. Raises: Malformed."""
    metadata, spec = document.within("metadata"), document.within("spec")
    annotations = metadata.within("annotations") if "annotations" in metadata else Document({}, "annotations")
    status = document.within("status") if "status" in document else Document({}, "status")
    racks = int(spec.number("targetRacks", 0))
    return Pool(
        name=metadata.text("name"),
        uid=metadata.text("uid"),
        token=annotations.text(tags.TOKEN, ""),
        owner=annotations.text(tags.OWNER, ""),
        instance_type=spec.text("instanceType"),
        spot=spec.text("computeClass", "default").lower() == SPOT,
        target=racks * RACK_NODES or int(spec.number("targetNodes", 0)),
        created_at=moment(metadata.text("creationTimestamp"), f"{metadata.place}.creationTimestamp"),
        deleting="deletionTimestamp" in metadata,
        reclaimed=annotations.text(RECLAIMED, ""),
        record=annotations.text(LEASE, ""),
        current=int(status.number("currentNodes", 0)),
        in_progress=int(status.number("inProgress", 0)),
        queued=int(status.number("queuedNodes", 0)),
        conditions={
            each.text("type"): (each.text("status"), each.text("reason", ""), each.text("message", ""))
            for each in status.each("conditions")
        },
    )


def node(document: Document) -> Node:
    """A v1.Node. Raises: Malformed."""
    metadata, spec, status = document.within("metadata"), document.within("spec"), document.within("status")
    conditions = {each.text("type"): each.text("status") for each in status.each("conditions")}
    addresses = {each.text("type"): each.text("address") for each in status.each("addresses")}
    cordoned_at: datetime | None = None
    if spec.raw("unschedulable") is True:
        times = [each.text("timeAdded", "") for each in spec.each("taints") if each.text("key") == CORDON]
        since = next((time for time in times if time), metadata.text("creationTimestamp"))
        cordoned_at = moment(since, f"{spec.place}.taints")
    return Node(
        name=metadata.text("name"),
        pool_uid=metadata.within("labels").text(f"{GROUP}/node-pool-uid", ""),
        address=addresses.get("InternalIP", ""),
        ready=conditions.get("Ready") == "True",
        cordoned_at=cordoned_at,
    )


def verdict(asked: Pool) -> tuple[Verdict, str]:
    """What the status of a pool says of its purchase, and why in CoreWeave's words."""
    for kind, answer in (("Quota", Verdict.OVER_QUOTA), ("Validated", Verdict.INVALID), ("Valid", Verdict.INVALID)):
        status, reason, message = asked.conditions.get(kind, ("", "", ""))
        if status == "False":
            return answer, f"{reason}: {message}"
    if asked.current + asked.in_progress >= asked.target:
        return Verdict.SERVED, ""
    status, reason, message = asked.conditions.get("Capacity", ("", "", ""))
    if status == "False":
        return Verdict.QUEUED, f"{reason or 'queued'}: {asked.queued} of {asked.target} nodes; {message}"
    return (Verdict.SERVED, "") if status == "True" else (Verdict.OPEN, "")


def reclaim(pool: Pool, nodes: Sequence[Node]) -> datetime | None:
    """When a spot pool's work is drained, where a node of it is cordoned.

    Nodes of other pools are cordoned for maintenance, and come back.
    """
    moments = [each.cordoned_at for each in nodes if each.cordoned_at is not None] if pool.spot else []
    return min(moments) + DRAINED_AFTER if moments else None


def over(pool: Pool, nodes: Sequence[Node]) -> bool:
    """Whether a pool has lost a node to a reclaim that was seen: what comes after is another machine."""
    return bool(pool.reclaimed) and len(nodes) < pool.target


def lease(pool: Pool, nodes: Sequence[Node], cluster: Cluster, offer: Offer) -> Lease:
    """The lease of a pool. `offer` is what was bought."""
    ready = [each for each in nodes if each.ready and each.address]
    if pool.deleting:
        state = LeaseState.RELEASING
    elif pool.reclaimed or reclaim(pool, nodes) is not None:
        state = LeaseState.RECLAIMING
    else:
        state = LeaseState.READY if len(ready) == pool.target else LeaseState.BOOTING
    shown = ready if state in {LeaseState.READY, LeaseState.RECLAIMING} else []
    return Lease(
        id=lease_id(cluster, pool.name, pool.uid),
        provider=NAME,
        token=pool.token,
        owner=pool.owner,
        offer=offer,
        nodes=pool.target,
        state=state,
        usd_per_hour=pool.target * offer.usd_per_hour,
        acquired_at=pool.created_at,
        endpoints=tuple(_endpoint(each, pool, cluster) for each in sorted(shown, key=lambda each: each.name)),
    )


def bought(pool: Pool) -> Offer | None:
    """The offer as it was bought; None where somebody has changed our note of it."""
    try:
        return load_lease(pool.record).offer
    except ValueError:
        return None


def moment(text: str, place: str) -> datetime:
    """A time as Kubernetes writes it, in UTC. Raises: Malformed."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise Malformed(f"{place} is {text!r}, not a time") from error


def _endpoint(each: Node, pool: Pool, cluster: Cluster) -> Endpoint:
    """A node as a launcher of pods needs it: there is no SSH on CoreWeave's nodes."""
    env = (("ISOFLOP_KUBE_API", cluster.endpoint), ("ISOFLOP_NODE", each.name), ("ISOFLOP_TOLERATION", pool.name))
    return Endpoint(launcher=LAUNCHER, address=each.address, path=FOLDER, env=env)


def _record(offer: Offer, nodes: int, owner: str, token: str) -> str:
    """The purchase as an annotation, for whoever reads it back without us: prices are in no answer of CoreWeave."""
    blank = Lease(
        id="",
        provider=NAME,
        token=token,
        owner=owner,
        offer=replace(offer, available=None),
        nodes=nodes,
        state=LeaseState.BOOTING,
        usd_per_hour=nodes * offer.usd_per_hour,
        acquired_at=offer.observed_at,
    )
    return dump_lease(blank)
