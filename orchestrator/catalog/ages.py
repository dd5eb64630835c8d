"""How old prices are."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, OfferBook


def age_s(book: OfferBook, now: datetime) -> FloatArray:
    """Seconds since every price was observed, shape (n,), at least 0: a date without an hour may lie ahead of `now`."""
    return np.maximum(0.0, now.timestamp() - book.observed_at.astype(np.float64))


def older_than(book: OfferBook, now: datetime, max_age_s: float) -> BoolArray:
    """Shape (n,): True where a price is older than the user wants to trust."""
    return age_s(book, now) > max_age_s
