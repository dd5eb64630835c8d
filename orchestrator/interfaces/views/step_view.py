"""Where the time of an optimizer step goes: bars of its parts, and how the devices are taken to be wired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.sizing import FiniteWork, Step
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.effort_words import apart, gbit, pace, title
from orchestrator.interfaces.views.page import Block, Line, Part, Stack, Stacks, Title, dim, line
from orchestrator.interfaces.views.size_figures import Figures
from orchestrator.sizing.layouts import wired

BARS = 12  # accelerators whose step is drawn


def bars(rows: Sequence[Figures], cluster: Cluster | None) -> list[Block]:
    """Where the time of a step goes on each of the first accelerators, each bar a whole step.

    `cluster` is how the devices were taken to be wired; None where nothing was searched for.
    """
    steps = [(row, step) for row in rows if (step := step_of(row)) is not None]
    blocks: list[Block] = []
    if steps:
        basis, drawn = steps[0][0].basis, steps[:BARS]
        more = f", the {BARS} cheapest" if len(steps) > BARS else ""
        blocks = [
            Title(f"Where the time of a step goes: {title(basis)}, each bar a whole step{more}"),
            Stacks(tuple(_stack(row.device.name, step) for row, step in drawn)),
            line(dim(f"Pace {apart(basis)}."), indent=2),
        ]
        if cluster is not None:
            wires = wiring(cluster, [row.device for row, _ in drawn])
            blocks.append(line(dim(f"{wires}; --node-gpus and --fabric say otherwise."), indent=2))
    if cluster is not None and (without := [row for row in rows if _unfound(row)]):
        named = ", ".join(f"{fmt.count(row.gpus or 0)} x {row.device.name}" for row in without)
        blocks.append(line(dim(f"No layout that is searched fits {named}."), indent=2))
    return [*blocks, Line()] if blocks else []


def step_of(row: Figures) -> Step | None:
    """The step of the row's layout, where one is known."""
    return row.effort.step if isinstance(row.effort, FiniteWork) else None


def wiring(cluster: Cluster, devices: Iterable[Accelerator] = ()) -> str:
    """How the devices are taken to be wired."""
    said = (
        f"Wired as nodes of {cluster.node_devices:g} GPUs with {gbit(cluster.fabric_gb_per_s)} of fabric for each GPU,"
        " one way"
    )
    racks = [each for each in devices if wired(each, cluster) != cluster]
    if racks:
        names = ", ".join(each.name for each in racks)
        said += f"; {names} as sold, in racks of {wired(racks[0], cluster).node_devices:g}"
    return said


def _unfound(row: Figures) -> bool:
    return isinstance(row.effort, FiniteWork) and row.effort.step is None


def _stack(name: str, step: Step) -> Stack:
    parts = tuple(Part(each, took) for each, took in step.parts if took > 0)
    return Stack(name, parts, step.seconds, pace(step))
