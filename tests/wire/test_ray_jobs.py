"""The ray launcher where Ray is missing, old or fails, on machines that are none of its own, and on this one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.workload import Framework
from orchestrator.lifecycle.actions import Launch
from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.ray_jobs import KEY, RayLauncher
from orchestrator.runtime.launchers.shells import Shells
from orchestrator.runtime.launchers.ssh import ray_order
from orchestrator.testing.builders import lease as a_lease
from orchestrator.testing.launcher_contract import until
from tests.e2e import stand_in_ray
from tests.unit.runtime.ssh_world import MARK, World

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


class Clusters(World):
    """Machines that are folders here, with a Ray that is played."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = stand_in_ray.installed(folder / "bin")

    def ray(self, *, here: bool = False) -> RayLauncher:
        reach = Shells() if here else self.machines
        folder = self.folder / "state"
        return RayLauncher(secret=_no_secret, clock=self.clock, folder=folder, reach=reach, look_every_s=0.0)

    def program(self, code: str, **fields: object) -> Job:
        return self.job(code, **{"env": (("PATH", self.path),), "framework": Framework.RAY, **fields})

    def here(self, nodes: int = 1) -> Lease:
        endpoint = Endpoint(launcher="process", path=str(self.root(0)))
        return a_lease(nodes=nodes, endpoints=(endpoint,) * nodes)

    def over(self, handle: Handle) -> JobStatus:
        launcher = self.ray(here=True)
        until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
        return launcher.poll(handle)


def _no_secret(reference: str) -> object:
    raise AssertionError(reference)


@pytest.fixture
def world(tmp_path: Path) -> Clusters:
    return Clusters(tmp_path)


def test_a_cluster_forms_on_this_machine_too(world: Clusters) -> None:
    launcher = world.ray(here=True)
    handle = launcher.start(world.here(2), world.program("import os; print(os.getcwd(), os.environ['ISOFLOP_NODES'])"))
    assert handle.launcher == "ray"
    assert world.over(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert b"".join(launcher.logs(handle, since=0)).decode() == f"{world.root(0)}/workdir/run-1 2\n"
    assert not list((world.root(0) / "jobs").glob("*/ray"))


def test_machines_without_ray_are_refused_by_name_before_anything_starts(world: Clusters) -> None:
    job = world.program(MARK, env=(("PATH", "/usr/bin:/bin"),))
    with pytest.raises(ProviderError, match=r"m0 has no ray on the PATH .* pip install 'ray\[default\]'"):
        world.ray().start(world.lease(0), job)
    assert not (world.root(0) / "jobs" / "t-1.0" / "job.json").exists()


def test_a_ray_without_tokens_is_refused(world: Clusters) -> None:
    path = stand_in_ray.installed(world.folder / "old", version="2.51.2")
    with pytest.raises(ProviderError, match=r"m0 has Ray 2\.51\.2; 2\.52 or newer"):
        world.ray().start(world.lease(0), world.program(MARK, env=(("PATH", path),)))


def test_a_ray_without_its_jobs_api_is_refused(world: Clusters, tmp_path: Path) -> None:
    package = tmp_path / "lib" / "ray" / "dashboard"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("__version__ = '2.60.0'\n")
    (package / "__init__.py").touch()
    (package / "optional_deps.py").write_text("import no_such_library_of_dashboards\n")
    (tmp_path / "minimal").mkdir()
    script = tmp_path / "minimal" / "ray"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    env = (("PATH", f"{script.parent}:/usr/bin:/bin"),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "lib"))
        with pytest.raises(ProviderError, match=r"no Jobs API \(no_such_library_of_dashboards\)"):
            world.ray().start(world.lease(0), world.program(MARK, env=env))


def test_nodes_with_different_rays_are_refused() -> None:
    found = {name: {"version": version, "lacks": ""} for name, version in (("m0", "2.60.0"), ("m1", "2.59.1"))}
    with pytest.raises(ProviderError, match=r"2\.60\.0 on m0, 2\.59\.1 on m1"):
        ray_order.check("acme", found)
    ray_order.check("acme", {**found, "m1": found["m0"]})


@pytest.mark.parametrize("launcher", ["slurm", "kubernetes"])
def test_machines_of_other_launchers_are_refused_by_name(world: Clusters, launcher: str) -> None:
    lease = a_lease(endpoints=(Endpoint(launcher=launcher, address="login"),))
    with pytest.raises(ProviderError, match=f"launcher {launcher} form no Ray cluster"):
        world.ray().start(lease, world.program(MARK))


def test_an_image_is_refused(world: Clusters) -> None:
    with pytest.raises(ProviderError, match="image"):
        world.ray().start(world.lease(0), world.program(MARK, image="ghcr.io/me/train:1"))


def test_a_program_that_asks_for_ray_is_started_by_its_launcher(world: Clusters) -> None:
    job = world.program(MARK)
    launch = Launch(run_id="run-1", token="t-1", attempt=1, lease=world.lease(0), program=job.program)
    assert launch.launcher == "ray"
    assert replace(launch, program=replace(job.program, framework=None)).launcher == "ssh"


class Died(Exception):
    """The control plane is gone in the middle of a start."""


@pytest.mark.parametrize("fault", ["after", "died"])
def test_a_start_that_was_broken_off_goes_on_as_one_cluster(world: Clusters, fault: str) -> None:
    left = [1]

    def lose(address: str, called: str) -> str:
        if (address, called) != ("127.0.0.3", "start") or not left[0]:
            return ""
        left[0] -= 1
        if fault == "died":
            raise Died
        return fault

    world.machines.lose = lose
    job, lease = world.program(MARK), world.lease(0, 1)
    # Addresses that the nodes themselves know.
    pairs = zip(lease.endpoints, ("127.0.0.2", "127.0.0.3"), strict=True)
    lease = replace(lease, endpoints=tuple(replace(each, address=address) for each, address in pairs))
    with pytest.raises((Died, TransientError)):
        world.ray().start(lease, job)
    launcher = world.ray()
    handle = launcher.start(lease, job)
    until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
    assert launcher.poll(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert (world.checkpoints / "starts").read_text() == "x"


def test_the_key_of_our_clusters_is_ours_alone_and_stays(world: Clusters) -> None:
    key = world.folder / "state" / KEY
    found = set()
    for token in ("a", "b"):
        job = replace(world.program(MARK, env=(("PATH", "/usr/bin:/bin"),)), token=token)
        with pytest.raises(ProviderError, match="no ray"):
            world.ray(here=True).start(world.here(), job)
        found.add(key.read_bytes())
    assert key.stat().st_mode & 0o777 == 0o600
    assert [len(each) for each in found] == [32]
    assert [path.name for path in key.parent.glob(".*")] == [KEY]


def test_a_first_node_that_is_slow_to_start_is_started_again_and_the_others_wait_for_it(world: Clusters) -> None:
    (world.folder / "fails").write_text("2")
    env = (("PATH", world.path), ("FAILS", str(world.folder / "fails")))
    handle = world.ray(here=True).start(world.here(2), world.program(MARK, env=env))
    assert world.over(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert (world.checkpoints / "starts").read_text() == "x"


def test_a_cluster_that_cannot_be_started_loses_the_job_and_says_why(world: Clusters) -> None:
    (world.folder / "fails").write_text("9")
    env = (("PATH", world.path), ("FAILS", str(world.folder / "fails")))
    handle = world.ray(here=True).start(world.here(), world.program(MARK, env=env))
    assert world.over(handle).state is JobState.LOST
    log = b"".join(world.ray(here=True).logs(handle, since=0)).decode()
    assert "isoflop: ray start failed on the first node:" in log
    assert "timed out during startup" in log
    assert not (world.checkpoints / "starts").exists()


def test_a_port_that_is_somebody_elses_loses_the_job_and_is_said(world: Clusters) -> None:
    port = 20000 + zlib.crc32(b"t-1") % 12000  # where nodes find the first one
    with socket.create_server(("127.0.0.1", port)):
        handle = world.ray(here=True).start(world.here(2), world.program(MARK))
        assert world.over(handle).state is JobState.LOST
    assert b"Address already in use" in b"".join(world.ray(here=True).logs(handle, since=0))


def test_a_first_node_that_does_not_know_its_own_name_loses_the_job_and_says_so(world: Clusters) -> None:
    handle = world.ray().start(world.lease(0, 1), world.program(MARK))
    launcher = world.ray()
    until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
    assert launcher.poll(handle).state is JobState.LOST
    assert b"isoflop: [Errno" in b"".join(launcher.logs(handle, since=0))


def test_what_a_killed_part_leaves_behind_is_ended(world: Clusters) -> None:
    beat = world.folder / "beat"
    code = f"import time\nwhile True: open({str(beat)!r}, 'a').write('x'); time.sleep(0.02)"
    handle = world.ray(here=True).start(world.here(), world.program(code))
    until(beat.exists)
    ranks = supervisor.read(world.root(0) / "jobs" / "t-1.0" / "ranks.json") or {}
    os.kill(ranks["ranks"][0]["pid"], signal.SIGKILL)
    assert world.over(handle).exit_code == -9
    size = beat.stat().st_size
    time.sleep(0.2)
    assert beat.stat().st_size == size
    assert not (world.root(0) / "jobs" / "t-1.0" / "ray").exists()


def test_a_program_is_asked_to_end_though_ray_no_longer_answers(world: Clusters) -> None:
    launcher = world.ray(here=True)
    handle = launcher.start(world.here(), world.program(SLEEPS))
    until(lambda: b"up" in b"".join(launcher.logs(handle, since=0)))
    session = supervisor.read(world.root(0) / "jobs" / "t-1.0" / "session.json") or {}
    os.kill(session["leader"]["pid"], signal.SIGSTOP)
    launcher.stop(handle, grace_s=30.0)
    assert world.over(handle).exit_code == -15


def test_settings_of_ray_in_the_jobs_env_reach_it_and_those_of_another_ray_do_not(
    world: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    env = (("PATH", world.path), ("RAY_health_check_period_ms", "500"))
    names = ("RAY_ADDRESS", "RAY_health_check_period_ms", "RAY_AUTH_MODE")
    launcher = world.ray(here=True)
    code = f"import os; print(*[os.environ.get(name, '-') for name in {names!r}])"
    handle = launcher.start(world.here(), world.program(code, env=env))
    assert world.over(handle).exit_code == 0
    assert b"".join(launcher.logs(handle, since=0)) == b"- 500 token\n"
