"""Quotas and fresh refusals: what cannot be had now is not planned, and the plan says when it is asked again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import AuthError, CapacityError, ProviderError, QuotaError, Scope
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Block
from orchestrator.planning.plan import plan_sized
from orchestrator.planning.refusing import blocked
from orchestrator.planning.validity import still_valid
from orchestrator.testing.builders import offer, placement_on, plan_of, sizing, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.cost.policy import create as create_cost

POLICIES: tuple[Policy, ...] = (create_cost(PolicyContext()),)
HUGE = sizing(min_gpus=32)  # four nodes of eight
HERE = offer(provider="aws", region="us-east-1", zone="us-east-1a", instance_type="p5.48xlarge")


def planned(market: Snapshot, *, nodes: int = 1) -> Plan:
    return plan_sized(training(), market, {"H100-SXM": HUGE if nodes == 4 else sizing()}, POLICIES)


def only(made: Plan) -> tuple[ReasonCode, str]:
    (refusal,) = made.refusals
    return refusal.code, refusal.examples[0].detail


def block(
    refused: Offer = HERE,
    *,
    scope: Scope = Scope.ZONE,
    error: type[ProviderError] = CapacityError,
    nodes: int = 1,
    until: datetime = EPOCH + timedelta(minutes=12),
) -> Block:
    return Block(
        provider=refused.provider,
        region=refused.region,
        zone=refused.zone,
        instance_type=refused.instance_type,
        billing=str(refused.billing),
        nodes=nodes,
        scope=scope,
        error=error.__name__,
        since=EPOCH - timedelta(minutes=3),
        until=until,
        quota_nodes=refused.quota_nodes,
    )


def test_more_nodes_than_the_quota_allows_are_refused_with_both_numbers() -> None:
    assert only(planned(snapshot(offer(quota_nodes=2)), nodes=4)) == (
        ReasonCode.QUOTA,
        "quota allows 2 of 4 nodes in us-east-1",
    )


def test_the_quota_is_told_before_the_stock() -> None:
    assert only(planned(snapshot(offer(quota_nodes=2, available=1)), nodes=4))[0] is ReasonCode.QUOTA
    assert only(planned(snapshot(offer(quota_nodes=0, available=0))))[0] is ReasonCode.QUOTA
    assert only(planned(snapshot(offer(quota_nodes=9, available=1)), nodes=4))[0] is ReasonCode.TOO_FEW_NODES


def test_a_quota_that_suffices_or_that_nobody_knows_refuses_nothing() -> None:
    made = planned(snapshot(offer(quota_nodes=4), offer(region="eu-west-1")), nodes=4)
    assert len(made.ranked) == 2


def test_a_saved_plan_is_stale_where_the_quota_shrank() -> None:
    (reason,) = still_valid(plan_of(placement_on(offer(), nodes=2)), snapshot(offer(quota_nodes=1)))
    assert reason.code is ReasonCode.QUOTA


def test_what_was_refused_lately_is_not_planned_and_the_plan_says_when_it_is_asked_again() -> None:
    made = planned(snapshot(HERE, blocks=(block(),)))
    assert only(made) == (
        ReasonCode.RECENTLY_REFUSED,
        "aws us-east-1/us-east-1a p5.48xlarge on-demand: sold out 3 min ago, asked again after 12 min",
    )
    assert made.blocked_until == EPOCH + timedelta(minutes=12)


def test_a_shape_that_is_sold_out_and_was_refused_is_waited_for_as_well() -> None:
    gone = offer(provider="aws", zone="us-east-1a", instance_type="p5.48xlarge", available=0)
    made = planned(snapshot(gone, blocks=(block(),)))
    assert only(made)[0] is ReasonCode.RECENTLY_REFUSED
    assert made.blocked_until is not None


def test_a_block_that_is_over_refuses_nothing() -> None:
    made = planned(snapshot(HERE, blocks=(block(until=EPOCH),)))
    assert len(made.ranked) == 1
    assert made.blocked_until is None


def test_fewer_nodes_than_were_refused_may_be_asked_for() -> None:
    assert len(planned(snapshot(HERE, blocks=(block(nodes=4),))).ranked) == 1
    assert only(planned(snapshot(HERE, blocks=(block(nodes=4),)), nodes=4))[0] is ReasonCode.RECENTLY_REFUSED


ELSEWHERE = {
    "another zone": offer(provider="aws", zone="us-east-1b", instance_type="p5.48xlarge"),
    "another region": offer(provider="aws", region="eu-west-1", zone="eu-west-1a", instance_type="p5.48xlarge"),
    "another type": offer(provider="aws", zone="us-east-1a", instance_type="p4d"),
    "another billing": offer(provider="aws", zone="us-east-1a", instance_type="p5.48xlarge", billing=Billing.SPOT),
    "another provider": offer(provider="gcp", zone="us-east-1a", instance_type="p5.48xlarge"),
}


@pytest.mark.parametrize(
    ("scope", "spared"),
    [
        (Scope.ZONE, set(ELSEWHERE)),
        (Scope.REGION, set(ELSEWHERE) - {"another zone"}),
        (Scope.PROVIDER, {"another provider"}),
    ],
)
def test_a_refusal_reaches_as_far_as_its_scope(scope: Scope, spared: set[str]) -> None:
    one = block(scope=scope)
    book = OfferBook.of([HERE, *ELSEWHERE.values()])
    table = blocked(book, snapshot(blocks=(one,)))
    for row, found in enumerate(book):
        (name,) = [name for name, other in ELSEWHERE.items() if other == found] or [""]
        assert bool(table.masks[0][row]) == one.covers(found, 1) == (name not in spared)


def test_a_zoneless_provider_is_blocked_in_its_region() -> None:
    refused = offer(zone="")
    assert block(refused).covers(refused, 1)
    assert not block(refused).covers(offer(region="eu"), 1)


@pytest.mark.parametrize(("before", "now", "ends"), [(None, 3, True), (2, 3, True), (2, 2, False), (2, None, False)])
def test_a_quota_that_was_raised_ends_its_block(before: int | None, now: int | None, ends: bool) -> None:
    one = block(offer(quota_nodes=before), scope=Scope.PROVIDER, error=QuotaError, nodes=2)
    fresh = offer(quota_nodes=now)
    other = offer(region="eu-west-1", quota_nodes=now)  # says nothing of what was refused
    assert one.covers(fresh, 2) is not ends
    assert one.covers(other, 2)
    made = planned(snapshot(offer(quota_nodes=now, gpus=4.0), blocks=(one,)), nodes=4)  # eight nodes
    told = {refusal.code for refusal in made.refusals}
    assert told == ({ReasonCode.RECENTLY_REFUSED} if now is None else {ReasonCode.QUOTA})
    table = blocked(OfferBook.of([fresh, other]), snapshot(blocks=(one,)))
    assert [bool(found) for found in table.masks[0]] == [one.covers(o, 2) for o in OfferBook.of([fresh, other])]


def test_the_sentence_names_what_is_meant_and_no_more() -> None:
    now = EPOCH
    assert block(scope=Scope.PROVIDER, error=AuthError).sentence(now) == (
        "aws: credentials refused 3 min ago, asked again after 12 min"
    )
    long = block(scope=Scope.REGION, error=QuotaError, nodes=4, until=EPOCH + timedelta(hours=6))
    assert long.sentence(now) == (
        "aws us-east-1 p5.48xlarge on-demand (4 nodes): over quota 3 min ago, asked again after 6.0 h"
    )


def test_blocks_are_part_of_a_snapshots_identity_and_none_leave_no_mark() -> None:
    assert snapshot(HERE).id == snapshot(HERE, blocks=()).id
    assert snapshot(HERE).id != snapshot(HERE, blocks=(block(),)).id
