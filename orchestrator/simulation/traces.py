"""Readers of recorded traces; the only module of the simulation that opens files.

A trap of the spot traces: in the AWS files 1 is "available", in the GCP files 1 is "preempted".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import UserError


class SpotZone(NamedTuple):
    """Spot availability of one zone: samples every `slot_h` hours; prices in USD per hour, NaN where not recorded."""

    name: str
    up: NDArray[np.bool_]
    slot_h: float
    spot_usd_per_hour: float
    on_demand_usd_per_hour: float


def spot_aws(path: Path) -> SpotZone:
    """A zone of the "Can't Be Late" traces (NSDI '24): `data` is 1 where spot was available.

    Raises: UserError for a file that is no such trace.
    """
    data, slot_h, _ = _spot(path)
    return SpotZone(path.stem, data == 1, slot_h, np.nan, np.nan)


def spot_gcp(path: Path) -> SpotZone:
    """A zone of the SkyNomad traces (NSDI '27): `data` is 1 where spot was preempted or not to be had.

    Raises: UserError for a file that is no such trace.
    """
    data, slot_h, document = _spot(path)
    try:
        price = document["metadata"]["price_info"]  # type: ignore[index]
        spot, demand = float(price["price"]), float(price["on_demand_price"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no prices (metadata.price_info with price and on_demand_price): {error}") from error
    return SpotZone(path.parent.name.split("_")[0], data == 0, slot_h, spot, demand)


def _spot(path: Path) -> tuple[NDArray[np.int_], float, dict[str, object]]:
    """Samples, hours between them, and the whole document."""
    try:
        document = json.loads(path.read_text())
        gap_s = float(document["metadata"]["gap_seconds"])
        data = np.asarray(document["data"], dtype=np.int_)
    except OSError as error:
        raise UserError(f"cannot read the trace {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no spot trace (metadata.gap_seconds and data of 0 and 1): {error}") from error
    if data.ndim != 1 or not len(data) or not np.isin(data, (0, 1)).all() or not gap_s > 0.0:
        raise UserError(f"{path}: no spot trace: data must be 0 and 1, metadata.gap_seconds above 0")
    return data, gap_s / 3600.0, document
