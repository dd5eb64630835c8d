"""Leases that no run stands behind."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.lease import Lease
from orchestrator.domain.run import Run
from orchestrator.lifecycle.fold import OPEN
from orchestrator.lifecycle.observed import Listing


def strays(listing: Listing, runs: Iterable[Run], *, owner: str) -> tuple[Lease, ...]:
    """Leases in `listing` that carry our owner tag and belong to no open attempt of `runs`.

    `runs` must be folded from events read after the listing arrived: intents are stored before leases are bought, so
    whatever such a listing shows is then known. A lease of another owner is never among them.
    """
    if not listing.leases:
        return ()
    wanted: dict[str, str | None] = {}  # token -> id of the lease it stands for; None while that is not known
    for run in runs:
        for attempt in run.attempts:
            if attempt.state in OPEN:
                wanted[attempt.token] = attempt.lease.id if attempt.lease is not None else None

    def ours(lease: Lease) -> bool:
        return lease.token in wanted and wanted[lease.token] in {None, lease.id}

    return tuple(lease for lease in listing.leases if lease.owner == owner and not ours(lease))
