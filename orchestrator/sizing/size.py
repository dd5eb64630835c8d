"""Size: how much of every accelerator a workload takes, or why it cannot run there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import FineTune, Inference, Training, Workload
from orchestrator.sizing.serving import batch_sizer, inference_sizer
from orchestrator.sizing.training import fine_tune_sizer, training_sizer


def size(workload: Workload, accelerators: Sequence[Accelerator]) -> dict[str, Sizing | Reason]:
    """Size `workload` on each of `accelerators`: a Sizing, or the Reason why the device cannot do it, by device name.

    Pure, and independent of the order of `accelerators`. Devices are whole: what fits a fraction of one is the caller's
    question (`memory_per_gpu_gib` against the fraction's share of `capacity_per_gpu_gib`).
    """
    sized = _sizer(workload)
    return {device.name: sized(device) for device in accelerators}


def _sizer(workload: Workload) -> Callable[[Accelerator], Sizing | Reason]:
    if isinstance(workload, Training):
        return training_sizer(workload)
    if isinstance(workload, FineTune):
        return fine_tune_sizer(workload)
    if isinstance(workload, Inference):
        return inference_sizer(workload)
    return batch_sizer(workload)
