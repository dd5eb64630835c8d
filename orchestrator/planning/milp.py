"""Mixed-integer programs: plain arrays in, a solution and a proven bound out, by HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import NamedTuple

import highspy
import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray


class Program(NamedTuple):
    """Minimise cost·x, subject to row_lower <= A·x <= row_upper and lower <= x <= upper, x whole where `integer`.

    A is given by its entries: `values` at (`rows`, `columns`), each place at most once.
    """

    cost: FloatArray  # (n,)
    lower: FloatArray  # (n,)
    upper: FloatArray  # (n,)
    integer: BoolArray  # (n,)
    row_lower: FloatArray  # (m,)
    row_upper: FloatArray  # (m,)
    rows: IntArray
    columns: IntArray
    values: FloatArray


class Effort(NamedTuple):
    """When to stop: at a relative `gap`, after so many `nodes` of the search, or after `seconds`.

    The same effort gives the same answer unless it is the time that runs out.
    """

    gap: float = 1e-4
    nodes: int = 100_000
    seconds: float = inf


USUAL = Effort()


class Outcome(NamedTuple):
    """What is known when the search stops.

    `x` is the best solution found, None where there is none; `bound` is at most the least objective there is, -inf
    where nothing is known; `infeasible` is proven. `duals` are what one more of each row's limit is worth, of a program
    without whole numbers.
    """

    x: FloatArray | None
    objective: float
    bound: float
    infeasible: bool
    duals: FloatArray | None = None


class Builder:
    """A program under construction: variables and rows are numbered as they come."""

    def __init__(self) -> None:
        self._cost: list[float] = []
        self._upper: list[float] = []
        self._integer: list[bool] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []
        self._entries: list[tuple[int, int, float]] = []

    def variable(self, cost: float, upper: float = inf, *, integer: bool = False) -> int:
        """The number of a new variable in [0, upper]."""
        self._cost.append(cost)
        self._upper.append(upper)
        self._integer.append(integer)
        return len(self._cost) - 1

    def row(self, terms: Sequence[tuple[int, float]], lower: float = -inf, upper: float = inf) -> int:
        """lower <= sum of factor·variable <= upper, over the (variable, factor) in `terms`; the row's number."""
        number = len(self._row_lower)
        self._row_lower.append(lower)
        self._row_upper.append(upper)
        self._entries += [(number, variable, factor) for variable, factor in terms]
        return number

    def program(self, *, relaxed: bool = False) -> Program:
        """What was built; `relaxed` lets every number be broken."""
        count = len(self._cost)
        entries = self._entries
        return Program(
            cost=np.array(self._cost, np.float64),
            lower=np.zeros(count, np.float64),
            upper=np.array(self._upper, np.float64),
            integer=np.zeros(count, np.bool_) if relaxed else np.array(self._integer, np.bool_),
            row_lower=np.array(self._row_lower, np.float64),
            row_upper=np.array(self._row_upper, np.float64),
            rows=np.array([entry[0] for entry in entries], np.int64),
            columns=np.array([entry[1] for entry in entries], np.int64),
            values=np.array([entry[2] for entry in entries], np.float64),
        )


def solve(program: Program, effort: Effort = USUAL) -> Outcome:
    """Solve `program` on one thread."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    settings: tuple[tuple[str, bool | int | float | str], ...] = (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", 0),
        ("mip_rel_gap", effort.gap),
        ("mip_abs_gap", 1e-9),
        ("mip_max_nodes", effort.nodes),
        ("time_limit", effort.seconds if isfinite(effort.seconds) else highspy.kHighsInf),
    )
    for name, value in settings:
        highs.setOptionValue(name, value)
    highs.passModel(_model(program))
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    solution = highs.getSolution()
    whole = bool(program.integer.any())
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    optimal = status == highspy.HighsModelStatus.kOptimal
    bound = info.mip_dual_bound if whole else (info.objective_function_value if optimal else -inf)
    return Outcome(
        x=np.array(solution.col_value, np.float64) if found else None,
        objective=float(info.objective_function_value) if found else inf,
        bound=inf if infeasible else float(bound) if isfinite(bound) else -inf,
        infeasible=infeasible,
        duals=np.array(solution.row_dual, np.float64) if optimal and not whole else None,
    )


def _model(program: Program) -> highspy.HighsLp:
    order = np.lexsort((program.rows, program.columns))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(program.cost), len(program.row_lower)
    model.col_cost_, model.col_lower_, model.col_upper_ = program.cost, program.lower, program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    counts = np.bincount(program.columns, minlength=len(program.cost))
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    model.a_matrix_.index_ = program.rows[order].astype(np.int32)
    model.a_matrix_.value_ = program.values[order]
    if program.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[int(whole)] for whole in program.integer]
    return model
