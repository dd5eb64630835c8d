"""What this side keeps of a job: where it runs, its output so far, which of its checkpoints are here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.domain.job import Handle, JobState, JobStatus, Progress
from orchestrator.domain.lease import Endpoint
from orchestrator.runtime.launchers import supervisor

NAME = "ssh"
PIECE_BYTES = 1 << 18  # of output, asked for at once
TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")  # becomes a folder's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A job and where it was placed; without a secret."""

    token: str
    run_id: str
    lease_id: str
    provider: str
    started_at: datetime
    checkpoint_dir: str
    pull_every_s: float
    nodes: tuple[Endpoint, ...]  # `path` is absolute

    @property
    def handle(self) -> Handle:
        """As the launcher's callers have it."""
        return Handle(launcher=NAME, lease_id=self.lease_id, id=self.token, started_at=self.started_at)

    def job_folder(self, number: int) -> str:
        """The supervisor's folder on a node."""
        return f"{self.nodes[number].path}/jobs/{self.token}.{number}"

    def work_folder(self, number: int) -> str:
        """The work directory on a node."""
        return f"{self.nodes[number].path}/workdir/{self.run_id}"

    def checkpoint_folder(self, number: int) -> str:
        """The run's checkpoints on a node."""
        return f"{self.nodes[number].path}/checkpoints/{self.run_id}"


class Page:
    """One job's folder on this machine; every call may come from any process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def placed(self) -> Placed | None:
        """Where the job was placed; None where nobody has placed it."""
        found = supervisor.read(self.folder / "placed.json")
        return None if found is None else _placed(found)

    def place(self, placed: Placed) -> None:
        """Write down where the job goes."""
        record = asdict(placed) | {"started_at": placed.started_at.isoformat()}
        supervisor.write(self.folder / "placed.json", record)

    @property
    def started(self) -> bool:
        """Whether every node has said that the job has started there."""
        return (self.folder / "started.json").exists()

    def confirm(self) -> None:
        """Every node has."""
        supervisor.write(self.folder / "started.json", {})

    def end(self) -> JobStatus | None:
        """How the job ended, once that is certain and everything of it is here."""
        found = supervisor.read(self.folder / "end.json")
        if found is None:
            return None
        progress = None if found["progress"] is None else Progress(**found["progress"])
        return JobStatus(state=JobState.EXITED, exit_code=found["code"], progress=progress)

    def conclude(self, end: JobStatus) -> None:
        """The job ended like this, and everything of it is here."""
        progress = None if end.progress is None else asdict(end.progress)
        supervisor.write(self.folder / "end.json", {"code": end.exit_code, "progress": progress})

    def ended_at(self, now: datetime) -> datetime:
        """When it was first seen that the job has ended: `now`, if it is now."""
        supervisor.claim(self.folder / "seen.json", {"at": now.isoformat()})
        found = supervisor.read(self.folder / "seen.json")
        return now if found is None else datetime.fromisoformat(found["at"])

    def pulled(self) -> dict[str, dict[str, Any]]:
        """Entries of the checkpoints that are here, by path."""
        found = supervisor.read(self.folder / "pulled.json")
        return {} if found is None else {entry["path"]: entry for entry in found["entries"]}

    def keep_pulled(self, entries: Sequence[dict[str, Any]]) -> None:
        """These are here now."""
        supervisor.write(self.folder / "pulled.json", {"entries": list(entries)})

    @contextlib.contextmanager
    def alone(self, what: str, *, wait: bool = True) -> Iterator[bool]:
        """One at a time over all processes; False where somebody else is at it and we do not `wait`."""
        with open(self.folder / f"{what}.lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


class Output:
    """A job's output as far as it is here, that of several nodes line by line in the order in which it came."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._log, self._marks, self._nodes = folder / "output.log", folder / "output.json", nodes

    def offsets(self) -> list[int]:
        """How far each node's output is here."""
        return list(self._state()["offsets"])

    def add(self, offsets: Sequence[int], pieces: Sequence[bytes], over: Sequence[bool]) -> int:
        """Append what came from each node at the offset it was asked for; returns how many bytes of it were new.

        One that runs beside others waits with a line until it is whole, unless nothing more will come. Call it alone.
        """
        state = self._state()
        taken = [self._take(piece, last) for piece, last in zip(pieces, over, strict=True)]
        fresh = [
            piece if asked == kept else b"" for piece, asked, kept in zip(taken, offsets, state["offsets"], strict=True)
        ]
        if not any(fresh):
            return 0
        with open(self._log, "ab") as log:
            log.truncate(state["size"])  # what was written and not written down, by one that was killed
            log.write(b"".join(fresh))
            log.flush()
            os.fsync(log.fileno())
        ends = [kept + len(piece) for kept, piece in zip(state["offsets"], fresh, strict=True)]
        size = state["size"] + sum(map(len, fresh))
        supervisor.write(self._marks, {"size": size, "offsets": ends})
        return sum(map(len, fresh))

    def read(self, since: int, most: int) -> bytes:
        """Output from byte `since` on."""
        try:
            with open(self._log, "rb") as log:
                log.seek(since)
                return log.read(max(0, min(most, self._state()["size"] - since)))
        except FileNotFoundError:
            return b""

    def _take(self, piece: bytes, last: bool) -> bytes:
        if self._nodes == 1 or last:
            return piece
        whole = piece.rfind(b"\n") + 1
        # A line that fills a whole piece is passed on as it is, or it would never be.
        return piece if not whole and len(piece) >= PIECE_BYTES else piece[:whole]

    def _state(self) -> dict[str, Any]:
        return supervisor.read(self._marks) or {"size": 0, "offsets": [0] * self._nodes}


def _placed(found: dict[str, Any]) -> Placed:
    nodes = tuple(_endpoint(each) for each in found["nodes"])
    return Placed(**{**found, "nodes": nodes, "started_at": datetime.fromisoformat(found["started_at"])})


def _endpoint(found: dict[str, Any]) -> Endpoint:
    env = tuple((name, value) for name, value in found["env"])
    jump = None if found["jump"] is None else _endpoint(found["jump"])
    return Endpoint(**{**found, "env": env, "jump": jump})
