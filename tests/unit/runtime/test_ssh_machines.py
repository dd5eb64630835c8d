"""The launcher for machines on bad days: machines are folders here, reached by a shell that can be made to fail."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.job import JobState, JobStatus
from orchestrator.domain.lease import Endpoint
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.ssh import agent, files, ray_api, ray_gang, ray_part
from orchestrator.runtime.launchers.ssh.book import PIECE_BYTES, Output, Page
from orchestrator.testing.builders import lease as a_lease
from orchestrator.testing.launcher_contract import until
from tests.e2e.machines import resolve
from tests.unit.runtime.ssh_world import MARK, World

TOOLS = ("cat", "env", "mkdir", "mv", "sh", "wc")
PODMAN = """\
#!{python}
import json, os, subprocess, sys
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "said"), "a") as said:
    said.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run":
    at = sys.argv.index("ghcr.io/me/train:1")
    os.execvp(sys.argv[at + 1], sys.argv[at + 1:])
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("verb", ["prepare", "put", "lay", "start"])
def test_a_connection_that_is_lost_during_a_start_starts_once(world: World, verb: str, fault: str) -> None:
    (world.work / "data").write_bytes(b"d" * 1000)
    left = [3]  # pieces are tried three times

    def lose(_address: str, called: str) -> str:
        if called == verb and left[0]:
            left[0] -= 1
            return fault
        return ""

    world.machines.lose = lose
    job, lease = world.job(MARK), world.lease(0)
    for _ in range(4):
        try:
            handle = world.launcher().start(lease, job)
            break
        except TransientError:
            continue
    assert left[0] < 3
    assert world.ended(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert (world.checkpoints / "starts").read_text() == "x"


def test_a_machine_that_does_not_answer_is_no_lost_job_and_the_job_runs_on(world: World) -> None:
    gate = world.folder / "gate"
    code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('through')"
    launcher = world.launcher()
    handle = launcher.start(world.lease(0), world.job(code))
    world.machines.down.add("m0")
    for call in (lambda: launcher.poll(handle), lambda: launcher.stop(handle, grace_s=0.0)):
        with pytest.raises(TransientError, match="m0 does not answer"):
            call()
    assert world.log(handle) == b""
    gate.touch()
    world.machines.down.clear()
    assert world.ended(handle).exit_code == 0
    world.machines.down.add("m0")  # given back: what was known stays known
    assert world.log(handle) == b"through\n"
    assert world.launcher().poll(handle).exit_code == 0


def test_a_machine_that_was_wiped_or_booted_anew_has_lost_the_job(world: World) -> None:
    launcher = world.launcher()
    handle = launcher.start(world.lease(0), world.job("import time; time.sleep(600)"))
    job = world.root(0) / "jobs" / "t-1.0"
    (rank,) = (supervisor.read(job / "ranks.json") or {})["ranks"]
    shutil.rmtree(world.root(0))
    assert launcher.poll(handle).state is JobState.LOST
    os.killpg(rank["pid"], signal.SIGKILL)


def test_without_python_it_is_said_that_python_is_missing(world: World) -> None:
    bare = world.folder / "bin"
    bare.mkdir()
    for tool in TOOLS:
        (bare / tool).symlink_to(shutil.which(tool) or tool)
    world.machines.path = str(bare)
    with pytest.raises(ProviderError, match=r"m0 has no Python 3\.6 or newer") as refused:
        world.launcher().start(world.lease(0), world.job(MARK))
    assert not isinstance(refused.value, TransientError)


def test_a_folder_that_cannot_be_made_yet_is_tried_again(world: World) -> None:
    world.root(0).write_text("in the way")
    with pytest.raises(TransientError):
        world.launcher().start(world.lease(0), world.job(MARK))
    world.root(0).unlink()
    assert world.ended(world.launcher().start(world.lease(0), world.job(MARK))).exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which takes root")
def test_a_full_disk_is_named_and_a_job_that_fills_it_is_seen_to_end(world: World) -> None:
    world.root(0).mkdir()
    mounted = LocalShell("local").run(("mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(world.root(0))))
    if not mounted.ok:
        assert not os.environ.get("CI"), mounted.trouble
        pytest.skip(f"no small disk can be mounted here: {mounted.trouble}")
    try:
        (world.work / "large").write_bytes(os.urandom(2_000_000))
        with pytest.raises(ProviderError, match="the disk of m0 is full"):
            world.launcher().start(world.lease(0), world.job(MARK))
        (world.work / "large").unlink()
        shutil.rmtree(world.root(0) / "incoming")
        fill = "import time\nopen('fill', 'wb', 0)\ntry:\n  while True: open('fill', 'ab', 0).write(bytes(4096))\n"
        code = fill + "except OSError: time.sleep(600)"
        handle = world.launcher().start(world.lease(0), world.job(code, attempt=2))
        until((world.root(0) / "workdir" / "run-1" / "fill").exists)
        time.sleep(0.5)
        world.launcher().stop(handle, grace_s=60.0)
        assert world.ended(handle).exit_code == -15
    finally:
        LocalShell("local").run(("umount", "-l", str(world.root(0))))


def test_a_gang_starts_on_all_machines_or_on_none_and_the_same_token_begins_again(world: World) -> None:
    beat = (
        "import os, time\nwhile True: open(os.environ['BEATS'] + os.environ['RANK'], 'a').write('x'); time.sleep(0.02)"
    )
    job, lease = world.job(beat, env=(("BEATS", str(world.folder / "beat")),)), world.lease(0, 1)
    world.machines.lose = lambda address, verb: "before" if (address, verb) == ("m1", "start") else ""
    with pytest.raises(TransientError, match="m1"):
        world.launcher().start(lease, job)
    first = world.folder / "beat0"
    size = first.stat().st_size if first.exists() else 0
    time.sleep(0.2)
    assert (first.stat().st_size if first.exists() else 0) == size
    world.machines.lose = lambda _address, _verb: ""
    launcher = world.launcher()
    handle = launcher.start(lease, job)
    until(lambda: (world.folder / "beat1").exists() and first.exists() and first.stat().st_size > size)
    launcher.stop(handle, grace_s=0.0)
    assert world.ended(handle).exit_code in {-9, -15}


def test_a_gang_that_loses_a_machine_is_ended_and_lost(world: World) -> None:
    launcher = world.launcher()
    handle = launcher.start(world.lease(0, 1), world.job("import time; time.sleep(600)"))
    job = world.root(1) / "jobs" / "t-1.1"
    ranks = (supervisor.read(job / "ranks.json") or {})["ranks"]
    watcher = (supervisor.read(job / "started.json") or {})["supervisor"]
    os.kill(watcher["pid"], signal.SIGKILL)
    os.killpg(ranks[0]["pid"], signal.SIGKILL)
    until(lambda: launcher.poll(handle).state is JobState.LOST)
    other = world.root(0) / "jobs" / "t-1.0"
    until((other / "exit.json").exists)


def test_torchrun_and_others_find_each_other(world: World) -> None:
    names = ("RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_RANK", "PET_NNODES", "PET_NODE_RANK", "PET_NPROC_PER_NODE")
    code = f"import os; print(*(os.environ[name] for name in {names!r}))"
    lease = world.lease(0, 1)
    lease = replace(lease, offer=replace(lease.offer, gpus=4.0))
    handle = world.launcher().start(lease, world.job(code))
    assert world.ended(handle).exit_code == 0
    assert sorted(world.log(handle).splitlines()) == [b"0 0 2 0 2 0 4", b"1 1 2 0 2 1 4"]


def test_an_image_runs_in_a_container_that_is_told_names_and_no_values(world: World) -> None:
    tools = world.folder / "bin"
    tools.mkdir()
    (tools / "podman").write_text(PODMAN.format(python=sys.executable))
    (tools / "podman").chmod(0o755)
    world.machines.path = f"{tools}:{world.machines.path}"
    code = "import os; print(os.environ['TOKEN'] and 'inside', os.environ['RANK'])"
    job = world.job(code, image="ghcr.io/me/train:1", secrets=(("TOKEN", "env:CANARY"),))
    handle = world.launcher().start(world.lease(0), job)
    assert world.ended(handle).exit_code == 0
    assert world.log(handle) == b"inside 0\n"
    said = (tools / "said").read_text()
    assert '"--env", "TOKEN"' in said
    assert '"--env", "ISOFLOP_CHECKPOINT_DIR"' in said
    assert '["rm", "--force", "isoflop-t-1-0"]' in said
    assert resolve("env:CANARY").reveal() not in said


def test_an_image_where_no_container_runs_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = world.folder / "bin"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    (tools / "python3").symlink_to(os.path.realpath(sys.executable))
    world.machines.path = str(tools)
    with pytest.raises(ProviderError, match="none of podman, docker, apptainer"):
        world.launcher().start(world.lease(0), world.job(MARK, image="ghcr.io/me/train:1"))


def test_a_lease_of_other_machines_is_refused(world: World) -> None:
    endpoint = Endpoint(launcher="process", path=str(world.root(0)))
    with pytest.raises(ProviderError, match="not 1 machines reached over SSH"):
        world.launcher().start(a_lease(endpoints=(endpoint,)), world.job(MARK))


def test_a_folder_is_below_the_home_where_the_lease_names_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    endpoint = Endpoint(launcher="ssh", address="m0")
    handle = world.launcher().start(a_lease(endpoints=(endpoint,)), world.job(MARK))
    assert world.ended(handle).exit_code == 0
    assert (world.folder / ".isoflop" / "lease" / "jobs" / "t-1.0").is_dir()


def test_output_of_several_nodes_keeps_lines_whole_and_survives_a_crash(tmp_path: Path) -> None:
    output = Output(tmp_path, 2)
    assert output.add([0, 0], [b"a1\na", b"b1\nb"], [False, False]) == 6
    assert output.offsets() == [3, 3]
    with (tmp_path / "output.log").open("ab") as log:
        log.write(b"written, and not written down")
    assert output.add([3, 3], [b"a2\n", b"b2"], [False, True]) == 5
    assert output.add([3, 3], [b"again\n", b""], [False, True]) == 0  # asked for at an offset that is past
    assert output.read(0, 100) == b"a1\nb1\na2\nb2"
    long = b"x" * PIECE_BYTES
    assert output.add(output.offsets(), [long, b""], [False, True]) == len(long)


def test_what_is_kept_of_a_job_reads_back_with_its_jump(world: World) -> None:
    hop = Endpoint(launcher="ssh", address="gate", user="me")
    endpoint = Endpoint(launcher="ssh", address="m0", path=str(world.root(0)), env=(("A", "b"),), jump=hop)
    world.launcher().start(a_lease(endpoints=(endpoint,)), world.job(MARK))
    placed = Page(world.folder / "state" / "t-1").placed()
    assert placed is not None
    assert placed.nodes == (endpoint,)


@pytest.mark.parametrize("module", [supervisor, agent, files, ray_part, ray_api, ray_gang])
def test_what_runs_on_machines_is_written_in_python_3_6(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    source = path.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import annotations" not in source


def old_pythons() -> list[str]:
    """Interpreters of other ages that this machine happens to have."""
    kept = Path.home() / ".pyenv" / "versions"
    return [str(each) for version in ("3.6", "3.7", "3.13") for each in sorted(kept.glob(f"{version}.*/bin"))]


@pytest.mark.parametrize("folder", old_pythons())
def test_it_runs_on_pythons_of_all_ages(world: World, folder: str) -> None:
    world.machines.path = f"{folder}:{world.machines.path}"
    (world.work / "ä").write_text("data")
    handle = world.launcher().start(world.lease(0, 1), world.job(MARK + "; print('out'); raise SystemExit(3)"))
    assert world.ended(handle).exit_code == 3
    assert (world.checkpoints / "starts").read_text() == "x"
    found = {str(path.resolve().parent) for path in world.root(0).rglob(".isoflop/*/python")}
    assert found
    assert all(Path(place.read_text().strip()).parent == Path(folder) for place in world.root(0).rglob("python"))
