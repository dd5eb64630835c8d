"""Price paths of the simulated market: spot prices wander around their level, hour by hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray
from orchestrator.simulation.clouds.pools import Key, Pool

STAYS = 0.92  # of a deviation from one hour to the next
MEMORY_H = 60  # hours after which a deviation is forgotten: 0.92^60 < 1 %
CEILING = 0.95  # of the on-demand price of the same machine in the same zone
ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)


class Prices:
    """Prices of every pool at any hour, also of the past: a mean-reverting walk of the logarithm, by seed and hour.

    The deviation of hour h is sqrt(1 - s²) · sum over k of s^k · z(h - k) with independent normal z and s = STAYS: its
    standard deviation is the pool's volatility.
    """

    def __init__(self, pools: Sequence[Pool], seed: int) -> None:
        self._seed = seed
        self._row: Mapping[Key, int] = {pool.key: row for row, pool in enumerate(pools)}
        self._level = np.array([pool.usd_per_hour for pool in pools], np.float64)
        self._volatility = np.array([pool.volatility for pool in pools], np.float64)
        demand = {pool.key: pool.usd_per_hour for pool in pools if pool.key.billing is Billing.ON_DEMAND}
        self._most = np.array(
            [CEILING * demand.get(pool.key._replace(billing=Billing.ON_DEMAND), np.inf) for pool in pools], np.float64
        )
        self._most = np.where(self._volatility > 0, np.maximum(self._most, self._level), np.inf)
        self._hours: dict[int, FloatArray] = {}

    def at(self, key: Key, moment: datetime) -> float:
        """USD per hour of a node, to a ten-thousandth as vendors state it. Raises: KeyError for an unknown pool."""
        hour = int((moment - ORIGIN).total_seconds() // 3600)
        if hour not in self._hours:
            self._hours[hour] = self._prices(hour)
        return round(float(self._hours[hour][self._row[key]]), 4)

    def _prices(self, hour: int) -> FloatArray:
        deviation = np.zeros(len(self._level))
        for back in range(MEMORY_H):
            drawn = np.random.default_rng([self._seed, 7, hour - back]).standard_normal(len(self._level))
            deviation += STAYS**back * drawn
        factor = np.exp(self._volatility * np.sqrt(1 - STAYS**2) * deviation)
        prices: FloatArray = np.minimum(self._level * factor, self._most)
        return prices
