"""What travels to machines and back: work directories, checkpoints, and what must not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError, UserError
from orchestrator.domain.job import JobState, JobStatus
from orchestrator.domain.workload import Checkpointing
from orchestrator.runtime.launchers.ssh import files, ignore
from orchestrator.runtime.launchers.ssh import launcher as launching
from orchestrator.testing.launcher_contract import until
from tests.unit.runtime.ssh_world import MARK, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_string_of_a_user_arrives_as_it_is(world: World) -> None:
    words = ["a b", "'", '"$HOME`id`"', "x\ny", "ä😀", "!", "", "-n", "\\"]
    odd = os.fsdecode(b"no utf-8 \xff'\n\"$")
    (world.work / odd).write_text("odd")
    code = "import os, sys; print(sys.argv[1:], os.environ['ODD']); print(os.listdir('.'))"
    handle = world.launcher().start(world.lease(0), world.job(code, *words, env=(("ODD", "a\n'b \"$(id)"),)))
    assert world.ended(handle).exit_code == 0
    expected = f"{words} {'a'}\n'b \"$(id)\n{[odd]}\n"
    assert world.log(handle).decode() == expected


def test_the_work_directory_goes_along_and_again_only_what_changed(world: World) -> None:
    (world.work / "run.sh").write_text("#!/bin/sh\ncat sub/data | wc -c\nls -A\n")
    (world.work / "run.sh").chmod(0o755)
    (world.work / "sub").mkdir()
    (world.work / "sub" / "data").write_bytes(os.urandom(5_000_000))
    (world.work / "link").symlink_to("sub/data")
    (world.work / "outside").symlink_to("/etc/passwd")
    for left_out in (".git", "big"):
        (world.work / left_out).mkdir()
        (world.work / left_out / "x").write_text("x")
    (world.work / ".isoflopignore").write_text("# large\nbig/\n*.tmp\n")
    (world.work / "a.tmp").write_text("")
    handle = world.launcher().start(world.lease(0), world.job("", command=("./run.sh",)))
    assert world.ended(handle).exit_code == 0
    assert world.log(handle).split() == [b"5000000", b".isoflopignore", b"link", b"run.sh", b"sub"]
    assert sum(size for _, verb, size in world.machines.sent if verb == "put") > 5_000_000
    world.machines.sent.clear()
    (world.work / "run.sh").write_text("#!/bin/sh\necho second\n")
    handle = world.launcher().start(world.lease(0), world.job("", command=("./run.sh",), attempt=2))
    assert world.ended(handle).exit_code == 0
    assert world.log(handle) == b"second\n"
    assert sum(size for _, verb, size in world.machines.sent if verb == "put") < 1000


def test_a_large_file_goes_on_where_a_lost_connection_left_it(world: World) -> None:
    (world.work / "large").write_bytes(os.urandom(3 * files.PIECE_BYTES))
    puts = [0]

    def lose(_address: str, verb: str) -> str:
        puts[0] += verb == "put"
        return "before" if verb == "put" and puts[0] > 2 else ""

    world.machines.lose = lose
    with pytest.raises(TransientError):
        world.launcher().start(world.lease(0), world.job(MARK))
    world.machines.lose = lambda _address, _verb: ""
    world.machines.sent.clear()
    handle = world.launcher().start(world.lease(0), world.job("import os; print(os.path.getsize('large'))"))
    world.ended(handle)
    assert world.log(handle) == f"{3 * files.PIECE_BYTES}\n".encode()
    assert sum(size for _, verb, size in world.machines.sent if verb == "put") < 1.5 * files.PIECE_BYTES


@pytest.mark.parametrize("line", ["!keep", "a/**/b"])
def test_an_ignore_file_with_what_is_not_known_says_the_line(world: World, line: str) -> None:
    (world.work / ignore.FILE).write_text(f"# a comment\n{line}\n")
    with pytest.raises(UserError, match="line 2"):
        world.launcher().start(world.lease(0), world.job(MARK))


def test_checkpoints_follow_the_run_to_the_next_machine(world: World) -> None:
    code = """
import os, pathlib, sys
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
print(sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()))
step = sys.argv[1]
(home / f"step-{step}").mkdir()
(home / f"step-{step}" / "weights").write_bytes(step.encode() * 100)
draft = home / "draft"; draft.symlink_to(f"step-{step}"); os.replace(draft, home / "latest")
"""
    first = world.launcher().start(world.lease(0), world.job(code, "1"))
    world.ended(first)
    assert os.readlink(world.checkpoints / "latest") == "step-1"
    second = world.launcher().start(world.lease(1), world.job(code, "2", attempt=2))
    world.ended(second)
    assert world.log(second) == b"['latest/weights', 'step-1/weights']\n" or b"step-1/weights" in world.log(second)
    # Back on the first machine, whose folder knows nothing of the second's.
    (world.root(0) / "checkpoints" / "run-1" / "stale").write_text("of another history")
    third = world.launcher().start(world.lease(0), world.job(code, "3", attempt=3))
    world.ended(third)
    assert b"stale" not in world.log(third)
    assert b"step-2/weights" in world.log(third)
    assert os.readlink(world.checkpoints / "latest") == "step-3"


def test_checkpoints_come_home_while_the_job_runs_and_what_it_removes_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "PULL_AT_LEAST_S", 0.05)
    gate = world.folder / "gate"
    code = f"""
import os, pathlib, time
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
(home / "one").write_text("1")
while not os.path.exists({str(gate)!r}): time.sleep(0.01)
(home / "two").write_text("2"); (home / "one").unlink()
time.sleep(600)
"""
    launcher = world.launcher()
    handle = launcher.start(world.lease(0), world.job(code, checkpoint=Checkpointing(interval_s=0.2)))

    def home() -> list[str]:
        assert launcher.poll(handle).state is JobState.RUNNING
        return sorted(path.name for path in world.checkpoints.iterdir())

    until(lambda: home() == ["one"])
    gate.touch()
    until(lambda: home() == ["two"])
    launcher.stop(handle, grace_s=0.0)
    assert world.ended(handle).exit_code in {-9, -15}


def test_a_job_has_ended_when_its_checkpoints_are_home_or_waited_for_long_enough(world: World) -> None:
    handle = world.launcher().start(world.lease(0), world.job(MARK))
    world.machines.lose = lambda _address, verb: "before" if verb == "tree" else ""
    launcher = world.launcher()
    job = world.root(0) / "jobs" / "t-1.0"
    until((job / "exit.json").exists)
    assert launcher.poll(handle) == JobStatus(state=JobState.RUNNING, carrying=True)
    world.clock.sleep((launching.HOME_WITHIN + timedelta(seconds=1)).total_seconds())
    assert launcher.poll(handle) == JobStatus(state=JobState.EXITED, exit_code=0)
    assert list(world.checkpoints.iterdir()) == []


def test_a_machine_cannot_write_outside_of_the_checkpoints(world: World) -> None:
    code = """
import os, pathlib
home = pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"])
(home / "good").write_text("good")
(home / "passwd").symlink_to("/etc/passwd")
(home / "up").symlink_to("../../..")
os.mkfifo(home / "pipe")
"""
    handle = world.launcher().start(world.lease(0), world.job(code))
    assert world.ended(handle).exit_code == 0
    assert [path.name for path in world.checkpoints.iterdir()] == ["good"]


def test_a_machine_that_is_kept_forgets_runs_that_ended_long_ago(world: World) -> None:
    for attempt, run in ((1, "old"), (2, "young"), (3, "again"), (4, "again")):
        job = replace(world.job(MARK, attempt=attempt), run_id=run)
        world.ended(world.launcher().start(world.lease(0), job))
    for attempt in (1, 3):
        os.utime(world.root(0) / "jobs" / f"t-{attempt}.0" / "exit.json", (0, 0))
    world.ended(world.launcher().start(world.lease(0), replace(world.job(MARK, attempt=5), run_id="next")))
    assert {path.name for path in (world.root(0) / "jobs").iterdir()} == {f"t-{n}.0" for n in (2, 3, 4, 5)}
    for folder in ("workdir", "checkpoints"):
        assert {path.name for path in (world.root(0) / folder).iterdir()} == {"young", "again", "next"}


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"])
def test_paths_that_lead_outside_of_a_tree_are_refused(path: str) -> None:
    with pytest.raises(files.Unsafe):
        files.inside(path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "sub").symlink_to(tmp_path)
    entry = {"path": "sub/evil", "mode": 0o644, "size": 0, "sha": "e" * 64}
    with pytest.raises(files.Unsafe):
        files.lay(str(tmp_path / "tree"), str(tmp_path / "incoming"), [entry], False)


def test_a_content_that_came_in_damaged_is_thrown_away(tmp_path: Path) -> None:
    incoming, entry = str(tmp_path / "in"), {"path": "a", "mode": 0o644, "size": 3, "sha": "e" * 64}
    files.receive(incoming, "e" * 64, 0, b"abc")
    assert files.lay(str(tmp_path / "tree"), incoming, [entry], False) == ["e" * 64]
    assert not (tmp_path / "tree").exists()
    assert files.missing(str(tmp_path / "tree"), incoming, [entry]) == {"e" * 64: 0}


@pytest.mark.parametrize("taken", [("",), ("jobs", "checkpoints")])
def test_checkpoints_that_are_home_stay_when_the_folder_of_the_lease_is_taken_away(
    world: World, monkeypatch: pytest.MonkeyPatch, taken: tuple[str, ...]
) -> None:
    monkeypatch.setattr(launching, "PULL_AT_LEAST_S", 0.05)
    launcher = world.launcher()
    job = world.job(f"{MARK}; import time; time.sleep(600)", checkpoint=Checkpointing(interval_s=0.2))
    handle = launcher.start(world.lease(0), job)
    saved = world.checkpoints / "starts"
    until(lambda: launcher.poll(handle).state is JobState.RUNNING and saved.exists())
    launcher.stop(handle, grace_s=0.0)
    until((world.root(0) / "jobs" / "t-1.0" / "exit.json").exists)

    left = list(taken)

    def lose(_address: str, verb: str) -> str:
        if verb == "tree":  # as the lease is given back in the middle
            while left:
                shutil.rmtree(world.root(0) / left.pop())
        return ""

    world.machines.lose = lose
    states = []
    until(lambda: states.append(launcher.poll(handle).state) or states[-1] is not JobState.RUNNING)  # type: ignore[func-returns-value]
    assert saved.read_text() == "x"
    shutil.rmtree(world.root(0), ignore_errors=True)
    assert launcher.poll(handle).state is JobState.LOST
    assert world.log(handle) == b""
    launcher.stop(handle, grace_s=0.0)
    assert not world.root(0).exists()  # nothing of ours is left on a machine that is somebody else's by now


def test_an_agent_of_another_version_is_brought_along_while_the_job_runs(world: World) -> None:
    launcher = world.launcher()
    handle = launcher.start(world.lease(0), world.job("import time; time.sleep(600)"))
    (agent,) = world.root(0).glob(".isoflop/agent-*")
    agent.rename(agent.with_name("agent-old"))
    assert launcher.poll(handle).state is JobState.RUNNING
    launcher.stop(handle, grace_s=0.0)
    assert world.ended(handle).exit_code in {-9, -15}
