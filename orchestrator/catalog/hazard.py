"""Interruption statistics of spot markets as hazards per hour."""

from __future__ import annotations

from math import log

HOURS_PER_MONTH = 730.0
MONTHLY_SHARE = (0.025, 0.075, 0.125, 0.175, 0.25)  # middles of AWS Spot Advisor's <5, 5-10, 10-15, 15-20 and >20 %


def per_hour(bucket: int) -> float:
    """The hazard per hour of Spot Advisor's frequency `bucket` (0 to 4).

    The advisor gives the share of instances interrupted within a month. Under a constant hazard h that share is
    1 - exp(-h · 730), so h = -ln(1 - share) / 730. The open last bucket is taken at 25 %.

    Raises: IndexError for another bucket.
    """
    if not 0 <= bucket < len(MONTHLY_SHARE):
        raise IndexError(bucket)
    return -log(1.0 - MONTHLY_SHARE[bucket]) / HOURS_PER_MONTH
