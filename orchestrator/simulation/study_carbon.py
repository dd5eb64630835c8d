"""Work that can wait, by the hours of a grid: planning by forecast beside running at once, and perfect foresight."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from orchestrator.domain.errors import UserError
from orchestrator.planning.shift.forecast import Hourly
from orchestrator.planning.shift.when import FREE, Task
from orchestrator.simulation.shift_replay import (
    Decide,
    at_once,
    fixed,
    follow,
    lowest_slot,
    persistent,
    replay,
    starts,
    walked,
)
from orchestrator.simulation.study import Measure, Row, Study, Unit

MEASURES = (
    Measure("mean", "mean per hour of work", Unit.COUNT),
    Measure("saved", "saved", Unit.SHARE),
    Measure("of_omniscient", "of what can be", Unit.SHARE),
    Measure("late", "late", Unit.COUNT),
)


class ShiftCase(NamedTuple):
    """Jobs of `work_h` hours that may take `slack_h` longer, one every `every_h` hours."""

    work_h: float = 12.0
    slack_h: float = 24.0
    every_h: int = 31


def study(case: ShiftCase, series: Hourly, source: str) -> Study:
    """Replay the jobs over an hourly series of what is to be saved: g CO2/kWh, or a price.

    Raises: UserError where the series is too short or a time makes no sense.
    """
    if not case.work_h > 0.0 or case.slack_h < 0.0 or case.every_h < 1:
        raise UserError("work of more than 0 h, slack of at least 0 h and a job at least every hour, please")
    deadline_h = ceil(case.work_h + case.slack_h)
    costs = series.values[None, :]
    begin = starts(costs.shape[1], deadline_h, case.every_h)
    if not len(begin):
        raise UserError(f"{costs.shape[1]:,} hours are too few: four weeks of history, then {deadline_h} h for a job")
    ahead = walked(series, deadline_h)[None, :, :]
    names = ("isoflop", "lowest slot", "persistence", "run at once", "omniscient")
    total, late = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for start in begin:
        yesterday = persistent(costs, start, deadline_h)
        deciders: dict[str, Decide] = {
            "isoflop": follow(costs, ahead),
            "lowest slot": lowest_slot(yesterday, start, min(ceil(case.work_h), deadline_h)),
            "persistence": fixed(yesterday, start, FREE),
            "run at once": at_once,
            "omniscient": fixed(costs[:, start : start + deadline_h], start, FREE),
        }
        for name in names:
            done = replay(costs, start, Task(case.work_h, float(deadline_h)), deciders[name])
            total[name] += done.usd
            late[name] += done.took_h > deadline_h
    at_once_cost = total["run at once"]
    most = 1.0 - total["omniscient"] / at_once_cost if at_once_cost else 0.0
    rows = []
    for name in names:
        saved = 1.0 - total[name] / at_once_cost if at_once_cost else 0.0
        mean = total[name] / (len(begin) * case.work_h)
        rows.append(Row(name, (mean, saved, saved / most if most > 0.0 else None, float(late[name]))))
    setting = (
        f"{len(begin)} jobs of {case.work_h:g} h with {case.slack_h:g} h of slack, one every {case.every_h} h",
        f"{source}; means are in the unit of the series",
    )
    return Study("carbon", "Work that can wait", setting, MEASURES, tuple(rows))
