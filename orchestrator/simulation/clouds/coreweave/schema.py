"""What a NodePool may hold, written from the vendor's documentation, for the resource has no published definition."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator

GROUP, VERSION, PLURAL, KIND = "compute.coreweave.com", "v1alpha1", "nodepools", "NodePool"
API_VERSION = f"{GROUP}/{VERSION}"
RACK_NODES = 18  # of an NVL72 rack
RACKS = ("gb200-", "gb300-", "verarubin-")  # types that come in racks alone, and never as spot

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
# docs.coreweave.com, "Node Pool reference" and "Node Pool status", as read in November 2026. The class is written
# "spot" in the reference and "Spot" in the guide: both are taken.
SPEC: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["instanceType"],
        "oneOf": [{"required": ["targetNodes"]}, {"required": ["targetRacks"]}],
        "not": {"required": ["gpu", "image"]},
        "properties": {
            "computeClass": {"enum": ["default", "spot", "Spot"]},
            "instanceType": {"type": "string", "minLength": 1},
            "targetNodes": _COUNT,
            "targetRacks": _COUNT,
            "minNodes": _COUNT,
            "maxNodes": _COUNT,
            "autoscaling": {"type": "boolean"},
            "nodeLabels": _TEXTS,
            "nodeAnnotations": _TEXTS,
            "nodeTaints": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["key", "effect"],
                    "properties": {
                        "key": {"type": "string", "minLength": 1},
                        "value": {"type": "string"},
                        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                    },
                },
            },
            "lifecycle": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"scaleDownStrategy": {"enum": ["IdleOnly", "PreferIdle"]}},
            },
            "gpu": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"version": {"type": "string"}},
            },
            "image": {"type": "object"},
        },
    }
)
# Labels and annotations as Kubernetes has them.
METADATA: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
            "labels": {
                "type": "object",
                "additionalProperties": {
                    "type": "string",
                    "maxLength": 63,
                    "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
                },
            },
            "annotations": _TEXTS,
        },
    }
)
_CONDITION = {
    "type": "object",
    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
    "properties": {"status": {"enum": ["True", "False", "Unknown"]}},
}
SHOWN: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec", "status"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": {**METADATA, "required": ["name", "uid", "resourceVersion", "creationTimestamp", "generation"]},
            "spec": dict(SPEC),
            "status": {
                "type": "object",
                "additionalProperties": False,
                "required": ["currentNodes", "inProgress", "queuedNodes", "conditions"],
                "properties": {
                    "currentNodes": _COUNT,
                    "inProgress": _COUNT,
                    "queuedNodes": _COUNT,
                    "nodeProfile": {"type": "string"},
                    "rackStatus": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"target": _COUNT, "current": _COUNT, "queued": _COUNT},
                    },
                    "conditions": {"type": "array", "items": _CONDITION},
                },
            },
        },
    }
)
_ASKED = Draft202012Validator(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": dict(METADATA),
            "spec": dict(SPEC),
            "status": {"type": "object"},
        },
    }
)
_SHOWN = Draft202012Validator(dict(SHOWN))


def faults_of_request(pool: object) -> list[str]:
    """What is wrong with a NodePool that somebody sends: none is ignored or pruned."""
    return [_told(error) for error in _ASKED.iter_errors(pool)]


def faults_of_answer(pool: object) -> list[str]:
    """What is wrong with a NodePool that we show."""
    return [_told(error) for error in _SHOWN.iter_errors(pool)]


def in_racks(instance_type: str) -> bool:
    """Whether a type is sold in racks of RACK_NODES alone."""
    return instance_type.startswith(RACKS)


def target_nodes(spec: Mapping[str, Any]) -> int:
    """Nodes that a pool is to have."""
    racks = spec.get("targetRacks")
    return int(racks) * RACK_NODES if racks is not None else int(spec["targetNodes"])


def _told(error: Any) -> str:
    place = ".".join(str(step) for step in error.absolute_path)
    return f"{place}: {error.message[:200]}" if place else str(error.message)[:200]
