from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from orchestrator.domain.errors import TransientError
from providers.local.nvml import Device, seen_by


class NVMLError(Exception):
    pass


class NVMLErrorLibraryNotFound(NVMLError):
    pass


class NVMLErrorDriverNotLoaded(NVMLError):
    pass


@dataclass(frozen=True)
class Board:
    name: str | bytes
    total: int = 24 * 2**30
    used: int = 0
    processes: tuple[int, ...] = ()
    lost: bool = False


def _nvml(*boards: Board, init: Exception | None = None) -> ModuleType:
    """A stand-in for NVIDIA's pynvml: the few functions that are called, over devices written down."""
    fake = ModuleType("pynvml")
    log: list[str] = []

    def start() -> None:
        log.append("init")
        if init is not None:
            raise init

    def handle(index: int) -> tuple[int, Board]:
        if boards[index].lost:
            raise NVMLError("GPU is lost")
        return index, boards[index]

    members = {
        "NVMLError": NVMLError,
        "NVMLError_LibraryNotFound": NVMLErrorLibraryNotFound,
        "NVMLError_DriverNotLoaded": NVMLErrorDriverNotLoaded,
        "nvmlInit": start,
        "nvmlShutdown": lambda: log.append("shutdown"),
        "nvmlDeviceGetCount": lambda: len(boards),
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetName": lambda found: found[1].name,
        "nvmlDeviceGetUUID": lambda found: f"GPU-{found[0]}",
        "nvmlDeviceGetMemoryInfo": lambda found: SimpleNamespace(total=found[1].total, used=found[1].used),
        "nvmlDeviceGetComputeRunningProcesses": lambda found: list(found[1].processes),
        "log": log,
    }
    for name, member in members.items():
        setattr(fake, name, member)
    return fake


def test_nvml_is_read_and_closed_again() -> None:
    nvml = _nvml(Board("NVIDIA L4", used=2**28), Board(b"Tesla T4", total=16 * 2**30, processes=(7,)))
    assert seen_by(nvml) == (
        Device(uuid="GPU-0", name="NVIDIA L4", memory_gib=24.0, busy=False),
        Device(uuid="GPU-1", name="Tesla T4", memory_gib=16.0, busy=True),
    )
    assert nvml.log == ["init", "shutdown"]


def test_memory_in_use_makes_a_gpu_busy_where_processes_are_hidden() -> None:
    (device,) = seen_by(_nvml(Board("NVIDIA L4", used=8 * 2**30)))
    assert device.busy


def test_a_lost_gpu_does_not_hide_the_others() -> None:
    found = seen_by(_nvml(Board("NVIDIA L4", lost=True), Board("NVIDIA L4")))
    assert [device.uuid for device in found] == ["GPU-1"]


@pytest.mark.parametrize("kind", [NVMLErrorLibraryNotFound, NVMLErrorDriverNotLoaded])
def test_a_machine_without_a_driver_has_no_gpus(kind: type[Exception]) -> None:
    assert seen_by(_nvml(Board("NVIDIA L4"), init=kind("no driver"))) == ()


def test_a_driver_that_fails_is_a_transient_error() -> None:
    with pytest.raises(TransientError, match="NVML does not start: mismatch"):
        seen_by(_nvml(init=NVMLError("mismatch")))
