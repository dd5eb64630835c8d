"""Prices that cannot be are refused with the arithmetic, and odd markets are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import pricebook
from orchestrator.catalog.importer import BadRows, read_csv
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.planning.plan import plan
from orchestrator.planning.sanity import absurd
from orchestrator.testing.builders import offer, snapshot, training
from policies.cost.policy import create

# Five list prices of four providers: 4, 4, 4.5, 3.5 and 2 USD per GPU-hour.
MARKET = (
    offer(provider="a"),
    offer(provider="a", region="eu-central-1"),
    offer(provider="b", usd_per_hour=36.0),
    offer(provider="c", usd_per_hour=28.0),
    offer(provider="d", usd_per_hour=16.0),
)


def caught(*offers: Offer) -> list[str]:
    book = OfferBook.of(offers)
    return [book[row].provider for row in np.flatnonzero(absurd(book).mask).tolist()]


def odd(usd_per_hour: float, **overrides: object) -> Offer:
    return offer(**{"provider": "odd", "usd_per_hour": usd_per_hour, **overrides})


@pytest.mark.parametrize("usd_per_hour", [0.08, 3.4, 400.0, 5600.0])
def test_a_placeholder_is_caught(usd_per_hour: float) -> None:
    assert caught(*MARKET, odd(usd_per_hour)) == ["odd"]


@pytest.mark.parametrize("usd_per_hour", [4.0, 16.0, 32.0, 320.0])
def test_a_bargain_and_a_dear_offer_are_not(usd_per_hour: float) -> None:
    assert caught(*MARKET, odd(usd_per_hour)) == []


def test_spot_may_be_five_times_as_far_below() -> None:
    assert caught(*MARKET, odd(1.0, billing=Billing.SPOT)) == []
    assert caught(*MARKET, odd(0.08, billing=Billing.SPOT)) == ["odd"]


def test_a_provider_with_many_wrong_prices_has_one_vote() -> None:
    wrong = [odd(0.08, zone=str(zone)) for zone in range(50)]
    assert caught(*MARKET, *wrong) == ["odd"] * 50


def test_small_markets_other_devices_and_ones_own_machines_are_left_alone() -> None:
    assert caught(*MARKET[:2], odd(0.08)) == [], "of two providers nobody knows which is wrong"
    assert caught(*MARKET[1:4], odd(0.08)) == [], "three prices are not enough to go by"
    assert caught(*MARKET, odd(0.08, accelerator="T4")) == []
    assert caught(*MARKET, odd(0.08, billing=Billing.OWNED)) == []


def test_the_price_is_of_a_gpu_not_of_a_node() -> None:
    assert caught(*MARKET, odd(0.5, gpus=0.125)) == []
    assert caught(*MARKET, odd(3000.0, gpus=8.0), odd(48.0, gpus=16.0, zone="b")) == ["odd"]


def test_a_plan_refuses_it_with_the_arithmetic() -> None:
    made = plan(training(), snapshot(*MARKET, odd(0.08)), (create(PolicyContext()),))
    (refusal,) = made.refusals
    assert (refusal.by, refusal.code.value, refusal.count) == ("planning", "no-price", 1)
    assert refusal.examples[0].detail == (
        "0.01 USD per GPU-hour is 1/350 of the 3.50 that 4 other providers ask for H100-SXM (5 list prices): "
        "taken for a placeholder (source: test)"
    )
    dear = plan(training(), snapshot(*MARKET, odd(5600.0)), (create(PolicyContext()),))
    assert "700 USD per GPU-hour is 175 times of the 4.00 that" in dear.refusals[0].examples[0].detail


@given(st.permutations([*MARKET, odd(0.08), odd(5600.0, zone="b"), odd(30.0, zone="c")]))
def test_the_order_of_offers_plays_no_part(offers: list[Offer]) -> None:
    book = OfferBook.of(offers)
    assert book.usd_per_hour[absurd(book).mask].tolist() == [0.08, 5600.0]


def test_no_price_of_the_price_book_is_absurd() -> None:
    assert not absurd(pricebook.load()).mask.any()


def test_no_price_of_the_real_offers_is_absurd(shared_data: Path) -> None:
    path = shared_data / "offers.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path.name} in the data folder")
    assert not absurd(read_csv(path, on_bad=BadRows.SKIP).book).mask.any()


def test_an_empty_market_and_prices_that_are_no_numbers_are_no_trouble() -> None:
    assert caught() == []
    assert caught(*MARKET, odd(float("nan")), odd(float("inf"), zone="b"), odd(0.0, zone="c")) == []
