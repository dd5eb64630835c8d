"""PBS Professional and OpenPBS by their commands: a thin translation, tested against recorded outputs alone.

No PBS was run with it. Queues are partitions, whole machines are sold, and a pilot's lease is in a variable of its job.
"""

from __future__ import annotations

import re
from datetime import datetime

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.kit.documents import Malformed, readable
from orchestrator.kit.shell.command import Shell
from providers.slurm import pbs_records
from providers.slurm.batch import Cluster, Order
from providers.slurm.commands import PILOT, Commands
from providers.slurm.complaints import RETRY_AFTER_S
from providers.slurm.pbs_records import LEASE
from providers.slurm.records import PLAIN, QueuedJob
from providers.slurm.settings import NAME, SiteSettings

SPLIT = "@isoflop-nodes@"
LOOK = f"qstat -Q -f -F json && echo {SPLIT} && pbsnodes -a -F json"
LISTED = "@isoflop-jobs@"
# Ours alone: what is odd in the jobs of others cannot spoil the answer. Numbers of arrays have brackets: no globbing.
JOBS = f'set -f; ids=$(qselect -u "$(id -un)") || exit 1; echo {LISTED}; [ -z "$ids" ] || qstat -f -F json $ids'
PARSED = re.compile(r"\d+(?:\.[A-Za-z0-9._-]+)?")
NO_FORECAST = "PBS does not say when a job would start before it is submitted: what is not free now is not on sale"

# Texts of OpenPBS (src/lib/Liblog/pbs_messages.c, and its test suite for limits).
GONE = re.compile(r"Unknown Job Id|Job has finished|Request invalid for state of job|Delete already in progress", re.I)
DOWN = re.compile(
    r"cannot connect to|Connection (?:refused|timed out|reset)|Server shutting down|internal error|System error|"
    r"No free connections|connection table full|temporarily unavailable|Could not contact Scheduler|"
    r"Batch protocol error|Communication failure|Premature end of message|No route to host",
    re.I,
)
QUOTA = re.compile(r"would exceed|Maximum number of jobs|limit of jobs|Invalid Account|Access to queue is denied", re.I)
REFUSED = re.compile(
    r"Unauthorized Request|Invalid credential|Expired credential|Bad [UG]ID|No Permission|Access from host not allowed",
    re.I,
)


class PbsClient:
    """Commands on one site's login node; see Batch."""

    def __init__(self, site: SiteSettings, shell: Shell) -> None:
        self._site = site
        self._commands = Commands(site, shell, {"TZ": "UTC", "LC_ALL": "C"}, judge=complaint, buy="qsub")

    def cluster(self) -> Cluster:
        """Machines and queues, in one command. Raises: AuthError, TransientError."""
        done = self._commands.run(("sh", "-c", LOOK))
        found, split, machines = done.text.partition(f"{SPLIT}\n")
        if not split:
            raise TransientError(NAME, f"{self._site.name}: qstat and pbsnodes print something else", RETRY_AFTER_S)
        count, kind = self._site.gpu_resource, self._site.gpu_kind
        with readable(NAME, f"{self._site.name}: what PBS says"):
            queues, gaps = pbs_records.queues(pbs_records.loads(found), count=count)
            hosts = pbs_records.hosts(pbs_records.loads(machines), count=count, kind=kind)
        if not hosts or not queues:
            raise TransientError(NAME, f"{self._site.name}: PBS shows no machines or no queues", RETRY_AFTER_S)
        known = [host for host in hosts if self._site.node_host_key(host.node.name)]
        if len(known) < len(hosts):
            gaps.append(f"{len(hosts) - len(known)} machines without a key in node_host_keys are left out")
        if self._site.queue_up_to_s > 0:
            gaps.append(NO_FORECAST)
        return Cluster(pbs_records.members(known, queues), [queue.partition for queue in queues], tuple(gaps))

    def jobs(self) -> list[QueuedJob]:
        """Jobs of our user that have not ended. Raises: AuthError, TransientError."""
        done = self._commands.attempt(("sh", "-c", JOBS))
        _, listed, text = done.text.partition(f"{LISTED}\n")
        said = done.stderr.decode(errors="replace").strip()
        if not listed or (not done.ok and not (said and all(GONE.search(line) for line in said.splitlines()))):
            raise self._commands.error("qselect and qstat", done)
        if not text.strip():  # there is none, or all have ended since
            return []
        try:
            return pbs_records.jobs(pbs_records.loads(text))
        except Malformed as error:
            raise TransientError(NAME, f"{self._site.name}: qstat: {error}", RETRY_AFTER_S) from error

    def submit(self, order: Order) -> str:
        """The id of the job.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which it may have been submitted.
        """
        done = self._commands.run(("qsub", *self._flags(order)), stdin=PILOT)
        ids = [line.strip() for line in done.text.splitlines() if PARSED.fullmatch(line.strip())]
        if not ids:
            raise TransientError(NAME, f"{self._site.name}: qsub told no job's id: {done.text[-200:]!r}", 1.0)
        return ids[-1]  # hooks of a site print advice before it

    def expected(self, order: Order) -> datetime | None:  # noqa: ARG002 - see Batch
        """None: PBS estimates the start of jobs that were submitted alone."""
        return None

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, which may have ended before. Raises: AuthError, TransientError."""
        done = self._commands.attempt(("qdel", job_id))
        if not done.ok and not GONE.search(done.stderr.decode(errors="replace")):
            raise self._commands.error("qdel", done)

    def _flags(self, order: Order) -> tuple[str, ...]:
        """See qsub(1B). One chunk for each machine, on machines apart that are ours alone."""
        word, _, gpus = order.gres.removeprefix("gpu:").rpartition(":")
        kind = f":{self._site.gpu_kind}={word}" if word and word != PLAIN else ""
        chunk = f"ncpus={order.cpus}:mem={order.memory_mb}mb:{self._site.gpu_resource}={gpus}{kind}"
        account = ("-A", self._site.account) if self._site.account else ()
        return (
            *("-N", order.name),
            *("-q", order.partition),
            *("-l", f"select={order.nodes}:{chunk}"),
            *("-l", "place=scatter:exclhost"),
            *("-l", f"walltime={order.minutes // 60:02d}:{order.minutes % 60:02d}:00"),
            *("-r", "n"),
            *("-m", "n"),
            *("-S", "/bin/sh"),
            *("-j", "oe", "-o", "/dev/null"),
            *("-v", f"{LEASE}={pbs_records.packed(order.comment)}"),
            *account,
        )


def complaint(said: str, detail: str, *, buying: bool) -> ProviderError:
    """Our error for what was `said`, shown with its last line; the order matters."""
    detail += said.splitlines()[-1].strip()
    if DOWN.search(said):
        return TransientError(NAME, detail, RETRY_AFTER_S)
    if REFUSED.search(said):
        return AuthError(NAME, detail)
    if not buying:
        return TransientError(NAME, detail, RETRY_AFTER_S)
    return QuotaError(NAME, detail, Scope.REGION) if QUOTA.search(said) else CapacityError(NAME, detail)
