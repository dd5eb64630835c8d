"""The launcher for machines over real SSH servers that go away, come back, and are not who they should be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.domain.job import Job, JobState
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Program
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import until
from tests.e2e import sshd
from tests.e2e.machines import Machines, resolve


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    sshd.needed()
    with Machines(tmp_path) as made:
        yield made


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[SshLauncher]:
    with closing(Shells()) as shells:
        folder = tmp_path / "state"
        yield SshLauncher(secret=resolve, clock=FakeClock(), folder=folder, reach=shells, look_every_s=0.0)


def job(folder: Path, code: str) -> Job:
    program = Program(command=(sys.executable, "-c", code))
    return Job(run_id="run-1", attempt=1, token="t-1", program=program, checkpoint_dir=str(folder / "saved"))


def test_a_job_outlives_every_connection_and_is_followed_again(
    tmp_path: Path, machines: Machines, launcher: SshLauncher
) -> None:
    gate = tmp_path / "gate"
    code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('through')"
    handle = launcher.start(machines.lease(), job(tmp_path, code))
    assert launcher.poll(handle).state is JobState.RUNNING
    machines.kill(0)
    with pytest.raises(TransientError):
        launcher.poll(handle)
    gate.touch()
    machines.revive(0)
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert launcher.poll(handle).exit_code == 0
    assert b"".join(launcher.logs(handle, since=0)) == b"through\n"


def test_one_machine_of_a_gang_that_is_down_keeps_the_others_from_running(
    tmp_path: Path, machines: Machines, launcher: SshLauncher
) -> None:
    lease = machines.lease(2)
    machines.kill(1)
    with pytest.raises(TransientError):
        launcher.start(lease, job(tmp_path, "pass"))
    assert list(machines.root(0).glob("jobs/*")) == []
    machines.revive(1)
    handle = launcher.start(lease, job(tmp_path, "pass"))
    until(lambda: launcher.poll(handle).state is JobState.EXITED)


def test_nothing_is_sent_to_a_machine_that_is_not_known_or_is_another(
    tmp_path: Path, machines: Machines, launcher: SshLauncher
) -> None:
    lease, other = machines.lease(), machines.endpoint(1)

    def with_key(key: str) -> Lease:
        return replace(lease, endpoints=(replace(lease.endpoints[0], host_key=key),))

    with pytest.raises(ProviderError, match=r"host key of 127\.0\.0\.1 is not known"):
        launcher.start(with_key(""), job(tmp_path, "pass"))
    assert list((tmp_path / "state").glob("*/started.json")) == []
    wrong = replace(job(tmp_path, "pass"), token="t-2")
    with pytest.raises(AuthError, match="another host key"):
        launcher.start(with_key(other.host_key), wrong)
    assert not machines.root(0).exists()


def test_a_machine_behind_another_is_reached_through_it(
    tmp_path: Path, machines: Machines, launcher: SshLauncher
) -> None:
    behind = replace(machines.endpoint(0), jump=machines.endpoint(1))
    handle = launcher.start(replace(machines.lease(), endpoints=(behind,)), job(tmp_path, "print('there')"))
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert b"".join(launcher.logs(handle, since=0)) == b"there\n"
