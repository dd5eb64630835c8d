"""Host: what the kernel says of this machine's CPU and memory; a container's limits count, not the board's."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
CPU_KEYS = frozenset({"model name", "Model", "Hardware"})


def cpu_name(proc: Path = PROC) -> str:
    """What the kernel calls the CPU, or else the machine's architecture."""
    for line in _lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in CPU_KEYS and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "cpu"


def load() -> float:
    """Processes that wanted to run during the last minute, on the average."""
    return os.getloadavg()[0]


def memory_bytes(proc: Path = PROC, cgroup: Path = CGROUP) -> tuple[int, int]:
    """(all memory, what can be taken now); what nobody tells is taken from the C library, and free is then half."""
    facts = {key: int(value.split()[0]) * 1024 for key, value in _fields(proc / "meminfo") if value.split()}
    total = facts.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = facts.get("MemAvailable", total // 2)
    limit, used = (_number(cgroup / name) for name in ("memory.max", "memory.current"))
    if limit is not None and limit < total:
        return limit, min(free, max(0, limit - (used or 0)))
    return total, free


def _fields(path: Path) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (line.partition(":") for line in _lines(path)) if value[-2:] == "kB"]


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)[:1]).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux, or not ours to read
        return []
