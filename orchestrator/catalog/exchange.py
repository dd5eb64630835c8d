"""Exchange rates: dated constants, so that the same file gives the same dollars on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.catalog.tables import rows


class Rate(NamedTuple):
    """What one unit of `currency` was worth in US dollars on `as_of`."""

    currency: str
    usd: float
    source: str
    as_of: str

    def note(self, price: float) -> str:
        """How a converted price says so: `EUR 2.52/h at 1.1133 USD/EUR of 2026-10-28`; empty for dollars."""
        if self.currency == "USD":
            return ""
        return f"{self.currency} {price:g}/h at {self.usd:g} USD/{self.currency} of {self.as_of}"


def load() -> Mapping[str, Rate]:
    """The rates we hold, by ISO 4217 code."""
    return {
        row["currency"]: Rate(row["currency"], float(row["usd"]), row["source"], row["as_of"])
        for row in rows("exchange.csv")
    }
