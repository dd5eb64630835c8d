"""A process that solves fleets with and without workers and prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from dataclasses import fields
from functools import partial

import numpy as np

from orchestrator.planning.fleet.generate import fleet, written_out
from orchestrator.planning.fleet.partition import parted
from orchestrator.planning.fleet.solution import Effort
from orchestrator.planning.fleet.solve import solve
from orchestrator.runtime.workers import Workers

LITTLE = Effort(sweeps=2, jobs_per_part=12, exact_columns=0, gap=0.0)
QUICK = partial(solve, effort=Effort(sweeps=0, exact_columns=0))


def process(_: int) -> int:
    """Who answers."""
    return os.getpid()


def main() -> None:
    """Print what differs, and who answered."""
    problem = fleet(60, 300, np.random.default_rng(2))
    written = written_out(fleet(30, 150, np.random.default_rng(3)))
    with closing(Workers(2)) as workers:
        workers.begin()
        ordered = list(workers(abs, [-3, 1, -2]))
        elsewhere = os.getpid() not in set(workers(process, [0, 1]))
        alone, together = solve(problem, LITTLE), solve(problem, LITTLE, spread=workers)
        parts, parts_together = parted(written, 2, QUICK), parted(written, 2, QUICK, spread=workers)
    differing = [
        field.name
        for field in fields(alone)
        if not np.array_equal(getattr(alone, field.name), getattr(together, field.name))
    ]
    json.dump(
        {
            "ordered": ordered,
            "elsewhere": elsewhere,
            "sweeps": alone.counters.get("sweeps", 0),
            "differing": differing,
            "same_parts": all(np.array_equal(a, b) for a, b in zip(parts, parts_together, strict=True)),
            "variables_left": [name for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH") if name in os.environ],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
