"""Words for what a sizing's effort is: layouts and steps of training, checkpoints, the load of a service.

Apart from the tables that use them, because a plan needs the words alone and every command pays for what it imports.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.sizing import Checkpoints, Effort, Quantisation, Service, Step
from orchestrator.domain.workload import FineTune, Training, Workload
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Text

NO_LAYOUT = "-"


class Basis(StrEnum):
    """What the hours of finite work follow from: how they go with the step of its layout."""

    PLANNING = "planning model"
    STATED_MFU = "stated MFU"
    STATED_LAYOUT = "step model"


_SHARDED = {
    Sharding.NONE: "nothing sharded",
    Sharding.ZERO_1: "ZeRO-1",
    Sharding.ZERO_2: "ZeRO-2",
    Sharding.ZERO_3: "ZeRO-3",
}
_HOURS = {
    Basis.PLANNING: "time and MFU above are what real runs get (planning model), downtime included",
    Basis.STATED_MFU: "the time above follows from the MFU that is stated",
    Basis.STATED_LAYOUT: "the time above follows from it, downtime included",
}


def layout(parallelism: Parallelism | None) -> str:
    """`TP8 PP4 DP16`, with CP and EP where there are any; `-` where none is known, `1 GPU` where nothing is split."""
    if parallelism is None:
        return NO_LAYOUT
    named = (
        ("TP", parallelism.tensor),
        ("PP", parallelism.pipeline),
        ("CP", parallelism.context),
        ("EP", parallelism.expert),
        ("DP", parallelism.data),
    )
    return " ".join(f"{word}{count}" for word, count in named if count > 1) or "1 GPU"


def basis(workload: Workload | None) -> Basis:
    """What the hours of `workload` follow from."""
    if not isinstance(workload, Training | FineTune):
        return Basis.PLANNING
    if workload.parallelism is not None:
        return Basis.STATED_LAYOUT
    return Basis.PLANNING if workload.mfu is None else Basis.STATED_MFU


def words(of: Parallelism) -> str:
    """`TP8 PP16 DP128, micro-batch 1 x 31, 5 chunks a stage, ZeRO-1, selective recompute`."""
    said = [layout(of), f"micro-batch {fmt.count(of.micro_batch)} x {fmt.count(of.micro_batches)}"]
    if of.interleave > 1:
        said.append(f"{fmt.count(of.interleave)} chunks a stage")
    recompute = "no" if of.recompute is Recompute.NONE else of.recompute
    return ", ".join([*said, _SHARDED[of.sharding], f"{recompute} recompute"])


def pace(step: Step) -> str:
    """`4.75 s a step at MFU 51 %`."""
    return f"{seconds(step.seconds)} a step at MFU {fmt.percent(step.mfu)}"


def seconds(number: float) -> str:
    """Three digits up to a minute: steps of layouts differ by little."""
    return f"{number:.3g} s" if 1.0 <= number < 60.0 else fmt.duration(number)


def title(basis: Basis) -> str:
    """Whose layout it is."""
    return "stated layout" if basis is Basis.STATED_LAYOUT else "fastest layout found"


def apart(basis: Basis) -> str:
    """Whose the pace of a step is and whose the hours above it, so that two utilisations confuse nobody."""
    return f"by the step model, of the step alone; {_HOURS[basis]}"


def gbit(gb_per_s: float) -> str:
    """`400 Gbit/s` of 50 GB/s."""
    return f"{gb_per_s * 8.0:,.4g} Gbit/s"


def checkpoints(saved: Checkpoints) -> list[tuple[str, Text]]:
    """What surviving failures takes."""
    every = f"{fmt.gib(saved.gib)} every {fmt.duration(saved.interval_s)}, written in {fmt.duration(saved.write_s)}"
    failures = f"a failure every {fmt.hours(saved.mtbf_h)} on the average"
    return [
        ("checkpoints", f"{every}: storage of {saved.gb_per_s:,.3g} GB/s"),
        ("goodput", f"{fmt.percent(saved.goodput)} of the time ends up in the model; {failures}"),
    ]


def load(effort: Service, mean_usd: float | None = None) -> list[tuple[str, Text]]:
    """What most requests wait, and how many replicas the peak and the mean take."""
    facts: list[tuple[str, Text]] = []
    if effort.ttft_p95_s is not None:
        facts.append(("first token, 95 of 100", fmt.band(effort.ttft_p95_s, fmt.duration)))
    if effort.mean_replicas:
        busy = f"{fmt.plural(effort.replicas, 'replica')} at the peak, {effort.mean_replicas:,.3g} busy on the average"
        cost = f": {fmt.usd_per_hour(mean_usd)} if the service scales with its load" if mean_usd else ""
        facts.append(("load", busy + cost))
    return facts


def quantised(narrow: Quantisation, effort: Effort) -> str:
    """What narrower weights save."""
    unit = "GPUs" if isinstance(effort, Service) else "GPU-hours"
    saved = (
        "which does not run here" if narrow.saving is None else f"and saves {fmt.percent(narrow.saving)} of the {unit}"
    )
    return f"weights in {narrow.weights} instead of {narrow.asked}, {saved}"
