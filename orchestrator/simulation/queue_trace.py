"""Reads job traces for queue replays: CSV with `timestamp`, `duration` in seconds and `num_gpus`, one row per job."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.simulation.queue_replay import Trace

DAY_S = 86_400.0
NOTHING = "a job runs for some seconds on at least one GPU"


def read(path: Path) -> Trace:
    """The jobs of `path` by arrival, the first at 0.

    Raises:
        SpecError: a column is missing, or a row holds no number, no time, or a job that needs nothing.
    """
    times, runs, gpus = [], [], []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        for row in rows:
            try:
                times.append(np.datetime64(row["timestamp"].replace(" ", "T"), "s").astype(np.int64))
                runs.append(float(row["duration"]))
                gpus.append(int(row["num_gpus"]))
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise SpecError(path.name, (Problem(rows.line_num, 1, "", f"not a job: {error}"),)) from error
            if not 0.0 < runs[-1] < np.inf or gpus[-1] < 1:
                raise SpecError(path.name, (Problem(rows.line_num, 1, "", NOTHING),))
    if not times:
        raise SpecError(path.name, (Problem(0, 0, "", "no jobs"),))
    arrived = np.array(times, np.float64)
    by_arrival = np.argsort(arrived, kind="stable")
    return Trace(arrived[by_arrival] - arrived.min(), np.array(runs)[by_arrival], np.array(gpus, np.int64)[by_arrival])


def window(trace: Trace, first_day: float, days: float) -> Trace:
    """The jobs that arrive in `days` from `first_day`, with that day's start at 0."""
    start = first_day * DAY_S
    rows = (trace.arrived_s >= start) & (trace.arrived_s < start + days * DAY_S)
    return Trace(trace.arrived_s[rows] - start, trace.run_s[rows], trace.gpus[rows])


def generated(jobs: int, load_gpus: float, rng: np.random.Generator) -> Trace:
    """Heavy-tailed jobs that offer `load_gpus` GPUs of work on average, in bursts and with a daily cycle.

    Shaped after Philly: run times are lognormal (median 15 min, sigma 2) with a Pareto tail for one job in ten, 93 %
    of the jobs take one GPU, and jobs come in bursts of similar length.
    """
    burst = np.repeat(np.arange(jobs), rng.geometric(0.3, jobs))[:jobs]
    typical = rng.lognormal(np.log(900.0), 1.7, jobs) * np.where(rng.random(jobs) < 0.1, rng.pareto(1.2, jobs) + 1, 1)
    run_s = np.clip(typical[burst] * rng.lognormal(0.0, 1.0, jobs), 10.0, 30 * DAY_S)
    gpus = rng.choice([1, 2, 4, 8, 16], jobs, p=[0.93, 0.023, 0.023, 0.021, 0.003])
    length_s = float(run_s @ gpus) / load_gpus
    at = np.sort(rng.random(int(burst[-1]) + 1))[burst] * length_s
    at += 0.3 * DAY_S / (2 * np.pi) * np.cos(2 * np.pi * at / DAY_S) + rng.random(jobs) * 60.0
    arrived = np.sort(at)
    return Trace(arrived - arrived[0], run_s, gpus.astype(np.int64))
