"""Market weather: what spot machines cost and whether there are any, slot by slot, and how often they were lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray, IntArray, OfferBook
from orchestrator.simulation.spot_market import generate
from orchestrator.simulation.traces import SpotZone

SLOT_H = 1.0 / 6.0
HISTORY_D = 3.0  # days of generated weather before the simulation begins, from which hazards are known
PRIOR_H, PRIOR_LOSSES = 25.0, 0.5  # what is believed of a zone that was not watched: a loss in 50 hours
CEILING = 0.98  # of the on-demand price of the same machine there: what a spot price does not rise above


class Weather(NamedTuple):
    """Spot rows of an offer book: their availability and price factor, (zones, slots), and the zone of each row.

    Slot `now` is where the simulation begins; those before are history. After the last slot the first follows.
    """

    rows: IntArray  # of the book
    zone: IntArray  # of each of `rows`
    up: NDArray[np.bool_]
    factor: FloatArray  # on the price in the book
    slot_s: float
    now: int
    source: str

    def slot(self, elapsed_s: float) -> int:
        """The slot at `elapsed_s` after the beginning."""
        return (self.now + int(elapsed_s // self.slot_s)) % int(self.up.shape[1])

    def hazard(self, elapsed_s: float) -> FloatArray:
        """Losses per hour of each zone as its past shows them, (zones,), drawn to one in 50 hours while it is short."""
        last = min(self.now + int(elapsed_s // self.slot_s), self.up.shape[1] - 1)
        past = self.up[:, : last + 1]
        losses = (past[:, :-1] & ~past[:, 1:]).sum(1)
        watched_h = past.sum(1) * self.slot_s / 3600.0
        hazard: FloatArray = (PRIOR_LOSSES + losses) / (PRIOR_H + watched_h)
        return hazard

    def lost_after(self, row_zone: int, elapsed_s: float) -> float:
        """Seconds after the beginning at which a machine bought at `elapsed_s`, while its zone is up, is taken."""
        start = self.slot(elapsed_s)
        ahead = np.roll(self.up[row_zone], -start)
        down = int(np.argmin(ahead))
        if ahead[down]:
            return float("inf")
        return (elapsed_s // self.slot_s + down) * self.slot_s


def calm(book: OfferBook) -> Weather:
    """No weather: every spot machine is there, at the price in the book, and stays."""
    rows = _spot_rows(book)
    ones = np.ones((1, 1))
    return Weather(rows, np.zeros(len(rows), np.int64), ones.astype(np.bool_), ones, 600.0, 0, "no interruptions")


def generated(book: OfferBook, days: float, seed: int) -> Weather:
    """Zones that come and go, those of a region in part together; prices in steps. One zone per instance type."""
    rows = _spot_rows(book)
    places = [f"{book.provider[row]}/{book.region[row]}" for row in rows.tolist()]
    regions = sorted(set(places))
    counts = tuple(places.count(region) for region in regions)
    history = round(HISTORY_D * 24.0 / SLOT_H)
    slots = history + max(1, round(days * 24.0 / SLOT_H))
    if not len(rows):
        return calm(book)
    trace = generate(counts, slots, SLOT_H, np.random.default_rng([seed, 1]))
    order = np.argsort(np.array([regions.index(place) for place in places]), kind="stable")
    zone = np.empty(len(rows), np.int64)
    zone[order] = np.arange(len(rows))
    factor = trace.spot_usd_per_hour / trace.spot_usd_per_hour.mean(1, keepdims=True)
    return Weather(rows, zone, trace.up, factor, SLOT_H * 3600.0, history, f"generated, seed {seed}")


def recorded(book: OfferBook, zones: list[SpotZone]) -> Weather:
    """Availability as recorded: the zones in the order of names over the places of the book in theirs, again and again.

    Prices are the book's: public availability traces hold none, or one for all their time. Nothing is known of the time
    before the record.

    Raises: UserError for traces that are sampled differently.
    """
    if len({zone.slot_h for zone in zones}) != 1:
        raise UserError("the spot traces have different times between samples: replay those of one kind at a time")
    rows = _spot_rows(book)
    places = [f"{book.provider[row]}/{book.region[row]}" for row in rows.tolist()]
    regions = sorted(set(places))
    slots = min(len(zone.up) for zone in zones)
    up = np.array([zone.up[:slots] for zone in sorted(zones, key=lambda zone: zone.name)])
    zone = np.array([regions.index(place) % len(zones) for place in places], np.int64)
    source = f"recorded: {len(zones)} zone{'s' * (len(zones) != 1)}, {slots * zones[0].slot_h / 24.0:.0f} days"
    return Weather(rows, zone, up, np.ones(up.shape), zones[0].slot_h * 3600.0, 0, source)


def ceilings(book: OfferBook) -> FloatArray:
    """What each row's spot price stays below, (n,): a little less than the same machine costs there on demand."""
    key = [f"{book.provider[row]} {book.region[row]} {book.instance_type[row]}" for row in range(len(book))]
    demand = {
        key[row]: float(book.usd_per_hour[row]) for row in range(len(book)) if book.billing[row] == Billing.ON_DEMAND
    }
    return np.array([CEILING * demand.get(name, np.inf) for name in key], np.float64)


def _spot_rows(book: OfferBook) -> IntArray:
    rows: IntArray = np.flatnonzero(book.billing.isin(frozenset({str(Billing.SPOT)}))).astype(np.int64)
    return rows
