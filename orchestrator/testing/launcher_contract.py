"""What every launcher promises, as tests: subclass LauncherContract and supply one fixture."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Launcher
from orchestrator.domain.errors import UserError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Program

PATIENCE_S = 30.0
CANARY = "canary-4be1a7c0"  # the value of every secret that `Site.launcher` can resolve


class Site:
    """Machines of one lease, and a way to them."""

    def launcher(self) -> Launcher:
        """A *new* launcher object over the same site, as another process would have it.

        Its context resolves the reference `env:CANARY` to CANARY, and no other.
        """
        raise NotImplementedError

    def lease(self, nodes: int = 1) -> Lease:
        """A lease of `nodes` nodes, READY."""
        raise NotImplementedError

    def checkpoints(self) -> Path:
        """A folder that jobs can write and this test can read."""
        raise NotImplementedError

    def checkpoints_of_job(self) -> str:
        """The folder of checkpoints as the job has it, which is another one where its machine is another."""
        return str(self.checkpoints())

    def files_of_ours(self) -> list[Path]:
        """Every file that the launcher has written."""
        raise NotImplementedError


class LauncherContract:
    """Subclass it as `TestXLauncher` with a fixture `site`; every promise of the Launcher protocol is one test."""

    @pytest.fixture
    def site(self) -> Site:
        """The subclass's own: a fresh site."""
        raise NotImplementedError

    def test_a_job_that_ends_well_exits_with_0(self, site: Site) -> None:
        launcher, handle = start(site, python("pass"))
        assert ended(launcher, handle) == JobStatus(state=JobState.EXITED, exit_code=0)

    def test_the_exit_code_is_the_programs(self, site: Site) -> None:
        launcher, handle = start(site, python("raise SystemExit(3)"))
        assert ended(launcher, handle).exit_code == 3

    def test_a_job_ended_by_a_signal_says_which(self, site: Site) -> None:
        launcher, handle = start(site, python("import os; os.kill(os.getpid(), 9)"))
        assert ended(launcher, handle).exit_code == -9

    def test_output_and_errors_are_in_the_log_from_any_byte_on(self, site: Site) -> None:
        launcher, handle = start(site, python("import sys; print('out'); print('err', file=sys.stderr)"))
        ended(launcher, handle)
        assert b"".join(launcher.logs(handle, since=0)) == b"out\nerr\n"
        assert b"".join(site.launcher().logs(handle, since=4)) == b"err\n"
        assert b"".join(launcher.logs(handle, since=8)) == b""
        assert b"".join(launcher.logs(handle, since=1000)) == b""

    def test_logs_stay_after_the_end_and_may_be_binary(self, site: Site) -> None:
        code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096)"
        launcher, handle = start(site, python(code))
        ended(launcher, handle)
        assert b"".join(launcher.logs(handle, since=0)) == bytes(range(256)) * 4096

    def test_a_start_with_the_same_token_starts_nothing(self, site: Site) -> None:
        marks = site.checkpoints() / "marks"
        program = python(f"open({str(marks)!r}, 'a').write('x')")
        lease = site.lease()
        job = a_job(site, program)
        first = site.launcher().start(lease, job)
        again = site.launcher().start(lease, job)
        ended(site.launcher(), first)
        after = site.launcher().start(lease, job)
        assert first == again == after
        assert marks.read_text() == "x"

    def test_starts_with_one_token_from_many_threads_start_once(self, site: Site) -> None:
        marks = site.checkpoints() / "marks"
        lease, job = site.lease(), a_job(site, python(f"open({str(marks)!r}, 'a').write('x')"))
        with ThreadPoolExecutor(6) as pool:
            handles = set(pool.map(lambda _: site.launcher().start(lease, job), range(6)))
        assert len(handles) == 1
        ended(site.launcher(), handles.pop())
        assert marks.read_text() == "x"

    def test_another_process_can_follow_and_stop_a_job(self, site: Site) -> None:
        _, handle = start(site, python("import time; print('up'); time.sleep(600)"))
        other = site.launcher()
        until(lambda: b"up" in b"".join(other.logs(handle, since=0)))
        assert other.poll(handle).state is JobState.RUNNING
        site.launcher().stop(handle, grace_s=5.0)
        assert ended(other, handle).exit_code == -15

    def test_stop_is_gentle_at_first(self, site: Site) -> None:
        code = """
import signal, sys, time
def save(*_):
    print("saved"); sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("up"); time.sleep(600)
"""
        launcher, handle = running(site, python(code))
        launcher.stop(handle, grace_s=PATIENCE_S)
        assert ended(launcher, handle).exit_code == 143
        assert b"".join(launcher.logs(handle, since=0)) == b"up\nsaved\n"

    def test_stop_is_firm_after_the_grace(self, site: Site) -> None:
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
        launcher, handle = running(site, python(code))
        launcher.stop(handle, grace_s=0.2)
        assert ended(launcher, handle).exit_code == -9

    def test_a_second_stop_may_shorten_the_grace_and_not_lengthen_it(self, site: Site) -> None:
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
        launcher, handle = running(site, python(code))
        launcher.stop(handle, grace_s=600.0)
        launcher.stop(handle, grace_s=0.0)
        launcher.stop(handle, grace_s=600.0)
        assert ended(launcher, handle).exit_code == -9

    def test_stop_reaches_what_the_job_has_started(self, site: Site) -> None:
        mark = site.checkpoints() / "heartbeat"
        child = f"import time\nwhile True: open({str(mark)!r}, 'a').write('x'); time.sleep(0.02)"
        code = f"import subprocess, sys; print('up', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
        launcher, handle = running(site, python(code))
        until(mark.exists)
        launcher.stop(handle, grace_s=0.0)
        ended(launcher, handle)
        size = mark.stat().st_size
        time.sleep(0.2)
        assert mark.stat().st_size == size

    def test_stop_of_a_job_that_has_ended_changes_nothing(self, site: Site) -> None:
        launcher, handle = start(site, python("raise SystemExit(5)"))
        ended(launcher, handle)
        launcher.stop(handle, grace_s=0.0)
        assert launcher.poll(handle).exit_code == 5

    def test_a_job_sees_its_run_attempt_port_and_folders(self, site: Site) -> None:
        ours = ("ISOFLOP_RUN_ID", "ISOFLOP_ATTEMPT", "ISOFLOP_CHECKPOINT_DIR", "RANK", "WORLD_SIZE")
        names = (*ours, "OWN", "ISOFLOP_PORT")
        code = f"import os; print([os.environ[n] for n in {names!r}])"
        program = replace(python(code), env=(("OWN", "value"),), port=8123)
        launcher, handle = start(site, program)
        ended(launcher, handle)
        expected = ["run-1", "1", site.checkpoints_of_job(), "0", "1", "value", "8123"]
        assert b"".join(launcher.logs(handle, since=0)).decode() == f"{expected}\n"

    def test_checkpoints_are_there_for_the_next_attempt(self, site: Site) -> None:
        code = "import os, pathlib; p = pathlib.Path(os.environ['ISOFLOP_CHECKPOINT_DIR'], 'c')\n"
        launcher, handle = start(site, python(code + "p.write_text('step 7')"))
        ended(launcher, handle)
        second = a_job(site, python(code + "print(p.read_text())"), attempt=2)
        handle = launcher.start(site.lease(), second)
        ended(launcher, handle)
        assert b"".join(launcher.logs(handle, since=0)) == b"step 7\n"

    def test_progress_is_the_last_whole_line_that_makes_sense(self, site: Site) -> None:
        lines = ['{"done": 0.25, "detail": "a"}\n', '{"done": 7}\n', "no json\n", '{"done": NaN}\n', '{"done": 0.9']
        code = f"import os; open(os.environ['ISOFLOP_PROGRESS_FILE'], 'w').write({''.join(lines)!r})"
        launcher, handle = start(site, python(code))
        progress = ended(launcher, handle).progress
        assert progress is not None
        assert (progress.done, progress.detail) == (0.25, "a")

    def test_a_secret_reaches_the_job_and_no_file(self, site: Site) -> None:
        code = "import os; value = os.environ['TOKEN']; print(len(value), value[:6])"
        program = replace(python(code), secrets=(("TOKEN", "env:CANARY"),))
        launcher, handle = start(site, program)
        ended(launcher, handle)
        assert b"".join(launcher.logs(handle, since=0)) == f"{len(CANARY)} {CANARY[:6]}\n".encode()
        for file in site.files_of_ours():
            assert CANARY.encode() not in file.read_bytes()

    def test_a_secret_that_resolves_to_nothing_is_the_users_to_mend(self, site: Site) -> None:
        program = replace(python("pass"), secrets=(("TOKEN", "env:NOWHERE"),))
        with pytest.raises(UserError):
            start(site, program)

    def test_a_workdir_that_is_not_there_is_the_users_to_mend(self, site: Site) -> None:
        with pytest.raises(UserError, match="workdir"):
            start(site, replace(python("pass"), workdir="/nonexistent/workdir"))

    def test_a_program_that_is_not_there_ends_as_in_a_shell(self, site: Site) -> None:
        launcher, handle = start(site, Program(command=("no-such-program-here",)))
        assert ended(launcher, handle).exit_code == 127
        assert b"no-such-program-here" in b"".join(launcher.logs(handle, since=0))

    def test_every_node_gets_its_rank(self, site: Site) -> None:
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        program = python(f"import os; print(*[os.environ[n] for n in {names!r}])")
        launcher, lease = site.launcher(), site.lease(nodes=2)
        handle = launcher.start(lease, a_job(site, program))
        assert ended(launcher, handle).exit_code == 0
        first, second = sorted(b"".join(launcher.logs(handle, since=0)).split(b"\n")[:2])
        assert first.split()[:2] == [b"0", b"2"]
        assert second.split()[:2] == [b"1", b"2"]
        assert first.split()[2:] == second.split()[2:]

    def test_a_gang_that_loses_a_member_ends_with_its_exit_code(self, site: Site) -> None:
        code = "import os, sys, time; sys.exit(9) if os.environ['RANK'] == '1' else time.sleep(600)"
        launcher, lease = site.launcher(), site.lease(nodes=2)
        handle = launcher.start(lease, a_job(site, python(code)))
        assert ended(launcher, handle).exit_code == 9

    def test_a_job_nobody_started_is_lost(self, site: Site) -> None:
        launcher, handle = start(site, python("pass"))
        ended(launcher, handle)
        unknown = replace(handle, id="contract-unknown")
        assert launcher.poll(unknown).state is JobState.LOST
        assert list(launcher.logs(unknown, since=0)) == []
        launcher.stop(unknown, grace_s=0.0)


def python(code: str) -> Program:
    """A program that runs `code`."""
    return Program(command=(sys.executable, "-c", code))


def a_job(site: Site, program: Program, attempt: int = 1) -> Job:
    """One attempt at `program`."""
    folder = str(site.checkpoints())
    return Job(run_id="run-1", attempt=attempt, token=f"contract-{attempt}", program=program, checkpoint_dir=folder)


def start(site: Site, program: Program) -> tuple[Launcher, Handle]:
    """Start `program` on one node."""
    launcher = site.launcher()
    return launcher, launcher.start(site.lease(), a_job(site, program))


def running(site: Site, program: Program) -> tuple[Launcher, Handle]:
    """Start `program` and wait until it has printed "up"."""
    launcher, handle = start(site, program)
    until(lambda: b"up" in b"".join(launcher.logs(handle, since=0)))
    return launcher, handle


def ended(launcher: Launcher, handle: Handle) -> JobStatus:
    """How the job ended."""
    until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
    return launcher.poll(handle)


def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail where it does not come to."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
