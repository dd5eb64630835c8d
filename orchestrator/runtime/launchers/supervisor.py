"""Watches over one job on this machine and outlives whoever started it; a script that needs the standard library alone.

It runs on machines of all ages: nothing here is newer than Python 3.6, not even in annotations.

`python supervisor.py FOLDER` reads FOLDER/job.json and returns once the job has started, or another supervisor of the
same folder has started it. The environment it was given is the job's, secrets and all: they are in no argument and no
file. What it writes: `started.json` (claims the job: created once, whole, never replaced), `ranks.json` (who runs),
`output.log`, and `exit.json` when all has ended. It obeys `stop.json`.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import get_ident
from types import FrameType
from typing import Any, Dict, List, Optional, Set

POLL_S = 0.05
CLEANUP_S = 60.0
SPARE_BYTES = 1 << 16  # kept for the record of the end
LEFTOVER_GRACE_S = 10.0  # for the other ranks once one has failed, and where we are asked to end ourselves
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with


def write(path: Path, record: Dict[str, Any]) -> None:
    """Put `record` at `path`: whole or not at all, and on the disk when this returns."""
    draft = _draft(path, record)
    os.replace(draft, path)
    _sync(path.parent)


def claim(path: Path, record: Dict[str, Any]) -> bool:
    """Put `record` at `path` unless something is there; False where it is."""
    draft = _draft(path, record)
    try:
        os.link(draft, path)  # unlike a rename, it fails where the name is taken
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    _sync(path.parent)
    return True


def read(path: Path) -> Optional[Dict[str, Any]]:
    """What was written to `path`; None where nothing was."""
    try:
        with open(path, "rb") as file:
            record = json.load(file)
    except FileNotFoundError:
        return None
    return record if isinstance(record, dict) else None


def identity(pid: int) -> Optional[Dict[str, Any]]:
    """Who process `pid` is: number, start and boot, so that a number used again is not taken for it.

    None where it does not run; a zombie does not run.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *rest = file.read().rpartition(b")")[2].split()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ESRCH}:
            return None
        raise
    if state in {b"Z", b"X"}:
        return None
    return {"pid": pid, "start": int(rest[18]), "boot": boot_id()}


def boot_id() -> str:
    """This boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def alive(who: Dict[str, Any]) -> bool:
    """True while the very process that `who` names runs."""
    return identity(int(who["pid"])) == who


def signal_group(ranks: List[Dict[str, Any]], number: int) -> None:
    """Send `number` to the group of the ranks, if one of them still runs: the group's number is then still theirs."""
    if any(alive(rank) for rank in ranks):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(ranks[0]["pid"]), number)


def _draft(path: Path, record: Dict[str, Any]) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
    with open(draft, "w") as file:
        json.dump(record, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Supervisor:
    """One job: its ranks are one process group, so that one signal reaches all of them and their children."""

    def __init__(self, folder: Path, job: Dict[str, Any]) -> None:
        self._folder = folder
        self._job = job
        self._ranks: List[subprocess.Popen[bytes]] = []
        self._left: Set[int] = set()  # pids of the ranks that run
        self._codes: List[int] = []  # in the order the ranks ended
        self._asked = False
        self._kill_at: Optional[float] = None
        self._asked_to_end = False

    def start(self) -> None:
        """Start every rank; one that cannot start counts as ended with a shell's exit code."""
        (self._folder / "spare").write_bytes(bytes(SPARE_BYTES))
        with open(self._folder / "output.log", "ab", buffering=0) as log:
            for rank in range(self._job["nodes"]):
                self._start_rank(rank, log.fileno())
                if self._codes:
                    break
        found = [identity(rank.pid) for rank in self._ranks]
        write(self._folder / "ranks.json", {"ranks": [who for who in found if who]})

    def _start_rank(self, rank: int, log: int) -> None:
        number = str(self._job.get("first_rank", 0) + rank)
        env = {**os.environ, **self._job["rank_env"][rank], "RANK": number, "PET_NODE_RANK": number}
        group = self._ranks[0].pid if self._ranks else 0
        try:
            process = subprocess.Popen(
                self._job["command"],
                cwd=self._job["workdir"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=partial(os.setpgid, 0, group),  # noqa: PLW1509 - one thread; `process_group` is of Python 3.11
            )
        except OSError as error:
            missing = error.errno == errno.ENOENT
            os.write(log, f"isoflop: cannot start {self._job['command'][0]!r}: {error.strerror}\n".encode())
            self._codes.append(NOT_FOUND if missing else NOT_EXECUTABLE)
        else:
            self._ranks.append(process)
            self._left.add(process.pid)

    def end_soon(self, _number: int, _frame: Optional[FrameType]) -> None:
        """Somebody ends us: the job goes first."""
        self._asked_to_end = True

    def watch(self) -> None:
        """Return when every rank has ended and `exit.json` says how."""
        while self._running():
            self._obey()
            time.sleep(POLL_S)
        if self._ranks:
            # What the job left behind in its group would run on, unseen. No rank has been reaped yet, so the group's
            # number cannot be another's by now.
            self._signal(signal.SIGKILL)
            for rank in self._ranks:
                rank.wait()
        failures = [code for code in self._codes if code]
        self._clean_up()
        self._record({"code": failures[0] if failures else 0, "at": time.monotonic(), "boot": boot_id()})

    def _clean_up(self) -> None:
        """What ends with the job though no process of ours: a container, which a signal to its client may not reach."""
        if self._job.get("cleanup"):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                quiet = subprocess.DEVNULL
                subprocess.run(
                    self._job["cleanup"], stdin=quiet, stdout=quiet, stderr=quiet, timeout=CLEANUP_S, check=False
                )

    def _record(self, end: Dict[str, Any]) -> None:
        """Write `exit.json`, on a disk that the job has filled, too: the spare file makes room."""
        try:
            write(self._folder / "exit.json", end)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._folder / "spare")
            write(self._folder / "exit.json", end)

    def _running(self) -> bool:
        for pid in sorted(self._left):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                self._left.discard(pid)
                status = ended.si_status
                self._codes.append(status if ended.si_code == os.CLD_EXITED else -status)
        return bool(self._left)

    def _obey(self) -> None:
        now = time.monotonic()
        order = read(self._folder / "stop.json")
        if order is not None and order["boot"] == boot_id():
            self._stop(float(order["deadline"]))
        if self._asked_to_end or any(self._codes):  # a gang that has lost a member does not finish
            self._stop(now + LEFTOVER_GRACE_S)
        if self._kill_at is not None and now >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _stop(self, deadline: float) -> None:
        self._kill_at = deadline if self._kill_at is None else min(deadline, self._kill_at)
        if not self._asked:
            self._asked = True
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._ranks[0].pid, number)


def main(folder: Path) -> int:
    """Start the job of `folder` and leave a process behind that watches it."""
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        with open(ready, "rb") as answer:
            return 0 if answer.read() == b"ok" else 1
    os.close(ready)
    _supervise(folder, told)
    return 0


def _supervise(folder: Path, told: int) -> None:
    job = read(folder / "job.json")
    if job is None:
        raise SystemExit(f"{folder} holds no job")
    who = identity(os.getpid())
    mine = claim(folder / "started.json", {"supervisor": who, "started_at": job["started_at"]})
    if mine:
        supervisor = Supervisor(folder, job)
        signal.signal(signal.SIGTERM, supervisor.end_soon)
        signal.signal(signal.SIGINT, supervisor.end_soon)
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)  # not SIG_IGN, which the job would inherit
        supervisor.start()
    os.write(told, b"ok")
    os.close(told)
    if mine:
        supervisor.watch()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
