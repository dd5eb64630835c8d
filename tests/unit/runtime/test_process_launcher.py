"""The process launcher where processes die that nobody asked to."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import MissingCredentials, ProviderError, TransientError, UserError
from orchestrator.domain.job import Handle, Job, JobState
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.domain.workload import Program
from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.process import ProcessLauncher
from orchestrator.testing.builders import lease
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import python, until

SLEEP = "import time; print('up'); time.sleep(600)"


def no_secret(reference: str) -> Secret:
    raise MissingCredentials(reference)


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "lease").mkdir()

    def launcher(self) -> ProcessLauncher:
        environ = {**os.environ, "AWS_SECRET_ACCESS_KEY": "ours alone"}
        return ProcessLauncher(secret=no_secret, clock=FakeClock(), folder=self.folder / "state", environ=environ)

    def lease(self, **changes: object) -> Lease:
        endpoints = (Endpoint(launcher="process", path=str(self.folder / "lease")),)
        return lease(endpoints=endpoints, **changes)

    def job(self, program: Program) -> Job:
        checkpoints = str(self.folder / "checkpoints")
        return Job(run_id="run-1", attempt=1, token="run-1-1", program=program, checkpoint_dir=checkpoints)

    def start(self, code: str) -> tuple[ProcessLauncher, Handle]:
        launcher = self.launcher()
        return launcher, launcher.start(self.lease(), self.job(python(code)))

    def read(self, name: str) -> dict[str, object]:
        found = supervisor.read(self.folder / "state" / "run-1-1" / name)
        assert found is not None
        return found

    def log(self, handle: Handle) -> str:
        return b"".join(self.launcher().logs(handle, since=0)).decode()

    def kill_supervisor(self) -> None:
        os.kill(self.read("started.json")["supervisor"]["pid"], signal.SIGKILL)  # type: ignore[index]
        who = self.read("started.json")["supervisor"]
        until(lambda: not supervisor.alive(who))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def until_up(site: Site, handle: Handle) -> None:
    until(lambda: "up" in site.log(handle))


def test_a_job_without_its_supervisor_still_runs_and_can_still_be_stopped(site: Site) -> None:
    launcher, handle = site.start(SLEEP)
    until_up(site, handle)
    site.kill_supervisor()
    assert launcher.poll(handle).state is JobState.RUNNING
    launcher.stop(handle, grace_s=30.0)
    until(lambda: launcher.poll(handle).state is JobState.LOST)


def test_a_job_without_its_supervisor_is_stopped_firmly_by_whoever_looks(site: Site) -> None:
    launcher, handle = site.start(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}")
    until_up(site, handle)
    site.kill_supervisor()
    launcher.stop(handle, grace_s=0.1)
    until(lambda: site.launcher().poll(handle).state is JobState.LOST)


def test_a_supervisor_that_is_asked_to_end_ends_the_job_first(site: Site) -> None:
    launcher, handle = site.start(SLEEP)
    until_up(site, handle)
    os.kill(site.read("started.json")["supervisor"]["pid"], signal.SIGTERM)  # type: ignore[index]
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert launcher.poll(handle).exit_code == -15


def test_a_start_that_crashed_before_the_supervisor_did_anything_is_made_again(site: Site) -> None:
    folder = site.folder / "state" / "run-1-1"
    folder.mkdir(parents=True)
    supervisor.write(folder / "job.json", {"command": ["false"], "nodes": 1})
    launcher, handle = site.start("print('ran')")
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert launcher.poll(handle).exit_code == 0
    assert site.log(handle) == "ran\n"


def test_a_start_whose_supervisor_died_after_its_claim_is_lost_and_not_doubled(site: Site) -> None:
    folder = site.folder / "state" / "run-1-1"
    folder.mkdir(parents=True)
    dead = {"pid": 2**22 + 1, "start": 1, "boot": supervisor.boot_id()}
    assert supervisor.claim(folder / "started.json", {"supervisor": dead, "started_at": "2026-01-01T00:00:00+00:00"})
    launcher, handle = site.start("print('ran twice')")
    assert launcher.poll(handle).state is JobState.LOST
    assert site.log(handle) == ""


def test_a_number_that_another_process_has_now_is_not_taken_for_the_job(site: Site) -> None:
    _, handle = site.start("pass")
    until(lambda: site.launcher().poll(handle).state is JobState.EXITED)
    folder = site.folder / "state" / "run-1-1"
    (folder / "exit.json").unlink()
    me = supervisor.identity(os.getpid())
    assert me is not None
    record = {**site.read("started.json"), "supervisor": {**me, "start": int(me["start"]) + 1}}
    supervisor.write(folder / "started.json", record)
    supervisor.write(folder / "ranks.json", {"ranks": [{**me, "boot": "another boot"}]})
    launcher = site.launcher()
    assert launcher.poll(handle).state is JobState.LOST
    launcher.stop(handle, grace_s=0.0)  # and we live on


def test_a_zombie_does_not_run(site: Site) -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert supervisor.identity(child) is None
    finally:
        os.waitpid(child, 0)


def test_what_a_job_leaves_running_in_its_group_is_ended_with_it(site: Site) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid)"
    launcher, handle = site.start(code)
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    left = int(site.log(handle))
    until(lambda: supervisor.identity(left) is None)
    assert launcher.poll(handle).exit_code == 0


def test_our_own_credentials_are_not_the_jobs(site: Site) -> None:
    launcher, handle = site.start("import os; print(os.environ.get('AWS_SECRET_ACCESS_KEY'), 'PATH' in os.environ)")
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert site.log(handle) == "None True\n"


def test_a_job_sees_which_devices_are_its_leases(site: Site) -> None:
    endpoint = Endpoint(launcher="process", path=str(site.folder / "lease"), env=(("CUDA_VISIBLE_DEVICES", "3"),))
    launcher = site.launcher()
    program = replace(
        python("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"), env=(("CUDA_VISIBLE_DEVICES", "0"),)
    )
    handle = launcher.start(lease(endpoints=(endpoint,)), site.job(program))
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert site.log(handle) == "3\n"


def test_a_job_without_a_workdir_runs_in_the_leases_folder(site: Site) -> None:
    launcher, handle = site.start("import os; print(os.getcwd())")
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert site.log(handle) == f"{site.folder / 'lease'}\n"


def test_a_symlink_loop_as_workdir_is_the_users_to_mend(site: Site) -> None:
    loop = site.folder / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="symbolic links"):
        site.launcher().start(site.lease(), site.job(replace(python("pass"), workdir=str(loop))))


def test_a_file_as_workdir_is_the_users_to_mend(site: Site) -> None:
    (site.folder / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        site.launcher().start(site.lease(), site.job(replace(python("pass"), workdir=str(site.folder / "file"))))


def test_a_program_without_a_command_is_the_users_to_mend(site: Site) -> None:
    with pytest.raises(UserError, match="no command"):
        site.launcher().start(site.lease(), site.job(Program(command=())))


def test_a_program_that_may_not_be_run_ends_as_in_a_shell(site: Site) -> None:
    script = site.folder / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o600)
    launcher = site.launcher()
    handle = launcher.start(site.lease(), site.job(Program(command=(str(script),))))
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
    assert launcher.poll(handle).exit_code == 126


def test_a_lease_of_other_machines_is_refused(site: Site) -> None:
    for endpoints in ((), (Endpoint(launcher="ssh"),)):
        with pytest.raises(ProviderError, match="not 1 nodes of this machine"):
            site.launcher().start(lease(endpoints=endpoints), site.job(python("pass")))


def test_a_lease_whose_folder_is_gone_is_the_machines_fault(site: Site) -> None:
    gone = lease(endpoints=(Endpoint(launcher="process", path="/nonexistent"),))
    with pytest.raises(ProviderError, match="folder of lease"):
        site.launcher().start(gone, site.job(python("pass")))


def test_a_machine_that_cannot_write_is_tried_again_later(site: Site) -> None:
    (site.folder / "state").touch()  # a file in the place of the launcher's folder
    with pytest.raises(TransientError, match="cannot start the job"):
        site.launcher().start(site.lease(), site.job(python("pass")))


def test_a_token_that_is_no_name_of_a_folder_is_a_bug(site: Site) -> None:
    with pytest.raises(ValueError, match="job token"):
        site.launcher().start(site.lease(), replace(site.job(python("pass")), token="../elsewhere"))


def test_nothing_that_a_job_prints_is_held_back_by_its_interpreter(site: Site) -> None:
    launcher, handle = site.start(SLEEP)
    until_up(site, handle)
    launcher.stop(handle, grace_s=0.0)
    until(lambda: launcher.poll(handle).state is JobState.EXITED)


def test_the_arguments_of_no_process_hold_the_jobs_environment(site: Site) -> None:
    launcher = site.launcher()
    handle = launcher.start(site.lease(), site.job(replace(python(SLEEP), env=(("WORD", "opensesame"),))))
    until_up(site, handle)
    pid = site.read("started.json")["supervisor"]["pid"]  # type: ignore[index]
    assert b"opensesame" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "opensesame" not in json.dumps([site.read(name) for name in ("job.json", "started.json", "ranks.json")])
    launcher.stop(handle, grace_s=0.0)
    until(lambda: launcher.poll(handle).state is JobState.EXITED)
