"""What providers charge for data that leaves a region."""

from __future__ import annotations

from orchestrator.catalog.tables import rows
from orchestrator.domain.network import EgressRate

GIB_IN_UNIT = {"GB": 1e9 / 2**30, "GiB": 1.0}


def load() -> tuple[EgressRate, ...]:
    """Tiers by provider and scope, in USD per GiB.

    Most providers quote decimal gigabytes: a GiB holds 1.0737 of them and so costs that much more, and a tier that
    starts at 100 GB starts at 93.1 GiB.
    """
    return tuple(
        EgressRate(
            provider=row["provider"],
            scope=row["scope"],
            from_gib=float(row["from"]) * GIB_IN_UNIT[row["unit"]],
            usd_per_gib=float(row["usd_per_unit"]) / GIB_IN_UNIT[row["unit"]],
            source=f"{row['source']} ({row['as_of']})",
        )
        for row in rows("egress.csv")
    )
