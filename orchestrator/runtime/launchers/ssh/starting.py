"""Starts a job on every node of a lease, or on none."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import IsoflopError, ProviderError, TransientError, UserError
from orchestrator.domain.job import Job
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Framework
from orchestrator.kit import fanout
from orchestrator.runtime.launchers.ssh import ignore, ray_order
from orchestrator.runtime.launchers.ssh.book import Page, Placed
from orchestrator.runtime.launchers.ssh.node import Node
from orchestrator.runtime.launchers.ssh.transfer import LAY_S, Target, Tree, first_error, push, read_tree, wish

WORKDIR_BYTES = 4 << 30

_log = logging.getLogger(__name__)


def work_tree(job: Job) -> Tree:
    """What of the job's work directory goes along. Raises: UserError."""
    if not job.program.command:
        raise UserError("the program has no command")
    if not job.program.workdir:
        return Tree("", [])
    folder = Path(os.path.expanduser(job.program.workdir))
    if not folder.is_dir():
        raise UserError(f"the workdir {folder} is no folder on this machine, from which it is sent to the others")
    try:
        tree = read_tree(folder, ignore.of(folder))
    except OSError as error:
        raise UserError(f"the workdir {folder} cannot be read: {error}") from error
    size = sum(entry.get("size", 0) for entry in tree.entries)
    if size > WORKDIR_BYTES:
        detail = f"the workdir {folder} has {size / 2**30:.1f} GiB; at most {WORKDIR_BYTES >> 30} GiB are sent"
        raise UserError(f"{detail}: name what stays at home in {ignore.FILE}")
    return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a job on the nodes of a lease."""

    lease: Lease
    job: Job
    placed: Placed
    page: Page
    nodes: Sequence[Node]
    work: Tree
    secrets: Mapping[str, str] = field(repr=False)

    def begin(self) -> None:
        """Bring everything along, and only then start on every node; what was begun is undone where that fails.

        Raises: as Node.call; ProviderError where an image is asked for and a node has no container runtime, or Ray is
        and they have none that goes together.
        """
        home = Path(self.job.checkpoint_dir)
        home.mkdir(parents=True, exist_ok=True)
        saved = read_tree(home)
        ready = self._prepared(saved)
        fresh = [number for number, each in enumerate(ready) if not each["started"]]
        self._send(saved, {number: ready[number]["laid"] for number in fresh})
        master = _master(self.placed, ready)

        def start(number: str) -> object:
            at = int(number)
            return self.nodes[at].call("start", self._order(at, master, ready[at].get("runtime")))

        _, failed = fanout.ask(map(str, fresh), start)
        error = first_error(failed)
        if error is not None:
            # One node in doubt is asked again, and starts nothing twice; a gang that is not whole only waits and costs.
            if len(self.nodes) > 1 or not isinstance(error, TransientError):
                self._undo()
            raise error

    def _prepared(self, saved: Tree) -> list[dict[str, Any]]:
        several = len(self.nodes) > 1

        def prepare(number: str) -> dict[str, Any]:
            at = int(number)
            peer = self.placed.nodes[1 if at == 0 else 0].address if several else ""
            said: dict[str, object] = {
                "job": self.placed.job_folder(at),
                "peer": peer,
                "address": self.placed.nodes[at].address,
            }
            said |= {"image": self.job.program.image, **wish(self._targets(at, saved)), **ray_order.question(self.job)}
            answer, _ = self.nodes[at].call("prepare", said, timeout_s=LAY_S)
            if self.job.program.image and not answer["runtime"]:
                needed = "none of podman, docker, apptainer and singularity works there"
                detail = f"{self.nodes[at].name} cannot run the image {self.job.program.image}: {needed}"
                raise ProviderError(self.placed.provider, detail)
            return answer

        found, failed = fanout.ask(map(str, range(len(self.nodes))), prepare)
        error = first_error(failed)
        if error is not None:
            raise error
        answers = list(found.values())
        rays = {node.name: each["ray"] for node, each in zip(self.nodes, answers, strict=True) if "ray" in each}
        ray_order.check(self.placed.provider, rays)
        return answers

    def _targets(self, number: int, saved: Tree) -> tuple[Target, ...]:
        """The work directory, and the checkpoints as they are here: what an earlier attempt left is out of date."""
        return (
            Target(self.work, self.placed.work_folder(number), mirror=False),
            Target(saved, self.placed.checkpoint_folder(number), mirror=True),
        )

    def _send(self, saved: Tree, fresh: Mapping[int, Mapping[str, Any]]) -> None:
        def send(number: str) -> None:
            at = int(number)
            push(self.nodes[at], self._targets(at, saved), fresh[at], provider=self.placed.provider)

        _, failed = fanout.ask(map(str, fresh), send)
        error = first_error(failed)
        if error is not None:
            raise error
        if len(fresh) == len(self.nodes):
            self.page.keep_pulled(saved.entries)

    def _order(self, number: int, master: str, runtime: object) -> dict[str, object]:
        """What the agent is told to start. Secrets are in `env` alone, which it writes nowhere."""
        folder, nodes = self.placed.job_folder(number), len(self.placed.nodes)
        port = str(20000 + zlib.crc32(self.job.token.encode()) % 12000)  # below the ports that kernels hand out
        env = {
            "PYTHONUNBUFFERED": "1",  # so that logs can be followed
            **dict(self.job.program.env),
            **self.secrets,
            **self.job.variables,
            "ISOFLOP_CHECKPOINT_DIR": self.placed.checkpoint_folder(number),
            "ISOFLOP_PROGRESS_FILE": f"{folder}/progress.jsonl",
            "ISOFLOP_NODES": str(nodes),
            "WORLD_SIZE": str(nodes),
            "LOCAL_RANK": "0",
            "NODE_RANK": str(number),
            "MASTER_ADDR": master,
            "MASTER_PORT": port,
            # torchrun reads its options from these: `torchrun train.py` needs no argument.
            "PET_NNODES": str(nodes),
            "PET_MASTER_ADDR": master,
            "PET_MASTER_PORT": port,
            "PET_NPROC_PER_NODE": str(max(1, int(self.lease.offer.gpus))),
        }
        order: dict[str, object] = {
            "job": folder,
            "env": env,
            "record": {
                "command": list(self.job.program.command),
                "workdir": self.placed.work_folder(number),
                "nodes": 1,
                "first_rank": number,
                "rank_env": [dict(self.placed.nodes[number].env)],
                "started_at": self.placed.started_at.isoformat(),
            },
        }
        if self.job.program.image:
            order["container"] = {
                "runtime": runtime,
                "image": self.job.program.image,
                "name": f"isoflop-{self.placed.token}-{number}",
                "checkpoints": self.placed.checkpoint_folder(number),
                "job": folder,
                "gpus": self.lease.offer.gpus > 0,
            }
        if self.job.program.framework is Framework.RAY:
            order["ray"] = ray_order.order(self.lease, self.job, self.placed)
        return order

    def _undo(self) -> None:
        """End what was begun, on nodes that can be reached, so that the same token can begin again."""
        for number, node in enumerate(self.nodes):
            try:
                node.call("abandon", {"job": self.placed.job_folder(number)})
            except IsoflopError as error:
                _log.warning("%s may run a part of %s: %s", node.name, self.placed.token, error)


def _master(placed: Placed, ready: Sequence[Mapping[str, Any]]) -> str:
    """Where the other nodes find the first: its address, unless that is one that its network translates to it.

    Machines of one lease are in one network, so then it is the address that the first reaches the second from.
    """
    if len(placed.nodes) == 1 or not placed.nodes[0].address:  # all of them are this machine
        return "127.0.0.1"
    address = placed.nodes[0].address
    return address if ready[0]["is_own"] or not ready[0]["own"] else str(ready[0]["own"])
