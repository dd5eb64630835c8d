"""The engine: the real controller in virtual time; the same seed, the same events; money that adds up."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.events import LeaseGone, Progressed, ReclaimNoticed
from orchestrator.domain.offer import Billing
from orchestrator.domain.plan import Plan
from orchestrator.domain.run import RunState
from orchestrator.domain.sizing import Band
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, Limits, Training, Workload
from orchestrator.simulation import rivals
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.engine import Arrival, Ran, Scenario, simulate
from orchestrator.simulation.weather import Weather, calm, generated
from orchestrator.simulation.world import World
from orchestrator.testing.builders import offer, placement_on, plan_of, program, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.cost.policy import create as cost
from policies.spot.policy import create as spot

DEMAND = offer(provider="acme", instance_type="gpu", usd_per_hour=10.0, boot_s=60.0, available=None)
SPOT = replace(DEMAND, billing=Billing.SPOT, usd_per_hour=4.0)
CONFIRMED = timedelta(seconds=10)  # from the end of a lease until the controller knows of it
POLICIES = (cost(PolicyContext()), spot(PolicyContext()))


def market() -> Snapshot:
    return snapshot(DEMAND, SPOT)


def job(**limits: float) -> Training:
    command = program(command=("train",), checkpoint=Checkpointing(interval_s=600.0, grace_s=30.0))
    return training(name="job", program=command, limits=Limits(**limits))  # type: ignore[arg-type]


def cheapest(workload: Workload, found: Snapshot) -> Plan:
    """What is on sale by price, ten hours on any of it for the whole job."""
    allowed = workload.limits.billing
    on_sale = [one for one in found.book if one.available != 0 and (not allowed or one.billing in allowed)]
    on_sale.sort(key=lambda one: one.usd_per_hour)
    whole = placement_on(DEMAND).hours
    hours = whole.scaled(workload.tokens / job().tokens) if isinstance(workload, Training) else whole
    placements = [replace(placement_on(one), hours=hours, buyable=True) for one in on_sale]
    return replace(plan_of(*placements), workload=workload, made_at=found.taken_at)


def sky(*down: tuple[int, int]) -> Weather:
    """Spot in ten-minute slots, away in those from and before the numbers of each pair."""
    steady = calm(market().book)
    up = np.ones((1, 2000), np.bool_)
    for first, last in down:
        up[:, first:last] = False
    return steady._replace(up=up, factor=np.ones(up.shape))


def scenario(weather: Weather | None = None, *, jobs: int = 1, days: float = 5.0, **limits: float) -> Scenario:
    coming = tuple(Arrival(number * 1800.0, job(**limits)) for number in range(jobs))
    return Scenario(coming, market(), weather or calm(market().book), days, seed=1)


def ran(weather: Weather | None = None, *, days: float = 5.0, **limits: float) -> Ran:
    return simulate(scenario(weather, jobs=1, days=days, **limits), cheapest)


def test_a_job_runs_to_its_end_and_is_billed_for_boot_work_and_release() -> None:
    (found,) = ran().tally.jobs
    assert found.state is RunState.SUCCEEDED
    assert found.leases == 1
    held_h = found.usd / 4.0
    assert held_h == pytest.approx((found.ended_at - found.submitted_at) / timedelta(hours=1), abs=0.01)


def test_the_bill_is_the_sum_of_the_leases_that_the_world_sold() -> None:
    world_lines = []

    def decide(workload: Workload, found: Snapshot) -> Plan:
        return cheapest(workload, found)

    done = simulate(scenario(sky((30, 33), (60, 70)), jobs=5), decide)
    for line in done.tally.bill.lines:
        world_lines.append(round(max(line.held_s, 60.0) / 3600.0 * line.usd_per_hour, 6))
    assert done.tally.usd == pytest.approx(math.fsum(world_lines), abs=1e-6)
    assert done.tally.usd == pytest.approx(math.fsum(one.usd for one in done.tally.jobs), abs=1e-9)
    assert done.tally.leases == len(done.tally.bill.lines) > 5


def test_the_same_seed_gives_the_same_events_byte_for_byte() -> None:
    weather = generated(market().book, 5.0, 3)
    first, second = (simulate(scenario(weather, jobs=4), cheapest) for _ in range(2))
    assert repr(first.events) == repr(second.events)
    assert repr(first.tally.bill) == repr(second.tally.bill)


def test_another_seed_gives_other_events() -> None:
    weather = generated(market().book, 5.0, 3)
    given = scenario(weather, jobs=2)
    other = given._replace(seed=2)
    assert repr(simulate(given, cheapest).events) != repr(simulate(other, cheapest).events)


def test_a_machine_that_is_taken_back_is_announced_saved_from_and_replaced() -> None:
    done = ran(sky((20, 26)))
    (found,) = done.tally.jobs
    assert found.state is RunState.SUCCEEDED
    assert found.interruptions == 1
    assert found.leases == 2
    (notice,) = [event for event in done.events if isinstance(event, ReclaimNoticed)]
    assert notice.reclaim_at == EPOCH + timedelta(seconds=20 * 600)
    assert notice.at < notice.reclaim_at
    first_gone = next(event for event in done.events if isinstance(event, LeaseGone))
    assert first_gone.at <= notice.reclaim_at  # nothing is held, or billed, beyond it
    calm_h = (ran().tally.jobs[0].ended_at - EPOCH) / timedelta(hours=1)
    late_h = (found.ended_at - EPOCH) / timedelta(hours=1) - calm_h
    assert 0.0 < late_h < 0.25  # the work was saved: what is lost is a notice and a boot


def test_a_later_plan_is_of_what_is_left_and_makes_no_work_vanish() -> None:
    def only_the_first(workload: Workload, found: Snapshot) -> Plan:
        plan = cheapest(workload, found)
        return replace(plan, ranked=plan.ranked[:1])  # so that every loss is followed by another plan

    def ended_h(weather: Weather | None) -> float:
        (found,) = simulate(scenario(weather), only_the_first).tally.jobs
        assert found.ended_at is not None
        return (found.ended_at - EPOCH) / timedelta(hours=1)

    calm_h = ended_h(None)
    assert calm_h == pytest.approx(10.0, abs=5.0)
    assert 0.0 < ended_h(sky((20, 21), (40, 41))) - calm_h < 0.5


def test_without_grace_what_was_done_since_the_last_checkpoint_is_done_again() -> None:
    hasty = replace(
        job(), program=program(command=("train",), checkpoint=Checkpointing(interval_s=3600.0, grace_s=0.0))
    )
    gentle = ran(sky((21, 26))).tally.jobs[0]
    given = scenario(sky((21, 26)))._replace(arrivals=(Arrival(0.0, hasty),))
    lost = simulate(given, cheapest).tally.jobs[0]
    again_h = (lost.ended_at - gentle.ended_at) / timedelta(hours=1)
    assert 0.2 < again_h < 1.0  # of 3 h 28 min on the machine, three full hours were kept


def test_jumping_from_event_to_event_changes_nothing_but_seconds() -> None:
    def quick(workload: Workload, found: Snapshot) -> Plan:
        plan = cheapest(workload, found)
        return replace(plan, ranked=tuple(replace(one, hours=Band(0.4, 0.5, 0.6)) for one in plan.ranked))

    given = scenario(sky((2, 3)), jobs=2, days=1.0)
    jumped, walked = simulate(given, quick), simulate(given, quick, jump=False)
    assert jumped.ticks < walked.ticks / 10
    told = [
        [(event.run_id, event.kind) for event in done.events if event.run_id and not isinstance(event, Progressed)]
        for done in (jumped, walked)
    ]
    assert told[0] == told[1]
    assert jumped.tally.interruptions == 1
    assert jumped.tally.usd == pytest.approx(walked.tally.usd, rel=0.01)


def test_a_sold_out_spot_market_is_not_sold_from() -> None:
    done = ran(sky((0, 2000)))
    assert done.tally.interruptions == 0
    assert {line.usd_per_hour for line in done.tally.bill.lines} == {10.0}


def test_stock_bounds_what_is_held_at_once() -> None:
    given = scenario(jobs=12)._replace(stock=3)
    done = simulate(given, cheapest)
    moments = [line.since for line in done.tally.bill.lines if line.usd_per_hour == 4.0]
    for moment in moments:
        held = [
            line
            for line in done.tally.bill.lines
            if line.usd_per_hour == 4.0 and line.since <= moment < line.until - CONFIRMED
        ]
        assert len(held) <= 3
    assert len(moments) >= 3
    assert done.tally.succeeded == 12


def test_what_is_given_back_is_on_sale_again() -> None:
    given = scenario(days=6.0)._replace(arrivals=(Arrival(0.0, job()), Arrival(3.0 * 86_400.0, job())), stock=1)
    assert {line.usd_per_hour for line in simulate(given, cheapest).tally.bill.lines} == {4.0}


def test_a_job_that_is_late_is_counted_with_its_hours() -> None:
    (found,) = ran(deadline_s=3600.0).tally.jobs
    assert found.late_h == pytest.approx((found.ended_at - EPOCH) / timedelta(hours=1) - 1.0, abs=1e-6)
    assert ran(deadline_s=4 * 86_400.0).tally.late == 0
    assert ran().tally.jobs[0].late_h is None


def test_a_budget_is_kept_in_virtual_time_too() -> None:
    (found,) = ran(budget_usd=8.0).tally.jobs
    assert found.state is RunState.FAILED
    assert found.usd <= 8.0


def test_what_is_open_at_the_end_is_billed_to_the_end_and_not_done() -> None:
    done = ran(days=0.125)
    assert done.tally.succeeded == 0
    assert done.tally.usd == pytest.approx(3.0 * 4.0, rel=0.02)


def test_a_planner_that_breaks_its_contract_ends_the_simulation() -> None:
    def broken(workload: Workload, found: Snapshot) -> Plan:
        raise ZeroDivisionError

    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        simulate(scenario(), broken)


def test_a_planner_that_refuses_fails_the_run() -> None:
    def refuses(workload: Workload, found: Snapshot) -> Plan:
        raise UserError("nobody knows the place")

    assert simulate(scenario(), refuses).tally.jobs[0].state is RunState.FAILED


def test_a_scenario_without_jobs_or_time_is_refused() -> None:
    for given in (scenario(jobs=0), scenario(days=0.0)):
        with pytest.raises(UserError):
            simulate(given, cheapest)


def test_time_does_not_run_backwards() -> None:
    clock = VirtualClock(EPOCH)
    with pytest.raises(ValueError, match="backwards"):
        clock.move_to(EPOCH - timedelta(seconds=1))


def test_the_bound_is_below_every_way_to_buy_whatever_the_weather() -> None:
    for seed in range(2):
        given = scenario(generated(market().book, 5.0, seed), jobs=3)._replace(seed=seed)
        bound = rivals.omniscient(given, POLICIES)
        for make in (rivals.ours, rivals.on_demand_only, rivals.greedy_spot):
            done = simulate(given, make(POLICIES)).tally
            assert done.succeeded == 3
            assert 0.0 < bound.usd <= done.usd


def test_hazards_are_those_of_the_past_alone() -> None:
    weather = sky((100, 120), (300, 400))
    before, after = weather.hazard(0.0)[0], weather.hazard(200 * 600.0)[0]
    assert before == weather._replace(up=sky().up).hazard(0.0)[0]
    assert after > weather._replace(up=sky().up).hazard(200 * 600.0)[0]
    assert after == sky((100, 120)).hazard(200 * 600.0)[0]


def test_a_spot_price_never_rises_above_the_machine_on_demand() -> None:
    dear = sky()._replace(factor=np.full((1, 2000), 50.0))
    clock = VirtualClock(EPOCH)
    world = World(market(), dear, clock, lambda _run, _lease: 1.0, seed=1, stock=8)
    prices = {one.billing: one.usd_per_hour for one in world.snapshot().book}
    assert prices[Billing.SPOT] < prices[Billing.ON_DEMAND]
