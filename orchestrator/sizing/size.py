"""Size: how much of every accelerator a workload takes, or why it cannot run there."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import FineTune, Inference, Training, Workload
from orchestrator.sizing.parameters import Parameters, bundled


def size(
    workload: Workload,
    accelerators: Sequence[Accelerator],
    parameters: Parameters | None = None,
    *,
    gpus: int | None = None,
    cluster: Cluster | None = None,
    layouts: bool = False,
) -> dict[str, Sizing | Reason]:
    """Size `workload` on each of `accelerators`: a Sizing, or the Reason why the device cannot do it, by device name.

    `parameters` are the bundled ones, or those with a calibration. Of training, `gpus` sizes for that many devices
    instead of the fewest that hold it, `cluster` says how they are wired, and `layouts` searches for the fastest
    parallelism as well. Pure, and independent of the order of `accelerators`. Devices are whole: what fits a fraction
    of one is the caller's question (`memory_per_gpu_gib` against the fraction's share of `capacity_per_gpu_gib`).
    """
    known = bundled() if parameters is None else parameters
    # One process sizes one kind of work more often than not, and half of the code is for the other.
    if isinstance(workload, Training | FineTune):
        training = importlib.import_module("orchestrator.sizing.training")
        found: dict[str, Sizing | Reason] = training.size_training(
            workload, accelerators, known, gpus=gpus, cluster=cluster, layouts=layouts
        )
        return found
    serving = importlib.import_module("orchestrator.sizing.serving")
    sized = (serving.inference_sizer if isinstance(workload, Inference) else serving.batch_sizer)(workload, known)
    return {device.name: sized(device) for device in accelerators}
