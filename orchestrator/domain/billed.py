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
ROUNDING_S = 1e-6  # an hour that was computed is not begun anew by its last digit


def least_hours(candidates: Candidates) -> FloatArray:
    """Hours per node, shape (n,), that are held or, where that is less, the least the offer is billed for."""
    held: FloatArray = np.maximum(candidates.hours, candidates.book.min_billing_s / 3600.0)
    return held


def in_steps(candidates: Candidates) -> bool:
    """Whether some vendor of the book counts in steps of more than a second."""
    return not BILLING_STEP_S.keys().isdisjoint(candidates.book.provider.vocab)


def billed_hours(candidates: Candidates) -> FloatArray:
    """Hours invoiced per node, shape (n,): `least_hours`, begun steps in full."""
    book, billed = candidates.book, least_hours(candidates)
    if not in_steps(candidates):
        return billed
    step_s = np.array([BILLING_STEP_S.get(name, 0.0) for name in book.provider.vocab], np.float64)
    step_h = step_s[book.provider.codes] / 3600.0
    rows = np.flatnonzero(step_h)
    whole = step_h[rows]
    billed[rows] = np.ceil((billed[rows] - ROUNDING_S / 3600.0) / whole) * whole
    return billed
