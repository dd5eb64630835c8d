"""NodePools of the simulated CoreWeave: what a Kubernetes API server keeps, and what the vendor makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.coreweave import errors, schema
from orchestrator.simulation.clouds.coreweave.clusters import CLOUD, Cluster
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market, Purchase, Refused

QUOTA = "gpus"
DECIDES_S = 4.0  # from the creation until the vendor says what it can deliver
NOTICE_S = 420.0  # a node is cordoned, drained after two minutes and removed after seven
FINALIZER = "compute.coreweave.com/nodepool"


@dataclass(slots=True)
class Stored:
    """One object, and the machines that are its nodes."""

    cluster: Cluster
    account: str
    metadata: dict[str, Any]
    spec: dict[str, Any]
    created_at: datetime
    serials: list[int] = field(default_factory=list)
    over_quota: str = ""

    @property
    def name(self) -> str:
        """Its name, unique in its cluster."""
        return str(self.metadata["name"])

    @property
    def deleting(self) -> bool:
        """Whether it is on its way out."""
        return "deletionTimestamp" in self.metadata


class Happening(NamedTuple):
    """One line of what a watch sees."""

    version: int
    cluster: str
    account: str
    kind: str  # ADDED, MODIFIED, DELETED
    shown: dict[str, Any]


class NodePools:
    """All pools of all clusters. Called under the market's lock; time passes for pools when somebody looks."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._stored: dict[tuple[str, str, str], Stored] = {}  # (account, cluster, name)
        self._version = 1000
        self._history: list[Happening] = []

    @property
    def version(self) -> str:
        """The newest resource version."""
        return str(self._version)

    def create(self, account: str, cluster: Cluster, body: Any) -> dict[str, Any]:
        """POST. Raises: Failure."""
        name = str((body.get("metadata") or {}).get("name", "")) if isinstance(body, Mapping) else ""
        faults = schema.faults_of_request(body) or self._faults(cluster, body["spec"])
        if faults:
            raise errors.invalid(name, faults)
        if (account, cluster.id, name) in self._stored:
            raise errors.exists(name)
        spec = {"computeClass": "default", "autoscaling": False, **deepcopy(dict(body["spec"]))}
        stored = Stored(cluster, account, deepcopy(dict(body["metadata"])), spec, self._market.clock.now())
        self._within_quota(stored)
        stored.metadata.update(
            uid=_uid(account, cluster.id, name, self._version),
            generation=1,
            creationTimestamp=stamp(stored.created_at),
            finalizers=[FINALIZER],
        )
        self._stored[account, cluster.id, name] = stored
        self._changed(stored, "ADDED")
        return self.shown(stored)

    def get(self, account: str, cluster: Cluster, name: str) -> dict[str, Any]:
        """GET of one. Raises: Failure."""
        return self.shown(self._find(account, cluster, name))

    def all(self, account: str, cluster: Cluster) -> list[Stored]:
        """Every pool in the order of names."""
        self.tick()
        return [each for (a, c, _), each in sorted(self._stored.items()) if (a, c) == (account, cluster.id)]

    def patch(self, account: str, cluster: Cluster, name: str, body: Any) -> dict[str, Any]:
        """A merge patch (RFC 7386). Raises: Failure."""
        stored = self._find(account, cluster, name)
        before = {"metadata": stored.metadata, "spec": stored.spec}
        asked = (body.get("metadata") or {}).get("resourceVersion") if isinstance(body, Mapping) else None
        if asked is not None and asked != stored.metadata["resourceVersion"]:
            raise errors.conflict(name, "the object has been modified")
        after = _merged(before, body)
        whole = {"apiVersion": schema.API_VERSION, "kind": schema.KIND, **after}
        faults = schema.faults_of_request(whole) or self._faults(cluster, after["spec"])
        for immutable in ("instanceType", "computeClass"):
            if after["spec"].get(immutable) != stored.spec.get(immutable):
                faults = [f"spec.{immutable}: Invalid value: {immutable} cannot be changed"]
        if faults:
            raise errors.invalid(name, faults)
        if after["spec"] != stored.spec:
            stored.metadata["generation"] += 1
        fixed = {key: stored.metadata[key] for key in ("uid", "generation", "creationTimestamp", "name")}
        stored.metadata, stored.spec = {**after["metadata"], **fixed}, after["spec"]
        self._changed(stored, "MODIFIED")
        self._settle(stored)
        return self.shown(stored)

    def delete(self, account: str, cluster: Cluster, name: str, body: Any) -> dict[str, Any]:
        """DELETE: the object stays until its nodes are gone. Raises: Failure."""
        stored = self._find(account, cluster, name)
        wanted = ((body or {}).get("preconditions") or {}).get("uid") if isinstance(body, Mapping) else None
        if wanted is not None and wanted != stored.metadata["uid"]:
            raise errors.conflict(name, f"the UID in the precondition ({wanted}) does not match")
        if not stored.deleting:
            stored.metadata["deletionTimestamp"] = stamp(self._market.clock.now())
            for serial in stored.serials:
                self._market.end(serial)
            self._changed(stored, "MODIFIED")
        shown = self.shown(stored)
        self.tick()
        return shown

    def machines(self, stored: Stored) -> list[Machine]:
        """The pool's nodes that are not gone."""
        now = self._market.clock.now()
        found = (self._market.machine(serial) for serial in stored.serials)
        return [machine for machine in found if machine is not None and machine.phase(now) is not Phase.GONE]

    def since(self, account: str, cluster: Cluster, version: int) -> list[Happening]:
        """What a watch from that resource version on has seen."""
        self.tick()
        return [
            each
            for each in self._history
            if each.version > version and (each.account, each.cluster) == (account, cluster.id)
        ]

    def shown(self, stored: Stored) -> dict[str, Any]:
        """A pool as the API shows it."""
        now = self._market.clock.now()
        machines = self.machines(stored)
        target = schema.target_nodes(stored.spec)
        current = sum(machine.phase(now) is not Phase.BOOTING for machine in machines)
        queued = max(0, target - len(machines))
        status: dict[str, Any] = {
            "currentNodes": current,
            "inProgress": len(machines) - current,
            "queuedNodes": queued,
            "conditions": self._conditions(stored, current, queued, target),
        }
        if "targetRacks" in stored.spec:
            size = schema.RACK_NODES
            racks = {"target": target // size, "current": current // size, "queued": queued // size}
            status["rackStatus"] = racks
        return {
            "apiVersion": schema.API_VERSION,
            "kind": schema.KIND,
            "metadata": dict(stored.metadata),
            "spec": dict(stored.spec),
            "status": status,
        }

    def tick(self) -> None:
        """Let time have passed: machines are bought for what is missing, and deleted pools end with their nodes."""
        for key, stored in list(self._stored.items()):
            if not stored.deleting:
                self._settle(stored)
            elif not self.machines(stored):
                del self._stored[key]
                self._changed(stored, "DELETED")

    def _find(self, account: str, cluster: Cluster, name: str) -> Stored:
        self.tick()
        stored = self._stored.get((account, cluster.id, name))
        if stored is None:
            raise errors.not_found(name)
        return stored

    def _faults(self, cluster: Cluster, spec: Mapping[str, Any]) -> list[str]:
        kind, billing = str(spec["instanceType"]), _billing(spec)
        spot = billing is Billing.SPOT
        if cluster.key(kind, billing) not in self._market.pools:
            return [f'spec.instanceType: Invalid value: "{kind}": not available in {cluster.zone}']
        if schema.in_racks(kind) and (spot or spec.get("autoscaling")):
            return ["spec: NVL72 instance types are neither spot nor autoscaled"]
        if schema.in_racks(kind) and schema.target_nodes(spec) % schema.RACK_NODES:
            return [f"spec.targetNodes: Invalid value: not a multiple of {schema.RACK_NODES}"]
        if "targetRacks" in spec and not schema.in_racks(kind):
            return ["spec.targetRacks: Invalid value: only for NVL72-powered instance types"]
        return []

    def _within_quota(self, stored: Stored) -> None:
        """Admission: a quota that is not enough refuses the pool; one that was never set lets it wait for ever."""
        key, target = self._key(stored), schema.target_nodes(stored.spec)
        pool = self._market.pools.get(key)
        limit = self._market.limit(CLOUD, QUOTA, key.region)
        used = self._market.used(CLOUD, QUOTA, key.region)
        if limit == 0:
            stored.over_quota = f"quota limit is 0 for instance type {key.instance_type}"
        elif pool is not None and used + target * pool.gpus > limit:
            detail = f"quota exceeded for instance type {key.instance_type}: limit {limit:g} GPUs, in use {used:g}"
            raise errors.forbidden(detail)

    def _settle(self, stored: Stored) -> None:
        """Buy what the pool lacks, and let go of what it has too much."""
        now = self._market.clock.now()
        if (now - stored.created_at).total_seconds() < DECIDES_S or stored.over_quota:
            return
        held, target = self.machines(stored), schema.target_nodes(stored.spec)
        for machine in held[target:]:
            self._market.end(machine.serial, End.USER)
        missing = target - len(held)
        if missing <= 0:
            return
        key = self._key(stored)
        pool = self._market.pools.get(key)
        annotations = stored.metadata.get("annotations") or {}
        purchase = Purchase(
            key=key,
            account=stored.account,
            count=missing,
            least=1,
            token=stored.name,
            tags={str(name): str(value) for name, value in annotations.items()},
            charges=((QUOTA, key.region, pool.gpus),) if pool is not None else (),
            notice_s=NOTICE_S,
        )
        try:
            sold = self._market.buy(purchase)
        except Refused:
            return  # it waits in the queue
        stored.serials += [machine.serial for machine in sold]
        self._changed(stored, "MODIFIED")

    def _key(self, stored: Stored) -> Any:
        return stored.cluster.key(str(stored.spec["instanceType"]), _billing(stored.spec))

    def _conditions(self, stored: Stored, current: int, queued: int, target: int) -> list[dict[str, Any]]:
        age_s = (self._market.clock.now() - stored.created_at).total_seconds()
        if age_s < DECIDES_S:
            return []
        kind = stored.spec["instanceType"]
        quota = (
            (False, "NotSet", stored.over_quota) if stored.over_quota else (True, "Under", f"under quota for {kind}")
        )
        enough = (True, "Sufficient", "capacity is sufficient")
        waits = (False, "QueuedAwaitingCapacity", f"{queued} nodes are queued")
        at_target = (current == target, "AtTarget" if current == target else "Pending", f"{current} of {target} nodes")
        found = {
            "Validated": (True, "Valid", "the specification is valid"),
            "Quota": quota,
            "Capacity": waits if queued else enough,
            "AtTarget": at_target,
        }
        moment = stamp(self._market.clock.now())
        return [
            {
                "type": name,
                "status": str(holds),
                "reason": reason,
                "message": message,
                "lastTransitionTime": moment,
            }
            for name, (holds, reason, message) in found.items()
        ]

    def _changed(self, stored: Stored, kind: str) -> None:
        self._version += 1
        stored.metadata["resourceVersion"] = str(self._version)
        shown = json.loads(json.dumps(self.shown(stored)))
        self._history.append(Happening(self._version, stored.cluster.id, stored.account, kind, shown))


def stamp(moment: datetime) -> str:
    """A time as Kubernetes writes it: whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _billing(spec: Mapping[str, Any]) -> Billing:
    return Billing.SPOT if str(spec.get("computeClass", "")).lower() == "spot" else Billing.ON_DEMAND


def _uid(*words: object) -> str:
    text = sha256(" ".join(map(str, words)).encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def listing(items: Sequence[Mapping[str, Any]], version: str, more: str) -> dict[str, Any]:
    """A NodePoolList."""
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return {"apiVersion": schema.API_VERSION, "kind": "NodePoolList", "metadata": metadata, "items": list(items)}
