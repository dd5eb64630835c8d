"""A real Ray over real SSH servers: clusters run programs on all nodes, lose one, stop gently, and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Framework, Program
from orchestrator.runtime.launchers.ray_jobs import RayLauncher
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.testing import launcher_contract
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import CANARY, until
from tests.e2e import ray_machines, sshd
from tests.e2e.machines import Machines, resolve

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

# A node that is killed is noticed after five seconds, not fifteen; what a user would say in the job's `env`.
QUICK = (("RAY_health_check_period_ms", "1000"), ("RAY_health_check_timeout_ms", "5000"))
ON_ALL_NODES = """
import os, time
import ray
import beside
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=1, max_retries=-1, scheduling_strategy="SPREAD")
def where(seconds):
    time.sleep(seconds)
    import beside
    return ray.get_runtime_context().get_node_id(), beside.VALUE, os.environ["TOKEN"][:6]
def nodes():
    while True:
        found = sorted(set(ray.get([where.remote(0.5) for _ in range(4)])))
        if len(found) == 2:
            return found
print("first", *nodes(), flush=True)
lasting = [where.remote(2.0) for _ in range(4)]
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.05)
ray.get(lasting)
print("again", *nodes(), flush=True)
"""
SAVES = """
import os, pathlib, signal, sys, time
import ray
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
if (home / "saved").exists():
    print("resumed at", (home / "saved").read_text())
    sys.exit(0)
ray.init(address="auto", log_to_driver=False)
@ray.remote
class Counter:
    def __init__(self):
        self.count = 0
    def step(self):
        self.count += 1
        return self.count
counter = Counter.remote()
def save(*_):
    (home / "saved").write_text(str(ray.get(counter.step.remote())))
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
ray.get(counter.step.remote())
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    sshd.needed()
    ray_machines.needed()
    monkeypatch.setattr(launcher_contract, "PATIENCE_S", ray_machines.PATIENCE_S)
    with Machines(tmp_path) as made:
        yield made


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[RayLauncher]:
    with closing(Shells()) as shells:
        folder = tmp_path / "state"
        yield RayLauncher(secret=resolve, clock=FakeClock(), folder=folder, reach=shells, look_every_s=0.0)


def a_job(folder: Path, code: str, attempt: int = 1) -> Job:
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "beside.py").write_text("VALUE = 7\n")
    (folder / "work" / "program.py").write_text(code)
    program = Program(
        command=(sys.executable, "program.py"),
        workdir=str(folder / "work"),
        env=(("PATH", ray_machines.PATH), ("GATE", str(folder / "gate")), *QUICK),
        secrets=(("TOKEN", "env:CANARY"),),
        framework=Framework.RAY,
    )
    token = f"t-{attempt}"
    return Job(run_id="run-1", attempt=attempt, token=token, program=program, checkpoint_dir=str(folder / "saved"))


def output(launcher: RayLauncher, handle: Handle) -> str:
    return b"".join(launcher.logs(handle, since=0)).decode()


def said(launcher: RayLauncher, handle: Handle, word: str) -> list[str]:
    """The line that begins with `word`, split, once it is there."""

    def found() -> list[list[str]]:
        lines = output(launcher, handle).splitlines()
        return [line.split() for line in lines if line.startswith(word)]

    def there() -> bool:
        assert launcher.poll(handle).state is JobState.RUNNING or found(), output(launcher, handle)
        return bool(found())

    until(there)
    return found()[0]


def ended(launcher: RayLauncher, handle: Handle) -> JobStatus:
    until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
    return launcher.poll(handle)


def processes(job: Path) -> dict[int, str]:
    """Arguments of what runs in a job's cluster, by process."""
    found = {}
    for about in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"ISOFLOP_RAY={job}\0".encode() in (about / "environ").read_bytes():
                found[int(about.name)] = (about / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def raylet(job: Path) -> int:
    return next(pid for pid, arguments in processes(job).items() if "/raylet/raylet " in arguments)


def arguments_of_all() -> bytes:
    texts = []
    for about in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            texts.append(about.read_bytes())
    return b"\n".join(texts)


def links() -> set[str]:
    return {str(path) for path in Path("/tmp").glob("isoflop-*-[0-9]") if path.is_symlink()}


def test_a_program_runs_on_all_nodes_and_goes_on_when_one_leaves_and_joins_again(
    tmp_path: Path, machines: Machines, launcher: RayLauncher
) -> None:
    before = links()
    lease: Lease = ray_machines.small(machines.lease(2))
    handle = launcher.start(lease, a_job(tmp_path, ON_ALL_NODES))
    machines.kill(0)  # every connection: what has begun needs none
    machines.kill(1)
    machines.revive(0)
    machines.revive(1)
    first = said(launcher, handle, "first")
    assert len(first) == 1 + 2 * 3
    jobs = [machines.root(number) / "jobs" / f"t-1.{number}" for number in (0, 1)]
    environ = Path(f"/proc/{raylet(jobs[0])}/environ").read_bytes().split(b"\0")
    token = next(each for each in environ if each.startswith(b"RAY_AUTH_TOKEN=")).partition(b"=")[2]
    arguments = arguments_of_all()
    assert token not in arguments
    assert CANARY.encode() not in arguments
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("session_" in str(path) for path in files)
    for file in files:
        with suppress(FileNotFoundError):
            content = file.read_bytes()
            assert token not in content, file
            assert CANARY.encode() not in content, file
    port = json.loads((jobs[0] / "dashboard.json").read_text())["port"]
    with socket.socket() as probe:
        assert probe.connect_ex((own_address(), port)) != 0
    os.kill(raylet(jobs[1]), signal.SIGKILL)
    (tmp_path / "gate").touch()
    again = said(launcher, handle, "again")
    assert ended(launcher, handle) == JobStatus(state=JobState.EXITED, exit_code=0), output(launcher, handle)
    assert len(again) == 1 + 2 * 3
    assert set(again) != set(first)  # one node is another by now
    assert "node 1 has left the Ray cluster and joins again" in output(launcher, handle)
    for job in jobs:
        assert processes(job) == {}
        assert not (job / "ray").exists()
    assert links() == before


def test_a_program_is_stopped_gently_and_goes_on_elsewhere_from_its_checkpoint(
    tmp_path: Path, machines: Machines, launcher: RayLauncher
) -> None:
    lease = ray_machines.small(machines.lease(2))
    one = replace(lease, nodes=1, endpoints=lease.endpoints[:1])
    other = replace(lease, nodes=1, endpoints=lease.endpoints[1:])
    handle = launcher.start(one, a_job(tmp_path, SAVES))
    said(launcher, handle, "up")
    launcher.stop(handle, grace_s=ray_machines.PATIENCE_S)
    assert ended(launcher, handle).exit_code == 143
    assert (tmp_path / "saved" / "saved").read_text() == "2"  # the cluster was whole while it saved
    assert processes(machines.root(0) / "jobs" / "t-1.0") == {}
    handle = launcher.start(other, a_job(tmp_path, SAVES, attempt=2))
    assert ended(launcher, handle).exit_code == 0
    assert output(launcher, handle) == "resumed at 2\n"


def own_address() -> str:
    """An address of this machine that others would use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])
