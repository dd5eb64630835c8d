"""Images in a real podman on machines over real SSH servers: files, output, codes, stops, secrets, and nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ProviderError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.workload import Checkpointing, Program
from orchestrator.runtime.launchers.ssh import agent
from orchestrator.runtime.launchers.ssh.connect import Machines as Shells
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import CANARY, until
from tests.e2e import sshd
from tests.e2e.machines import Machines, resolve
from tests.e2e.podman import IMAGE, Podman


@dataclass
class Site:
    """Two machines with podman, and the launcher."""

    folder: Path
    machines: Machines
    launcher: SshLauncher
    podman: Podman

    @property
    def saved(self) -> Path:
        return self.folder / "saved" / "run-1"

    def job(self, script: str, attempt: int = 1, **fields: object) -> Job:
        program = Program(
            command=("/bin/sh", "-c", script),
            workdir=str(self.folder / "work"),
            image=IMAGE,
            checkpoint=Checkpointing(interval_s=1.0),
        )
        program = replace(program, **fields)  # type: ignore[arg-type]
        return Job(
            run_id="run-1", attempt=attempt, token=f"t-{attempt}", program=program, checkpoint_dir=str(self.saved)
        )

    def start(self, job: Job, number: int = 0) -> Handle:
        lease = replace(self.machines.lease(), endpoints=(self.machines.endpoint(number),))
        return self.launcher.start(lease, job)

    def ended(self, handle: Handle) -> JobStatus:
        until(lambda: self.launcher.poll(handle).state is not JobState.RUNNING)
        return self.launcher.poll(handle)

    def log(self, handle: Handle) -> str:
        return b"".join(self.launcher.logs(handle, since=0)).decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    sshd.needed()
    with ExitStack() as stack:
        podman = stack.enter_context(Podman())
        extra = "SetEnv " + " ".join(f'"{name}={value}"' for name, value in podman.env.items()) + "\n"
        machines = stack.enter_context(Machines(tmp_path, dict.fromkeys(range(2), extra)))
        for number in range(2):
            machines.endpoint(number)
        shells = stack.enter_context(closing(Shells()))
        launcher = SshLauncher(
            secret=resolve, clock=FakeClock(), folder=tmp_path / "state", reach=shells, look_every_s=0.0
        )
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "data ä").write_text("of the work directory\n")
        yield Site(tmp_path, machines, launcher, podman)


def arguments() -> str:
    """Those of every process there is."""
    found = []
    for about in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(about.read_text(errors="replace"))
        except OSError:  # it ended
            continue
    return "\n".join(found)


def test_a_job_runs_in_its_image_with_its_files_and_secrets_and_ends_with_its_code(site: Site) -> None:
    script = """
cat /which "data ä"
echo "$RANK $ODD $ISOFLOP_RUN_ID"
[ -n "$CANARY" ] && echo "has the secret"
while [ ! -e "$ISOFLOP_CHECKPOINT_DIR/gate" ]; do sleep 0.05; done
echo saved > "$ISOFLOP_CHECKPOINT_DIR/state of it"
exit 7
"""
    odd = 'it\'s "$HOME" `id`\n  é😀'
    handle = site.start(site.job(script, env=(("ODD", odd),), secrets=(("CANARY", "env:CANARY"),)))
    until(lambda: "has the secret" in site.log(handle))
    assert site.podman.containers() == ["isoflop-t-1-0"]
    assert CANARY not in arguments()
    (site.machines.root(0) / "checkpoints" / "run-1" / "gate").touch()
    assert site.ended(handle) == JobStatus(state=JobState.EXITED, exit_code=7)
    assert site.log(handle) == f"the tiny image\nof the work directory\n0 {odd} run-1\nhas the secret\n"
    assert (site.saved / "state of it").read_text() == "saved\n"
    assert site.podman.containers() == []
    second = site.start(site.job('cat "$ISOFLOP_CHECKPOINT_DIR/state of it"', attempt=2), 1)
    assert site.ended(second).exit_code == 0
    assert site.log(second) == "saved\n"


def test_a_container_is_asked_to_stop_and_may_save(site: Site) -> None:
    script = """
trap 'echo saved > "$ISOFLOP_CHECKPOINT_DIR/state"; exit 143' TERM
echo up
while :; do sleep 0.05; done
"""
    handle = site.start(site.job(script))
    until(lambda: "up" in site.log(handle))
    site.launcher.stop(handle, grace_s=30.0)
    assert site.ended(handle).exit_code == 143
    assert (site.saved / "state").read_text() == "saved\n"
    assert site.podman.containers() == []


def test_a_container_that_does_not_stop_is_ended_and_removed(site: Site) -> None:
    handle = site.start(site.job("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    until(lambda: "up" in site.log(handle))
    site.launcher.stop(handle, grace_s=0.5)
    assert site.ended(handle).exit_code in {-9, 137}
    assert site.podman.containers() == []


def test_a_program_without_a_handler_ends_at_the_first_signal_where_there_is_an_init(site: Site) -> None:
    if not any(Path(path).exists() for path in agent.INITS):
        pytest.skip("podman has no init here: apt-get install catatonit")
    handle = site.start(site.job("", command=("/bin/sleep", "600")))
    until(lambda: bool(site.podman.containers()))
    until(lambda: site.podman.run("ps", "--format", "{{.Status}}").stdout.startswith("Up"))
    site.launcher.stop(handle, grace_s=60.0)
    assert site.ended(handle).exit_code == 143


def test_an_image_that_cannot_be_had_says_so_and_none_is_taken_for_an_option(site: Site) -> None:
    handle = site.start(site.job("true", image="localhost/not-there:1"))
    assert site.ended(handle).exit_code == 125
    assert "localhost/not-there" in site.log(handle)
    handle = site.start(site.job("true", 2, image="a 'b'"))
    assert site.ended(handle).exit_code == 125
    assert "invalid reference format" in site.log(handle)
    with pytest.raises(ProviderError, match="'--privileged' is no name of an image"):
        site.start(site.job("true", 3, image="--privileged"))


def test_each_node_of_a_gang_has_a_container_of_its_own(site: Site) -> None:
    script = 'echo "$RANK of $WORLD_SIZE at $MASTER_ADDR"; echo "$RANK" > "$ISOFLOP_CHECKPOINT_DIR/$RANK"'
    handle = site.launcher.start(site.machines.lease(2), site.job(script))
    assert site.ended(handle).exit_code == 0
    assert sorted(site.log(handle).splitlines()) == ["0 of 2 at 127.0.0.1", "1 of 2 at 127.0.0.1"]
    assert sorted(path.name for path in site.saved.iterdir()) == ["0", "1"]
