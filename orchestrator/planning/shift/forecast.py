"""Forecasts of hourly series (grid intensity, power or spot prices) from their own history alone.

    log value = weekend offset + profile of the hour of the day + anomaly
    anomaly(t + 1) = a + b · anomaly(t) + c · anomaly(t - 1) + d · anomaly(t - 2) + e · anomaly(t - 24)

The profile is an exponentially weighted mean of the hour over the days known (four weeks), the weekend offset the mean
over the weeks known, shrunk to none, and the anomaly an autoregression with the lag of a day (ridge), run forward hour
by hour. Few parameters on purpose: on generated grids it captures more of the omniscient saving than one regression
per lead with twenty terms. Series that are not well above 0, as power prices, are taken as they are, without logarithm.
With less than `ENOUGH_H` of history the forecast is the last known day again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray

DAY_H, WEEK_H = 24, 168
ENOUGH_H = 18 * DAY_H
FIRST_ORIGIN_H = 10 * DAY_H  # the profile has settled
PROFILE_DAYS = 28.0
WEEKS_OF_DOUBT = 12.0  # a weekend offset of so many weeks counts half: weather moves weekends as much as weekends do
LAGS_H = (0, 1, 2, 24)
RIDGE = 0.01
LOG_FLOOR = 0.02  # of the mean: where the least value is below this share, logarithms would blow it up
SATURDAY = 5


class Hourly(NamedTuple):
    """One value an hour, oldest first, without gaps; `first_hour` of the first value counts from a Monday, 00:00."""

    values: FloatArray
    first_hour: int

    def until(self, end: int) -> Hourly:
        """The first `end` hours."""
        return Hourly(self.values[:end], self.first_hour)


class Fitted(NamedTuple):
    """Weights of the anomalies at `LAGS_H` and the constant, none where history was too short; the weekend offset;
    whether values are taken as logarithms."""

    weights: FloatArray
    weekend: float
    logs: bool


def fit(history: Hourly) -> Fitted:
    """The model of `history`.

    Raises:
        ValueError: history is empty or holds what is not a finite number.
    """
    _check(history, 1)
    values = history.values
    logs = bool(values.min() > LOG_FLOOR * abs(float(values.mean())))
    if len(values) < ENOUGH_H:
        return Fitted(np.empty(0), 0.0, logs)
    levels = np.log(values) if logs else values
    weekend = _weekend_offset(levels, history.first_hour)
    levels = levels - weekend * _is_weekend(history.first_hour + np.arange(len(levels)))
    anomalies = levels - _day_before(_profile(levels))
    origins = np.arange(FIRST_ORIGIN_H, len(levels) - 1)
    x = np.stack([anomalies[origins - lag] for lag in LAGS_H] + [np.ones(len(origins))], axis=1)
    ridge = RIDGE * max(float(np.var(anomalies[FIRST_ORIGIN_H:])), 1e-12) * np.eye(x.shape[1])
    return Fitted(np.linalg.solve(x.T @ x + ridge, x.T @ anomalies[origins + 1]), weekend, logs)


def forecast(history: Hourly, leads: int, fitted: Fitted) -> FloatArray:
    """The `leads` hours after `history`, within the range of the history.

    Raises:
        ValueError: as `fit`, or there are no leads.
    """
    ahead: FloatArray = forecasts(history, np.array([len(history.values) - 1]), leads, fitted)[0]
    return ahead


def forecasts(series: Hourly, origins: IntArray, leads: int, fitted: Fitted) -> FloatArray:
    """`forecast` with history up to and including each of `origins`: shape (origins, leads).

    Raises:
        ValueError: as `forecast`.
    """
    _check(series, leads)
    if not len(fitted.weights) or int(origins.min()) < FIRST_ORIGIN_H:
        return np.stack([persistence(series.values[: origin + 1], leads) for origin in origins])
    values = series.values[: int(origins.max()) + 1]
    levels = np.log(np.maximum(values, 1e-12)) if fitted.logs else values
    levels = levels - fitted.weekend * _is_weekend(series.first_hour + np.arange(len(levels)))
    profile = _profile(levels)
    anomalies = levels - _day_before(profile)
    path = np.empty((len(origins), DAY_H + 1 + leads))
    path[:, : DAY_H + 1] = anomalies[origins[:, None] + np.arange(-DAY_H, 1)]
    for lead in range(1, leads + 1):
        now = DAY_H + lead - 1
        path[:, now + 1] = path[:, [now - lag for lag in LAGS_H]] @ fitted.weights[:-1] + fitted.weights[-1]
    targets = origins[:, None] + np.arange(1, leads + 1)
    known = targets - DAY_H * -(-np.arange(1, leads + 1) // DAY_H)
    ahead = profile[known] + path[:, DAY_H + 1 :] + fitted.weekend * _is_weekend(series.first_hour + targets)
    lowest, highest = np.minimum.accumulate(values)[origins], np.maximum.accumulate(values)[origins]
    ahead = np.exp(np.minimum(ahead, np.log(highest)[:, None])) if fitted.logs else ahead
    within: FloatArray = np.clip(ahead, lowest[:, None], highest[:, None])
    return within


def persistence(history: FloatArray, leads: int) -> FloatArray:
    """The last known day again and again; the last value where history is shorter than a day."""
    return np.resize(history[-DAY_H:], leads) if len(history) >= DAY_H else np.full(leads, history[-1])


def _check(history: Hourly, leads: int) -> None:
    if leads < 1:
        raise ValueError("a forecast looks at least one hour ahead")
    if not len(history.values) or not np.isfinite(history.values).all():
        raise ValueError("history must hold at least one hour, and finite numbers only")


def _is_weekend(hours: IntArray) -> BoolArray:
    weekend: BoolArray = hours // DAY_H % 7 >= SATURDAY
    return weekend


def _weekend_offset(levels: FloatArray, first_hour: int) -> float:
    weeks = len(levels) // WEEK_H
    whole = levels[len(levels) - weeks * WEEK_H :]
    weekend = _is_weekend(first_hour + np.arange(len(levels) - len(whole), len(levels)))
    return float(whole[weekend].mean() - whole[~weekend].mean()) * weeks / (weeks + WEEKS_OF_DOUBT)


def _profile(levels: FloatArray) -> FloatArray:
    """For each hour the exponentially weighted mean of this hour of the day up to it."""
    days = -(-len(levels) // DAY_H)
    by_day = np.concatenate([levels, np.full(days * DAY_H - len(levels), levels[-1])]).reshape(days, DAY_H)
    mean = np.empty_like(by_day)
    mean[0] = by_day[:7].mean(axis=0)
    for day in range(1, days):
        weight = max(1.0 / PROFILE_DAYS, 1.0 / (day + 1))
        mean[day] = mean[day - 1] + weight * (by_day[day] - mean[day - 1])
    profile: FloatArray = mean.ravel()[: len(levels)]
    return profile


def _day_before(profile: FloatArray) -> FloatArray:
    return np.concatenate([profile[:DAY_H], profile[:-DAY_H]])
