"""Size: how much of every accelerator a workload takes, or why it cannot run there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import FineTune, Inference, Training, Workload
from orchestrator.sizing.parameters import Parameters, bundled
from orchestrator.sizing.serving import batch_sizer, inference_sizer
from orchestrator.sizing.steptime import Cluster
from orchestrator.sizing.training import training_sizer


def size(
    workload: Workload,
    accelerators: Sequence[Accelerator],
    parameters: Parameters | None = None,
    *,
    gpus: int | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Sizing | Reason]:
    """Size `workload` on each of `accelerators`: a Sizing, or the Reason why the device cannot do it, by device name.

    `parameters` are the bundled ones, or those with a calibration. `gpus` sizes training for that many devices instead
    of the fewest that hold it, `cluster` says how they are wired. Pure, and independent of the order of `accelerators`.
    Devices are whole: what fits a fraction of one is the caller's question (`memory_per_gpu_gib` against the fraction's
    share of `capacity_per_gpu_gib`).
    """
    sized = _sizer(workload, bundled() if parameters is None else parameters, gpus, cluster)
    return {device.name: sized(device) for device in accelerators}


def _sizer(
    workload: Workload, parameters: Parameters, gpus: int | None, cluster: Cluster | None
) -> Callable[[Accelerator], Sizing | Reason]:
    if isinstance(workload, Training | FineTune):
        return training_sizer(workload, parameters, gpus=gpus, cluster=cluster)
    if isinstance(workload, Inference):
        return inference_sizer(workload, parameters)
    return batch_sizer(workload, parameters)
