"""Grows the columns of an offer book row by row, filling in what is known of the provider."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import nan

import numpy as np

from orchestrator.catalog import hazard
from orchestrator.catalog.vendors import Vendors
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import (
    FLOAT_COLUMNS,
    INT_COLUMNS,
    UNKNOWN,
    WORD_COLUMNS,
    Column,
    OfferBook,
    Words,
)

NUMBERS = (*FLOAT_COLUMNS, *INT_COLUMNS)
YEAR_S = 365 * 86400.0
Canonical = Callable[[str, float | None], str | None]  # a vendor's word and its memory in GiB -> our name


class BookBuilder:
    """Collects offers and makes the sorted book of them."""

    def __init__(self, vendors: Vendors, canonical: Canonical) -> None:
        self._vendors = vendors
        self._canonical = canonical
        self.unknown: set[str] = set()  # devices that keep the vendor's word
        self._names: dict[tuple[str, float | None], str] = {}
        self._fabrics: dict[tuple[str, str], str] = {}
        self._words: list[tuple[str, ...]] = []  # rows of WORD_COLUMNS
        self._numbers: list[tuple[float, ...]] = []  # rows of NUMBERS
        self._lease_s: dict[int, float] = {}  # by row, where a lease ends

    def __len__(self) -> int:
        return len(self._words)

    def accelerator(self, vendor_word: str, memory_gib: float | None) -> str:
        """Our name of the device, or the vendor's own word where we know no such device."""
        key = (vendor_word, memory_gib)
        name = self._names.get(key)
        if name is None:
            ours = self._canonical(vendor_word, memory_gib)
            name = self._names[key] = ours or vendor_word
            if ours is None:
                self.unknown.add(vendor_word)
        return name

    def add(
        self,
        *,
        provider: str,
        region: str,
        zone: str,
        instance_type: str,
        accelerator: str,
        gpus: float,
        billing: Billing,
        usd_per_hour: float,
        vcpus: float,
        host_memory_gib: float,
        bucket: int | None,
        observed_at: datetime,
        source: str,
        max_lease_h: float | None = None,
    ) -> None:
        """Add one offer. `bucket` is Spot Advisor's; only spot offers have a hazard from it."""
        facts = self._vendors.facts(provider)
        # A reservation is paid to its end, whatever the job does: a year is the shortest term we list.
        least_s = YEAR_S if billing is Billing.RESERVED else facts.min_billing_s
        known_hazard = billing is Billing.SPOT and bucket is not None
        word_row = (provider, region, zone, instance_type, billing.value)
        fabric = self._fabric(provider, instance_type)
        lost_per_hour = hazard.per_hour(bucket) if known_hazard and bucket is not None else _certain(billing)
        seconds = int(observed_at.timestamp())
        if max_lease_h is not None:
            self._lease_s[len(self._words)] = 3600.0 * max_lease_h
        self._words.append((*word_row, accelerator, facts.tier.value, fabric, source))
        self._numbers.append(
            (gpus, usd_per_hour, vcpus, host_memory_gib, lost_per_hour, facts.boot_s, least_s, UNKNOWN, seconds)
        )

    def build(self) -> OfferBook:
        """The book, sorted."""
        if not self._words:
            return OfferBook.empty()
        words = zip(WORD_COLUMNS, zip(*self._words, strict=True), strict=True)
        columns: dict[str, Column] = {name: Words.encode(column) for name, column in words}
        numbers = dict(zip(NUMBERS, zip(*self._numbers, strict=True), strict=True))
        columns |= {name: np.array(numbers[name], np.float64) for name in FLOAT_COLUMNS}
        columns |= {name: np.array(numbers[name], np.int64) for name in INT_COLUMNS}
        if self._lease_s:
            lease_s = np.full(len(self), nan)
            lease_s[list(self._lease_s)] = list(self._lease_s.values())
            columns["max_lease_s"] = lease_s
        return OfferBook.from_columns(columns).sort()

    def _fabric(self, provider: str, instance_type: str) -> str:
        key = (provider, instance_type)
        fabric = self._fabrics.get(key)
        if fabric is None:
            fabric = self._fabrics[key] = self._vendors.fabric(provider, instance_type)
        return fabric


def _certain(billing: Billing) -> float:
    """Unknown for spot; the rest is not interrupted by the market, and failures are no property of an offer."""
    return nan if billing is Billing.SPOT else 0.0
