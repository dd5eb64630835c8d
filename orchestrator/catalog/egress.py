"""What providers charge for data that leaves a zone or a region."""

from __future__ import annotations

from orchestrator.catalog.tables import rows
from orchestrator.domain.network import EgressRate

GIB_IN_UNIT = {"GB": 1e9 / 2**30, "GiB": 1.0}


def load() -> tuple[EgressRate, ...]:
    """Rates by provider, scope, departure, arrival and tier, in USD per GiB.

    A row lists departures and arrivals between semicolons and its tiers as `start:price`. Where a vendor counts decimal
    gigabytes, a GiB holds 1.0737 of them and so costs that much more, and a tier that starts at 100 GB starts at 93.1.
    """
    return tuple(
        EgressRate(
            provider=row["provider"],
            scope=row["scope"],
            from_gib=float(start) * GIB_IN_UNIT[row["unit"]],
            usd_per_gib=float(usd) / GIB_IN_UNIT[row["unit"]],
            source=f"{row['source']} ({row['as_of']})",
            region=region or None,
            to=to or None,
        )
        for row in rows("egress.csv")
        for region in row["region"].split(";")
        for to in row["to"].split(";")
        for start, _, usd in (tier.partition(":") for tier in row["tiers"].split())
    )
