"""Runs jobs on machines reached over SSH: a supervisor there outlives every connection, and checkpoints come home."""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from orchestrator.domain.contracts import Clock, Launcher, LauncherContext
from orchestrator.domain.errors import IsoflopError, ProviderError, UserError
from orchestrator.domain.job import Handle, Job, JobState, JobStatus, Progress
from orchestrator.domain.lease import Endpoint, Lease
from orchestrator.domain.secret import Secret
from orchestrator.kit import fanout
from orchestrator.kit.shell.command import Shell
from orchestrator.runtime.launchers.progress import last_report
from orchestrator.runtime.launchers.ssh.book import NAME, PIECE_BYTES, TOKEN, Output, Page, Placed
from orchestrator.runtime.launchers.ssh.checkpoints import Homecoming
from orchestrator.runtime.launchers.ssh.node import Agent, Node, agent
from orchestrator.runtime.launchers.ssh.starting import Start, work_tree
from orchestrator.runtime.launchers.ssh.transfer import first_error

CONNECT = "orchestrator.runtime.launchers.ssh.connect"  # loads an SSH library, which nobody else has to wait for
FOLDER = ".isoflop/lease"  # below the user's home, where a lease names none
PULL_AT_LEAST_S, PULL_AT_MOST_S = 10.0, 120.0
LEFTOVER_GRACE_S = 10.0  # for the other nodes once one has failed
HOME_WITHIN = timedelta(minutes=15)  # after the end; then the machines are given back without what is missing
LOOK_S = 30.0
LOOK_EVERY_S = 2.0  # a look takes a tenth of a second of a core there
LOOKS = 1024  # at output that grows as fast as it is read
STEP_BYTES = 1 << 16

_log = logging.getLogger(__name__)


class Reach(Protocol):
    """Opens shells on the machines of leases."""

    def shell(self, provider: str, endpoint: Endpoint) -> Shell:
        """Commands on the machine at `endpoint`. Raises: ProviderError."""
        ...


def create(context: LauncherContext) -> Launcher:
    """The launcher of leases whose nodes are machines with an SSH server."""
    return SshLauncher(secret=context.secret, clock=context.clock, folder=context.state_dir)


class SshLauncher:
    """One folder per job token here and one on each node; every call may come from any process of this machine."""

    name = NAME

    def __init__(
        self,
        *,
        secret: Callable[[str], Secret],
        clock: Clock,
        folder: Path,
        reach: Reach | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`reach` None connects with asyncssh; a running job is looked at every `look_every_s` at most."""
        self._look_every_s, self._looked = look_every_s, dict[str, tuple[float, JobStatus]]()
        self._secret, self._clock, self._folder, self._reach = secret, clock, folder, reach
        self._homecoming = Homecoming()
        self._program: Agent | None = None

    def start(self, lease: Lease, job: Job) -> Handle:
        """See Launcher.start: one process per node, on all nodes or none.

        Where a node cannot do it, what was begun on others is ended. Where a node cannot be reached, it is undone too,
        so that the same token can begin again.

        Raises: UserError for a workdir, command or secret that cannot be; ProviderError for machines that are at fault:
        no Python, a full disk, no container runtime; TransientError; AuthError.
        """
        page = self._page(job.token)
        placed = page.placed()
        if placed is not None and page.started:
            return placed.handle
        work = work_tree(job)
        secrets = {name: self._secret(reference).reveal() for name, reference in job.program.secrets}
        page.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with page.alone("start"):
            before = page.placed()
            if before is not None and page.started:  # by somebody who was quicker
                placed = before
            else:
                placed = self._placed(lease, job, began=self._clock.now() if before is None else before.started_at)
                page.place(placed)
                nodes = self._nodes(placed)
                Start(lease=lease, job=job, placed=placed, page=page, nodes=nodes, work=work, secrets=secrets).begin()
                page.confirm()
        return placed.handle

    def poll(self, handle: Handle) -> JobStatus:
        """See Launcher.poll: one command per node. A job counts as ended once its checkpoints and output are here.

        Raises: TransientError where a node cannot be reached: nothing is known of the job then; AuthError.
        """
        page = self._page(handle.id)
        placed, known = page.placed(), page.end() or self._just_seen(handle.id)
        if placed is None:
            return JobStatus(state=JobState.LOST)
        if known is not None:
            return known
        self._looked.pop(handle.id, None)
        status = self._look_at_all(placed, page, self._nodes(placed))
        if status.state is JobState.EXITED:
            page.conclude(status)
        elif status.state is JobState.RUNNING:
            self._looked[handle.id] = (time.monotonic(), status)
        return status

    def _just_seen(self, token: str) -> JobStatus | None:
        looked_at, status = self._looked.get(token, (-math.inf, None))
        return status if time.monotonic() < looked_at + self._look_every_s else None

    def _look_at_all(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> JobStatus:
        answers, failed = self._look(placed, page, nodes)
        codes = _codes(answers)
        lost = any(each["state"] == "lost" for each in answers.values())
        running = [number for number, each in answers.items() if each["state"] == "running"]
        if running and (lost or any(codes)):  # a gang that has lost a member does not finish
            self._stop(placed, {number: nodes[number] for number in running}, LEFTOVER_GRACE_S)
        progress = _progress(answers)
        if lost:
            return JobStatus(state=JobState.LOST, progress=progress)
        error = first_error(failed)
        if error is not None:
            raise error
        if running:
            self._homecoming.begin_if_due(placed, page, nodes)
        if running or not self._all_home(placed, page, nodes):
            return JobStatus(state=JobState.RUNNING, progress=progress, carrying=not running)
        code = next((code for code in codes if code), 0)
        return JobStatus(state=JobState.EXITED, exit_code=code, progress=progress)

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:
        """See Launcher.logs: what is here, then what the nodes have beyond it, if they can be reached.

        Of several nodes whole lines follow one another in the order in which they came here, without a prefix.
        """
        page = self._page(handle.id)
        placed = page.placed()
        if placed is None:
            return
        output = Output(page.folder, len(placed.nodes))
        at = since
        for _ in range(LOOKS):
            while piece := output.read(at, STEP_BYTES):
                at += len(piece)
                yield piece
            if page.end() is not None or not self._more_output(placed, page):
                return

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """See Launcher.stop: SIGTERM to every process of every node, SIGKILL after the grace.

        The nodes keep the grace themselves: it ends even if they can no longer be reached.

        Raises: TransientError where a node cannot be reached; the others were asked.
        """
        page = self._page(handle.id)
        placed = page.placed()
        if placed is None or page.end() is not None:
            return
        error = self._stop(placed, dict(enumerate(self._nodes(placed))), grace_s)
        if error is not None:
            raise error

    def _page(self, token: str) -> Page:
        if not TOKEN.fullmatch(token):
            raise ValueError(f"{token!r} is no job token")
        return Page(self._folder / token)

    def _nodes(self, placed: Placed) -> tuple[Node, ...]:
        return tuple(
            Node(self._shell(placed.provider, each), root=each.path, provider=placed.provider, program=self._agent())
            for each in placed.nodes
        )

    def _agent(self) -> Agent:
        self._program = self._program or agent()
        return self._program

    def _shell(self, provider: str, endpoint: Endpoint) -> Shell:
        if self._reach is None:
            try:
                reach: Reach = importlib.import_module(CONNECT).Machines()
            except ModuleNotFoundError as error:
                raise UserError(f"machines are reached with {error.name}: pip install 'isoflop[ssh]'") from error
            self._reach = reach
        return self._reach.shell(provider, endpoint)

    def _placed(self, lease: Lease, job: Job, *, began: datetime) -> Placed:
        if len(lease.endpoints) != lease.nodes or any(each.launcher != NAME for each in lease.endpoints):
            raise ProviderError(lease.provider, f"lease {lease.id} is not {lease.nodes} machines reached over SSH")
        if not TOKEN.fullmatch(job.run_id):
            raise ValueError(f"{job.run_id!r} is no id of a run")
        every_s = job.program.checkpoint.interval_s / 4.0
        return Placed(
            token=job.token,
            run_id=job.run_id,
            lease_id=lease.id,
            provider=lease.provider,
            started_at=began,
            checkpoint_dir=job.checkpoint_dir,
            pull_every_s=min(max(every_s, PULL_AT_LEAST_S), PULL_AT_MOST_S),
            nodes=tuple(self._with_folder(lease.provider, each) for each in lease.endpoints),
        )

    def _with_folder(self, provider: str, endpoint: Endpoint) -> Endpoint:
        """The endpoint with the lease's folder as an absolute path."""
        if PurePosixPath(endpoint.path).is_absolute():
            return endpoint
        done = self._shell(provider, endpoint).run(("pwd",))
        home = done.stdout.rstrip(b"\n").decode("utf-8", "surrogateescape")
        if not done.ok or not home.startswith("/"):
            raise ProviderError(provider, f"{endpoint.address}: the home folder is not known: {done.trouble}")
        return replace(endpoint, path=f"{home}/{endpoint.path.removeprefix('~/') or FOLDER}")

    def _look(
        self, placed: Placed, page: Page, nodes: Sequence[Node], *, wait: bool = False
    ) -> tuple[dict[int, dict[str, Any]], dict[str, ProviderError]]:
        """How the job stands on each node. New output is kept, unless somebody else is at that and we do not `wait`."""
        with page.alone("output", wait=wait) as mine:
            output = Output(page.folder, len(nodes))
            offsets = output.offsets()
            most = PIECE_BYTES if mine else 0

            def ask(number: str) -> tuple[dict[str, Any], bytes]:
                at = int(number)
                said = {"job": placed.job_folder(at), "offset": offsets[at], "bytes": most}
                return nodes[at].call("poll", said, timeout_s=LOOK_S)

            found, failed = fanout.ask(map(str, range(len(nodes))), ask)
            added = 0
            if mine:
                blank: tuple[dict[str, Any], bytes] = ({"over": False}, b"")
                answers = [found.get(str(number), blank) for number in range(len(nodes))]
                added = output.add(offsets, [data for _, data in answers], [each["over"] for each, _ in answers])
        return {int(number): {**each, "added": added} for number, (each, _) in found.items()}, failed

    def _more_output(self, placed: Placed, page: Page) -> bool:
        """Whether the nodes, as far as they can be reached, had output that was not here."""
        try:
            answers, _ = self._look(placed, page, self._nodes(placed), wait=True)
        except IsoflopError as error:
            _log.warning("output of %s: %s", placed.token, error)
            return False
        return any(each["added"] for each in answers.values())

    def _all_home(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> bool:
        """Whether all of a job that has ended is here, or was waited for long enough."""
        for _ in range(LOOKS):
            if not self._more_output(placed, page):
                break
        if self._homecoming.finished(placed, page, nodes):
            return True
        now = self._clock.now()
        if now - page.ended_at(now) < HOME_WITHIN:
            return False
        _log.error("%s: its last checkpoints did not come home within %s", placed.run_id, HOME_WITHIN)
        return True

    def _stop(self, placed: Placed, nodes: Mapping[int, Node], grace_s: float) -> ProviderError | None:
        def ask(number: str) -> object:
            at = int(number)
            return nodes[at].call("stop", {"job": placed.job_folder(at), "grace_s": grace_s}, timeout_s=LOOK_S)

        _, failed = fanout.ask(map(str, nodes), ask)
        return first_error(failed)


def _codes(answers: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """Exit codes of the nodes that have ended, the one that ended first before the others."""
    ended = [each for each in answers.values() if each["state"] == "exited"]
    return [int(each["code"]) for each in sorted(ended, key=lambda each: -float(each["ended_s_ago"]))]


def _progress(answers: Mapping[int, Mapping[str, Any]]) -> Progress | None:
    """What the lowest node that reports something reports."""
    reports = (last_report(str(answers[number]["progress"]).encode()) for number in sorted(answers))
    return next((report for report in reports if report is not None), None)
