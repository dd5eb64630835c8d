"""The bundled price book: list prices written down from public pages, each with its source and date."""

from __future__ import annotations

from orchestrator.catalog import dates, exchange, tables, vendors
from orchestrator.catalog.accelerators import canonical
from orchestrator.catalog.builder import BookBuilder, Canonical
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OfferBook

CURRENT = "current"
A16Z = "a16z-2023-04-07"
EDITIONS = (CURRENT, A16Z)


def load(edition: str = CURRENT, *, names: Canonical = canonical) -> OfferBook:
    """The offers of `edition`, one per region of every row. Stock is unknown; prices are per node and hour.

    Raises: ConfigError for an edition that is not in `EDITIONS`.
    """
    check(edition)
    rates = exchange.load()
    builder = BookBuilder(vendors.load(), names)
    for row in tables.rows(f"prices-{edition}.csv"):
        rate = rates[row["currency"]]
        price = float(row["price"])
        note = rate.note(price)
        observed_at = dates.earliest(row["as_of"])
        if observed_at is None:
            raise ValueError(f"the price book {edition} holds the date {row['as_of']!r}")
        for region in row["regions"].split(";"):
            builder.add(
                provider=row["provider"],
                region=region,
                zone="",
                instance_type=row["instance_type"],
                accelerator=builder.accelerator(row["gpu"], float(row["gpu_mem_gib"])),
                gpus=float(row["gpus"]),
                billing=Billing(row["billing"]),
                usd_per_hour=price * rate.usd,
                vcpus=float(row["vcpus"]),
                host_memory_gib=float(row["host_gib"]),
                bucket=int(row["bucket"]) if row["bucket"] else None,
                observed_at=observed_at,
                source=f"{row['source']} ({note})" if note else row["source"],
            )
    return builder.build()


def check(edition: str) -> None:
    """Raises: ConfigError for an edition that is not in `EDITIONS`."""
    if edition not in EDITIONS:
        raise ConfigError(f"there is no price book {edition!r}: market.edition is one of {', '.join(EDITIONS)}")
