"""A launcher for machines whose machines are folders here, reached by a shell that can be made to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.errors import TransientError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.workload import Checkpointing, Program
from orchestrator.kit.shell.command import Done, Shell
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.testing.builders import lease as a_lease
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.launcher_contract import until
from tests.e2e.machines import resolve

MARK = "import os; open(os.environ['ISOFLOP_CHECKPOINT_DIR'] + '/starts', 'a').write('x')"


class Machines:
    """Machines by address, each a folder; `broken` says of a verb whether its answer is lost, or itself."""

    def __init__(self) -> None:
        self.path = os.environ["PATH"]
        self.down: set[str] = set()
        self.lose: Callable[[str, str], str] = lambda _address, _verb: ""
        self.sent: list[tuple[str, str, int]] = []  # address, verb, bytes of input

    def shell(self, provider: str, endpoint: Endpoint) -> Shell:
        return _Machine(self, provider, endpoint.address)


class _Machine:
    def __init__(self, machines: Machines, provider: str, address: str) -> None:
        self._machines, self._shell, self.name = machines, LocalShell(provider), address

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        verb = argv[-1] if len(argv) == 6 and "agent-" in argv[4] and not argv[-1].isdigit() else ""
        fault = self._machines.lose(self.name, verb)
        if self.name in self._machines.down or fault == "before":
            raise TransientError("local", f"{self.name} does not answer")
        self._machines.sent.append((self.name, verb, len(stdin)))
        env = {**(env or {}), "PATH": self._machines.path}
        done = self._shell.run(argv, stdin=stdin, timeout_s=timeout_s, env=env, folder=folder)
        if fault == "after":
            raise TransientError("local", f"{self.name}: the connection was lost")
        return done


class World:
    """A launcher, its machines, and jobs for them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.machines, self.clock = folder, Machines(), FakeClock()
        self.checkpoints, self.work = folder / "checkpoints" / "run-1", folder / "work dir"
        self.checkpoints.mkdir(parents=True)
        self.work.mkdir()

    def launcher(self) -> SshLauncher:
        return SshLauncher(
            secret=resolve, clock=self.clock, folder=self.folder / "state", reach=self.machines, look_every_s=0.0
        )

    def root(self, number: int) -> Path:
        return self.folder / f"machine {number}"

    def lease(self, *numbers: int) -> Lease:
        endpoints = tuple(
            Endpoint(launcher="ssh", address=f"m{number}", path=str(self.root(number))) for number in numbers
        )
        return a_lease(nodes=len(numbers), endpoints=endpoints)

    def job(self, code: str, *arguments: str, attempt: int = 1, **fields: object) -> Job:
        program = Program(
            command=(sys.executable, "-c", code, *arguments),
            workdir=str(self.work),
            checkpoint=Checkpointing(interval_s=1.0),
        )
        program = replace(program, **fields)  # type: ignore[arg-type]
        folder = str(self.checkpoints)
        return Job(run_id="run-1", attempt=attempt, token=f"t-{attempt}", program=program, checkpoint_dir=folder)

    def ended(self, handle: Handle) -> JobStatus:
        launcher = self.launcher()
        until(lambda: launcher.poll(handle).state is not JobState.RUNNING)
        return launcher.poll(handle)

    def log(self, handle: Handle) -> bytes:
        return b"".join(self.launcher().logs(handle, since=0))
