"""What the kernel says of the machine: real layouts of /proc and of a container's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.measure.host import cpu_name, memory_bytes

GIB = 2**30


def machine(folder: Path, *, limit: str = "max", used: str = "0") -> tuple[Path, Path]:
    proc, cgroup = folder / "proc", folder / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "meminfo").write_text("MemTotal: 16777216 kB\nMemFree: 1024 kB\nMemAvailable: 8388608 kB\nHugePages: 0\n")
    (proc / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654\n")
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    return proc, cgroup


def test_the_kernels_names_and_numbers(tmp_path: Path) -> None:
    proc, cgroup = machine(tmp_path)
    assert cpu_name(proc) == "AMD EPYC 9654"
    assert memory_bytes(proc, cgroup) == (16 * GIB, 8 * GIB)


@pytest.mark.parametrize(("used", "free"), [(GIB, 3 * GIB), (5 * GIB, 0)])
def test_a_containers_limit_counts_and_what_it_has_taken(tmp_path: Path, used: int, free: int) -> None:
    proc, cgroup = machine(tmp_path, limit=str(4 * GIB), used=str(used))
    assert memory_bytes(proc, cgroup) == (4 * GIB, free)


def test_without_proc_there_is_still_an_answer(tmp_path: Path) -> None:
    assert cpu_name(tmp_path)
    total, free = memory_bytes(tmp_path, tmp_path)
    assert 0 < free < total
