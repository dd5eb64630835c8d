"""Runs programs of Ray: a cluster over the machines of a lease, and the program submitted to it by Ray's Jobs API.

Machines are reached, supplied and followed by the launcher for machines. What its supervisor runs on each of them is
that machine's part of the cluster (`ssh/ray_gang.py`), which submits the program from the first node: so it needs no
connection of ours, and outlives every one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.contracts import Launcher, LauncherContext
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.workload import Framework
from orchestrator.runtime.launchers.process import NAME as HERE
from orchestrator.runtime.launchers.shells import Shells
from orchestrator.runtime.launchers.ssh.book import NAME as MACHINES
from orchestrator.runtime.launchers.ssh.launcher import SshLauncher
from orchestrator.runtime.launchers.ssh.ray_gang import NO_CLUSTER

NAME = Framework.RAY.value
KEY = ".key"  # beside the jobs' folders, whose names begin with no dot
KEY_BYTES = 32


def create(context: LauncherContext) -> Launcher:
    """The launcher of programs that ask for Ray."""
    return RayLauncher(secret=context.secret, clock=context.clock, folder=context.state_dir, reach=Shells())


class RayLauncher(SshLauncher):
    """The launcher for machines, whose supervisors run a cluster; of this machine where `reach` knows it.

    SIGTERM of a stop goes to the program alone: its cluster stays whole until it or the grace has ended.
    """

    name = NAME

    def start(self, lease: Lease, job: Job) -> Handle:
        """See Launcher.start: the program runs once, on the first node, and its tasks on all of them.

        Raises: as the launcher for machines; ProviderError for machines that are neither this one nor reached over
        SSH, without Ray, with one that is too old or differs from node to node, and for a program that comes as an
        image.
        """
        strange = {each.launcher for each in lease.endpoints} - {MACHINES, HERE}
        if strange or not lease.endpoints:
            detail = f"machines of the launcher {' and '.join(sorted(strange)) or 'of nobody'} form no Ray cluster"
            raise ProviderError(lease.provider, f"{detail}: it takes machines reached over SSH, or this one")
        if job.program.image:
            raise ProviderError(lease.provider, "the ray launcher runs no container images")
        token = hmac.new(_key(self._folder), job.token.encode(), hashlib.sha256).hexdigest()
        env = {**dict(job.program.env), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        program = replace(job.program, framework=Framework.RAY, env=tuple(env.items()))
        nodes = replace(lease, endpoints=tuple(map(_machine, lease.endpoints)))
        return replace(super().start(nodes, replace(job, program=program)), launcher=NAME)

    def poll(self, handle: Handle) -> JobStatus:
        """See Launcher.poll: one command per node. A job whose cluster failed is lost, and may go on elsewhere."""
        status = super().poll(handle)
        if status.state is JobState.EXITED and status.exit_code == -NO_CLUSTER:
            return replace(status, state=JobState.LOST, exit_code=None)
        return status


def _machine(endpoint: Endpoint) -> Endpoint:
    """The node as the launcher for machines has it."""
    if endpoint.launcher == MACHINES:
        return endpoint
    return replace(endpoint, launcher=MACHINES, address="", path=os.path.abspath(os.path.expanduser(endpoint.path)))


def _key(folder: Path) -> bytes:
    """Our own secret, from which those of clusters are made: a start that was broken off goes on with the same one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / KEY
    draft = folder / f"{KEY}.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # of several that are at it, the first
        draft.unlink()
    return path.read_bytes()
