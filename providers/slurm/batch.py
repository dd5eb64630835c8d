"""The seam to a cluster's queue: what a provider asks of a batch system, whichever it is and however it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from providers.slurm.records import Node, Partition, QueuedJob


class Order(NamedTuple):
    """An allocation to be asked for."""

    name: str
    comment: str
    partition: str
    nodes: int
    gres: str  # of one node: "gpu:a100:2", or "gpu:2" where the site tells no type
    cpus: int
    memory_mb: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a site has, and in words what it does not tell."""

    nodes: Sequence[Node]
    partitions: Sequence[Partition]
    gaps: Sequence[str] = ()


class Batch(Protocol):
    """One site's batch system. Every call may come from any thread."""

    def cluster(self) -> Cluster:
        """Nodes and partitions. Raises: AuthError, TransientError."""
        ...

    def jobs(self) -> list[QueuedJob]:
        """Jobs of our user that have not ended. Raises: AuthError, TransientError."""
        ...

    def submit(self, order: Order) -> str:
        """The id of the job.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which it may have been submitted.
        """
        ...

    def expected(self, order: Order) -> datetime | None:
        """When the job would start; None where the batch system does not say.

        Raises: CapacityError, QuotaError where it never would; AuthError, TransientError.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, which may have ended before. Raises: AuthError, TransientError."""
        ...
