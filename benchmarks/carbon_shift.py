"""What share of the omniscient saving an interruptible job captures by choosing its hours from forecasts.

    python benchmarks/carbon_shift.py [FILE.csv...] [--days 365] [--seeds 2] [--slack-h 24] [--every-h 31]

A job of 12 h with 24 h of slack, started every 31 h of a year (so at every hour of the day) on each of five generated
grids, or on hourly series given as CSV (time, g CO2/kWh). Everything is relative to running at once; the omniscient
policy knows every hour to come. Exit code 1 where ours captures less than 75 % of its saving on the mean of the series,
or is ever late. Grids whose weather is most of their swing stay below: nobody can know that far ahead from history.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.shift.forecast import Hourly
from orchestrator.planning.shift.when import FREE, Switching, Task
from orchestrator.simulation.shift_replay import (
    GRIDS,
    Decide,
    at_once,
    fixed,
    follow,
    generated,
    lowest_slot,
    persistent,
    read,
    replay,
    starts,
    walked,
)

GOAL = 0.75
WORK_H = 12
POLICIES = ("lowest slot", "persistence", "isoflop, an hour behind", "isoflop", "omniscient")


def main(argv: list[str]) -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--slack-h", type=int, default=24)
    parser.add_argument("--every-h", type=int, default=31)
    parser.add_argument("--resume-share", type=float, default=0.0, help="a resume costs this share of a mean hour")
    options = parser.parse_args(argv)
    if options.files:
        series = [(file.stem, read(file)) for file in options.files]
    else:
        series = [
            (name, generated(grid, options.days, np.random.default_rng(seed)))
            for name, grid in GRIDS.items()
            for seed in range(options.seeds)
        ]
    print(f"{WORK_H} h of work, {options.slack_h} h of slack: saving of the omniscient, and the share of it captured")
    print(f"{'series':20}{'omniscient':>11}" + "".join(f"{name:>25}" for name in POLICIES[:-1]) + f"{'CPU s':>7}")
    captured, ever_late = [], False
    for name, hourly in series:
        began = time.process_time()
        saved, late = savings(hourly, options.slack_h, options.every_h, options.resume_share)
        shares = [saved[policy] / max(saved["omniscient"], 1e-12) for policy in POLICIES[:-1]]
        spent = time.process_time() - began
        print(
            f"{name:20}{saved['omniscient']:11.1%}" + "".join(f"{share:25.0%}" for share in shares) + f"{spent:7.1f}",
            flush=True,
        )
        captured.append(shares[-1])
        ever_late = ever_late or late
    met = not ever_late and float(np.mean(captured)) >= GOAL
    print(f"mean {np.mean(captured):.0%}; least {min(captured):.0%}; late: {'YES' if ever_late else 'never'}")
    print(f"goal: isoflop >= {GOAL:.0%} on the mean, never late: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def savings(series: Hourly, slack_h: int, every_h: int, resume_share: float) -> tuple[dict[str, float], bool]:
    """The saving of each policy over running at once, and whether any was late."""
    costs = series.values[None, :]
    switching = Switching(resume_usd=resume_share * float(costs.mean())) if resume_share else FREE
    deadline_h = WORK_H + slack_h
    ahead = walked(series, deadline_h)[None, :, :]
    total = dict.fromkeys((*POLICIES, "at once"), 0.0)
    late = False
    for start in starts(costs.shape[1], deadline_h, every_h):
        for name, decide in policies(costs, ahead, start, deadline_h, switching).items():
            done = replay(costs, start, Task(WORK_H, deadline_h), decide, switching)
            total[name] += done.usd
            late = late or done.took_h > deadline_h
    return {name: 1.0 - usd / total["at once"] for name, usd in total.items()}, late


def policies(
    costs: FloatArray, ahead: FloatArray, start: int, deadline_h: int, switching: Switching
) -> dict[str, Decide]:
    """Every policy for a job that starts at `start`."""
    yesterday = persistent(costs, start, deadline_h)
    return {
        "at once": at_once,
        "lowest slot": lowest_slot(yesterday, start, WORK_H),
        "persistence": fixed(yesterday, start, switching),
        "isoflop, an hour behind": follow(costs, ahead, switching, live=False),
        "isoflop": follow(costs, ahead, switching),
        "omniscient": fixed(costs[:, start : start + deadline_h], start, switching),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
