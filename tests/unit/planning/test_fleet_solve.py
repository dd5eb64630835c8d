"""The fleet solver's dealings with its clock and its library."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from orchestrator.planning.fleet import highs, search
from orchestrator.planning.fleet.generate import fleet, written_out
from orchestrator.planning.fleet.pool import gather, nearest, resources
from orchestrator.planning.fleet.problem import Options, Problem
from orchestrator.planning.fleet.solution import Effort
from orchestrator.planning.fleet.solve import solve

IN_PARTS = Effort(price_steps=20, packing_steps=10, sweeps=3, jobs_per_part=10, exact_jobs=0, whole_jobs=0)


class Cut:
    """A library that always runs out of time and keeps what it was given as a start."""

    Task = highs.Task

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def solve_task(self, task: highs.Task) -> highs.Answer:
        """The start."""
        self.seconds.append(task.seconds)
        return highs.Answer(task.warm, -np.inf, False)


@pytest.fixture(scope="module")
def scarce() -> Problem:
    """Forty jobs, more than what is cheap can hold."""
    return written_out(fleet(40, 300, np.random.default_rng(5)))


def at(now_s: float) -> Callable[[], float]:
    """A clock that stands."""
    return lambda: now_s


def test_a_clock_that_cuts_nothing_leaves_the_answer_reproducible(scarce: Problem) -> None:
    for effort in (IN_PARTS, Effort(price_steps=20, packing_steps=10)):
        timed = solve(scarce, effort, elapsed=at(0.0), limit_s=600.0)
        free = solve(scarce, effort)
        assert timed.reproducible
        assert timed.stopped == free.stopped != "the time limit"
        assert timed.objective_usd == free.objective_usd
        assert timed.bound_usd == free.bound_usd


def test_a_stage_that_was_not_asked_for_is_not_cut_by_the_clock(scarce: Problem) -> None:
    nothing = Effort(price_steps=0, packing_steps=0, rounds=0, sweeps=0, exact_jobs=0, whole_jobs=0)
    assert solve(scarce, nothing, elapsed=at(7.0), limit_s=10.0).reproducible


def test_more_jobs_than_are_solved_at_once_are_not_cut_by_the_clock(
    scarce: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def late_once_swept(*_: object, **__: object) -> int:
        now[0] = 9.9
        return 1

    monkeypatch.setattr(search, "_sweeps", late_once_swept)
    found = solve(scarce, IN_PARTS, elapsed=lambda: now[0], limit_s=10.0)
    assert found.reproducible
    assert found.counters["sweeps"] == 1


@pytest.mark.parametrize("effort", [IN_PARTS, Effort(price_steps=20, packing_steps=10)])
def test_a_part_cut_short_by_its_seconds_is_said(
    scarce: Problem, effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "solver", Cut)
    found = solve(scarce, effort, elapsed=at(0.0), limit_s=600.0)
    assert not found.reproducible
    assert found.stopped == "the time limit"


def test_parts_of_a_round_share_the_seconds_that_are_left(scarce: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Cut()
    monkeypatch.setattr(search, "solver", lambda: library)
    one_round = Effort(price_steps=20, packing_steps=10, sweeps=1, jobs_per_part=8, exact_jobs=0, whole_jobs=0)
    solve(scarce, one_round, elapsed=at(4.0), limit_s=10.0)
    assert len(library.seconds) == 2
    assert 0 < sum(library.seconds) <= 6.0


def test_costs_of_fractions_of_a_cent_are_proven_as_well_as_any(scarce: Problem) -> None:
    options = scarce.options
    assert isinstance(options, Options)
    tiny = 2.0**-30
    small = Problem(
        capacity_nodes=scarce.capacity_nodes,
        options=Options(
            start=options.start,
            offer=options.offer,
            nodes=options.nodes,
            usd=options.usd * tiny,
            money_usd=options.money_usd * tiny,
        ),
        unplaced_usd=scarce.unplaced_usd * tiny,
        quotas=scarce.quotas,
        team=scarce.team,
        budget_usd=scarce.budget_usd * tiny,
    )
    usual, found = solve(scarce), solve(small)
    assert found.bound_usd <= usual.objective_usd * tiny
    assert found.gap <= usual.gap + 1e-4


@pytest.mark.parametrize("within", [np.inf, 1e9])
def test_the_nearest_columns_are_those_of_least_rank_however_far_one_looks(scarce: Problem, within: float) -> None:
    jobs = np.arange(len(scarce.unplaced_usd))
    columns = gather(scarce, resources(scarce), np.full(len(jobs), np.inf), jobs).columns
    rank = np.random.default_rng(3).permutation(len(columns.job)).astype(np.float64)
    rank[::7] = np.inf
    rows = nearest(columns, rank, 3, np.full(len(jobs), within), columns.unplaced)
    for job in jobs.tolist():
        low, high = columns.start[job], columns.start[job + 1]
        least = low + np.argsort(rank[low:high], kind="stable")[:3]
        assert set(least[np.isfinite(rank[least])]) <= set(rows)


def test_threads_change_nothing_but_the_time() -> None:
    fleet_ = fleet(160, 800, np.random.default_rng(7))
    effort = Effort(price_steps=20, packing_steps=10, sweeps=4, jobs_per_part=40, whole_jobs=0)
    with ThreadPoolExecutor(2) as pool:
        threaded = solve(fleet_, effort, spread=pool.map, threads=pool.map)
    alone = solve(fleet_, effort)
    assert threaded.counters == alone.counters
    assert threaded.counters["sweeps"] > 0
    assert threaded.objective_usd == alone.objective_usd
    assert threaded.offer.tolist() == alone.offer.tolist()


def test_the_usual_effort_keeps_small_fleets_exact_and_cuts_large_ones_into_small_parts() -> None:
    small, middle, large = (Effort.for_size(jobs) for jobs in (400, 1_000, 10_000))
    assert small == Effort()
    assert middle.jobs_per_part < large.jobs_per_part < small.exact_jobs
    assert middle.sweeps < large.sweeps
