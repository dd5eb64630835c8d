"""What the best placement's training looks like at its own number of devices: layout, step and checkpoints.

Planning sizes a job on the fewest devices that hold it and scales; this looks once more at the one placement shown.
"""

from __future__ import annotations

from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.sizing import Effort, FiniteWork, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import FineTune, Training
from orchestrator.interfaces.views.effort_words import basis
from orchestrator.interfaces.views.plan_layout_view import AsRun
from orchestrator.sizing.parameters import with_calibration
from orchestrator.sizing.size import size


def as_run(plan: Plan, market: Snapshot) -> AsRun | None:
    """None where the job is no training, or nothing is placed, or it runs on parts of a device."""
    best, job = plan.best, plan.workload
    if best is None or not isinstance(job, Training | FineTune) or best.gpus < 1 or best.gpus != int(best.gpus):
        return None
    stated = job.parallelism is not None
    # A node's devices share the fast links; what the network between nodes carries, no offer says. A stated layout's
    # hours come from a cluster of the usual kind, and so has its step.
    cluster = Cluster() if stated else Cluster(node_devices=float(min(part.offer.gpus for part in best.parts)))
    effort = best.sizing.effort if stated else _at(job, market, best, cluster)
    if not isinstance(effort, FiniteWork):
        return None
    return AsRun(
        step=effort.step,
        checkpoints=effort.checkpoints,
        cluster=cluster,
        nodes=sum(part.nodes for part in best.parts),
        basis=basis(job),
    )


def _at(job: Training | FineTune, market: Snapshot, best: Placement, cluster: Cluster) -> Effort | None:
    """The effort on all devices of the placement."""
    name = best.sizing.accelerator
    devices = [device for device in market.accelerators if device.name == name]
    numbers = with_calibration(market.calibration)
    sized = size(job, devices, numbers, gpus=int(best.gpus), cluster=cluster, layouts=True).get(name)
    return sized.effort if isinstance(sized, Sizing) else None
