"""What both decision tables share: the setting, models, ages in buckets, and looking values up.

A table holds, for every work left and time left, the least expected cost in USD of what the next slot is spent on,
for several models of the market: pairs of factors on the hazards of up and of down periods (`hazard.py`). Values
between its points are interpolated at equal slack (time left - work left), where they bend; between models, in the
logarithms of the factors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning.spot.hazard import DOWN, FOUND_UP_H, UP, Floats

Singles = NDArray[np.float32]
Indices = NDArray[np.intp]

# Ages are held in buckets that double in width: first age and width, in slots.
FIRST = np.array([1, 2, 3, 5, 9, 17, 33, 65, 129])
WIDTH = np.array([1, 1, 2, 4, 8, 16, 32, 64, 128])
MISSED = 4.0  # times the on-demand price for work that is left at the deadline
STRIDE = 3  # slots between the layers kept
# Factors of the models, near 1: wide apart, a mean over them takes it that they will be known, and does worse. Where
# several regions are away, each may be the one to return: that is the third factor on the return.
ENDS, RETURNS = (0.8, 1.25), (0.8, 1.25, 2.0)
MODELS = tuple((end, back) for end in ENDS for back in RETURNS)


class Setting(NamedTuple):
    """What a table is made for: USD per hour, hours.

    `regions` are those where spot is cheaper than on-demand, by price, as `spot_usd_per_hour` has them; `egress_usd` is
    what a typical move between two of them costs.
    """

    spot_usd_per_hour: tuple[float, ...]
    regions: tuple[int, ...]
    on_demand_usd_per_hour: float
    egress_usd: float
    work_h: float
    time_h: float
    change_over_h: float
    slot_h: float


class Steps(NamedTuple):
    """A setting in slots, and its hazards per slot, (models, ages)."""

    layers: int
    change: float
    spot: Floats  # USD per slot, by region
    on_demand: float
    work: Floats
    lost: Floats
    found: Floats
    at_deadline: Floats


def steps_of(setting: Setting, models: tuple[tuple[float, float], ...]) -> Steps:
    """The setting as the recursion needs it."""
    slot = setting.slot_h
    change = setting.change_over_h / slot
    slots = int(np.ceil(setting.time_h / slot - 1e-9))
    work = np.arange(int(np.ceil(setting.work_h / slot)) + int(np.ceil(change)) + 4, dtype=np.float64)
    demand = setting.on_demand_usd_per_hour * slot
    middle = (FIRST + 0.5 * (WIDTH - 1) - 0.5) * slot
    pairs = np.array(models)
    return Steps(
        layers=-(-slots // STRIDE) + 1,
        change=change,
        spot=np.array(setting.spot_usd_per_hour) * slot,
        on_demand=demand,
        work=work,
        lost=1.0 - np.exp(-pairs[:, :1] * UP.over(middle, slot)),
        found=1.0 - np.exp(-pairs[:, 1:] * DOWN.over(middle, slot)),
        at_deadline=np.where(work > 0.0, demand * (work + MISSED * (work + 1.0)), 0.0),
    )


def shifted(values: Floats, by: float) -> Floats:
    """Values at work + `by` slots; beyond the table as at its end."""
    whole = int(by)
    part = by - whole
    size = values.shape[-1]
    index = np.arange(size) + whole
    low, high = np.minimum(index, size - 1), np.minimum(index + 1, size - 1)
    moved: Floats = (1.0 - part) * values[..., low] + part * values[..., high]
    return moved


def ran(values: Floats) -> Floats:
    """Values at work - 1 slot."""
    moved = np.empty_like(values)
    moved[..., 1:] = values[..., :-1]
    moved[..., 0] = 0.0
    return moved


def onward(values: Floats, ended: Floats, hazard: Floats) -> Floats:
    """The expectation one slot on: the period (axis -2 is its age) ages, or ends into `ended`."""
    aged = values.copy()
    aged[..., :-1, :] += (values[..., 1:, :] - values[..., :-1, :]) / WIDTH[:-1, None]
    mixed: Floats = aged + (ended[..., None, :] - aged) * hazard[..., None]
    return mixed


def age_bucket(age_h: Floats, slot_h: float) -> Indices:
    """The bucket of an age in hours."""
    slots = np.floor(np.minimum(age_h / slot_h, 1e6) + 0.5 + 1e-9)
    return np.maximum(np.searchsorted(FIRST, slots, side="right") - 1, 0)


def found_bucket(slot_h: float) -> int:
    """The bucket of capacity that was there when first looked at."""
    return int(age_bucket(np.array(FOUND_UP_H), slot_h))


def weights(ends: Floats, returns: Floats) -> Floats:
    """The weights of MODELS for learned factors, shape (..., models): between neighbours, in logarithms."""
    sides = []
    for factor, known in ((ends, ENDS), (returns, RETURNS)):
        place = np.interp(np.log(factor), np.log(known), np.arange(len(known)))
        sides.append(np.maximum(1.0 - np.abs(place[..., None] - np.arange(len(known))), 0.0))
    both = sides[0][..., :, None] * sides[1][..., None, :]
    flat: Floats = both.reshape(*both.shape[:-2], len(MODELS))
    return flat


class Corners(NamedTuple):
    """The points around (work, time left), the last axis over four of them: layer, work, share."""

    layer: Indices
    work: Indices
    share: Floats


def corners(setting: Setting, layers: int, size: int, work_h: Floats, left_h: Floats) -> Corners:
    """The points of a table around work and time left in hours."""
    left, work = np.broadcast_arrays(np.maximum(left_h, 0.0) / (setting.slot_h * STRIDE), work_h / setting.slot_h)
    low = np.clip(left.astype(np.intp), 0, layers - 2)
    part = np.minimum(left - low, 1.0)
    # From a point between two layers, along equal slack: less work in the layer with less time.
    below, above = np.maximum(work - part * STRIDE, 0.0), work + (1.0 - part) * STRIDE
    floors, rests = [], []
    for at in (below, above):
        held = np.minimum(at, size - 1.001)
        floor = held.astype(np.intp)
        floors += [floor, floor + 1]
        rests.append(held - floor)
    share = ((1 - part) * (1 - rests[0]), (1 - part) * rests[0], part * (1 - rests[1]), part * rests[1])
    return Corners(np.stack([low, low, low + 1, low + 1], -1), np.stack(floors, -1), np.stack(share, -1))
