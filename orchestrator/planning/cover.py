"""Covering: whole machines of several offers that together do all of some work for the least money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray

ENOUGH = 1.0 - 1e-9  # of the work: what is left to do is rounding
MOST_ROUNDS = 50  # of exchanges: each makes the cover cheaper
BETTER_USD = 1e-9


class Lot(NamedTuple):
    """Machines of one offer: each does up to `capacity` of the work (1 is all of it), and `stock` are on sale.

    One costs `fixed_usd`, however little it does, and `usd` per unit of work (all of it) on top.
    """

    capacity: float
    fixed_usd: float
    usd: float
    stock: int

    @property
    def usd_when_full(self) -> float:
        """USD per unit of work of a machine that does all that it can."""
        return self.usd + self.fixed_usd / min(self.capacity, 1.0)


Cover = Mapping[int, int]  # machines by lot


def lower_bound(usd: FloatArray, capacity: FloatArray) -> float:
    """The least that work of 1 costs where offer i does any share up to `capacity[i]` at `usd[i]` per unit of work.

    The fractional knapsack (G. B. Dantzig, "Discrete-variable extremum problems", 1957): the cheapest first. It is the
    optimum of the linear programme, and below every cover by whole machines whose average price is `usd` or more.
    Infinite where all of them together do not do the work.
    """
    order = np.argsort(usd, kind="stable")
    before = np.concatenate(([0.0], np.cumsum(capacity[order])[:-1]))
    taken = np.clip(1.0 - before, 0.0, capacity[order])
    if taken.sum() < ENOUGH:
        return float("inf")
    return float((taken * usd[order]).sum())


def shares(lots: list[Lot], cover: Cover) -> dict[int, float]:
    """What each lot of `cover` does: those that are cheapest per unit of work are full, the last does the rest."""
    left, found = 1.0, dict[int, float]()
    for index in sorted(cover, key=lambda index: (lots[index].usd, index)):
        found[index] = min(left, cover[index] * lots[index].capacity)
        left -= found[index]
    return found


def usd_of(lots: list[Lot], cover: Cover) -> float:
    """What `cover` costs; infinite where it does not do all of the work."""
    done = shares(lots, cover)
    if sum(done.values()) < ENOUGH:
        return float("inf")
    return sum(cover[index] * lots[index].fixed_usd + done[index] * lots[index].usd for index in cover)


def cheapest(lots: list[Lot], most_parts: int) -> Cover | None:
    """A cover of at most `most_parts` lots: greedy, and then exchanges until none makes it cheaper.

    An exchange takes one machine, or all, of a lot away and fills the gap with whole machines of one lot or with none.
    None where no cover is found. The first is the lots in the order of their price per unit of work, full; where that
    takes too many of them, the largest instead.
    """
    by_price = sorted(range(len(lots)), key=lambda index: (lots[index].usd_when_full, index))
    by_size = sorted(range(len(lots)), key=lambda index: (-lots[index].capacity * lots[index].stock, index))
    starts = [cover for order in (by_price, by_size) if (cover := _filled(lots, order, most_parts)) is not None]
    found = [_exchanged(lots, start, most_parts) for start in starts]
    return min(found, key=lambda cover: (usd_of(lots, cover), sorted(cover.items())), default=None)


def _filled(lots: list[Lot], order: list[int], most_parts: int) -> Cover | None:
    left, cover = 1.0, dict[int, int]()
    for index in order[:most_parts]:
        cover[index] = _needed(lots[index], left)
        left -= cover[index] * lots[index].capacity
        if left <= 1.0 - ENOUGH:
            return cover
    return None


def _needed(lot: Lot, work: float) -> int:
    """Machines that do `work`, or all there are."""
    return min(lot.stock, int(np.ceil(work / lot.capacity - 1e-9)))


def _exchanged(lots: list[Lot], cover: Cover, most_parts: int) -> Cover:
    usd = usd_of(lots, cover)
    for _ in range(MOST_ROUNDS):
        best, least = cover, usd - BETTER_USD
        for other in _neighbours(lots, cover, most_parts):
            price = usd_of(lots, other)
            if price < least:
                best, least = other, price
        if best is cover:
            return cover
        cover, usd = best, least
    return cover


def _neighbours(lots: list[Lot], cover: Cover, most_parts: int) -> list[Cover]:
    found: list[Cover] = []
    for index in cover:
        for gone in {1, cover[index]}:
            less = {**cover, index: cover[index] - gone}
            if not less[index]:
                del less[index]
            found.append(less)
            left = 1.0 - sum(count * lots[other].capacity for other, count in less.items())
            if left <= 1.0 - ENOUGH:
                continue
            for other, lot in enumerate(lots):
                more = _needed(lot._replace(stock=lot.stock - less.get(other, 0)), left)
                if more > 0 and other != index and len({*less, other}) <= most_parts:
                    found.append({**less, other: less.get(other, 0) + more})
    return found
