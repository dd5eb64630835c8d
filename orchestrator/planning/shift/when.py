"""When, and where, an interruptible job with slack should run: now, or wait until which hour, in US dollars.

    cost of an hour = price + kW · intensity · 1e-6 · USD per tonne of CO2

Hours are chosen by dynamic programming over (hour, hours of work left, place, running or not), exact for the curve
given: a stop costs the resume, and a move to another place its transfer. Called again every hour with the curve as then
known it is model predictive control. Whatever the curve says, the job runs as soon as one more hour of waiting could
make it late.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray

NOWHERE = -1
GRAMS_PER_TONNE = 1e6


class Switching(NamedTuple):
    """What stopping costs: dollars and hours of a resume (hours held without progress), dollars of a move."""

    resume_usd: float = 0.0
    resume_h: float = 0.0
    move_usd: float = 0.0


FREE = Switching()


class Task(NamedTuple):
    """A job now: hours of work left and hours to its deadline; the place of its state (`NOWHERE` if it has none yet:
    it never ran) and whether it runs there."""

    work_h: float
    time_left_h: float
    place: int = NOWHERE
    running: bool = False


class Choice(NamedTuple):
    """The place to run in now, or `NOWHERE` to wait; whole hours until the curve says to run (0 if now); the expected
    dollars to the end, inf where the deadline cannot be met."""

    place: int
    wait_h: int
    expected_usd: float


def usd_per_hour(
    price_usd_per_hour: FloatArray, intensity_g_per_kwh: FloatArray, kilowatts: float, usd_per_tonne: float
) -> FloatArray:
    """The cost of each hour of running, of the shape of the first two together."""
    carbon = kilowatts * intensity_g_per_kwh * (usd_per_tonne / GRAMS_PER_TONNE)
    cost: FloatArray = price_usd_per_hour + carbon
    return cost


def must_run(task: Task, switching: Switching) -> bool:
    """True where waiting for one more hour could make the job late (or it is late already)."""
    resume_h = 0.0 if task.place == NOWHERE else switching.resume_h
    return task.time_left_h - 1.0 < task.work_h + resume_h


def when(task: Task, curve_usd_per_hour: FloatArray, switching: Switching = FREE) -> Choice:
    """Run now, or wait: the cheapest way through the curve, shape (places, hours), the first hour being now.

    Hours between the end of the curve and the deadline are not waited for. Ties run now, and in the first place.

    Raises:
        ValueError: the curve has no hour or is not finite; costs of switching are negative or not finite.
    """
    curve = np.atleast_2d(np.asarray(curve_usd_per_hour, float))
    if not curve.size or not np.isfinite(curve).all():
        raise ValueError("the curve must have an hour and hold finite numbers only")
    if not all(0.0 <= value < np.inf for value in switching):
        raise ValueError("costs of switching must be finite and not negative")
    if task.work_h <= 0.0:
        return Choice(NOWHERE, 0, 0.0)
    resumes_h = 0.0 if task.place == NOWHERE or task.running else switching.resume_h
    slots = min(curve.shape[1], int(max(task.time_left_h - resumes_h, 0.0)))
    work = int(np.ceil(task.work_h - 1e-9))
    forced = must_run(task, switching)
    if forced or slots < work:
        curve = np.concatenate([curve, np.repeat(curve[:, -1:], max(0, work - curve.shape[1]), axis=1)], axis=1)
        slots = work
    if task.running and task.time_left_h < task.work_h + switching.resume_h:  # no time to move: only this place counts
        choice = _Paths(curve[task.place : task.place + 1, :slots], work, switching).choice(task._replace(place=0))
        choice = choice._replace(place=task.place)
    else:
        choice = _Paths(curve[:, :slots], work, switching).choice(task)
    late = task.time_left_h < task.work_h + resumes_h - 1e-9
    return choice._replace(expected_usd=np.inf) if late else choice


class _Paths:
    """Least cost to go, by hour, hours of work left and place: running there, or idle with the state there.

    The last place stands for a job that never ran: it starts anywhere for nothing.
    """

    def __init__(self, curve: FloatArray, work: int, switching: Switching) -> None:
        places, slots = curve.shape
        self.curve, self.work = curve, work
        self.switch = self._switches(curve, switching)
        running = np.full((work + 1, places + 1), np.inf)
        running[0] = 0.0
        idle = running.copy()
        self.steps: list[tuple[FloatArray, FloatArray]] = [(running, idle)]
        for hour in range(slots - 1, -1, -1):
            self.steps.append(self._before(hour, *self.steps[-1]))
        self.steps.reverse()

    def _switches(self, curve: FloatArray, switching: Switching) -> FloatArray:
        """Dollars to start at `to` with the state at `place` and idle: shape (hours, place, to)."""
        places, slots = curve.shape
        cost = np.zeros((slots, places + 1, places))
        resume = switching.resume_usd + switching.resume_h * curve.T
        cost[:, :places] = resume[:, None, :] + switching.move_usd * (1.0 - np.eye(places))
        return cost

    def _runs(self, hour: int, after: FloatArray) -> FloatArray:
        """Cost of running this hour at each place, with 1 to `work` hours left, before any switch: (work, places)."""
        cost: FloatArray = self.curve[:, hour] + after[:-1, : len(self.curve)]
        return cost

    def _before(self, hour: int, running: FloatArray, idle: FloatArray) -> tuple[FloatArray, FloatArray]:
        runs = self._runs(hour, running)
        starts = (runs[:, None, :] + self.switch[hour]).min(axis=2)
        now_idle, now_running = idle.copy(), idle.copy()
        now_idle[1:] = np.minimum(idle[1:], starts)
        now_running[1:] = now_idle[1:]
        now_running[1:, :-1] = np.minimum(now_idle[1:, :-1], runs)
        return now_running, now_idle

    def choice(self, task: Task) -> Choice:
        """What to do in the first hour, and how long the wait is."""
        place = len(self.curve) if task.place == NOWHERE else task.place
        state = 0 if task.running else 1
        best = float(self.steps[0][state][self.work, place])
        options = self._options(0, place, running=task.running)
        waits = self.steps[1][1][self.work, place]
        if options.min() <= waits:
            return Choice(int(np.argmin(options)), 0, best)
        for hour in range(1, self.curve.shape[1]):
            if self._options(hour, place, running=False).min() <= self.steps[hour + 1][1][self.work, place]:
                return Choice(NOWHERE, hour, best)
        raise AssertionError("a path that waits for ever has no finite cost")

    def _options(self, hour: int, place: int, *, running: bool) -> FloatArray:
        options: FloatArray = self._runs(hour, self.steps[hour + 1][0])[-1] + self.switch[hour, place]
        if running:
            options[place] -= self.switch[hour, place, place]
        return options
