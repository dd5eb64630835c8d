"""Covers of some work by whole machines, by hand."""

import numpy as np

from orchestrator.planning.cover import Lot, cheapest, lower_bound, shares, usd_of

CHEAP = Lot(capacity=0.25, fixed_usd=1.0, usd=10.0, stock=2)
DEAR = Lot(capacity=0.5, fixed_usd=2.0, usd=20.0, stock=9)
SMALL = Lot(capacity=0.01, fixed_usd=0.0, usd=21.0, stock=10)


def test_the_cheapest_are_full_and_the_next_does_the_rest() -> None:
    lots = [CHEAP, DEAR]
    found = cheapest(lots, 8)
    assert found == {0: 2, 1: 1}
    assert shares(lots, found) == {0: 0.5, 1: 0.5}
    assert usd_of(lots, found) == 2 * 1.0 + 5.0 + 2.0 + 10.0


def test_one_machine_that_does_everything_is_no_cover_of_two() -> None:
    assert cheapest([Lot(capacity=3.0, fixed_usd=1.0, usd=5.0, stock=1), DEAR], 8) == {0: 1}


def test_a_remainder_goes_where_the_machine_costs_little() -> None:
    nearly = CHEAP._replace(stock=3, capacity=0.33)
    assert cheapest([nearly, DEAR, SMALL], 8) == {0: 3, 2: 1}


def test_fewer_and_larger_parts_where_the_cheapest_are_too_many() -> None:
    crumbs = [SMALL._replace(usd=1.0) for _ in range(5)]
    found = cheapest([*crumbs, DEAR], 2)
    assert found is not None
    assert 5 in found
    assert len(found) <= 2


def test_too_few_machines_cover_nothing() -> None:
    assert cheapest([CHEAP, SMALL], 8) is None
    assert lower_bound(np.array([1.0, 2.0]), np.array([0.3, 0.6])) == float("inf")


def test_the_bound_is_the_fractional_cover() -> None:
    assert lower_bound(np.array([20.0, 10.0]), np.array([1.0, 0.25])) == 0.25 * 10.0 + 0.75 * 20.0
