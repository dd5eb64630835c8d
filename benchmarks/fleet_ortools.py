"""Solves the placement problems of a folder with OR-Tools and prints what it found; run by fleet_solvers.py.

A process of its own: OR-Tools and highspy cannot be loaded in one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

SCALE = 1e4  # CP-SAT works in whole numbers: costs and amounts in these parts, amounts rounded down in its favour
WORKERS = 2


def entries(task: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Columns and amounts of every row."""
    column = np.repeat(np.arange(len(task["cost"])), np.diff(task["start"]))
    order = np.argsort(task["row"], kind="stable")
    cuts = np.searchsorted(task["row"][order], np.arange(1, len(task["row_upper"])))
    return list(zip(np.split(column[order], cuts), np.split(task["value"][order], cuts), strict=True))


def cp_sat(task: dict[str, np.ndarray], gap: float, seconds: float) -> tuple[float, float]:
    """USD found (inf: nothing) and bound, by CP-SAT with two workers and the start that HiGHS gets."""
    model = cp_model.CpModel()
    take = [model.new_bool_var("") for _ in range(len(task["cost"]))]
    for (columns, amounts), low, high in zip(entries(task), task["row_lower"], task["row_upper"], strict=True):
        chosen = [take[column] for column in columns]
        if low == 1.0 and high == 1.0:
            model.add_exactly_one(chosen)
        elif np.isfinite(high):
            whole = bool((amounts == np.floor(amounts)).all())
            rounded = amounts if whole else np.floor(amounts * SCALE)
            weights = [int(amount) for amount in rounded]
            model.add(cp_model.LinearExpr.weighted_sum(chosen, weights) <= int(high if whole else high * SCALE))
    cost = [int(usd) for usd in np.round(task["cost"] * SCALE)]
    model.minimize(cp_model.LinearExpr.weighted_sum(take, cost))
    warm = set(task["warm"].tolist())
    for column, variable in enumerate(take):
        model.add_hint(variable, column in warm)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = WORKERS
    solver.parameters.relative_gap_limit = gap
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return float("inf"), 0.0
    chosen = np.array([solver.boolean_value(variable) for variable in take])
    return float(task["cost"][chosen].sum()), solver.best_objective_bound / SCALE


def scip(task: dict[str, np.ndarray], gap: float, seconds: float) -> tuple[float, float]:
    """As `cp_sat`, by SCIP, the MIP solver that OR-Tools brings along, in one thread."""
    solver = pywraplp.Solver.CreateSolver("SCIP")
    take = [solver.BoolVar("") for _ in range(len(task["cost"]))]
    for (columns, amounts), low, high in zip(entries(task), task["row_lower"], task["row_upper"], strict=True):
        if np.isfinite(high):
            line = solver.Constraint(float(low) if np.isfinite(low) else -solver.infinity(), float(high))
            for column, amount in zip(columns.tolist(), amounts.tolist(), strict=True):
                line.SetCoefficient(take[column], amount)
    for variable, usd in zip(take, task["cost"].tolist(), strict=True):
        solver.Objective().SetCoefficient(variable, usd)
    solver.Objective().SetMinimization()
    warm = set(task["warm"].tolist())
    solver.SetHint(take, [float(column in warm) for column in range(len(take))])
    solver.set_time_limit(int(seconds * 1e3))
    settings = pywraplp.MPSolverParameters()
    settings.SetDoubleParam(settings.RELATIVE_MIP_GAP, gap)
    if solver.Solve(settings) not in {pywraplp.Solver.OPTIMAL, pywraplp.Solver.FEASIBLE}:
        return float("inf"), 0.0
    return solver.Objective().Value(), solver.Objective().BestBound()


SOLVERS: dict[str, Callable[[dict[str, np.ndarray], float, float], tuple[float, float]]] = {
    "CP-SAT, 2 workers": cp_sat,
    "SCIP": scip,
}


def main() -> None:
    """Every problem by every solver."""
    folder, gap, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    found = []
    for path in sorted(folder.glob("*.npz")):
        task = dict(np.load(path))
        for name, solve in SOLVERS.items():
            began, cpu = time.perf_counter(), time.process_time()
            usd, bound = solve(task, gap, seconds)
            took = time.perf_counter() - began, time.process_time() - cpu
            found.append([path.stem, name, usd, bound, *took])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
