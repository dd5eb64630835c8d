"""Holdings: what runs hold now, for plans that must not put all eggs in one basket."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.run import AttemptState, Run
from orchestrator.domain.standing import Holding

HELD = frozenset({AttemptState.HELD, AttemptState.RELEASING})


def holdings(runs: Iterable[Run]) -> tuple[Holding, ...]:
    """One per lease that `runs` hold, in their order; a purchase in doubt is none yet, and one that is being given back
    still is one, for it costs money until its end is confirmed.
    """
    return tuple(
        Holding(
            run=run.id,
            provider=attempt.lease.provider,
            region=attempt.lease.offer.region,
            zone=attempt.lease.offer.zone,
            instance_type=attempt.lease.offer.instance_type,
            billing=str(attempt.lease.offer.billing),
            nodes=attempt.lease.nodes,
            gpus=attempt.lease.nodes * attempt.lease.offer.gpus,
            usd_per_hour=attempt.lease.usd_per_hour,
        )
        for run in runs
        for attempt in run.attempts
        if attempt.lease is not None and attempt.state in HELD
    )
