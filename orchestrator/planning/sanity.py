"""Sanity across sources: a price that is far from what every other provider asks for the device is no price.

Known cases are placeholders: 0.01 USD an hour, or 700 USD for what sells at 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook

CHEAP = 8.0  # times below the others' usual list price
CHEAP_SPOT = 40.0  # spot is sold at up to 90 % off, and so may be five times as far below
DEAR = 12.0  # times above it
LEAST_OTHERS = 2  # providers to compare with: of two that differ nobody knows which is wrong
LEAST_OFFERS = 5  # list prices of theirs


class Witness(NamedTuple):
    """What the other providers ask for a device, in USD per GPU-hour: the middle one or two of their own medians."""

    low: float
    high: float
    providers: int
    offers: int


class Absurd(NamedTuple):
    """Which offers of a book have a price that cannot be, shape (n,), and what they were compared with."""

    mask: BoolArray
    usd_per_gpu_hour: FloatArray
    witnesses: dict[tuple[int, int], Witness]  # by accelerator and provider code

    def sentence(self, book: OfferBook, row: int) -> str:
        """The arithmetic for `row`, which is one of the mask."""
        usd = float(self.usd_per_gpu_hour[row])
        seen = self.witnesses[int(book.accelerator.codes[row]), int(book.provider.codes[row])]
        asked = seen.low if usd < seen.low else seen.high
        times = f"1/{asked / usd:,.0f}" if usd < asked else f"{usd / asked:,.0f} times"
        return (
            f"{usd:,.4g} USD per GPU-hour is {times} of the {asked:,.2f} that {seen.providers} other providers ask for "
            f"{book.accelerator[row]} ({seen.offers} list prices): taken for a placeholder "
            f"(source: {book.source[row] or 'none given'})"
        )


def absurd(book: OfferBook) -> Absurd:
    """Offers whose price per GPU-hour is out of all proportion to the list prices of the others.

    A list price is absurd below 1/8 and above 12 times, a spot price below 1/40 and above 12 times of the median over
    the *other* providers' medians for the same device: a provider with a thousand wrong prices has one vote. With an
    even number of others, below the lower and above the upper of the middle two. Owned machines and devices that fewer
    than two other providers sell, or with fewer than five list prices, are exempt. The order of offers plays no part.
    """
    unit = np.divide(book.usd_per_hour, book.gpus, out=np.full(len(book), np.nan), where=book.gpus > 0)
    owned, spot = (book.billing.isin(frozenset((str(kind),))) for kind in (Billing.OWNED, Billing.SPOT))
    priced = np.isfinite(unit) & (unit > 0) & ~owned
    found = Absurd(np.zeros(len(book), np.bool_), unit, {})
    for code in _suspects(book, unit, priced, spot):
        rows = np.flatnonzero(priced & (book.accelerator.codes == code))
        _compare(found, book, rows, spot[rows])
    return found


def _suspects(book: OfferBook, unit: FloatArray, priced: BoolArray, spot: BoolArray) -> list[int]:
    """Devices with prices so far apart that one of them may be absurd: few, so that the rest costs next to nothing."""
    size, codes = len(book.accelerator.vocab), book.accelerator.codes

    def ends(mask: BoolArray) -> tuple[FloatArray, FloatArray]:
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        rows = np.flatnonzero(mask)
        if len(rows):
            short = codes[rows].astype(np.int16) if size < np.iinfo(np.int16).max else codes[rows]
            order = np.argsort(short, kind="stable")  # by counting, for short integers
            kinds, price = short[order], unit[rows][order]
            starts = np.flatnonzero(np.diff(kinds, prepend=-1))
            low[kinds[starts]] = np.minimum.reduceat(price, starts)
            high[kinds[starts]] = np.maximum.reduceat(price, starts)
        return low, high

    low, high = ends(priced & ~spot)
    spot_low, spot_high = ends(priced & spot)
    wide = (low * CHEAP < high) | (spot_low * CHEAP_SPOT < high) | (spot_high > low * DEAR)
    found: list[int] = np.flatnonzero(wide & np.isfinite(low)).tolist()
    return found


def _compare(found: Absurd, book: OfferBook, rows: IntArray, spot: BoolArray) -> None:
    """Mark the absurd among `rows`, all priced offers of one device."""
    unit, seller = found.usd_per_gpu_hour[rows], book.provider.codes[rows]
    sellers, counts = np.unique(seller[~spot], return_counts=True)
    usual = np.array([np.median(unit[~spot & (seller == code)]) for code in sellers.tolist()], np.float64)
    for code in np.unique(seller).tolist():
        others = sellers != code
        offers = int(counts[others].sum())
        if int(others.sum()) < LEAST_OTHERS or offers < LEAST_OFFERS:
            continue
        middle = np.sort(usual[others])
        low, high = float(middle[(len(middle) - 1) // 2]), float(middle[len(middle) // 2])
        mine = seller == code
        cheap = np.where(spot, CHEAP_SPOT, CHEAP)
        wrong = rows[mine & ((unit * cheap < low) | (unit > DEAR * high))]
        if len(wrong):
            found.mask[wrong] = True
            found.witnesses[int(book.accelerator.codes[rows[0]]), code] = Witness(low, high, len(middle), offers)
