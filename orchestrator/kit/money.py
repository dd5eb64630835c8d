"""Prices in other currencies, made US dollars by a dated rate and marked."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.catalog import exchange


class Usd(NamedTuple):
    """A price in US dollars; `note` says how it was converted, empty where it was in dollars already."""

    usd: float
    note: str


class Rates:
    """The bundled exchange rates, read once."""

    def __init__(self) -> None:
        self._rates = exchange.load()

    def usd(self, price: float, currency: str) -> Usd | None:
        """`price` per hour in US dollars; None for a currency without a rate: such a price cannot be told."""
        rate = self._rates.get(currency.upper())
        return None if rate is None else Usd(price * rate.usd, rate.note(price))
