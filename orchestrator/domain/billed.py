"""Billed time: how many hours of a lease are invoiced, which is seldom how many it was used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import FloatArray

# Vendors that count begun minutes or hours, by their price pages as of 2026-11 (from memory; fluidstack's of 2023). The
# rest counts seconds.
BILLING_STEP_S: Mapping[str, float] = MappingProxyType(
    {"lambda": 60.0, "crusoe": 60.0, "hyperstack": 60.0, "scaleway": 60.0, "fluidstack": 3600.0}
)


def billed_hours(candidates: Candidates) -> FloatArray:
    """Hours expected to be invoiced per node, shape (n,): those held, and at least the offer's least billing time.

    Where a vendor counts begun minutes or hours, half of one more is expected: nobody knows the end of a job to the
    minute, so the rest of its last minute is anything between none and all.
    """
    book, hours = candidates.book, candidates.hours
    if not BILLING_STEP_S.keys().isdisjoint(book.provider.vocab):
        rest_h = np.array([BILLING_STEP_S.get(name, 0.0) / 7200.0 for name in book.provider.vocab], np.float64)
        hours = hours + rest_h[book.provider.codes]
    billed: FloatArray = np.maximum(hours, book.min_billing_s / 3600.0)
    return billed
