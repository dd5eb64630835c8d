"""Running on spot: never late whatever capacity does, never below the optimum, the same answer every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.spot.choose import Table, table_for
from orchestrator.planning.spot.state import Market
from orchestrator.simulation.spot_baselines import greedy, price_threshold, table_policy, uniform_progress
from orchestrator.simulation.spot_optimum import optimum
from orchestrator.simulation.spot_replay import Jobs, Outcome, Trace, replay

SLOTS = 30
SLOT_H = 1.0 / 6.0
UNITS = 5
CHANGE_H = 0.2  # six units
PRICES = np.array([1.0, 1.1, 1.3])


def market(regions: int) -> Market:
    """A small market: restarts of 12 minutes, moves of a unit more and ten cents."""
    change = np.full((regions, regions), CHANGE_H + SLOT_H / UNITS)
    np.fill_diagonal(change, CHANGE_H)
    return Market(np.full(regions, 3.0), change, np.where(np.eye(regions) == 1, 0.0, 0.1), SLOT_H)


@pytest.fixture(scope="module")
def tables() -> dict[int, Table]:
    return {r: table_for(market(r), PRICES[:r], SLOTS * SLOT_H, SLOTS * SLOT_H) for r in (1, 3)}


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Any availability: single slots, long periods, nothing at all."""
    regions = draw(st.sampled_from([1, 3]))
    rows = []
    for _ in range(regions):
        row: list[bool] = []
        state = draw(st.booleans())
        while len(row) < SLOTS:
            row += [state] * draw(st.sampled_from([1, 1, 2, 3, 7, SLOTS]))
            state = not state
        rows.append(row[:SLOTS])
    return Trace(np.array(rows), np.repeat(PRICES[:regions, None], SLOTS, 1))


def jobs_of(work_units: list[int], slots: int) -> Jobs:
    count = len(work_units)
    return Jobs(np.zeros(count, np.intp), np.array(work_units) * SLOT_H / UNITS, np.full(count, slots))


def outcome(tables: dict[int, Table], trace: Trace, jobs: Jobs) -> Outcome:
    regions = len(trace.up)
    return replay(trace, market(regions), jobs, table_policy(tables[regions], market(regions)))


WORK = st.lists(st.integers(1, SLOTS * UNITS - 6), min_size=1, max_size=4)  # the change-over is six units


@settings(max_examples=80, deadline=None)
@given(trace=traces(), work=WORK)
def test_no_deadline_is_missed_whatever_capacity_does(tables: dict[int, Table], trace: Trace, work: list[int]) -> None:
    assert outcome(tables, trace, jobs_of(work, SLOTS)).missed_h.max() == 0.0


@settings(max_examples=30, deadline=None)
@given(trace=traces(), work=WORK)
def test_the_baselines_are_not_late_either(trace: Trace, work: list[int]) -> None:
    here, jobs = market(len(trace.up)), jobs_of(work, SLOTS)
    rivals = (greedy(here), price_threshold(here), uniform_progress(here, jobs.work_h, jobs.slots * SLOT_H))
    for policy in rivals:
        assert replay(trace, here, jobs, policy).missed_h.max() == 0.0


@settings(max_examples=30, deadline=None)
@given(trace=traces(), work=WORK)
def test_nothing_is_cheaper_than_perfect_foresight(tables: dict[int, Table], trace: Trace, work: list[int]) -> None:
    best = optimum(trace, market(len(trace.up)), SLOTS, SLOTS, UNITS)[work]
    assert (outcome(tables, trace, jobs_of(work, SLOTS)).usd >= best - 1e-9).all()


@settings(max_examples=15, deadline=None)
@given(trace=traces(), work=WORK)
def test_a_job_is_decided_alone_as_in_company(tables: dict[int, Table], trace: Trace, work: list[int]) -> None:
    together = outcome(tables, trace, jobs_of(work, SLOTS)).usd
    alone = [float(outcome(tables, trace, jobs_of([units], SLOTS)).usd[0]) for units in work]
    assert together.tolist() == pytest.approx(alone, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(trace=traces(), work=WORK)
def test_the_future_is_not_looked_at(tables: dict[int, Table], trace: Trace, work: list[int]) -> None:
    """What is decided up to a moment is the same whatever comes after it."""
    cut, regions = 10, len(trace.up)
    other = Trace(np.concatenate([trace.up[:, :cut], ~trace.up[:, cut:]], 1), trace.spot_usd_per_hour)
    jobs, seen = jobs_of(work, SLOTS), []
    for each in (trace, other):
        policy, log = table_policy(tables[regions], market(regions)), []

        def watched(state, rows, policy=policy, log=log):  # type: ignore[no-untyped-def]
            kind, region = policy(state, rows)
            if state.left_h[0] > (SLOTS - cut) * SLOT_H + 1e-9:
                log.append((kind.tolist(), region.tolist()))
            return kind, region

        replay(each, market(regions), jobs, watched)
        seen.append(log)
    assert seen[0] == seen[1]
