"""Slurm by its own commands, as lists of arguments, on a login node or here."""

from __future__ import annotations

import re
from datetime import datetime

from orchestrator.domain.errors import TransientError
from orchestrator.kit.shell.command import Shell
from providers.slurm import records
from providers.slurm.batch import Cluster, Order
from providers.slurm.commands import PILOT, Commands
from providers.slurm.complaints import RETRY_AFTER_S, UNKNOWN_JOB, complaint
from providers.slurm.records import JOB_FORMAT, Partition, QueuedJob
from providers.slurm.settings import NAME, SiteSettings

SPLIT = "@isoflop-nodes@"
LOOK = f"scontrol -o show partition && echo {SPLIT} && scontrol -d -o show node"
EXPORTED = "HOME,USER,LOGNAME,PATH,LANG"  # no other variable of ours becomes the job's, whose record Slurm keeps
PARSED = re.compile(r"(\d+)(?:;\S*)?")
EXPECTED = re.compile(r"to start at (\S+)")


class Client:
    """Commands on one site's login node; see Batch."""

    def __init__(self, site: SiteSettings, shell: Shell) -> None:
        self._site, self._name = site, shell.name
        conf = {"SLURM_CONF": site.slurm_conf} if site.slurm_conf else {}
        env = {"TZ": "UTC", "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard", **conf}
        self._commands = Commands(site, shell, env, judge=complaint, buy="sbatch")

    def cluster(self) -> Cluster:
        """Nodes and partitions, in one command. Raises: AuthError, TransientError."""
        done = self._commands.run(("sh", "-c", LOOK))
        found, split, nodes = done.text.partition(f"{SPLIT}\n")
        cluster = Cluster(records.nodes(nodes), records.partitions(found))
        if not split or not cluster.nodes or not cluster.partitions:
            raise TransientError(NAME, f"{self._name}: scontrol shows no nodes or no partitions", RETRY_AFTER_S)
        return cluster

    def partitions(self) -> list[Partition]:
        """As `cluster` has them. Raises: AuthError, TransientError."""
        return records.partitions(self._commands.run(("scontrol", "-o", "show", "partition")).text)

    def token(self, lifespan_s: int) -> str:
        """What Slurm prints that makes us a token for slurmrestd: a secret. Raises: AuthError, TransientError."""
        return self._commands.run(("scontrol", "token", f"lifespan={lifespan_s}")).text

    def jobs(self) -> list[QueuedJob]:
        """Jobs of our user that have not ended. Raises: AuthError, TransientError."""
        done = self._commands.run(("squeue", "-h", "-a", "--me", "-O", JOB_FORMAT))
        try:
            return records.jobs(done.text)
        except ValueError as error:
            raise TransientError(NAME, f"{self._name}: {error}", RETRY_AFTER_S) from error

    def submit(self, order: Order) -> str:
        """The id of the job.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which it may have been submitted.
        """
        done = self._commands.run(("sbatch", "--parsable", *self._flags(order)), stdin=PILOT)
        ids = [match[1] for line in done.text.splitlines() if (match := PARSED.fullmatch(line.strip()))]
        if not ids:
            raise TransientError(NAME, f"{self._name}: sbatch told no job's id: {done.text[-200:]!r}", 1.0)
        return ids[-1]  # sites print advice before it

    def expected(self, order: Order) -> datetime | None:
        """When the job would start; None where Slurm does not say.

        Raises: CapacityError, QuotaError where it never would; AuthError, TransientError.
        """
        done = self._commands.run(("sbatch", "--test-only", *self._flags(order)), stdin=PILOT)
        match = EXPECTED.search(done.stderr.decode(errors="replace"))
        return None if match is None else records.moment(match[1])

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, which may have ended before. Raises: AuthError, TransientError."""
        done = self._commands.attempt(("scancel", job_id))
        if not done.ok and not UNKNOWN_JOB.search(done.stderr.decode(errors="replace")):
            raise self._commands.error("scancel", done)

    def _flags(self, order: Order) -> tuple[str, ...]:
        account = (f"--account={self._site.account}",) if self._site.account else ()
        qos = (f"--qos={self._site.qos}",) if self._site.qos else ()
        return (
            f"--job-name={order.name}",
            f"--comment={order.comment}",
            f"--partition={order.partition}",
            f"--nodes={order.nodes}-{order.nodes}",
            "--ntasks-per-node=1",
            f"--cpus-per-task={order.cpus}",
            f"--mem={order.memory_mb}",
            f"--gres={order.gres}",
            f"--time={order.minutes}",
            "--no-requeue",
            f"--export={EXPORTED}",
            "--chdir=/",
            "--output=/dev/null",
            "--error=/dev/null",
            *account,
            *qos,
        )
