"""Jobs: a program on the machines of one lease."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.workload import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt to run a program. Checkpoints outlive attempts: every attempt of a run gets the same folder."""

    run_id: str
    attempt: int  # from 1
    token: str  # the lease's: makes a start idempotent
    program: Program
    checkpoint_dir: str

    @property
    def variables(self) -> dict[str, str]:
        """What the program is told of itself, whatever launches it."""
        port = self.program.port
        listens = {} if port is None else {"ISOFLOP_PORT": str(port)}
        return {"ISOFLOP_RUN_ID": self.run_id, "ISOFLOP_ATTEMPT": str(self.attempt), **listens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A started job, enough to find it again from another process."""

    launcher: str
    lease_id: str
    id: str  # the launcher's own
    started_at: datetime


class JobState(StrEnum):
    """What a launcher sees of a job."""

    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"  # neither running nor a record of how it ended: the machine went away


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the job reports by appending JSON lines to `$ISOFLOP_PROGRESS_FILE`."""

    done: float  # in [0, 1]
    detail: str = ""  # "step 300/600 loss 2.31"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One look at a job."""

    state: JobState
    exit_code: int | None = None  # when EXITED; negative is the signal that ended it
    progress: Progress | None = None
    carrying: bool = False  # while RUNNING: the program has ended, and what it saved is on its way to where it is kept
