"""Nodes of the simulated CoreWeave, as the clusters' API servers show them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from orchestrator.simulation.clouds.coreweave.nodepools import Stored, stamp
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.pools import Pool

DRAINS_S = 120.0
CORDON = "node.kubernetes.io/unschedulable"


def node_name(machine: Machine) -> str:
    """A name that no other node has."""
    return f"g{machine.serial:06x}"


def node(machine: Machine, stored: Stored, pool: Pool, now: datetime) -> dict[str, Any]:
    """A v1.Node. A node that is being taken back is cordoned first, and drained after two minutes."""
    spec: dict[str, Any] = {"providerID": f"coreweave://{node_name(machine)}"}
    taints = [dict(taint) for taint in stored.spec.get("nodeTaints") or ()]
    if machine.warned(now) and machine.warned_at is not None:
        spec["unschedulable"] = True
        taints.append({"key": CORDON, "effect": "NoSchedule", "timeAdded": stamp(machine.warned_at)})
        if now >= machine.warned_at + timedelta(seconds=DRAINS_S):
            taints.append({"key": "node.coreweave.cloud/draining", "effect": "NoExecute"})
    if taints:
        spec["taints"] = taints
    ready = machine.phase(now) is Phase.RUNNING
    kind = machine.key.instance_type
    return {
        "metadata": {
            "name": node_name(machine),
            "uid": f"00000000-0000-4000-8000-{machine.serial:012x}",
            "resourceVersion": str(machine.serial),
            "creationTimestamp": stamp(machine.ready_at),
            "labels": {
                **(stored.spec.get("nodeLabels") or {}),
                "compute.coreweave.com/node-pool": stored.name,
                "compute.coreweave.com/node-pool-uid": stored.metadata["uid"],
                "node.kubernetes.io/instance-type": kind,
                "node.coreweave.cloud/type": kind,
                "node.coreweave.cloud/state": "production",
                "gpu.nvidia.com/class": pool.accelerator,
                "topology.kubernetes.io/region": machine.key.region,
            },
            "annotations": dict(stored.spec.get("nodeAnnotations") or {}),
        },
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": machine.address},
                {"type": "Hostname", "address": node_name(machine)},
            ],
            "capacity": {
                "cpu": f"{pool.vcpus:g}",
                "memory": f"{pool.host_memory_gib:g}Gi",
                "nvidia.com/gpu": f"{pool.gpus:g}",
            },
            "conditions": [
                {
                    "type": "Ready",
                    "status": str(ready),
                    "reason": "KubeletReady" if ready else "KubeletNotReady",
                    "message": "",
                    "lastHeartbeatTime": stamp(now),
                    "lastTransitionTime": stamp(machine.ready_at),
                }
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.1",
                "kernelVersion": "6.8",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.35.0",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "Ubuntu 22.04",
                "systemUUID": "",
            },
        },
    }


def listing(items: list[dict[str, Any]], version: str, more: str) -> dict[str, Any]:
    """A NodeList."""
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return {"apiVersion": "v1", "kind": "NodeList", "metadata": metadata, "items": items}
