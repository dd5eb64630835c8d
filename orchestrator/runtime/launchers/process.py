"""Runs jobs as processes of this machine, under a supervisor that outlives the control plane."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.domain.contracts import Clock, Launcher, LauncherContext
from orchestrator.domain.errors import ProviderError, TransientError, UserError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus, Progress
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.domain.workload import Program
from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.progress import last_report

NAME = "process"
START_TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16
TAIL_BYTES = 1 << 16  # of the progress file: its last line is in there
TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")  # becomes a folder's name

# What a job sees of our own environment: enough to find programs, homes and devices, and no credential of ours.
INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV|CONDA_PREFIX|XDG_\w+"
    r"|CUDA_\w+|NVIDIA_\w+|ROCR_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES|OMP_NUM_THREADS|SSL_CERT_(FILE|DIR)"
)


def create(context: LauncherContext) -> Launcher:
    """The launcher of leases whose nodes are this machine."""
    return ProcessLauncher(
        secret=context.secret, clock=context.clock, folder=context.state_dir, environ=dict(os.environ)
    )


class ProcessLauncher:
    """One folder per job token; whatever is known of a job is in there, so every call may come from any process."""

    name = NAME

    def __init__(
        self, *, secret: Callable[[str], Secret], clock: Clock, folder: Path, environ: Mapping[str, str]
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._folder = folder
        self._environ = {name: value for name, value in environ.items() if INHERITED.fullmatch(name)}

    def start(self, lease: Lease, job: Job) -> Handle:
        """See Launcher.start: one process per node of the lease, all on this machine.

        A program that is not there ends the job with exit code 127 and a line in its log, as in a shell.
        Raises: UserError for a workdir, command or secret that cannot be; ProviderError for a lease that is not this
        machine's; TransientError where this machine fails for now.
        """
        folder = self._job_folder(job.token)
        try:
            handle = self._handle(folder, lease.id)
            if handle is None:
                self._begin(folder, lease, job)
                handle = self._handle(folder, lease.id)
        except OSError as error:
            raise TransientError(lease.provider, f"this machine cannot start the job: {error}", 5.0) from error
        if handle is None:
            raise ProviderError(lease.provider, "the job's supervisor did not start")
        return handle

    def poll(self, handle: Handle) -> JobStatus:
        """See Launcher.poll."""
        folder = self._job_folder(handle.id)
        progress = _progress(folder / "progress.jsonl")
        started = supervisor.read(folder / "started.json")
        if started is None:
            return JobStatus(state=JobState.LOST, progress=progress)
        watched = supervisor.alive(started["supervisor"])
        ended = supervisor.read(folder / "exit.json")  # after the look at the supervisor, whose last deed it is
        if ended is not None:
            return JobStatus(state=JobState.EXITED, exit_code=int(ended["code"]), progress=progress)
        if watched or self._unwatched(folder):
            return JobStatus(state=JobState.RUNNING, progress=progress)
        return JobStatus(state=JobState.LOST, progress=progress)

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:
        """See Launcher.logs: standard output and error of every rank, as they were written."""
        try:
            log = open(self._job_folder(handle.id) / "output.log", "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return
        with log:
            left = os.fstat(log.fileno()).st_size - since  # a job that never stops writing must not hold us
            log.seek(since)
            while left > 0 and (piece := log.read(min(CHUNK_BYTES, left))):
                left -= len(piece)
                yield piece

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """See Launcher.stop: SIGTERM to the whole group, SIGKILL after the grace; a later call can only shorten it."""
        folder = self._job_folder(handle.id)
        started = supervisor.read(folder / "started.json")
        if started is None or supervisor.read(folder / "exit.json") is not None:
            return
        boot, deadline = supervisor.boot_id(), time.monotonic() + grace_s
        order = supervisor.read(folder / "stop.json")
        if order is not None and order["boot"] == boot:
            deadline = min(deadline, float(order["deadline"]))
        supervisor.write(folder / "stop.json", {"boot": boot, "deadline": deadline})
        if not supervisor.alive(started["supervisor"]):
            supervisor.signal_group(_ranks(folder), signal.SIGTERM)
            self._unwatched(folder)

    def _job_folder(self, token: str) -> Path:
        if not TOKEN.fullmatch(token):
            raise ValueError(f"{token!r} is no job token")
        return self._folder / token

    def _handle(self, folder: Path, lease_id: str) -> Handle | None:
        started = supervisor.read(folder / "started.json")
        if started is None:
            return None
        started_at = datetime.fromisoformat(started["started_at"])
        return Handle(launcher=self.name, lease_id=lease_id, id=folder.name, started_at=started_at)

    def _begin(self, folder: Path, lease: Lease, job: Job) -> None:
        """Run the supervisor; of several that are run at once, one claims the job and the others leave."""
        endpoints = _endpoints(lease)
        workdir = _workdir(lease, endpoints[0], job.program)
        if not job.program.command:
            raise UserError("the program has no command")
        env = self._env(folder, lease, job)
        folder.mkdir(parents=True, exist_ok=True)
        Path(job.checkpoint_dir).mkdir(parents=True, exist_ok=True)
        record = {
            "command": list(job.program.command),
            "workdir": workdir,
            "nodes": lease.nodes,
            "rank_env": [dict(endpoint.env) for endpoint in endpoints],
            "started_at": self._clock.now().isoformat(),
        }
        supervisor.write(folder / "job.json", record)
        # -I -S: the supervisor is not to run what the job's PYTHON* variables say; it starts faster, too.
        command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder)]
        with open(folder / "supervisor.log", "ab") as log:
            try:
                subprocess.run(
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    timeout=START_TIMEOUT_S,
                    check=True,
                )
            except subprocess.TimeoutExpired:
                detail = f"the job's supervisor was not ready within {START_TIMEOUT_S:g} s"
                raise TransientError(lease.provider, detail) from None
            except subprocess.CalledProcessError:
                raise ProviderError(lease.provider, f"the job's supervisor failed: {_last_line(folder)}") from None

    def _env(self, folder: Path, lease: Lease, job: Job) -> dict[str, str]:
        secrets = {name: self._secret(reference).reveal() for name, reference in job.program.secrets}
        return {
            **self._environ,
            "PYTHONUNBUFFERED": "1",  # so that logs can be followed
            **dict(job.program.env),
            **secrets,
            **job.variables,
            "ISOFLOP_CHECKPOINT_DIR": job.checkpoint_dir,
            "ISOFLOP_PROGRESS_FILE": str(folder / "progress.jsonl"),
            "ISOFLOP_NODES": str(lease.nodes),
            "WORLD_SIZE": str(lease.nodes),
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(20000 + zlib.crc32(job.token.encode()) % 12000),  # below the ports that kernels hand out
        }

    def _unwatched(self, folder: Path) -> bool:
        """Whether ranks run on whose supervisor is gone; what was to be killed by now is."""
        ranks = _ranks(folder)
        order = supervisor.read(folder / "stop.json")
        overdue = order is not None and order["boot"] == supervisor.boot_id() and time.monotonic() >= order["deadline"]
        if overdue:
            supervisor.signal_group(ranks, signal.SIGKILL)
        return any(supervisor.alive(rank) for rank in ranks)


def _ranks(folder: Path) -> list[dict[str, object]]:
    record = supervisor.read(folder / "ranks.json")
    return record["ranks"] if record is not None else []


def _endpoints(lease: Lease) -> tuple[Endpoint, ...]:
    if len(lease.endpoints) != lease.nodes or any(endpoint.launcher != NAME for endpoint in lease.endpoints):
        raise ProviderError(lease.provider, f"lease {lease.id} is not {lease.nodes} nodes of this machine")
    return lease.endpoints


def _workdir(lease: Lease, endpoint: Endpoint, program: Program) -> str:
    """The program's folder, or else the lease's."""
    folder = os.path.expanduser(program.workdir) if program.workdir else endpoint.path
    try:
        if os.path.isdir(folder):
            return os.path.abspath(folder)
        os.stat(folder)
        why = "it is not a folder"
    except OSError as error:
        why = error.strerror or str(error)
    if program.workdir:
        raise UserError(f"the workdir {folder} cannot be used: {why}; give one that exists on this machine")
    raise ProviderError(lease.provider, f"the folder of lease {lease.id}, {folder!r}, cannot be used: {why}")


def _progress(path: Path) -> Progress | None:
    """The last whole line that reports progress."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return None
    return last_report(tail)


def _last_line(folder: Path) -> str:
    lines = (folder / "supervisor.log").read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
