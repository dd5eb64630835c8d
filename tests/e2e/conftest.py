"""A real control plane in a state folder of its own, frozen and killed on purpose, of which nothing is left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.config import Settings
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.events import Event
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import Checkpointing, Limits, Program, Training
from orchestrator.interfaces.api import host, processes
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.api.connection import Connection
from orchestrator.interfaces.api.messages import RunView
from orchestrator.runtime.store import SqliteStore
from orchestrator.testing import builders

# Every call of the market blocks for a while before it acts, and a purchase once more before it answers: windows wide
# enough to pull the plug in.
CONFIG = """
[providers.local]

[providers.simulated]
seed = 1
time_scale = 10.0

[providers.simulated.delays]
offers = 1.5
acquire = 1.5
release = 1.5

[[providers.simulated.faults]]
kind = "slow-answer"
delay_s = 2.0
times = 1000

[control]
tick_s = 0.1
leader_ttl_s = 3.0
"""

# Counts in the checkpoint folder; says who it is at its start, so that a second start would show.
COUNT = """
import json, os, pathlib, sys, time
folder, last = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"]), int(sys.argv[1])
counter = folder / "counter"
with open(folder / "starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
done = int(counter.read_text()) if counter.exists() else 0
while done < last:
    done += 1
    draft = folder / "draft"
    draft.write_text(str(done))
    os.replace(draft, counter)
    with open(folder / "steps", "a") as steps:
        steps.write(f"{done}\\n")
    with open(os.environ["ISOFLOP_PROGRESS_FILE"], "a") as progress:
        progress.write(json.dumps({"done": done / last, "detail": f"step {done}/{last}"}) + "\\n")
    print("step", done, flush=True)
    time.sleep(0.1)
"""


@dataclass
class Plane:
    """One state folder's control plane, started and killed from the test's own process."""

    settings: Settings
    started: list[Connection] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.settings.home

    def up(self) -> Connection:
        """Start it, or find it running."""
        known = host.start(self.settings, wait_s=120)
        self.started.append(known)
        return known

    def client(self) -> Client:
        return Client.connect(self.home)

    def submit(self, steps: int) -> str:
        """Hand in the counting job."""
        program = Program(
            command=(sys.executable, "-c", COUNT, str(steps)), checkpoint=Checkpointing(interval_s=1, grace_s=2)
        )
        model = builders.model(
            name="tiny", parameters=1e5, active_parameters=1e5, layers=2, hidden=64, heads=4, kv_heads=4, head_dim=16
        )
        workload = builders.training(
            name="count",
            model=model,
            tokens=1e5,
            precision=Precision.FP32,
            sequence_length=64,
            program=program,
            limits=Limits(providers=("simulated",), billing=(Billing.ON_DEMAND,)),
        )
        assert isinstance(workload, Training)
        with self.client() as client:
            return client.submit(workload).run_id

    def events(self, run_id: str) -> list[Event]:
        """What the store holds of the run, read past the control plane: it may be dead."""
        with closing(SqliteStore(self.home / "store.db")) as store:
            return [item.event for item in store.events(run_id=run_id)]

    def holds(self, run_id: str, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events(run_id))

    def until(self, what: str, holds: Callable[[], bool], *, within_s: float = 90.0) -> None:
        """Wait for something that other processes bring about."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}\n{self.log_tail()}"
            time.sleep(0.02)

    def finished(self, run_id: str) -> RunView:
        """The run once it has ended."""
        with self.client() as client:
            self.until(f"{run_id} ends", lambda: client.run(run_id).state.final)
            return client.run(run_id)

    def controller_pid(self) -> int:
        """The controller's process, once it answers."""
        with self.client() as client:
            self.until("the controller answers", lambda: client.health().controller.running)
            return client.health().controller.pid

    def freeze(self, pid: int) -> None:
        """Stop the process where it is."""
        os.kill(pid, signal.SIGSTOP)
        self.frozen.append(pid)
        self.until("it has stopped", lambda: _state(pid) in "tT")

    def thaw(self) -> None:
        """Let what was frozen go on."""
        while self.frozen:
            os.kill(self.frozen.pop(), signal.SIGCONT)

    def family(self) -> frozenset[int]:
        """Every process of the control plane: all that run in its session. Jobs have sessions of their own."""
        sessions = {known.pid for known in self.started}
        return frozenset(
            pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _session(pid) in sessions
        )

    def kill_host(self) -> None:
        """kill -9 of the process that `up` started, and of nothing else."""
        known = self.started[-1]
        assert known.alive
        os.kill(known.pid, signal.SIGKILL)
        self.until("the host is gone", lambda: not known.alive)

    def kill_everything(self) -> None:
        """kill -9 of the control plane's every process, at once, and of those that were just being born."""

        def gone() -> bool:
            for pid in self.family():
                with suppress(ProcessLookupError):  # it may end by itself in between: Ray's helpers follow one another
                    os.kill(pid, signal.SIGKILL)
            return not self.family()

        self.frozen.clear()
        self.until("the control plane is gone", gone)

    def purchases(self) -> int:
        """How many leases the market has ever sold."""
        return self._market("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'leases'")

    def leases(self) -> int:
        """How many leases are live at the market."""
        return self._market("SELECT count(*) FROM leases WHERE released_at IS NULL")

    def _market(self, query: str) -> int:
        path = self.home / "providers" / "simulated" / "market.db"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as books:
            try:
                return int(books.execute(query).fetchone()[0])
            except sqlite3.OperationalError:  # nothing was sold yet: there is no table
                return 0

    def counted(self, run_id: str) -> tuple[list[int], int]:
        """The job's steps as it wrote them, and how often it was started."""
        folder = self.home / "checkpoints" / run_id
        return [int(line) for line in _lines(folder / "steps")], len(_lines(folder / "starts"))

    def log_tail(self) -> str:
        log = self.settings.control_dir / "log"
        return log.read_text()[-4000:] if log.exists() else "(no log)"

    def destroy(self) -> None:
        """End everything that this control plane has started, jobs and machines too."""
        left = self.family() | processes.writing(host.ray_folder(self.settings)) | processes.writing(self.home)
        assert not processes.end(left, grace_s=0.5)
        host.tidy(self.settings)


def make(home: Path, text: str = CONFIG) -> Plane:
    """A control plane that is not started yet."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(text)
    return Plane(config.load({"ISOFLOP_HOME": str(home), "HOME": str(home)}))


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One control plane for the tests of a module that leave it fit for the next."""
    plane = make(tmp_path_factory.mktemp("plane") / "home")
    try:
        yield plane
    finally:
        plane.destroy()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane of this test alone, not started yet."""
    made = make(tmp_path / "home")
    try:
        yield made
    finally:
        made.destroy()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _session(pid: int) -> int:
    try:
        state, _, _, session, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(session)


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
