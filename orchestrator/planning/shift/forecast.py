"""Forecasts of hourly series (grid intensity, power or spot prices) from their own history, by ridge regression.

The forecast of an hour is the mean of that hour of the day over the last seven known days, plus a ridge regression of
its anomaly, the difference to that mean. Regressors: the anomaly now and 1, 2, 3, 6 and 12 hours ago, of the same hour
on the last known day and of the week before, of the last day and the last three days on average; Saturday, Sunday,
Monday; daily and half-daily harmonics, and the anomaly now by time of day. One regression per lead, fitted on history
alone (lead-wise regression with seasonal lags, as in Weron, "Electricity price forecasting", 2014). With less than
`ENOUGH_H` of history the forecast is the last known day again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray

DAY_H, WEEK_H = 24, 168
FIRST_ORIGIN_H = 10 * DAY_H  # a week for the means and three days of anomalies
ENOUGH_H = 18 * DAY_H
WINDOW_H = 90 * DAY_H  # older history says little about this season
RIDGE = 3.0  # in observations: anomalies are scaled to their standard deviation
LAGS_H = (0, 1, 2, 3, 6, 12)
RARE_DAYS = (5, 6, 0)  # Saturday, Sunday, Monday


class Hourly(NamedTuple):
    """One value an hour, oldest first, without gaps; `first_hour` of the first value counts from a Monday, 00:00."""

    values: FloatArray
    first_hour: int

    def until(self, end: int) -> Hourly:
        """The first `end` hours."""
        return Hourly(self.values[:end], self.first_hour)


class Fitted(NamedTuple):
    """Weights of each lead, shape (leads, features), for anomalies divided by `scale`; no rows where history was too
    short. `spread` is the standard deviation of each lead's error in the window, shape (leads,)."""

    weights: FloatArray
    scale: float
    spread: FloatArray


def fit(history: Hourly, leads: int) -> Fitted:
    """Regressions for 1 to `leads` hours ahead.

    Raises:
        ValueError: history is empty or holds what is not a finite number; no leads.
    """
    _check(history, leads)
    values = history.values
    if len(values) < ENOUGH_H + leads:
        step = values[DAY_H:] - values[:-DAY_H] if len(values) > DAY_H + 1 else np.zeros(1)
        return Fitted(np.empty((0, 0)), 1.0, np.full(leads, float(np.std(step))))
    first = max(0, len(values) - WINDOW_H - FIRST_ORIGIN_H)
    series = Hourly(values[first:], history.first_hour + first)
    scale = float(np.std(_anomalies(series.values)[WEEK_H:])) or 1.0
    weights, spread = [], []
    for lead in range(1, leads + 1):
        origins = np.arange(FIRST_ORIGIN_H, len(series.values) - lead)
        x = _features(series, origins, lead, scale)
        y = (series.values[origins + lead] - _base(series.values, origins, lead)) / scale
        weight = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        weights.append(weight)
        spread.append(float(np.std(y - x @ weight)) * scale)
    return Fitted(np.array(weights), scale, np.array(spread))


def forecast(history: Hourly, fitted: Fitted) -> FloatArray:
    """The hours after `history`, shape (leads,), within the range that the last `WINDOW_H` have seen.

    Raises:
        ValueError: as `fit`.
    """
    ahead: FloatArray = forecasts(history, np.array([len(history.values) - 1]), fitted)[0]
    return ahead


def forecasts(series: Hourly, origins: IntArray, fitted: Fitted) -> FloatArray:
    """`forecast` with history up to and including each of `origins`: shape (origins, leads).

    Raises:
        ValueError: as `fit`.
    """
    leads = len(fitted.spread)
    _check(series, leads)
    ahead = np.empty((len(origins), leads))
    if not len(fitted.weights) or int(origins.min()) < FIRST_ORIGIN_H:
        for row, origin in enumerate(origins):
            ahead[row] = persistence(series.values[: origin + 1], leads)
        return ahead
    first = max(0, int(origins.min()) - FIRST_ORIGIN_H)
    recent = Hourly(series.values[first : int(origins.max()) + 1], series.first_hour + first)
    for lead in range(1, leads + 1):
        anomaly = _features(recent, origins - first, lead, fitted.scale) @ fitted.weights[lead - 1] * fitted.scale
        ahead[:, lead - 1] = _base(recent.values, origins - first, lead) + anomaly
    for row, origin in enumerate(origins):
        past = series.values[max(0, origin + 1 - WINDOW_H) : origin + 1]
        ahead[row] = np.clip(ahead[row], past.min(), past.max())
    return ahead


def persistence(history: FloatArray, leads: int) -> FloatArray:
    """The last known day again and again; the last value where history is shorter than a day."""
    return np.resize(history[-DAY_H:], leads) if len(history) >= DAY_H else np.full(leads, history[-1])


def _check(history: Hourly, leads: int) -> None:
    if leads < 1:
        raise ValueError("a forecast looks at least one hour ahead")
    if not len(history.values) or not np.isfinite(history.values).all():
        raise ValueError("history must hold at least one hour, and finite numbers only")


def _means(values: FloatArray) -> FloatArray:
    """For each hour the mean of this hour of the day over the seven days up to it; of the first value before that."""
    days = [np.concatenate([np.full(day * DAY_H, values[0]), values[: len(values) - day * DAY_H]]) for day in range(7)]
    mean: FloatArray = np.mean(days, axis=0)
    return mean


def _anomalies(values: FloatArray) -> FloatArray:
    anomalies: FloatArray = values - values[0]
    anomalies[DAY_H:] = values[DAY_H:] - _means(values)[:-DAY_H]
    return anomalies


def _back(lead: int, period: int) -> int:
    """Hours from the origin back to the target's hour in the last period that is known; never negative."""
    return -lead % period


def _base(values: FloatArray, origins: IntArray, lead: int) -> FloatArray:
    base: FloatArray = _means(values)[origins - _back(lead, DAY_H)]
    return base


def _features(series: Hourly, origins: IntArray, lead: int, scale: float) -> FloatArray:
    values, base = series.values, _base(series.values, origins, lead)
    anomalies = _anomalies(values)
    now = anomalies[origins] / scale
    columns = [anomalies[origins - lag] / scale for lag in LAGS_H]
    columns.append((values[origins - _back(lead, DAY_H)] - base) / scale)
    columns.append((values[origins - _back(lead, WEEK_H)] - base) / scale)
    total = np.concatenate([[0.0], np.cumsum(anomalies)])
    columns += [(total[origins + 1] - total[origins + 1 - hours]) / (hours * scale) for hours in (DAY_H, 3 * DAY_H)]
    clock = series.first_hour + origins + lead
    columns += [(clock // DAY_H % 7 == day).astype(float) for day in RARE_DAYS]
    columns.append(np.ones(len(origins)))
    angle = 2.0 * np.pi * clock / DAY_H
    columns += [wave(angle * times) for times in (1, 2) for wave in (np.sin, np.cos)]
    columns += [now * np.sin(angle), now * np.cos(angle)]
    return np.stack(columns, axis=1)
