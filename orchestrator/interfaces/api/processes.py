"""Who runs: processes told apart by pid *and* start time, and found by the files they hold open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")


def identity(pid: int) -> str:
    """What tells this process from a later one with the same pid: boot and start time; "" where none runs.

    Without /proc (macOS) it is the pid alone. A zombie does not run.
    """
    if not PROC.joinpath("self").exists():
        return str(pid) if _signalable(pid) else ""
    try:
        fields = PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
        boot = PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def runs(pid: int, expected: str) -> bool:
    """Whether the process that had this pid and identity still runs."""
    return bool(expected) and identity(pid) == expected


def writing(folder: Path) -> frozenset[int]:
    """Our own processes, this one left out, that hold a file under `folder` open to write; none without /proc."""
    prefix = f"{folder.resolve()}{os.sep}"
    return frozenset(pid for pid in _pids() if pid != os.getpid() and _writes(pid, prefix))


def end(pids: Iterable[int], *, grace_s: float) -> frozenset[int]:
    """Ask every process to end, kill those that still run after `grace_s`; returns those that outlive even that."""
    known = {pid: identity(pid) for pid in pids}
    for sign, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        left = [pid for pid, was in known.items() if runs(pid, was)]
        for pid in left:
            _send(pid, sign)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and any(runs(pid, known[pid]) for pid in left):
            time.sleep(0.05)
    return frozenset(pid for pid, was in known.items() if runs(pid, was))


def _pids() -> Iterator[int]:
    if PROC.is_dir():
        yield from (int(name) for name in os.listdir(PROC) if name.isdecimal())


def _writes(pid: int, prefix: str) -> bool:
    try:
        numbers = os.listdir(PROC / str(pid) / "fd")
    except OSError:  # it ended meanwhile, or is another user's
        return False
    return any(_holds(PROC / str(pid), number, prefix) for number in numbers)


def _holds(folder: Path, number: str, prefix: str) -> bool:
    try:
        return os.readlink(folder / "fd" / number).startswith(prefix) and _writable(folder / "fdinfo" / number)
    except OSError:  # closed meanwhile
        return False


def _writable(facts: Path) -> bool:
    """Somebody who only reads a log there is none of ours."""
    flags = next((line.split()[1] for line in facts.read_text().splitlines() if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _send(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def _signalable(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
