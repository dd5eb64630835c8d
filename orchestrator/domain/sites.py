"""Sites: the distinct (provider, region) pairs of a book, and an index of the network they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from orchestrator.domain.network import Link, Network, Place, RoundTrip, estimated
from orchestrator.domain.offerbook import FloatArray, IntArray, OfferBook

ANTIPODE_RTT_MS = 351.3  # great_circle_rtt_ms over half the Earth's circumference: nothing on Earth is farther


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """Where the offers of a book are: facts of a place are found once per site and then spread over the rows.

    A market of a hundred thousand offers has a few hundred sites, so a policy that works per site is fast.
    """

    keys: tuple[tuple[str, str], ...]  # (provider, region), sorted
    index: IntArray  # shape (n,): the site of each row

    @classmethod
    def of(cls, book: OfferBook) -> Sites:
        """The sites of `book`, in time linear in its rows."""
        regions = len(book.region.vocab)
        pair = book.provider.codes.astype(np.int64) * regions + book.region.codes
        span = len(book.provider.vocab) * regions
        if span <= max(1 << 16, 4 * len(book)):
            seen = np.zeros(span, np.bool_)
            seen[pair] = True
            present = np.flatnonzero(seen)
            index = (np.cumsum(seen) - 1)[pair]
        else:  # a table of every pair would be larger than the book itself
            present, index = np.unique(pair, return_inverse=True)
        keys = tuple(
            (book.provider.vocab[code // regions], book.region.vocab[code % regions]) for code in present.tolist()
        )
        return cls(keys, index)

    def __len__(self) -> int:
        return len(self.keys)

    def spread(self, values: Sequence[float]) -> FloatArray:
        """Shape (n,): the value of each row's site; `values` has one number per site."""
        return np.array(values, np.float64)[self.index] if values else np.zeros(len(self.index), np.float64)


class Atlas:
    """An index of a `Network`: what `Network.place` and `Network.round_trip` answer, without scanning."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._places = {place.key: place for place in reversed(network.places)}
        self._links: dict[tuple[str, str], Link] = {}
        for link in network.links:
            if link.rtt_ms > 0:
                self._links.setdefault((link.a, link.b), link)
                self._links.setdefault((link.b, link.a), link)

    def place(self, key: str) -> Place | None:
        """The place called `key`: exact, then case-insensitive, then "latitude,longitude"."""
        return self._places.get(key) or self._network.place(key)

    def site(self, provider: str, region: str) -> Place | None:
        """Where a provider's region is; None where nobody told us."""
        return self._places.get(f"{provider}/{region}")

    def round_trip(self, a: Place, b: Place) -> RoundTrip:
        """Measured where the network holds the link, else the great-circle estimate with its error."""
        known = self._links.get((a.key, b.key))
        return RoundTrip(known.rtt_ms, known.origin) if known else estimated(a, b)

    def similar(self, key: str, count: int = 3) -> tuple[str, ...]:
        """The known places spelt most like `key`, best first."""
        folded = {place.casefold(): place for place in self._places}
        return tuple(folded[name] for name in get_close_matches(key.casefold(), folded, count, 0.5))
