"""Blocks: one answer for an offer and for a column of them, nothing blocked is planned, and the fold takes any log."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import Scope
from orchestrator.domain.events import ControllerNote, Event, LeaseGone, PurchaseIntended, PurchaseRefused
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import Block
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE, BlockList, blocks
from orchestrator.planning.plan import plan_sized
from orchestrator.planning.refusing import blocked
from orchestrator.testing.builders import offer, sizing, snapshot, training
from orchestrator.testing.clock import EPOCH
from policies.cost.policy import create as create_cost

POLICIES: tuple[Policy, ...] = (create_cost(PolicyContext()),)
ERRORS = ("CapacityError", "QuotaError", "AuthError", "ThrottledError", "TransientError", "Unheard")
QUOTAS = st.none() | st.integers(0, 4)

OFFERS = st.builds(
    offer,
    provider=st.sampled_from(["aws", "gcp"]),
    region=st.sampled_from(["eu", "us"]),
    zone=st.sampled_from(["", "a", "b"]),
    instance_type=st.sampled_from(["small", "big"]),
    billing=st.sampled_from([Billing.ON_DEMAND, Billing.SPOT]),
    available=st.none() | st.integers(0, 4),
    quota_nodes=QUOTAS,
)
MOMENTS = st.integers(-3600, 8 * 3600).map(lambda seconds: EPOCH + timedelta(seconds=seconds))


@st.composite
def blocks_of(draw: st.DrawFn) -> Block:
    refused = draw(OFFERS)
    return Block(
        provider=refused.provider,
        region=refused.region,
        zone=refused.zone,
        instance_type=refused.instance_type,
        billing=str(refused.billing),
        nodes=draw(st.integers(1, 3)),
        scope=draw(st.sampled_from(Scope)),
        error=draw(st.sampled_from(ERRORS[:4])),
        since=EPOCH - timedelta(minutes=1),
        until=draw(MOMENTS),
        quota_nodes=refused.quota_nodes,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(OFFERS, min_size=1, max_size=12), st.lists(blocks_of(), max_size=4), st.integers(1, 4))
def test_nothing_is_planned_that_a_block_covers_and_every_offer_is_still_accounted_for(
    sold: list[Offer], standing: list[Block], nodes: int
) -> None:
    book = OfferBook.merge([OfferBook.of(sold)])
    market = snapshot(*book, blocks=tuple(standing))
    made = plan_sized(training(), market, {"H100-SXM": sizing(min_gpus=8 * nodes)}, POLICIES)
    over = [block for block in standing if block.until > EPOCH]
    for placement in made.ranked:
        (part,) = placement.parts
        assert not any(block.covers(part.offer, part.nodes) for block in over)
        assert part.offer.quota_nodes is None or part.nodes <= part.offer.quota_nodes
    assert made.feasible + sum(refusal.count for refusal in made.refusals) == len(book)
    lately = [refusal for refusal in made.refusals if refusal.code is ReasonCode.RECENTLY_REFUSED]
    assert (made.blocked_until is not None) == bool(lately)
    assert made.blocked_until is None or made.blocked_until in {block.until for block in over}


@settings(max_examples=150, deadline=None)
@given(st.lists(OFFERS, min_size=1, max_size=12), st.lists(blocks_of(), min_size=1, max_size=4))
def test_a_column_of_offers_is_blocked_as_each_of_them_is(sold: list[Offer], standing: list[Block]) -> None:
    book = OfferBook.of(sold)
    table = blocked(book, snapshot(blocks=tuple(standing)))
    for block, mask in zip(table.blocks, table.masks, strict=True):
        assert mask.tolist() == [block.covers(one, block.nodes) for one in book]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Any events about purchases, in any order, with tokens that may be unknown or used twice."""
    tokens = st.sampled_from([f"r-{number}" for number in range(4)])
    kinds = st.one_of(
        st.builds(
            PurchaseIntended,
            run_id=st.just("r"),
            at=MOMENTS,
            token=tokens,
            candidate=st.just(0),
            offer=OFFERS,
            nodes=st.integers(1, 3),
            usd_per_hour=st.just(1.0),
            fence=st.just(1),
        ),
        st.builds(
            PurchaseRefused,
            run_id=st.just("r"),
            at=MOMENTS,
            token=tokens,
            error=st.sampled_from(ERRORS),
            detail=st.just("no"),
            scope=st.none() | st.sampled_from(Scope),
        ),
        st.builds(LeaseGone, run_id=st.just("r"), at=MOMENTS, token=tokens, cause=st.just("released")),
        st.builds(ControllerNote, run_id=st.just(""), at=MOMENTS, detail=st.just(""), fence=st.integers(0, 2)),
    )
    return draw(st.lists(kinds, max_size=20))


@settings(max_examples=150, deadline=None)
@given(logs(), MOMENTS)
def test_any_log_folds_and_what_is_over_never_stands(events: list[Event], now: object) -> None:
    standing = blocks(events, now)  # type: ignore[arg-type]
    assert all(block.until > now for block in standing)  # type: ignore[operator]
    assert len(standing) <= sum(isinstance(event, PurchaseRefused) for event in events)
    longest = timedelta(seconds=DEFAULT_PATIENCE.quota_s)
    assert all(timedelta() < block.until - block.since <= longest for block in standing)


@settings(max_examples=100, deadline=None)
@given(logs())
def test_a_log_read_bit_by_bit_gives_what_it_gives_as_a_whole(events: list[Event]) -> None:
    kept = BlockList()
    for event in events:
        kept.take(event)
        kept.standing(EPOCH)
    assert kept.standing(EPOCH) == blocks(events, EPOCH)
