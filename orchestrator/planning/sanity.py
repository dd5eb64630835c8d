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
    found = Absurd(np.zeros(len(book), np.bool_), unit, {})
    asked = _asked(book, unit, np.flatnonzero(np.isfinite(unit) & (unit > 0) & ~owned), spot)
    for device in _suspects(asked):
        _compare(found, asked, device)
    return found


class _Asked(NamedTuple):
    """Priced offers by what is asked for: groups of one device, kind of billing and provider, behind one another."""

    rows: IntArray  # of the book, group by group
    usd: FloatArray  # per GPU-hour, likewise
    device: IntArray  # codes, shape (groups,), rising
    spot: BoolArray
    seller: IntArray
    start: IntArray  # where each group begins
    stop: IntArray


def _asked(book: OfferBook, unit: FloatArray, rows: IntArray, spot: BoolArray) -> _Asked:
    sellers = len(book.provider.vocab)
    key = (book.accelerator.codes[rows].astype(np.int64) * 2 + spot[rows]) * sellers + book.provider.codes[rows]
    small = len(book.accelerator.vocab) * 2 * sellers <= np.iinfo(np.int16).max
    order = np.argsort(key.astype(np.int16) if small else key, kind="stable")  # by counting, for short integers
    key, rows = key[order], rows[order]
    start = np.flatnonzero(np.diff(key, prepend=-1))
    kinds, seller = np.divmod(key[start], max(sellers, 1))
    return _Asked(
        rows=rows,
        usd=unit[rows],
        device=kinds // 2,
        spot=kinds % 2 == 1,
        seller=seller,
        start=start,
        stop=np.append(start[1:], len(key)),
    )


def _suspects(asked: _Asked) -> list[int]:
    """Devices with prices so far apart that one of them may be absurd: few, so that the rest costs next to nothing."""
    if not len(asked.start):
        return []
    lows, highs = np.minimum.reduceat(asked.usd, asked.start), np.maximum.reduceat(asked.usd, asked.start)
    size = int(asked.device[-1]) + 1
    low, high = np.full((2, size), np.inf), np.full((2, size), -np.inf)
    billing = asked.spot.astype(np.int64)
    np.minimum.at(low, (billing, asked.device), lows)
    np.maximum.at(high, (billing, asked.device), highs)
    wide = (low[0] * CHEAP < high[0]) | (low[1] * CHEAP_SPOT < high[0]) | (high[1] > low[0] * DEAR)
    found: list[int] = np.flatnonzero(wide & np.isfinite(low[0])).tolist()
    return found


def _compare(found: Absurd, asked: _Asked, device: int) -> None:
    """Mark the absurd among the offers of `device`."""
    mine = np.flatnonzero(asked.device == device)
    listed = mine[~asked.spot[mine]]
    sellers = asked.seller[listed]
    usual = np.array([_median(asked.usd[asked.start[group] : asked.stop[group]]) for group in listed.tolist()])
    counts = asked.stop[listed] - asked.start[listed]
    for group in mine.tolist():
        others = sellers != asked.seller[group]
        offers = int(counts[others].sum())
        if int(others.sum()) < LEAST_OTHERS or offers < LEAST_OFFERS:
            continue
        middle = np.sort(usual[others])
        low, high = float(middle[(len(middle) - 1) // 2]), float(middle[len(middle) // 2])
        usd = asked.usd[asked.start[group] : asked.stop[group]]
        cheap = CHEAP_SPOT if asked.spot[group] else CHEAP
        wrong = asked.rows[asked.start[group] : asked.stop[group]][(usd * cheap < low) | (usd > DEAR * high)]
        if len(wrong):
            found.mask[wrong] = True
            found.witnesses[device, int(asked.seller[group])] = Witness(low, high, len(middle), offers)


def _median(values: FloatArray) -> float:
    """`np.median` takes several times as long for a few values."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    parted = np.partition(values, (low, high))
    return float((parted[low] + parted[high]) / 2.0)
