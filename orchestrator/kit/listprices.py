"""List prices written down from vendors' public pages, for those that have no price API."""

from __future__ import annotations

from orchestrator.catalog import pricebook
from orchestrator.domain.offer import Offer


def of(provider: str) -> tuple[Offer, ...]:
    """The bundled price book's offers of `provider`, one per region that a price is stated for.

    `observed_at` is the day on which the price was read and `source` the page; stock is unknown.
    """
    return tuple(offer for offer in pricebook.load() if offer.provider == provider)
