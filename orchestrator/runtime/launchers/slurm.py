"""Runs jobs inside allocations of Slurm: `srun` on all machines, watched on the login node by a job's own supervisor.

The login node is to the launcher for machines what a machine is: work directory and checkpoints travel there, a
supervisor outlives every connection. What it supervises is the leader of `slurm_gang`. The folder of the lease is on a
file system that login node and machines share.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

from orchestrator.domain.contracts import Clock, Launcher, LauncherContext
from orchestrator.domain.errors import ProviderError, TransientError, UserError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.runtime.launchers.shells import Shells
from orchestrator.runtime.launchers.slurm_gang import BOOT
from orchestrator.runtime.launchers.ssh.book import NAME as MACHINES
from orchestrator.runtime.launchers.ssh.book import TOKEN, Page, Placed
from orchestrator.runtime.launchers.ssh.launcher import Reach, SshLauncher

NAME = "slurm"
JOB = "ISOFLOP_SLURM_JOB"  # the variable with the number of the allocation
PYTHON = "python3"  # of login node and machines
CONF = "SLURM_CONF"


def create(context: LauncherContext) -> Launcher:
    """The launcher of leases that are allocations of Slurm."""
    return SlurmLauncher(secret=context.secret, clock=context.clock, folder=context.state_dir)


class SlurmLauncher:
    """See Launcher; every call may come from any process of this machine."""

    name = NAME

    def __init__(
        self, *, secret: Callable[[str], Secret], clock: Clock, folder: Path, reach: Reach | None = None
    ) -> None:
        self._folder = folder
        self._reach = Shells() if reach is None else reach
        self._inner = SshLauncher(secret=secret, clock=clock, folder=folder, reach=self._reach)

    def start(self, lease: Lease, job: Job) -> Handle:
        """See Launcher.start: one process per node, by one `srun`.

        Raises: as the launcher for machines; ProviderError for a program that comes as an image.
        """
        if len(lease.endpoints) != lease.nodes or any(each.launcher != NAME for each in lease.endpoints):
            raise ProviderError(lease.provider, f"lease {lease.id} is not {lease.nodes} machines of one allocation")
        if job.program.image:
            raise ProviderError(lease.provider, "the slurm launcher runs no container images")
        if not job.program.command:
            raise UserError("the program has no command")
        program = replace(job.program, command=_leader(lease, job))
        login = replace(lease, nodes=1, endpoints=(_login(lease.endpoints[0]),))
        return self._named(self._inner.start(login, replace(job, program=program)))

    def poll(self, handle: Handle) -> JobStatus:
        """See Launcher.poll: one command on the login node; a job counts as ended once none of its steps is left."""
        status = self._inner.poll(handle)
        if status.state is JobState.EXITED and not self._over(handle):
            return replace(status, state=JobState.RUNNING, exit_code=None)
        return status

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:
        """See Launcher.logs: of all machines, as `srun` brings it."""
        return self._inner.logs(handle, since=since)

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """See Launcher.stop."""
        self._inner.stop(handle, grace_s=grace_s)

    def _named(self, handle: Handle) -> Handle:
        return replace(handle, launcher=NAME)

    def _over(self, handle: Handle) -> bool:
        """Whether no step of the job is left; what is left of one whose leader was killed is ended."""
        if not TOKEN.fullmatch(handle.id):
            raise ValueError(f"{handle.id!r} is no job token")
        page = Page(self._folder / handle.id)
        placed, quiet = page.placed(), page.folder / "quiet"
        if placed is None or quiet.exists():
            return True
        left = self._steps(placed)
        for step in left:
            self._command(placed, "scancel", "--signal=KILL", step)
        if not left:
            quiet.touch()
        return not left

    def _steps(self, placed: Placed) -> list[str]:
        """Steps of the job that Slurm still has. Raises: TransientError."""
        number = dict(placed.nodes[0].env)[JOB]
        code, said, trouble = self._command(placed, "squeue", "-h", "-s", "-j", number, "-o", "%i %j")
        if code != 0 and "Invalid job id" in trouble:
            return []  # the allocation is gone, and with it all that ran in it
        if code != 0:
            raise TransientError(placed.provider, f"squeue: {trouble}", 5.0)
        rows = (line.split() for line in said.splitlines())
        return [row[0] for row in rows if len(row) == 2 and row[1] == _step_name(placed.token)]

    def _command(self, placed: Placed, *argv: str) -> tuple[int, str, str]:
        login = placed.nodes[0]
        conf = {name: value for name, value in login.env if name == CONF}
        done = self._reach.shell(placed.provider, login).run(argv, env=conf)
        return done.code, done.text, done.trouble


def _leader(lease: Lease, job: Job) -> tuple[str, ...]:
    nodes, first = lease.nodes, lease.endpoints[0].address if lease.nodes > 1 else "127.0.0.1"
    srun = [
        "srun",
        f"--jobid={dict(lease.endpoints[0].env)[JOB]}",
        "--overlap",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={max(1, int(lease.offer.vcpus))}",
        f"--job-name={_step_name(job.token)}",
        "--kill-on-bad-exit=0",
        "--wait=0",
        *(["--unbuffered"] if nodes == 1 else []),  # of several machines, whole lines follow one another
        "--input=none",
        "--export=ALL",
        "--quiet",
    ]
    env = {
        "ISOFLOP_NODES": str(nodes),
        "WORLD_SIZE": str(nodes),
        "MASTER_ADDR": first,
        "PET_NNODES": str(nodes),
        "PET_MASTER_ADDR": first,
    }
    said = {"srun": srun, "python": PYTHON, "nodes": nodes, "command": list(job.program.command), "env": env}
    return (PYTHON, "-I", "-S", "-c", BOOT, _source(), "lead", json.dumps(said))


def _source() -> str:
    return resources.files("orchestrator.runtime.launchers").joinpath("slurm_gang.py").read_text(encoding="utf-8")


def _step_name(token: str) -> str:
    """Of letters, digits and a hyphen, whatever the token is."""
    return f"isoflop-{hashlib.blake2b(token.encode(), digest_size=8).hexdigest()}"


def _login(node: Endpoint) -> Endpoint:
    """The login node as a machine of a lease: the folder and the variables are the allocation's."""
    if node.jump is None:
        return Endpoint(launcher=MACHINES, path=os.path.expanduser(node.path), env=node.env)
    return replace(node.jump, launcher=MACHINES, path=node.path, env=node.env)
