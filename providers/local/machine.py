"""What this machine is and what its CPU does: read from the kernel, measured once, kept on disk."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

GIB = 2**30
MATRIX = 1024  # rows of the square matrices multiplied: 2.1 GFLOP a product, and 12 MiB in all
COPY_MIB = 64  # larger than most caches, so that the copy runs at the speed of the memory
BUDGET_S = 0.1  # for each of the two measurements: they delay the first plan ever made here


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this process may use of the machine: a container's limits count, not the board's."""

    cpu: str
    cores: int
    memory_gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the CPU was seen to do, and when."""

    fp32_tflops: float
    copy_gb_s: float  # bytes read plus bytes written, in 1e9 bytes a second
    measured_at: datetime


def read_host(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Host:
    """This machine as the kernel describes it; a fact that the kernel does not tell is "" or 0."""
    memory = _memory_bytes(proc)
    limit = _first_number(cgroup / "memory.max")
    if limit is not None:
        memory = min(memory, limit) if memory else limit
    return Host(cpu=_cpu_name(proc), cores=_cores(cgroup), memory_gib=round(memory / GIB, 2))


def measure(now: datetime) -> Measurement:
    """Multiply and copy for a moment, and keep the best of what was seen: other work only slows us down."""
    return Measurement(fp32_tflops=_matmul_tflops(), copy_gb_s=_copy_gb_s(), measured_at=now)


def measured(path: Path, host: Host, now: datetime, measure: Callable[[datetime], Measurement]) -> Measurement:
    """The measurement kept in `path`, or a new one where there is none of this host and this NumPy.

    Raises: OSError where the result cannot be kept.
    """
    subject: dict[str, object] = {"host": asdict(host), "numpy": np.__version__}
    kept = _kept(path, subject)
    if kept is not None:
        return kept
    fresh = measure(now)
    record = {**subject, **asdict(fresh), "measured_at": fresh.measured_at.isoformat()}
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    draft.write_text(json.dumps(record, indent=1))
    draft.replace(path)
    return fresh


def _kept(path: Path, subject: dict[str, object]) -> Measurement | None:
    try:
        record = json.loads(path.read_bytes())
        if {key: record[key] for key in subject} != subject:
            return None
        return Measurement(
            fp32_tflops=float(record["fp32_tflops"]),
            copy_gb_s=float(record["copy_gb_s"]),
            measured_at=datetime.fromisoformat(record["measured_at"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # cut short or edited by hand: measuring again costs half a second
        return None


def _matmul_tflops() -> float:
    a = np.linspace(-1.0, 1.0, MATRIX * MATRIX, dtype=np.float32).reshape(MATRIX, MATRIX)
    b, out = a.T.copy(), np.empty_like(a)
    return 2 * MATRIX**3 / _best_s(lambda: np.matmul(a, b, out=out)) / 1e12


def _copy_gb_s() -> float:
    source = np.ones(COPY_MIB * 2**20, np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best_s(lambda: np.copyto(target, source)) / 1e9


def _best_s(work: Callable[[], object]) -> float:
    work()  # the first run pays for page faults and the BLAS's threads
    best, until = float("inf"), time.perf_counter() + BUDGET_S
    while best == float("inf") or time.perf_counter() < until:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return max(best, 1e-9)


def _cpu_name(proc: Path) -> str:
    for line in _lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model", "Hardware"}:
            return value.strip()
    return ""


def _memory_bytes(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        key, _, value = line.partition(":")
        if key == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0


def _cores(cgroup: Path) -> int:
    usable = len(os.sched_getaffinity(0))
    quota = next(iter(_lines(cgroup / "cpu.max")), "").split()  # "200000 100000": microseconds of each period
    if len(quota) == 2 and quota[0].isdigit():
        usable = min(usable, max(1, int(quota[0]) // max(1, int(quota[1]))))
    return usable


def _first_number(path: Path) -> int | None:
    word = next(iter(_lines(path)), "").strip()
    return int(word) if word.isdigit() else None  # "max" is no limit


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []
