"""A queue of gang jobs on a fixed cluster: the learned order beside named ones, with and without known run times."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.errors import UserError
from orchestrator.simulation.queue_policies import Attained, Easy, Fifo, Learned, Shortest
from orchestrator.simulation.queue_replay import QueuePolicy, Trace, replay
from orchestrator.simulation.study import Measure, Row, Study, Unit

TIRESIAS = (1_800.0, 36_000.0)  # GPU-seconds: three queues
BEST = "SRSF, knows run times"
MEASURES = (
    Measure("mean_completion_h", "mean completion", Unit.HOURS),
    Measure("over_srsf", "/SRSF", Unit.RATIO),
    Measure("preemptions", "preempted", Unit.COUNT),
    Measure("gpu_hours", "GPU-hours", Unit.COUNT),
    Measure("most_gpus", "most GPUs", Unit.COUNT),
)


def study(trace: Trace, gpus: int, restart_s: float, source: str, *, baselines: bool = True) -> Study:
    """Run the jobs of `trace` on `gpus` GPUs under each policy; SRSF that knows run times restarts for free.

    Raises: UserError for no jobs or a gang that never fits.
    """
    if not len(trace.gpus):
        raise UserError("the trace holds no jobs")
    if int(trace.gpus.max()) > gpus:
        raise UserError(f"a job of {int(trace.gpus.max())} GPUs never fits in {gpus}: give more --gpus")
    policies: dict[str, Callable[[], QueuePolicy]] = {"isoflop": Learned}
    if baselines:
        policies |= {
            "2D-LAS (Tiresias)": lambda: Attained(TIRESIAS),
            "EASY backfill, knows run times": lambda: Easy(trace.run_s),
            "FIFO": Fifo,
        }
    best = replay(trace, gpus, Shortest(trace.run_s, gangs=True, preempts=True))
    found = [(name, replay(trace, gpus, make(), restart_s=restart_s)) for name, make in policies.items()]
    found.append((BEST, best))
    rows = tuple(
        Row(
            name,
            (
                done.mean_hours,
                done.mean_hours / best.mean_hours,
                float(done.preemptions),
                done.held_gpu_s / 3600.0,
                float(done.most_gpus),
            ),
        )
        for name, done in found
    )
    load = float(trace.run_s @ trace.gpus) / max(float(trace.arrived_s[-1]), 1.0) / gpus
    setting = (
        f"{len(trace.gpus):,} jobs, {source}, on {gpus} GPUs (load {load:.2f})",
        f"a preempted job redoes {restart_s:g} s",
    )
    note = "SRSF (shortest remaining service first) knows every run time and restarts for free: nobody can."
    return Study("queue", "A queue on a cluster of one's own", setting, MEASURES, rows, (note,))
