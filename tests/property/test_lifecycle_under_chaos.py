"""Invariants of the lifecycle under random schedules of faults, crashes, reclaims and rival controllers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.errors import AuthError, CapacityError, ProviderError, QuotaError, Scope
from orchestrator.domain.events import (
    ApprovalAsked,
    Approved,
    ControllerNote,
    LeaseGone,
    Moved,
    OrphanReleased,
    Progressed,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.run import TRANSITIONS, Run, RunState
from orchestrator.lifecycle import billing
from orchestrator.lifecycle.fold import advance
from tests.property.lifecycle_fakes import OTHER, OWNER
from tests.property.lifecycle_world import PATIENCE, World

SEEDS = st.integers(min_value=0, max_value=2**32)
E = TypeVar("E")

ROUNDING_USD = 1e-5
CHAOS = st.sampled_from((0.5, 1.0, 2.0))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, chaos=CHAOS)
def test_whatever_goes_wrong_every_run_ends_and_nothing_is_held_twice_or_left_or_taken_from_others(
    seed: int, chaos: float
) -> None:
    world = World(seed, chaos=chaos)
    for _ in range(200):
        world.step()  # checks that no run holds two leases or runs two jobs at any moment
    world.calm()
    world.finish()
    nothing_of_ours_is_left(world)
    leases_of_others_are_untouched(world)
    intents_come_before_leases(world)
    no_token_buys_twice(world)
    only_what_is_gone_is_given_up_for_lost(world)
    every_move_is_in_the_table(world)
    success_means_that_the_work_is_done(world)
    nothing_is_asked_for_while_it_is_blocked(world)
    the_bill_covers_what_was_held(world)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, budget_usd=st.floats(0.01, 6.0), reclaims=st.booleans())
def test_money_spent_never_passes_the_budget_by_more_than_a_tick_of_what_is_held(
    seed: int, budget_usd: float, reclaims: bool
) -> None:
    world = World(seed, chaos=0.0, budget_usd=budget_usd)
    for market in world.markets:
        market.release_s = (0.0,)  # what a slow release costs is the provider's doing
    for _ in range(80):
        world.step()
        for market in world.markets:
            for held in market.live() if reclaims and world.dice.random.random() < 0.02 else ():
                market.reclaim(held, notice_s=30.0)
    world.finish()
    for run in world.folded().values():
        dearest = max((attempt.usd_per_hour for attempt in run.attempts), default=0.0)
        assert billing.spent_usd(run, world.clock.now()) <= budget_usd + dearest * world.tick_s / 3600.0 + ROUNDING_USD
        assert run.state in {RunState.SUCCEEDED, RunState.FAILED}


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, chaos=CHAOS, above_usd=st.sampled_from((0.0, 100.0, 300.0)))
def test_nothing_is_bought_before_its_approval_and_every_run_still_ends(
    seed: int, chaos: float, above_usd: float
) -> None:
    world = World(seed, chaos=chaos, approval=ApprovalRule("cfo", above_usd))
    for _ in range(150):
        world.step()
    world.calm()
    world.finish()
    nothing_of_ours_is_left(world)
    every_move_is_in_the_table(world)
    nothing_is_bought_above_what_was_agreed(world, above_usd)


def nothing_is_bought_above_what_was_agreed(world: World, above_usd: float) -> None:
    agreed: dict[str, float] = {}
    asked: set[str] = set()
    done: dict[str, float] = {}
    runs: dict[str, Run] = {}
    for recorded in world.recorded():
        event = recorded.event
        if isinstance(event, ApprovalAsked):
            asked.add(event.run_id)
        elif isinstance(event, Approved) and event.by == "cfo" and event.run_id in asked:
            agreed[event.run_id] = max(event.usd, agreed.get(event.run_id, 0.0))
        elif isinstance(event, Progressed):
            done[event.run_id] = event.done
        elif isinstance(event, PurchaseIntended):
            run = runs[event.run_id]
            assert run.plan is not None
            left = run.plan.ranked[event.candidate].cost_usd.p50 * (1 - done.get(event.run_id, 0.0))
            spent = billing.spent_usd(run, event.at)
            assert spent + left <= max(above_usd, agreed.get(event.run_id, 0.0)) + ROUNDING_USD
        if event.run_id:
            runs[event.run_id] = advance(runs.get(event.run_id), event)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, errors=st.lists(st.sampled_from((CapacityError, QuotaError, AuthError)), min_size=1, max_size=3))
def test_blocks_run_out_and_the_run_that_waited_buys(seed: int, errors: list[type[ProviderError]]) -> None:
    world = World(seed, chaos=0.0, runs=1)
    for market in world.markets:
        market.refusals = list(errors)
    world.finish()
    (run,) = world.folded().values()
    assert any(attempt.lease is not None for attempt in run.attempts)
    assert "plans in a row" not in run.detail
    nothing_is_asked_for_while_it_is_blocked(world)


def nothing_is_asked_for_while_it_is_blocked(world: World) -> None:
    """By the log alone, and by an account of blocks that shares no line with the lifecycle's."""
    lasts_s = {
        "CapacityError": PATIENCE.sold_out_s,
        "QuotaError": PATIENCE.quota_s,
        "AuthError": PATIENCE.auth_s,
        "ThrottledError": PATIENCE.throttled_s,
    }
    intended: dict[str, PurchaseIntended] = {}
    stand: list[tuple[PurchaseRefused, PurchaseIntended]] = []
    for recorded in world.recorded():
        event = recorded.event
        if isinstance(event, PurchaseIntended):
            intended[event.token] = event
            for refused, before in stand:
                fresh = refused.at < event.at < refused.at + timedelta(seconds=lasts_s[refused.error])
                assert not (fresh and _alike(refused, before, event)), f"{event.token}: {refused} of {before.offer}"
        elif isinstance(event, PurchaseRefused) and event.error in lasts_s:
            stand.append((event, intended[event.token]))
        elif isinstance(event, LeaseGone):
            provider = intended[event.token].offer.provider
            stand = [pair for pair in stand if pair[0].error != "QuotaError" or pair[1].offer.provider != provider]
        elif isinstance(event, ControllerNote) and event.fence:
            stand = [pair for pair in stand if pair[0].error != "AuthError"]


def _alike(refused: PurchaseRefused, before: PurchaseIntended, now: PurchaseIntended) -> bool:
    if before.offer.provider != now.offer.provider:
        return False
    if refused.error in {"AuthError", "ThrottledError"}:
        return True
    scope = refused.scope or (Scope.ZONE if refused.error == "CapacityError" else Scope.PROVIDER)
    same = (before.offer.region, before.offer.instance_type) == (now.offer.region, now.offer.instance_type)
    return now.nodes >= before.nodes and (scope is Scope.PROVIDER or same)


def nothing_of_ours_is_left(world: World) -> None:
    for market in world.markets:
        assert [held.lease.id for held in market.live() if held.lease.owner == OWNER] == []
    for run_id in world.folded():
        assert world.launcher.running(run_id) == []
    planted = {
        held.lease.id for market in world.markets for held in market.books if held.lease.token.startswith("planted")
    }
    # A call on the wire may buy anew under its token once the provider has taken the lease that the token stood for.
    again = {
        held.lease.id
        for market in world.markets
        for held in market.books
        if any(other.taken and other.lease.token == held.lease.token for other in market.books if other is not held)
    }
    told = {event.lease_id for event in _events(world, OrphanReleased)}
    assert told <= planted | again, "an orphan was released that was none"
    assert not told & {event.lease.id for event in _events(world, Purchased)}, "it is some run's"


def leases_of_others_are_untouched(world: World) -> None:
    for market in world.markets:
        for held in market.books:
            if held.lease.owner == OTHER:
                assert held.gone_at is None


def intents_come_before_leases(world: World) -> None:
    intended = {event.token: event.at for event in _events(world, PurchaseIntended)}
    for market in world.markets:
        for held in market.books:
            if held.lease.owner == OWNER and not held.lease.token.startswith("planted"):
                assert intended[held.lease.token] <= held.lease.acquired_at


def no_token_buys_twice(world: World) -> None:
    bought = Counter(
        held.lease.token
        for market in world.markets
        for held in market.books
        if not held.taken  # what the provider took before we knew of it, it may sell again under the same token
    )
    assert [token for token, count in bought.items() if count > 1] == []


def only_what_is_gone_is_given_up_for_lost(world: World) -> None:
    truth = {held.lease.id: held for market in world.markets for held in market.books}
    held_by: dict[str, str] = {}
    for event in _events(world, Purchased, Moved):
        if isinstance(event, Purchased):
            held_by[event.run_id] = event.lease.id
        elif event.to is RunState.RECOVERING and "no longer lists" in event.cause:
            gone_at = truth[held_by[event.run_id]].gone_at
            assert gone_at is not None
            assert gone_at <= event.at


def every_move_is_in_the_table(world: World) -> None:
    states = dict.fromkeys(world.folded(), RunState.SUBMITTED)
    for event in _events(world, Moved):
        assert event.to in TRANSITIONS[states[event.run_id]]
        states[event.run_id] = event.to
    assert all(state.final for state in states.values())


def success_means_that_the_work_is_done(world: World) -> None:
    for run in world.folded().values():
        if run.state is RunState.SUCCEEDED:
            assert world.launcher.done_s[run.id] == pytest.approx(world.work_s(run.id), abs=0.01)


def the_bill_covers_what_was_held(world: World) -> None:
    events = [recorded.event for recorded in world.recorded()]
    ledger = billing.fold(events, now=world.clock.now())
    assert sum(line.usd for line in ledger.lines) == pytest.approx(ledger.total_usd, abs=1e-9)
    assert not any(line.open for line in ledger.lines)
    known = {event.lease.id for event in _events(world, Purchased)}
    held = [held for market in world.markets for held in market.books if held.lease.id in known]
    bought = [line for line in ledger.lines if line.run_id]
    assert len(bought) == len(known) == len(held)
    told = {(event.provider, event.lease_id) for event in _events(world, OrphanReleased)}
    assert len(ledger.lines) - len(bought) == len({lease_id for _, lease_id in told} - known), "an orphan costs once"
    for line in bought:
        (truth,) = [one for one in held if one.lease.token == f"{line.run_id}-{line.attempt}" and one.lease.id in known]
        assert truth.gone_at is not None
        really_s = (truth.gone_at - truth.lease.acquired_at) / timedelta(seconds=1)
        assert line.held_s >= really_s, "what the provider charges for is on the bill"


def _events(world: World, *kinds: type[E]) -> list[E]:
    return [recorded.event for recorded in world.recorded() if isinstance(recorded.event, kinds)]
