"""Spot markets to replay on where no trace is at hand: correlated zones whose periods keep long, and price steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot.hazard import DOWN, UP, Periods
from orchestrator.simulation.spot_replay import Trace

SHOCK_SHARE = 0.2  # of capacity losses that the zones of a region have in common
STEP_H = 168.0  # hours between price steps, on average
STEP = 0.12  # standard deviation of the logarithm of a price step


def _length(law: Periods, factor: float, slot_h: float, random: np.random.Generator) -> float:
    """The length of a period in hours, of those that last half a slot: shorter ones are not seen."""
    hazard = float(law.cumulative(np.array(0.5 * slot_h))) + float(random.exponential()) / factor
    return float((hazard / law.scale) ** (1.0 / law.shape))


def _zone(slots: int, slot_h: float, factors: tuple[float, float], random: np.random.Generator) -> NDArray[np.bool_]:
    """Availability of one zone: up and down periods by turns, of at least a slot."""
    up = np.zeros(slots, dtype=np.bool_)
    at, state = 0, bool(random.random() < 0.7)
    while at < slots:
        law, factor = (UP, factors[0]) if state else (DOWN, factors[1])
        length = max(1, round(min(_length(law, factor, slot_h, random) / slot_h, slots)))
        up[at : at + length] = state
        at, state = at + length, not state
    return up


def generate(regions: tuple[int, ...], slots: int, slot_h: float, random: np.random.Generator) -> Trace:
    """A market of zones, `regions[i]` of them in region i; prices around 1 USD per hour.

    The factors on the hazards of a zone are log-normal. Shocks take down all zones of a region at once, for as long as
    each stays away by itself.
    """
    zones, prices = [], []
    for count in regions:
        shocks = np.flatnonzero(random.random(slots) < SHOCK_SHARE * slot_h / 4.0)
        for _ in range(count):
            factors = tuple(np.exp(random.normal(0.0, 0.4, 2)))
            up = _zone(slots, slot_h, (float(factors[0]), float(factors[1])), random)
            for shock in shocks:
                away = max(1, round(min(_length(DOWN, float(factors[1]), slot_h, random) / slot_h, slots)))
                up[shock : shock + away] = False
            zones.append(up)
            steps = np.where(random.random(slots) < slot_h / STEP_H, random.normal(0.0, STEP, slots), 0.0)
            prices.append(np.exp(random.normal(0.0, 0.1) + np.cumsum(steps)).clip(0.3, 2.5))
    return Trace(np.array(zones), np.array(prices))
