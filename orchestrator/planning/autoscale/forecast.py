"""Forecast: how high a load may climb while a replica boots, learned tick by tick from what was seen."""

from __future__ import annotations

from functools import lru_cache
from math import erfc, exp, inf, isfinite, sqrt
from typing import Final, NamedTuple

import numpy as np

from orchestrator.domain.errors import UserError

FORECASTERS: Final = ("level", "slow level", "trend", "season")
SEASON_BINS: Final = 96  # of one season: quarters of an hour of a day
DAMPING: Final = 0.5  # of a trend over the horizon (Gardner and McKenzie 1985)
SEASON_PAYS: Final = 0.8
NEVER: Final = -inf


class Outlook(NamedTuple):
    """What a forecast looks at and how fast it learns, in seconds; `floor` is a load that counts as next to nothing.

    `patience_s` of work may queue, so that a short peak needs less capacity than it brings (`highest`).

    `horizon_s` is the boot time of a replica and a tick: what is ordered now helps no sooner. `spread` is the
    deviation of the error, as a share of the load, that is believed before anything was seen, for `prior_s` at least.
    """

    horizon_s: float
    floor: float
    patience_s: float = 0.0
    season_s: float = 86_400.0
    fast_s: float = 50.0
    slow_s: float = 250.0
    memory_s: float = 86_400.0
    spread: float = 0.1
    prior_s: float = 1_800.0


class Error(NamedTuple):
    """Of one forecaster: the mean of root(highest load in the horizon) - root(forecast), and how far above errors go.

    Roots, because the variance of a count grows with its mean: those of a Poisson count vary alike at every load
    (Bartlett 1936), which is what makes staffing go with the square root.

    `variance` is of the errors above the mean alone: a load that falls makes nobody late. `missed` is the mean of
    those, uncut.
    """

    mean: float = 0.0
    variance: float = 0.0
    missed: float = 0.0


class Look(NamedTuple):
    """The mean load of the `elapsed_s` seconds before `at_s`."""

    at_s: float
    elapsed_s: float
    load: float


class Due(NamedTuple):
    """Forecasts whose horizon ends at `at_s`."""

    at_s: float
    values: tuple[float, ...]


class History(NamedTuple):
    """What a forecaster has learned; `seen_s` is how long it has watched, `profile` the last season's mean loads."""

    at_s: float = NEVER
    fast: float = 0.0
    slow: float = 0.0
    trend_per_s: float = 0.0
    seen_s: float = 0.0
    recent: tuple[Look, ...] = ()
    due: tuple[Due, ...] = ()
    errors: tuple[Error, ...] = (Error(),) * len(FORECASTERS)
    profile: tuple[float, ...] = ()  # of SEASON_BINS bins; -1 where nothing was seen yet
    bin_sum: tuple[int, float, float] = (-1, 0.0, 0.0)  # the bin under way, load times seconds, seconds


class Forecast(NamedTuple):
    """The root of the highest load of the horizon is normal about that of `middle` with the deviation `spread`."""

    now: float
    middle: float
    spread: float
    floor: float
    by: str

    def upper(self, percentile: float) -> float:
        """The load that the horizon stays below with the probability `percentile` in (0, 1)."""
        root = sqrt(self.middle + self.floor) + normal_quantile(percentile) * self.spread
        return max(0.0, max(0.0, root) ** 2 - self.floor)


def learn(history: History, at_s: float, load: float, outlook: Outlook) -> History:
    """The history with the mean load since the last call, which was before `at_s`.

    Loads have any one unit, requests per second or busy replicas. A look at a time not after the last changes nothing.

    Raises: UserError for a load that is not finite or below 0.
    """
    if not (isfinite(load) and load >= 0.0 and isfinite(at_s)):
        raise UserError(f"A load of {load:g} at {at_s:g} s cannot be learned from: it must be finite and at least 0.")
    if history.at_s == NEVER:
        profile = (-1.0,) * SEASON_BINS
        return History(at_s, load, load, 0.0, 0.0, (), (), history.errors, profile)
    elapsed = at_s - history.at_s
    if elapsed <= 0.0:
        return history
    fast = history.fast + (1.0 - exp(-elapsed / outlook.fast_s)) * (load - history.fast)
    slow = history.slow + (1.0 - exp(-elapsed / outlook.slow_s)) * (load - history.slow)
    # Two exponential means of a ramp of slope b lag it by their time constants: their difference is b times theirs.
    trend = (fast - slow) / (outlook.slow_s - outlook.fast_s)
    since = at_s - outlook.horizon_s
    recent = (*(look for look in history.recent if look.at_s > since), Look(at_s, elapsed, load))
    errors = history.errors
    ended = [due for due in history.due if due.at_s <= at_s]
    for due in ended:
        share = elapsed / len(ended) / min(outlook.memory_s, outlook.prior_s + history.seen_s - outlook.slow_s)
        errors = _judged(errors, due.values, highest(recent, outlook.patience_s), share, outlook)
    following = history._replace(
        at_s=at_s,
        fast=fast,
        slow=slow,
        trend_per_s=trend,
        seen_s=history.seen_s + elapsed,
        recent=recent,
        errors=errors,
        due=tuple(due for due in history.due if due.at_s > at_s),
    )
    following = _seasonal(following, load, elapsed, outlook)
    if following.seen_s < outlook.slow_s:  # levels that have hardly seen anything say nothing of later ones
        return following
    ahead = Due(at_s + outlook.horizon_s, _candidates(following, outlook))
    return following._replace(due=(*following.due, ahead))


def forecast(history: History, outlook: Outlook) -> Forecast:
    """The forecast of the forecaster that has been off by the most even measure, so that its bounds are the lowest.

    The season speaks where it has missed less than `SEASON_PAYS` of what that one has, cut errors counted in full: a
    rise at the same hour of every day is no jump.
    """
    candidates = _candidates(history, outlook)
    prior = _prior_spread(history.fast, outlook)
    spreads = [sqrt(error.variance) if error.variance > 0.0 else prior for error in history.errors]
    season = len(FORECASTERS) - 1
    best = min(range(season), key=lambda one: spreads[one])
    if history.errors[season].missed < SEASON_PAYS * history.errors[best].missed:
        best = season
    middle = max(0.0, sqrt(candidates[best] + outlook.floor) + history.errors[best].mean) ** 2 - outlook.floor
    return Forecast(history.fast, middle, spreads[best], outlook.floor, FORECASTERS[best])


@lru_cache(maxsize=64)
def normal_quantile(percentile: float) -> float:
    """The point below which the standard normal distribution has the probability `percentile`, within ±8."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if 0.5 * erfc(-middle / sqrt(2.0)) < percentile else (low, middle)
    return high


def _prior_spread(load: float, outlook: Outlook) -> float:
    """In roots: a load off by the share s has a root off by s/2."""
    return outlook.spread / 2.0 * sqrt(max(load, 0.0) + outlook.floor)


def _candidates(history: History, outlook: Outlook) -> tuple[float, ...]:
    level = history.fast
    # A fall is not carried on: what it would save is little against a boot when it ends.
    climb = level + DAMPING * max(0.0, history.trend_per_s) * outlook.horizon_s
    return level, history.slow, climb, level * _season_ratio(history, outlook)


def _season_ratio(history: History, outlook: Outlook) -> float:
    """How much higher the load came within the horizon after this time of the last season, as a factor from 1 to 4."""
    if not history.profile:
        return 1.0
    bin_s = outlook.season_s / SEASON_BINS
    here = _season_bin(history.at_s, outlook)
    now = history.profile[here]
    # A horizon that ends within the next bin takes as much of its rise as it reaches into it.
    into = (history.at_s + outlook.horizon_s) / bin_s - history.at_s // bin_s
    reached = [history.profile[(here + step) % SEASON_BINS] for step in range(1, min(int(into), SEASON_BINS - 1) + 1)]
    if now < 0.0 or not reached or min(reached) < 0.0:
        return 1.0
    share = into - int(into)
    before = reached[-2] if len(reached) > 1 else now
    highest_load = max(now, *reached[:-1], before + share * (reached[-1] - before))
    return min(4.0, (highest_load + outlook.floor) / (now + outlook.floor))


def _season_bin(at_s: float, outlook: Outlook) -> int:
    return int(at_s % outlook.season_s / outlook.season_s * SEASON_BINS) % SEASON_BINS


def _seasonal(history: History, load: float, elapsed: float, outlook: Outlook) -> History:
    here = _season_bin(history.at_s, outlook)
    index, total, seconds = history.bin_sum
    if index == here or index < 0:
        return history._replace(bin_sum=(here, total + load * elapsed, seconds + elapsed))
    profile = list(history.profile)
    profile[index] = total / seconds
    return history._replace(profile=tuple(profile), bin_sum=(here, load * elapsed, elapsed))


def highest(recent: tuple[Look, ...], patience_s: float) -> float:
    """The least capacity that would have served `recent` with no queue of more than `patience_s` seconds of work.

    Over all stretches of looks in a row, the highest of work/(length + patience): the fluid queue of Lindley's
    recursion (1952) stays below capacity·patience if and only if no stretch brings more than that beyond its length.
    """
    seconds = np.concatenate(([0.0], np.cumsum([look.elapsed_s for look in recent])))
    work = np.concatenate(([0.0], np.cumsum([look.elapsed_s * look.load for look in recent])))
    length, done = seconds[None, :] - seconds[:, None], work[None, :] - work[:, None]
    return float(np.max(np.triu(done, 1) / (np.maximum(length, 0.0) + patience_s + 1e-9)))


def _judged(
    errors: tuple[Error, ...], values: tuple[float, ...], highest_load: float, share: float, outlook: Outlook
) -> tuple[Error, ...]:
    """Errors after one more forecast came due: exponentially weighted moments (West 1979) of errors cut at three
    deviations (Huber 1964), so that one jump is not taken for the habit of the load.
    """
    judged = []
    for error, value in zip(errors, values, strict=True):
        off = sqrt(highest_load + outlook.floor) - sqrt(value + outlook.floor) - error.mean
        known = error.variance or _prior_spread(values[0], outlook) ** 2
        missed = error.missed + share * (max(0.0, off) - error.missed)
        off = min(3.0 * sqrt(known), max(-3.0 * sqrt(known), off))
        variance = known + (share * (off * off - known) if off > 0.0 else 0.0)
        judged.append(Error(error.mean + share * off, variance, missed))
    return tuple(judged)
