"""Handing over: what moving the result of one job to the next costs, between every two sites of a market at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.egress import Tariffs, billed
from orchestrator.domain.network import Network
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray

ASSUMED_USD_PER_GIB = 0.12  # where no rate is known: the dearest first tier of a large vendor, as policy cost assumes

Tiers = tuple[tuple[float, float], ...]


class Traffic(NamedTuple):
    """The rates between all sites: `kind[a, b]` is the place among `tiers` of what leaves a for b."""

    kind: IntArray  # (S, S)
    tiers: tuple[Tiers, ...]
    assumed: BoolArray  # (S, S): nobody says what it costs

    @classmethod
    def between(
        cls, sites: Sequence[tuple[str, str]], network: Network, *, assumed_usd_per_gib: float = ASSUMED_USD_PER_GIB
    ) -> Traffic:
        """Of the (provider, region) pairs named, by the network's egress rates: each data set by itself a month's.

        What stays in its region is free; between zones of one region it is taken for that.
        """
        tariffs = Tariffs(network)
        ends = [tariffs.end(provider, region) for provider, region in sites]
        index: dict[Tiers, int] = {(): 0, ((0.0, assumed_usd_per_gib),): 1}
        kind = np.zeros((len(ends), len(ends)), np.int64)
        unknown = np.zeros((len(ends), len(ends)), np.bool_)
        continent, places = _codes([end.continent for end in ends])
        provider, _ = _codes([end.provider for end in ends])
        for row, end in enumerate(ends):
            # A rate to elsewhere knows no more of its arrival than the continent: one look for each will do.
            looks = np.full(len(places), -1)
            inside = provider == provider[row]
            for code in np.unique(continent[~inside]).tolist():
                other = int(np.flatnonzero(~inside & (continent == code))[0])
                looks[code] = _kind(tariffs.tiers(end, ends[other]), index)
            kind[row] = looks[continent]
            for other in np.flatnonzero(inside).tolist():
                kind[row, other] = _kind(tariffs.tiers(end, ends[other]), index)
        unknown |= kind < 0
        kind[unknown] = 1
        return cls(kind, tuple(index), unknown)

    @classmethod
    def none(cls, sites: int) -> Traffic:
        """Where nothing moves."""
        return cls(np.zeros((sites, sites), np.int64), ((),), np.zeros((sites, sites), np.bool_))

    def usd(self, gib: float) -> FloatArray:
        """Shape (S, S): USD for `gib` GiB from each site (row) to each (column)."""
        each = np.array([billed(tiers, gib) if tiers else 0.0 for tiers in self.tiers])
        return each[self.kind]


def _codes(words: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    vocab = tuple(sorted(set(words)))
    place = {word: code for code, word in enumerate(vocab)}
    return np.array([place[word] for word in words], np.int64), vocab


def _kind(tiers: Tiers | None, index: dict[Tiers, int]) -> int:
    return -1 if tiers is None else index.setdefault(tiers, len(index))
