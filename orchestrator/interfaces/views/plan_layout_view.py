"""How the best placement of a plan runs: a training job's layout and checkpoints, a service's load and latencies."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.plan import Placement
from orchestrator.domain.sizing import Checkpoints, Service, Step
from orchestrator.interfaces.views.effort_words import Basis, apart, checkpoints, gbit, load, pace, quantised, words
from orchestrator.interfaces.views.page import Text
from orchestrator.spec.documents import to_jsonable


class AsRun(NamedTuple):
    """A training job at the number of devices of its placement."""

    step: Step | None  # None: no layout is known that fits
    checkpoints: Checkpoints | None
    cluster: Cluster
    nodes: int
    basis: Basis


def rows(best: Placement, run: AsRun | None) -> list[tuple[str, Text]]:
    """What the plan's arithmetic says about it, in short lines."""
    said: list[tuple[str, Text]] = []
    sizing = best.sizing
    if run is not None:
        if run.step is not None:
            whose = "as stated" if run.basis is Basis.STATED_LAYOUT else "fastest found"
            found = f"{whose}: {words(run.step.parallelism)}: {pace(run.step)}"
            said.append(("layout", f"{found}, {apart(run.basis)}{_wired(run)}"))
        if run.checkpoints is not None:
            said += checkpoints(run.checkpoints)
    if isinstance(sizing.effort, Service):
        said += load(sizing.effort)
    if sizing.quantised is not None:
        said.append(("quantised", quantised(sizing.quantised, sizing.effort)))
    return said


def document(run: AsRun | None) -> dict[str, object] | None:
    """The layout and its step for machines; None where none is known."""
    if run is None or run.step is None:
        return None
    return {
        "found": run.basis is not Basis.STATED_LAYOUT,
        "hours_from": run.basis.value,
        "step": to_jsonable(run.step),
        "cluster": to_jsonable(run.cluster),
        "checkpoints": to_jsonable(run.checkpoints),
    }


def _wired(run: AsRun) -> str:
    """What is taken for granted about the network, where there is more than one node."""
    if run.nodes < 2:
        return ""
    nodes = f" and nodes of {run.cluster.node_devices:g}" if run.basis is Basis.STATED_LAYOUT else ""
    return (
        f"; between nodes {gbit(run.cluster.fabric_gb_per_s)} a GPU, one way,{nodes} {'are' if nodes else 'is'} assumed"
    )
