"""The launcher for machines over real SSH servers on bad days: every one a clear error, and nothing runs twice."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Checkpointing, Program
from orchestrator.kit.shell import ssh
from orchestrator.runtime.launchers.ssh import launcher as launching
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import until
from tests.e2e import sshd
from tests.e2e.link import Link
from tests.e2e.machines import Machines, resolve

MARK = "import os; open(os.environ['ISOFLOP_CHECKPOINT_DIR'] + '/starts', 'a').write('x')"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
MIB = 1 << 20


@dataclass
class World:
    """Machines, the launcher, and jobs for them."""

    folder: Path
    machines: Machines
    launcher: SshLauncher

    @property
    def checkpoints(self) -> Path:
        return self.folder / "saved" / "run-1"

    @property
    def work(self) -> Path:
        return self.folder / "work dir's"

    def job(self, code: str, *arguments: str, attempt: int = 1, **fields: object) -> Job:
        program = Program(
            command=(sys.executable, "-c", code, *arguments),
            workdir=str(self.work),
            checkpoint=Checkpointing(interval_s=1.0),
        )
        program = replace(program, **fields)  # type: ignore[arg-type]
        folder = str(self.checkpoints)
        return Job(run_id="run-1", attempt=attempt, token=f"t-{attempt}", program=program, checkpoint_dir=folder)

    def start(self, lease: Lease, job: Job, *, tries: int = 1) -> Handle:
        """Start it, as the controller does: again after what passes."""
        for left in range(tries - 1, -1, -1):
            try:
                return self.launcher.start(lease, job)
            except TransientError:
                if not left:
                    raise
                time.sleep(0.2)
        raise AssertionError("unreachable")

    def ended(self, handle: Handle) -> JobStatus:
        def over() -> bool:
            try:
                return self.launcher.poll(handle).state is not JobState.RUNNING
            except TransientError:
                return False

        until(over)
        return self.launcher.poll(handle)

    def log(self, handle: Handle) -> bytes:
        return b"".join(self.launcher.logs(handle, since=0))


class Worlds:
    """Makes worlds whose machines have lines of their own in the configuration of their servers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    def __call__(self, extra: Mapping[int, str] | None = None) -> World:
        sshd.needed()
        machines = self._stack.enter_context(Machines(self._folder, extra))
        shells = self._stack.enter_context(closing(Shells()))
        folder = self._folder / "state"
        launcher = SshLauncher(secret=resolve, clock=FakeClock(), folder=folder, reach=shells, look_every_s=0.0)
        world = World(self._folder, machines, launcher)
        world.checkpoints.mkdir(parents=True)
        world.work.mkdir()
        return world


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(tmp_path, stack)


def needed(program: str, package: str) -> str:
    """Where a program is that Debian's `package` has; skips the test without it, and fails it in CI."""
    found = shutil.which(program) or (program if Path(program).exists() else "")
    if not found:
        reason = f"{program} is not installed: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def test_a_machine_that_freezes_in_the_middle_of_a_start_starts_once_when_it_is_back(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
    monkeypatch.setattr(ssh, "LOGIN_S", 0.5)
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.3)
    world = worlds()
    (world.work / "large").write_bytes(os.urandom(40 * MIB))
    lease, incoming = world.machines.lease(), world.machines.root(0) / "incoming"
    failed: list[TransientError] = []

    def start() -> None:
        try:
            world.launcher.start(lease, world.job(MARK))
        except TransientError as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    until(lambda: any(path.stat().st_size for path in incoming.glob("?" * 64)))
    world.machines.freeze(0)
    try:
        thread.join(30)
        assert not thread.is_alive()
        assert failed
        with pytest.raises(TransientError, match="no answer within"):  # it accepts connections, and says nothing
            world.launcher.start(lease, world.job(MARK))
    finally:
        world.machines.freeze(0, thaw=True)
    handle = world.start(lease, world.job(MARK), tries=20)
    assert world.ended(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert (world.checkpoints / "starts").read_text() == "x"


def test_a_machine_that_freezes_under_a_job_is_no_lost_job(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
    monkeypatch.setattr(ssh, "LOGIN_S", 0.5)
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.3)
    world = worlds()
    handle = world.start(world.machines.lease(), world.job(f"{MARK}\nimport time; time.sleep(600)"))
    assert world.launcher.poll(handle).state is JobState.RUNNING
    world.machines.freeze(0)
    try:
        for _ in range(2):
            with pytest.raises(TransientError):
                world.launcher.poll(handle)
            with pytest.raises(TransientError):
                world.launcher.stop(handle, grace_s=0.0)
    finally:
        world.machines.freeze(0, thaw=True)
    assert world.launcher.poll(handle).state is JobState.RUNNING
    world.launcher.stop(handle, grace_s=0.0)
    assert world.ended(handle).exit_code in {-9, -15}
    assert (world.checkpoints / "starts").read_text() == "x"


@pytest.mark.parametrize("after", [100_000, 3 * MIB])
def test_a_link_that_breaks_again_and_again_carries_everything_once(worlds: Worlds, after: int) -> None:
    world = worlds()
    data = os.urandom(11 * MIB)
    (world.work / "large").write_bytes(data)
    code = "import os, shutil; shutil.copy('large', os.environ['ISOFLOP_CHECKPOINT_DIR'])"
    (lease, point) = world.machines.lease(), world.machines.endpoint(0)
    with Link(point.port, after=after, cuts=4) as link:
        lease = replace(lease, endpoints=(replace(point, port=link.port),))
        handle = world.start(lease, world.job(f"{MARK}; {code}"), tries=10)
        link.cuts += 2  # and on the way home
        assert world.ended(handle).exit_code == 0
        assert not link.cuts
    assert (world.checkpoints / "large").read_bytes() == data
    assert (world.checkpoints / "starts").read_text() == "x"


def test_a_server_with_one_session_at_a_time_is_enough(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "PULL_AT_LEAST_S", 0.02)
    world = worlds({0: "MaxSessions 1\n"})
    code = """
import os, pathlib, time
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
for step in range(10):
    (home / f"step-{step}").write_bytes(os.urandom(200_000))
    print("step", step, flush=True)
    time.sleep(0.05)
"""
    job = world.job(code, checkpoint=Checkpointing(interval_s=0.08))
    handle = world.start(world.machines.lease(), job)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            world.log(handle)
            time.sleep(0.05)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        polls = []
        until(lambda: polls.append(world.launcher.poll(handle)) or polls[-1].state is not JobState.RUNNING)  # type: ignore[func-returns-value]
    finally:
        done.set()
        reader.join(30)
    assert polls[-1].exit_code == 0
    assert len(list(world.checkpoints.glob("step-*"))) == 10


def test_a_server_that_refuses_more_connections_is_transient(worlds: Worlds) -> None:
    world = worlds({0: "MaxStartups 1:100:1\nLoginGraceTime 60\n"})
    lease = world.machines.lease()
    knocking: list[socket.socket] = []

    def let_in() -> bool:
        knocking.append(socket.create_connection(("127.0.0.1", world.machines.endpoint(0).port)))
        return knocking[-1].recv(4) == b"SSH-"

    try:
        until(let_in)  # the only one that may knock, and says nothing
        with pytest.raises(TransientError, match=r"127\.0\.0\.1"):
            world.launcher.start(lease, world.job(MARK))
    finally:
        for each in knocking:
            each.close()
    assert world.ended(world.start(lease, world.job(MARK), tries=10)).exit_code == 0
    assert (world.checkpoints / "starts").read_text() == "x"
