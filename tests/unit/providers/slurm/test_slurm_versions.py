"""What five versions of Slurm say of one cluster reads alike: strings that text and JSON of Slurm share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from providers.slurm import records

SAMPLES = Path(__file__).parents[5] / "shared" / "data" / "slurm"
VERSIONS = ("22.05", "23.11", "24.11", "25.11", "26.05")


def nodes_of(version: str) -> list[dict[str, Any]]:
    """The nodes as a version's own JSON has them."""
    for name in ("scontrolshownodesjson.json", "sinfojson.json"):
        path = SAMPLES / version / name
        if path.is_file() and path.stat().st_size:
            found = json.loads(path.read_text())
            if "nodes" in found:
                nodes: list[dict[str, Any]] = found["nodes"]
                return nodes
    pytest.skip(f"no outputs of Slurm {version} in {SAMPLES}")


def state_of(node: dict[str, Any]) -> str:
    """As `scontrol` writes it: MIXED+DRAIN."""
    words = node["state"] if isinstance(node["state"], list) else [node["state"]]
    return "+".join(word.upper() for word in (*words, *node.get("state_flags", [])))


@pytest.mark.parametrize("version", VERSIONS)
def test_devices_of_every_node_are_counted_alike_by_gres_and_by_tres(version: str) -> None:
    found = nodes_of(version)
    assert found
    for node in found:
        has, used = records.gpus(node["gres"]), records.gpus(node["gres_used"])
        assert sum(has.values()) > 0
        assert set(used) <= set(has)
        assert all(used[word] <= has[word] for word in used)
        by_tres = dict(records.gpus(node["tres"]))
        by_tres.pop(records.PLAIN, None)
        assert not by_tres or by_tres == dict(has)
        in_use = dict(records.gpus(node["tres_used"] or ""))
        in_use.pop(records.PLAIN, None)
        assert not by_tres or in_use == {word: count for word, count in used.items() if count}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_state_that_a_version_writes_is_decided(version: str) -> None:
    states = {node["name"]: state_of(node) for node in nodes_of(version)}
    for name, state in states.items():
        drained = any(word in state for word in ("DRAIN", "DOWN", "MAINT", "NOT_RESPONDING"))
        assert records.usable(state) is not drained, (name, state)
