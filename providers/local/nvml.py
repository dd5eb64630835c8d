"""This machine's NVIDIA GPUs, through NVML where its Python package and the driver are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from orchestrator.domain.errors import TransientError
from providers.local.client import NAME

GIB = 2**30
IDLE_MEMORY = 0.05  # the driver itself holds up to about 1 % of a free device


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU; `busy` where a process uses it."""

    uuid: str
    name: str  # as the driver calls it: "NVIDIA A100-SXM4-80GB"
    memory_gib: float
    busy: bool


def devices() -> tuple[Device, ...]:
    """The GPUs of this machine that answer, in the driver's order; none where there is no NVML, which is normal.

    Raises: TransientError where there is a driver, and it fails.
    """
    return seen_by(import_module("pynvml")) if find_spec("pynvml") else ()


def seen_by(nvml: ModuleType) -> tuple[Device, ...]:
    """The GPUs that this `nvml` module shows.

    Raises: TransientError where there is a driver, and it fails.
    """
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
        return ()
    except nvml.NVMLError as error:
        raise TransientError(NAME, f"NVML does not start: {error}") from error
    try:
        found = (_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        return tuple(device for device in found if device is not None)
    except nvml.NVMLError as error:
        raise TransientError(NAME, f"NVML does not count the GPUs: {error}") from error
    finally:
        nvml.nvmlShutdown()


def _device(nvml: ModuleType, index: int) -> Device | None:
    """None for a device that does not answer: one that fell off the bus must not hide the others."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return Device(
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            name=_text(nvml.nvmlDeviceGetName(handle)),
            memory_gib=round(memory.total / GIB, 1),
            # In a container the processes of others are hidden: the memory they hold is not.
            busy=bool(nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or memory.used > IDLE_MEMORY * memory.total,
        )
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
