"""Deadlines: the time left, and how likely and how late a job is, from the range of its hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import erf, sqrt
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.workload import Inference, Workload

Z90 = 1.2815515655446004  # standard deviations from the median to the 90th percentile of a normal distribution
LEAST = 1e-12  # hours: what takes less takes no time
MOST_SIGMA = 10.0  # of the logarithm: a p90 of e^12.8 medians is no estimate, and its mean overflows nothing

_erf = np.frompyfunc(erf, 1, 1)


class Spread(NamedTuple):
    """Hours at the 10th, 50th and 90th percentile, each of shape (n,)."""

    p10: FloatArray
    p50: FloatArray
    p90: FloatArray


def hours_left(workload: Workload, at: datetime) -> float | None:
    """Hours from `at` to the earlier of `deadline_s` (which counts from `at`) and `finish_by`; None without a deadline.

    A service has none: it runs for its `duration_s`.
    """
    limits = workload.limits
    if isinstance(workload, Inference):
        return None
    left = [] if limits.deadline_s is None else [limits.deadline_s / 3600.0]
    if limits.finish_by is not None:
        left.append((limits.finish_by - at) / timedelta(hours=1))
    return min(left) if left else None


def probability(hours: Spread, left_h: FloatArray | float) -> FloatArray:
    """The probability, shape (n,), that work of these `hours` is done within `left_h`.

    The logarithm of the hours is taken to be normal with the median ln p50 on both sides, its deviation being
    (ln p50 − ln p10)/z below the median and (ln p90 − ln p50)/z above, z = 1.2816: the two-piece (split) normal
    distribution of central banks' fan charts (E. Britton, P. Fisher and J. Whitley, "The Inflation Report projections:
    understanding the fan chart", 1998), split at the median so that all three percentiles are met. So
    P(T ≤ t) = Φ((ln t − ln p50)/σ) with the σ of t's side. It never falls as `left_h` rises.
    """
    left, middle = np.broadcast_to(np.asarray(left_h, np.float64), hours.p50.shape), np.maximum(hours.p50, LEAST)
    below, above = _sigmas(hours)
    distance = np.log(np.maximum(left, LEAST)) - np.log(middle)
    sigma = np.where(distance < 0, below, above)
    certain = np.where(distance < 0, 0.0, 1.0)
    found = np.where(sigma > 0, _cdf(distance / np.where(sigma > 0, sigma, 1.0)), certain)
    return np.where(left > 0, found, 0.0)


def expected_lateness_h(hours: Spread, left_h: FloatArray | float) -> FloatArray:
    """Expected hours past `left_h`, E[max(0, T − left)], shape (n,), of the distribution of `probability`.

    Closed form, by the partial expectation of the lognormal. With m = ln p50 and D = max(left, 0), for D ≥ p50:
    C(D) = e^(m + σ²/2)·Φ((m + σ² − ln D)/σ) − D·Φ((m − ln D)/σ) with the upper σ. For D < p50, with the lower σ and
    P(K) = K·Φ((ln K − m)/σ) − e^(m + σ²/2)·Φ((ln K − m − σ²)/σ): C(p50) + (p50 − D) − (P(p50) − P(D)). Time that is
    already past the deadline comes on top.
    """
    left = np.broadcast_to(np.asarray(left_h, np.float64), hours.p50.shape)
    due, middle = np.maximum(left, LEAST), np.maximum(hours.p50, LEAST)
    below, above = _sigmas(hours)
    tail = _call(middle, above, np.maximum(due, middle))
    short = np.where(due < middle, middle - due - _put(middle, below, middle) + _put(middle, below, due), 0.0)
    return np.maximum(tail + short, 0.0) + np.maximum(-left, 0.0)


def _sigmas(hours: Spread) -> tuple[FloatArray, FloatArray]:
    low, middle, high = (np.log(np.maximum(column, LEAST)) for column in hours)
    return np.clip((middle - low) / Z90, 0.0, MOST_SIGMA), np.clip((high - middle) / Z90, 0.0, MOST_SIGMA)


def _call(middle: FloatArray, sigma: FloatArray, due: FloatArray) -> FloatArray:
    """E[max(0, T − due)] of a lognormal; with no deviation T is its median."""
    spread = np.where(sigma > 0, sigma, 1.0)
    away = np.log(middle) - np.log(due)
    found = middle * np.exp(spread**2 / 2) * _cdf((away + spread**2) / spread) - due * _cdf(away / spread)
    return np.where(sigma > 0, found, np.maximum(middle - due, 0.0))


def _put(middle: FloatArray, sigma: FloatArray, due: FloatArray) -> FloatArray:
    """E[max(0, due − T)] of a lognormal; with no deviation T is its median."""
    spread = np.where(sigma > 0, sigma, 1.0)
    away = np.log(due) - np.log(middle)
    found = due * _cdf(away / spread) - middle * np.exp(spread**2 / 2) * _cdf((away - spread**2) / spread)
    return np.where(sigma > 0, found, np.maximum(due - middle, 0.0))


def _cdf(z: FloatArray) -> FloatArray:
    """Φ, the normal distribution function: numpy has none, and this takes 0.1 µs a number."""
    return 0.5 * (1.0 + np.asarray(_erf(z / sqrt(2.0)), np.float64))
