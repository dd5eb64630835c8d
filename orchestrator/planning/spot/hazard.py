"""Hazards: how long spot capacity lasts and stays away, learned from what was seen.

Up and down periods are Weibull with a shape below 1: capacity that has lasted is likely to last, capacity that has
just come back is likely to go. The cumulative hazard over an age x in hours is `scale · x ** shape`, times a factor of
the region that is learned: its prior is Gamma(STRENGTH, STRENGTH), with mean 1, and after `events` ends of periods over
an `exposure` (the prior's cumulative hazard lived through) its mean is

    (STRENGTH + events) / (STRENGTH + exposure)

(conjugate; Ibrahim, Chen, Sinha, *Bayesian Survival Analysis*, 2001, chapter 2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STRENGTH = 40.0  # pseudo-events behind the prior: one lost machine changes little, days of flapping do

LONG_H = 1e5  # ages beyond are as this one: infinite ones stay finite


class Periods(NamedTuple):
    """A Weibull law of periods: cumulative hazard `scale · x ** shape` at x hours."""

    scale: float
    shape: float

    def cumulative(self, age_h: Floats) -> Floats:
        """The cumulative hazard at ages in hours."""
        grown: Floats = self.scale * np.power(np.maximum(age_h, 0.0), self.shape)
        return grown

    def over(self, age_h: Floats, span_h: Floats | float) -> Floats:
        """The cumulative hazard from an age on, over a span, both in hours."""
        age = np.minimum(age_h, LONG_H)
        return self.cumulative(age + span_h) - self.cumulative(age)


# Fitted by eye to eight zones of AWS (K80 and V100, October 2022; samples every 10 minutes) and compared with
# thirteen of GCP (H100, October 2025), whose short periods are alike and whose long ones last longer.
UP = Periods(scale=2.28, shape=0.30)
DOWN = Periods(scale=2.82, shape=0.25)

# The age of a period that was under way when it was first seen: long periods are found more often than short ones.
FOUND_UP_H = 8.0
FOUND_DOWN_H = 1.5
SHARE_UP = 0.7  # of regions never looked at


class Seen(NamedTuple):
    """What a run has seen of every region, shapes (jobs, regions).

    `up` is the last answer, `age_h` how long that period had lasted by then, `unseen_h` the time since (0: fresh,
    infinite: never). Events and exposures count only what was watched without a gap.
    """

    up: NDArray[np.bool_]
    age_h: Floats
    unseen_h: Floats
    up_events: Floats
    up_exposure: Floats
    down_events: Floats
    down_exposure: Floats


def unseen(jobs: int, regions: int) -> Seen:
    """Nothing seen yet."""
    zeros = np.zeros((jobs, regions))
    return Seen(
        np.zeros((jobs, regions), dtype=np.bool_),
        zeros.copy(),
        np.full((jobs, regions), np.inf),
        zeros.copy(),
        zeros.copy(),
        zeros.copy(),
        zeros.copy(),
    )


def pass_time(seen: Seen, span_h: float) -> Seen:
    """The same knowledge, `span_h` hours older."""
    return seen._replace(unseen_h=seen.unseen_h + span_h)


def look(seen: Seen, where: NDArray[np.bool_], up: NDArray[np.bool_], watched_h: float) -> Seen:
    """What is known after answers `up` at the pairs `where`; gaps up to `watched_h` count as watched without one."""
    never = np.isinf(seen.unseen_h)
    gap = np.where(never, 0.0, seen.unseen_h)
    same = (up == seen.up) & ~never
    watched = where & ~never & (gap > 0.0) & (gap <= watched_h * 1.001)
    was_up, was_down = watched & seen.up, watched & ~seen.up
    found = np.where(up, FOUND_UP_H, FOUND_DOWN_H)
    # A period that ended and one that began between two looks began, for all we know, in the middle.
    begun = np.where(watched | (gap == 0.0), 0.5 * gap, np.minimum(0.5 * gap, found))
    age = np.where(never, found, np.where(same, seen.age_h + gap, begun))
    return Seen(
        np.where(where, up, seen.up),
        np.where(where, age, seen.age_h),
        np.where(where, 0.0, seen.unseen_h),
        seen.up_events + (was_up & ~up),
        seen.up_exposure + np.where(was_up, UP.over(seen.age_h, gap), 0.0),
        seen.down_events + (was_down & up),
        seen.down_exposure + np.where(was_down, DOWN.over(seen.age_h, gap), 0.0),
    )


def factors(seen: Seen) -> tuple[Floats, Floats]:
    """The regions' factors on the hazards of up and of down periods, as learned."""
    ends: Floats = (STRENGTH + seen.up_events) / (STRENGTH + seen.up_exposure)
    returns: Floats = (STRENGTH + seen.down_events) / (STRENGTH + seen.down_exposure)
    return ends, returns


def pooled_factors(seen: Seen) -> tuple[Floats, Floats]:
    """The factors that the regions have in common, (jobs,)."""
    ends: Floats = (STRENGTH + seen.up_events.sum(1)) / (STRENGTH + seen.up_exposure.sum(1))
    returns: Floats = (STRENGTH + seen.down_events.sum(1)) / (STRENGTH + seen.down_exposure.sum(1))
    return ends, returns


def chance_up(seen: Seen) -> Floats:
    """The probability that a region has capacity now: 0 or 1 where the answer is fresh."""
    ends, returns = factors(seen)
    never = np.isinf(seen.unseen_h)
    gap = np.where(never, 0.0, seen.unseen_h)
    kept_up = np.exp(-ends * UP.over(seen.age_h, gap))
    kept_down = np.exp(-returns * DOWN.over(seen.age_h, gap))
    usual = SHARE_UP * returns / (SHARE_UP * returns + (1.0 - SHARE_UP) * ends)
    after: Floats = np.where(seen.up, kept_up + (1.0 - kept_up) * usual, (1.0 - kept_down) * usual)
    return np.where(never, usual, after)
