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

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Checkpointing, Program
from orchestrator.kit.shell import ssh
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.launchers.ssh import launcher as launching
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import until
from tests.e2e import sshd
from tests.e2e.link import Link
from tests.e2e.machines import Machines, resolve

MARK = "import os; open(os.environ['ISOFLOP_CHECKPOINT_DIR'] + '/starts', 'a').write('x')"
FAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "libfaketime.so.1")
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
        folder = tmp_path / "Müller"
        folder.mkdir()
        yield Worlds(folder, stack)


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


NASTY = ["a b", "'", '"$HOME`id`"', "x\ny", "ä😀", "!history", "", "-n", "\\", "*", "~", "%s", "\udcff"]
NOISE = {
    "bash": (".bashrc", "echo 'Welcome!'; echo noise >&2; printf 'no end of line'; cd /tmp; umask 0\n"),
    "fish": (".config/fish/config.fish", "echo 'Welcome!'; echo noise >&2; printf 'no end of line'; cd /tmp\n"),
    "tcsh": (".tcshrc", "echo 'Welcome!'; printf 'no end of line'; cd /tmp\n"),
    "dash": (".profile", "echo 'Welcome!'\n"),
}


def of_shell(folder: Path, shell: str) -> str:
    """The configuration of a server whose users log in with `shell`, in the home `folder`.

    sshd passes its command to the login shell of the test's user, which is one for all; the command that it is forced
    to passes ours on as that shell's.
    """
    path = needed(shell, Path(shell).name)
    run = folder.with_name(f"{Path(shell).name}-login")
    run.write_text(f'#!/bin/sh\nexec {path} -c "$SSH_ORIGINAL_COMMAND"\n')
    run.chmod(0o755)
    return f'SetEnv "HOME={folder}" "LC_ALL=C"\nForceCommand exec {run}\n'


@pytest.mark.parametrize("shell", sorted(NOISE))
def test_every_login_shell_with_noisy_start_up_files_hands_on_every_string(
    tmp_path: Path, worlds: Worlds, shell: str
) -> None:
    home = tmp_path / "a home"
    start_up = home / NOISE[shell][0]
    start_up.parent.mkdir(parents=True)
    start_up.write_text(NOISE[shell][1])
    world = worlds({0: of_shell(home, shell)})
    noisy = b"Welcome" in sshd.run(world.machines.endpoint(0), ["true"], tmp_path).stdout.encode()
    assert noisy or shell == "dash"  # which reads no start-up file for a command
    odd = os.fsdecode(b"no utf-8 \xff'\n\"$")
    (world.work / odd).write_text("odd")
    code = """
import os, shutil, sys
print([os.fsencode(each) for each in sys.argv[1:]], os.environb[b"ODD"], os.listdir(b"."), os.environ["CANARY"] != "")
shutil.copy(os.listdir(".")[0], os.environ["ISOFLOP_CHECKPOINT_DIR"])
raise SystemExit(7)
"""
    env, secrets = (("ODD", "".join(NASTY)),), (("CANARY", "env:CANARY"),)
    handle = world.start(world.machines.lease(), world.job(code, *NASTY, env=env, secrets=secrets))
    assert world.ended(handle).exit_code == 7
    raw = [os.fsencode(each) for each in NASTY]
    assert world.log(handle).decode() == f"{raw} {b''.join(raw)} {[os.fsencode(odd)]} True\n"
    assert (world.checkpoints / odd).read_text() == "odd"


def test_a_login_shell_that_lets_nobody_in_is_named_with_what_it_says(tmp_path: Path, worlds: Worlds) -> None:
    home = tmp_path / "home"
    home.mkdir()
    world = worlds({0: of_shell(home, "/usr/sbin/nologin")})
    with pytest.raises(TransientError, match=r"its login shell runs no command: This account is .*not available"):
        world.launcher.start(world.machines.lease(), world.job(MARK))


@pytest.mark.parametrize("python", ["3.6", "3.7"])
def test_strings_arrive_on_old_pythons_without_a_locale(worlds: Worlds, tmp_path: Path, python: str) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin"))
    if not found:
        pytest.skip(f"no Python {python} is here")
    world = worlds(
        {0: f'SetEnv "HOME={tmp_path}" "LC_ALL=C" "PATH={found[0]}:{os.environ["PATH"]}" "PYTHONCOERCECLOCALE=0"\n'}
    )
    (world.work / "ä 😀").write_text("data")
    code = """
import os, sys
print(sys.version[:3], [os.fsencode(each) for each in sys.argv[1:]], os.environb[b'ODD'], os.listdir(b'.'))
"""
    job = world.job("", command=("python3", "-c", code, *NASTY), env=(("ODD", "".join(NASTY)),))
    handle = world.start(world.machines.lease(), job)
    assert world.ended(handle).exit_code == 0, world.log(handle)
    raw = [os.fsencode(each) for each in NASTY]
    assert world.log(handle).decode() == f"{python} {raw} {b''.join(raw)} {['ä 😀'.encode()]}\n"


def test_machines_whose_clocks_are_an_hour_off_work_as_others_do(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "PULL_AT_LEAST_S", 0.02)
    library = needed(FAKETIME, "libfaketime")
    worlds_clock = {
        number: f'SetEnv "LD_PRELOAD={library}" "FAKETIME={ahead}" "FAKETIME_DONT_RESET=1"\n'
        for number, ahead in enumerate(("+3600", "-3600"))
    }
    world = worlds(worlds_clock)
    (world.work / "gate.py").write_text("")
    code = """
import json, os, pathlib, signal, sys, time
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
rank = int(os.environ["RANK"])
print(f"rank {rank} at {time.time():.0f}", flush=True)
state = home / "state"
steps = json.loads(state.read_text()) if state.exists() else []
def save(*_):
    if rank == 0:
        (home / "draft").write_text(json.dumps([*steps, os.environ["ISOFLOP_ATTEMPT"]]))
        os.replace(home / "draft", state)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
if len(steps) == 2:
    time.sleep(0.5 if rank else 0.0)
    sys.exit(5 + rank)
while True: time.sleep(0.05)
"""
    saved = world.checkpoints / "state"
    first, second = (world.machines.endpoint(number) for number in (0, 1))
    # An hour ahead, then an hour behind: of two states the later is not the one with the later clock.
    for attempt, point in ((1, first), (2, second)):
        lease = replace(world.machines.lease(), endpoints=(point,))
        handle = world.start(lease, world.job(code, attempt=attempt, checkpoint=Checkpointing(interval_s=0.08)))
        until(lambda handle=handle: b"rank 0" in world.log(handle))  # type: ignore[misc]
        off_s = float(world.log(handle).split()[-1]) - time.time()
        assert abs(abs(off_s) - 3600) < 60
        assert world.launcher.poll(handle).state is JobState.RUNNING
        world.launcher.stop(handle, grace_s=20.0)
        assert world.ended(handle).exit_code == 143
    assert saved.read_text() == '["1", "2"]'
    handle = world.start(world.machines.lease(2), world.job(code, attempt=3))
    assert world.ended(handle).exit_code == 5  # of the node that failed first


def test_a_disk_that_cannot_be_written_is_named(worlds: Worlds) -> None:
    world = worlds()
    lease, root = world.machines.lease(), world.machines.root(0)
    assert world.ended(world.start(lease, world.job(MARK))).exit_code == 0
    here = LocalShell("local")
    mounted = here.run(("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(root)))
    if not mounted.ok:
        assert not os.environ.get("CI"), mounted.trouble
        pytest.skip(f"no disk can be mounted here: {mounted.trouble}")
    try:
        with pytest.raises(ProviderError, match="Read-only") as refused:  # not even our agent
            world.launcher.start(lease, world.job(MARK, attempt=2))
        assert not isinstance(refused.value, TransientError)
    finally:
        here.run(("umount", "-l", str(root)))
    for command in (("mount", "--bind", str(root), str(root)), ("mount", "-o", "remount,ro,bind", str(root))):
        assert here.run(command).ok
    try:
        with pytest.raises(ProviderError, match="Read-only") as refused:
            world.launcher.start(lease, world.job(MARK, attempt=2))
        assert not isinstance(refused.value, TransientError)
    finally:
        here.run(("umount", "-l", str(root)))
    assert world.ended(world.start(lease, world.job(MARK, attempt=2))).exit_code == 0
    assert (world.checkpoints / "starts").read_text() == "xx"
