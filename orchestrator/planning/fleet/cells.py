"""Options of a huge market by cells: a job prices a whole cell of offers as a line in the offer's own price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.problem import Options

CHUNK = 64  # jobs priced at once: a chunk's tables stay in the processor's cache


class Rates(NamedTuple):
    """How some jobs price every cell, shape (jobs, cells): usd = slope · price of the offer + offset + soft.

    `slope` is inf where the job cannot run; all but `slope` may be anything that broadcasts to it.
    """

    slope: FloatArray
    offset_usd: FloatArray  # money whatever the offer: egress, storage
    soft_usd: FloatArray  # judged by, not paid
    nodes: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CellMarket:
    """A `Source` over offers of (accelerator, region, billing) cells, of which each is sorted by price.

    Exact: within a cell every job prefers the cheaper offer, so what costs less than a limit is a prefix of the cell.
    """

    jobs: int
    rates: Callable[[IntArray], Rates]
    order: IntArray  # offers by (cell, price)
    start: IntArray  # (cells + 1,)
    price: FloatArray  # of `order`
    capacity: FloatArray  # of `order`

    @classmethod
    def of(
        cls,
        jobs: int,
        rates: Callable[[IntArray], Rates],
        *,
        cell: IntArray,
        price: FloatArray,
        capacity_nodes: FloatArray,
    ) -> CellMarket:
        """A market of the offers' columns; `cell` numbers the cells from 0 as the columns of `rates` do."""
        order = np.lexsort((np.arange(len(cell)), price, cell))
        cells = int(cell.max()) + 1 if len(cell) else 0
        start = np.searchsorted(cell[order], np.arange(cells + 1))
        return cls(jobs, rates, order, start, price[order], capacity_nodes[order])

    def _entry(self, nodes: float, among: BoolArray | None = None) -> IntArray:
        """Shape (cells,): the first of `order` in a cell that holds `nodes`, the cheapest; -1 where none does."""
        row = np.full(len(self.start) - 1, -1)
        room = self.capacity >= nodes
        fits = np.flatnonzero(room if among is None else room & among[self.order])
        where = np.searchsorted(self.start, fits, side="right") - 1
        first = np.flatnonzero(np.diff(where, prepend=-1))
        row[where[first]] = fits[first]
        return row

    def _entry_price(self, nodes: float, among: BoolArray | None) -> FloatArray:
        """Shape (cells,): the lowest price at which a cell holds `nodes`; inf where it does not."""
        row = self._entry(nodes, among)
        return np.where(row >= 0, self.price[row], np.inf)

    def cheapest(self, jobs: IntArray) -> tuple[IntArray, FloatArray]:
        """Shape (jobs,) twice: the offer on which each of `jobs` costs least if it is alone (-1: none), and the USD."""
        offer, usd = np.full(len(jobs), -1), np.full(len(jobs), np.inf)
        prices: dict[float, FloatArray] = {}
        entries: dict[float, IntArray] = {}
        for low in range(0, len(jobs) if len(self.price) else 0, CHUNK):
            rows = np.arange(low, min(len(jobs), low + CHUNK))
            rates = self.rates(jobs[rows])
            table = self._entry_usd(rates, prices)
            usd[rows] = np.fmin.reduce(table, axis=1)
            cell = (table == usd[rows][:, None]).argmax(axis=1)  # the first; argmin would take a NaN
            nodes = np.broadcast_to(rates.nodes, table.shape)[np.arange(len(rows)), cell]
            for size in np.unique(nodes).tolist():
                if size not in entries:
                    entries[size] = self.order[self._entry(size)]
                same = nodes == size
                offer[rows[same]] = entries[size][cell[same]]
        offer[~np.isfinite(usd)] = -1
        return offer, usd

    def least_usd(self, among: BoolArray | None = None) -> FloatArray:
        """Shape (J,): every job's cheapest option on the offers `among` (None: on any); inf where it has none."""
        least = np.full(self.jobs, np.inf)
        entry: dict[float, FloatArray] = {}
        for low in range(0, self.jobs if len(self.price) else 0, CHUNK):
            jobs = np.arange(low, min(self.jobs, low + CHUNK))
            least[jobs] = np.fmin.reduce(self._entry_usd(self.rates(jobs), entry, among), axis=1)
        return least

    def _entry_usd(self, rates: Rates, entry: dict[float, FloatArray], among: BoolArray | None = None) -> FloatArray:
        """Shape (jobs, cells): a job's cheapest option of a cell; if none inf, or NaN for a job that costs nothing.

        `entry` keeps the cells' entry prices by number of nodes from one call to the next.
        """
        sizes, at = np.unique(rates.nodes, return_inverse=True)
        for size in sizes.tolist():
            if size not in entry:
                entry[size] = self._entry_price(size, among)
        table = np.stack([entry[size] for size in sizes.tolist()])
        at = at.reshape(rates.nodes.shape)
        with np.errstate(invalid="ignore"):
            price: FloatArray = table[at[:, 0]] if rates.nodes.shape[1] == 1 else table[at, np.arange(len(table[0]))]
            usd = rates.slope * price
        usd += rates.offset_usd
        if rates.soft_usd.any():
            usd += rates.soft_usd
        return usd

    def below(self, jobs: IntArray, limit_usd: FloatArray) -> Options:
        """Every option of the jobs named that costs less than the job's own limit, none left out."""
        entry: dict[float, FloatArray] = {}
        parts = [
            self._below(jobs[low : low + CHUNK], limit_usd[low : low + CHUNK], entry)
            for low in range(0, len(jobs), CHUNK)
        ]
        if not parts or not len(self.price):
            none = np.zeros(0)
            return Options(
                start=np.zeros(len(jobs) + 1, np.int64),
                offer=np.zeros(0, np.int64),
                nodes=none,
                usd=none,
                money_usd=none,
            )
        count, offer, nodes, usd, money = (np.concatenate(column) for column in zip(*parts, strict=True))
        start = np.concatenate(([0], np.cumsum(count)))
        return Options(start=start, offer=offer, nodes=nodes, usd=usd, money_usd=money)

    def _below(
        self, jobs: IntArray, limit_usd: FloatArray, entry: dict[float, FloatArray]
    ) -> tuple[IntArray, IntArray, FloatArray, FloatArray, FloatArray]:
        rates = self.rates(jobs)
        shape = rates.slope.shape
        near = self._entry_usd(rates, entry) < limit_usd[:, None]
        row, cell = np.nonzero(near)
        slope = rates.slope[row, cell]
        offset = np.broadcast_to(rates.offset_usd, shape)[row, cell]
        soft = np.broadcast_to(rates.soft_usd, shape)[row, cell]
        nodes = np.broadcast_to(rates.nodes, shape)[row, cell]
        count = np.diff(self.start)[cell]
        pair = np.repeat(np.arange(len(cell)), count)
        at = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count - self.start[cell], count)
        money = slope[pair] * self.price[at]
        money += offset[pair]
        usd = money + soft[pair]
        keep = np.flatnonzero((usd < limit_usd[row[pair]]) & (self.capacity[at] >= nodes[pair]))
        pair = pair[keep]
        counts = np.bincount(row[pair], minlength=len(jobs))
        return counts, self.order[at[keep]], nodes[pair], usd[keep], money[keep]
