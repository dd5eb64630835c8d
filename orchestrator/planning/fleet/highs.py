"""Small placement problems solved by HiGHS, the one module that imports it."""

from __future__ import annotations

from math import frexp
from typing import NamedTuple

import highspy
import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray

TOTAL_BITS = 14  # of the total in the unit that the library sees: its tolerances (1e-7 to 1e-6) are absolute


class Task(NamedTuple):
    """Choose columns (0 or 1) at least cost: rows by columns in compressed-column form."""

    cost: FloatArray
    start: IntArray
    row: IntArray
    value: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    warm: IntArray  # columns of a placement to start from
    gap: float  # relative gap at which to stop
    nodes: int  # of the search tree: the limit that makes the answer reproducible
    seconds: float  # a guard besides


class Answer(NamedTuple):
    """The columns chosen (none where nothing was found), what no choice can be below, and how the search ended."""

    chosen: IntArray
    bound: float
    finished: bool  # by its own limits rather than by the clock


def solve_task(task: Task) -> Answer:
    """One thread, one fixed seed: the same task gives the same answer unless the clock stops it."""
    count = len(task.cost)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, setting in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", task.gap),
        ("mip_max_nodes", task.nodes),
        ("time_limit", task.seconds),
    ):
        solver.setOptionValue(name, setting)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = count, len(task.row_upper)
    unit = 2.0 ** (frexp(float(task.cost[task.warm].sum()))[1] - TOTAL_BITS)  # a power of two: nothing is rounded
    model.col_cost_, model.col_lower_, model.col_upper_ = task.cost / unit, np.zeros(count), np.ones(count)
    model.row_lower_, model.row_upper_ = task.row_lower, task.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = task.start, task.row, task.value
    model.integrality_ = [highspy.HighsVarType.kInteger] * count
    solver.passModel(model)
    start = highspy.HighsSolution()
    warm = np.zeros(count)
    warm[task.warm] = 1.0
    start.col_value = warm.tolist()
    solver.setSolution(start)
    solver.run()
    info = solver.getInfo()
    values = np.asarray(solver.getSolution().col_value)
    timed_out = solver.getModelStatus() == highspy.HighsModelStatus.kTimeLimit
    chosen = np.flatnonzero(values > 0.5) if len(values) == count else np.zeros(0, np.int64)
    return Answer(chosen, float(info.mip_dual_bound) * unit, not timed_out)
