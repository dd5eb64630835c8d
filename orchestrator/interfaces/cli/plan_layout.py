"""What the best placement's training looks like at its own number of devices: layout, step and checkpoints.

Planning sizes a job on the fewest devices that hold it and scales; this looks once more at the one placement shown.
"""

from __future__ import annotations

from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.plan import Plan
from orchestrator.domain.sizing import FiniteWork, Sizing
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
    # A node's devices share the fast links; what the network between nodes carries, no offer says.
    node = min(part.offer.gpus for part in best.parts)
    cluster = Cluster(node_devices=max(1.0, float(node)))
    devices = [device for device in market.accelerators if device.name == best.sizing.accelerator]
    # A stated layout has its own number of devices, which whole nodes may exceed.
    gpus = int(best.gpus) if job.parallelism is None else None
    numbers = with_calibration(market.calibration)
    sized = size(job, devices, numbers, gpus=gpus, cluster=cluster, layouts=True).get(best.sizing.accelerator)
    if not isinstance(sized, Sizing) or not isinstance(sized.effort, FiniteWork):
        return None
    return AsRun(
        step=sized.effort.step,
        checkpoints=sized.effort.checkpoints,
        cluster=cluster,
        nodes=sum(part.nodes for part in best.parts),
        basis=basis(job),
    )
