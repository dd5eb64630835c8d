"""Replays an interruptible job with slack over hourly series: when it ran, what that cost, and whether it was late."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.shift.forecast import DAY_H, WEEK_H, Hourly, fit, forecasts, persistence
from orchestrator.planning.shift.when import FREE, NOWHERE, Choice, Switching, Task, when

Decide: TypeAlias = Callable[[Task, int], Choice]  # of the task and the hour that begins now
MOST_GAP_H = 6  # missing hours that a reader fills in by a straight line


class Shifted(NamedTuple):
    """What one replay came to: US dollars, hours from the start to the end, resumes, moves between places."""

    usd: float
    took_h: float
    resumes: int
    moves: int


class Grid(NamedTuple):
    """The shape of a generated grid's intensity: mean in g/kWh; relative swings of the day (demand), of solar power
    at noon, of the week and of the year; the relative standard deviation of weather and its memory in hours."""

    mean: float
    demand: float
    solar: float
    weekly: float
    seasonal: float
    weather: float
    memory_h: float


# Set so that the omniscient saving of 12 h of work in 36 h and the share of it that yesterday's day captures come near
# those of hourly series of 2020: Germany 17.6 % and 46 %, France 11.9 and 27, Great Britain 19.9 and 50, the north-west
# of the United States 22.7 and 42, New South Wales 17.8 and 92.
GRIDS = {
    "wind and coal": Grid(380.0, 0.10, 0.22, 0.07, 0.10, 0.28, 24.0),
    "nuclear": Grid(55.0, 0.12, 0.06, 0.08, 0.15, 0.20, 24.0),
    "wind and gas": Grid(200.0, 0.25, 0.08, 0.06, 0.12, 0.27, 24.0),
    "hydro and solar": Grid(250.0, 0.24, 0.18, 0.03, 0.15, 0.34, 24.0),
    "coal and solar": Grid(620.0, 0.05, 0.36, 0.02, 0.06, 0.08, 24.0),
}


def generated(grid: Grid, days: int, rng: np.random.Generator) -> Hourly:
    """An hourly series like that of real grids, from a Monday in January: demand peaks in the morning and the evening,
    a solar dip that follows the season and the clouds of the day, quiet weekends, and weather as an AR(2) process."""
    hour = np.arange(days * DAY_H)
    clock, day = hour % DAY_H, hour // DAY_H
    year = np.cos(2.0 * np.pi * (day - 15) / 365.25)
    peaks = np.exp(-(((clock - 8) / 2.5) ** 2)) + 1.3 * np.exp(-(((clock - 19) / 3.0) ** 2)) - 0.45
    clouds = np.clip(_weather(days, 3.0, rng) * 0.35 + 1.0, 0.1, 1.6)[day]
    sun = np.clip(np.cos(2.0 * np.pi * (clock - 12.5) / (24.0 + 6.0 * year)), 0.0, None) * (np.abs(clock - 12.5) < 7.5)
    weekend = np.isin(day % 7, (5, 6)) - 2.0 / 7.0
    swing = grid.demand * peaks - grid.solar * (1.0 - 0.45 * year) * clouds * sun - grid.weekly * weekend
    wind = _weather(len(hour), grid.memory_h, rng) * grid.weather + rng.normal(0.0, 0.01, len(hour))
    return Hourly(grid.mean * np.exp(np.clip(swing + wind + grid.seasonal * year, -2.0, 1.0)), 0)


def _weather(steps: int, memory: float, rng: np.random.Generator) -> FloatArray:
    """AR(2) noise of unit variance whose correlation fades over `memory` steps and that starts smoothly."""
    slow, fast = np.exp(-1.0 / memory), np.exp(-4.0 / memory)
    shocks = rng.normal(size=steps + 20 * int(memory + 1))
    values = np.zeros(len(shocks))
    for step in range(2, len(shocks)):
        values[step] = (slow + fast) * values[step - 1] - slow * fast * values[step - 2] + shocks[step]
    noise: FloatArray = values[-steps:] / values.std()
    return noise


def read(path: Path) -> Hourly:
    """An hourly series from CSV: a time (ISO 8601) and a number in the first two columns, under a header.

    Gaps of up to `MOST_GAP_H` hours are filled by a straight line; of several rows of one hour the last counts.

    Raises:
        SpecError: a row holds no time or no finite number, hours are not in order, or a gap is longer.
    """
    times: list[datetime] = []
    values: list[float] = []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream)
        next(rows, None)
        for row in rows:
            try:
                times.append(datetime.fromisoformat(row[0]))
                values.append(float(row[1]))
            except (IndexError, ValueError) as error:
                raise SpecError(path.name, (Problem(rows.line_num, 1, "", f"not an hour: {error}"),)) from error
            if not np.isfinite(values[-1]):
                raise SpecError(path.name, (Problem(rows.line_num, 1, "", "not a finite number"),))
    if not times:
        raise SpecError(path.name, (Problem(0, 0, "", "no hours"),))
    hours = np.array([int((time - times[0]) / timedelta(hours=1)) for time in times])
    steps = np.diff(hours)
    if len(steps) and (steps.min() < 0 or steps.max() > MOST_GAP_H + 1):
        at = int(np.argmax((steps < 0) | (steps > MOST_GAP_H + 1)))
        message = f"{steps[at]} hours after the row before; hours must rise and gaps be at most {MOST_GAP_H} h"
        raise SpecError(path.name, (Problem(at + 3, 1, "", message),))
    last = np.append(steps > 0, True)
    filled = np.interp(np.arange(hours[-1] + 1), hours[last], np.array(values)[last])
    return Hourly(filled, times[0].weekday() * DAY_H + times[0].hour)


def walked(series: Hourly, leads: int, *, refit_h: int = DAY_H) -> FloatArray:
    """What was forecast at the end of each hour for the `leads` hours after it, from history alone: shape
    (hours, leads). Regressions are fitted again every `refit_h`."""
    ahead = np.empty((len(series.values), leads))
    for first in range(0, len(series.values), refit_h):
        origins = np.arange(first, min(first + refit_h, len(series.values)))
        ahead[origins] = forecasts(series, origins, leads, fit(series.until(first + 1)))
    return ahead


def follow(costs: FloatArray, ahead: FloatArray, switching: Switching = FREE, *, live: bool = True) -> Decide:
    """Ours: plan again every hour. `costs` (places, hours) are the true ones, `ahead` (places, hours, leads) what was
    forecast at the end of each hour. With `live` the hour that begins is known, else it is forecast too."""

    def decide(task: Task, hour: int) -> Choice:
        known = hour if live else hour - 1
        curve = ahead[:, known]
        if live:
            curve = np.concatenate([costs[:, hour : hour + 1], curve], axis=1)
        return when(task, curve, switching)

    return decide


def fixed(curve: FloatArray, start: int, switching: Switching = FREE) -> Decide:
    """Plans once more each hour along one curve (places, hours) made at `start`: the truth makes it omniscient,
    yesterday's day persistence."""

    def decide(task: Task, hour: int) -> Choice:
        return when(task, curve[:, hour - start :], switching)

    return decide


def persistent(costs: FloatArray, start: int, hours: int) -> FloatArray:
    """The day before `start` again and again, for each place: shape (places, hours)."""
    return np.stack([persistence(place[:start], hours) for place in costs])


def at_once(task: Task, hour: int) -> Choice:  # noqa: ARG001
    """Runs in the first place from the start."""
    return Choice(0, 0, 0.0)


def lowest_slot(curve: FloatArray, start: int, work_h: int) -> Decide:
    """Runs through without a stop in the window with the lowest forecast mean (as GAIA's lowest-window, ASPLOS'24)."""
    windows = np.lib.stride_tricks.sliding_window_view(curve, work_h, axis=1).mean(axis=2)
    place, first = np.unravel_index(int(np.argmin(windows)), windows.shape)

    def decide(task: Task, hour: int) -> Choice:  # noqa: ARG001
        return Choice(int(place) if hour - start >= first else NOWHERE, 0, 0.0)

    return decide


def replay(costs: FloatArray, start: int, task: Task, decide: Decide, switching: Switching = FREE) -> Shifted:
    """Run one job that begins at hour `start` over the true `costs`, shape (places, hours), to its end.

    Raises:
        ValueError: the series ends before the job does.
    """
    usd, hour, resumes, moves = 0.0, start, 0, 0
    while True:
        if hour >= costs.shape[1]:
            raise ValueError("the series ends before the job does")
        choice = decide(task, hour)
        work_h, place = task.work_h, choice.place
        if NOWHERE not in (place, task.place) and (place != task.place or not task.running):
            resumes, moves = resumes + 1, moves + (place != task.place)
            usd += switching.resume_usd + switching.move_usd * (place != task.place)
            work_h += switching.resume_h
        if place == NOWHERE:
            task = task._replace(running=False, time_left_h=task.time_left_h - 1.0)
        else:
            ran_h = min(1.0, work_h)
            usd += ran_h * float(costs[place, hour])
            if work_h <= 1.0:
                return Shifted(usd, hour - start + ran_h, resumes, moves)
            task = Task(work_h - 1.0, task.time_left_h - 1.0, place, True)
        hour += 1


def starts(hours: int, deadline_h: int, every_h: int, first: int = 4 * WEEK_H) -> range:
    """Hours to start replays at: after `first` hours of history, spread over the day where `every_h` is no day."""
    return range(first, hours - deadline_h, every_h)
