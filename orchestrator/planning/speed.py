"""Speed: how long a number of devices takes for finite work, for many offers at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.sizing import Service, Sizing
from orchestrator.domain.tenure import Tenure


class Paces(NamedTuple):
    """The numbers of `FiniteWork.gpu_hours_on`, shape (number of sizings,), for work that one device does.

    `p10`, `p50` and `p90` are device-hours of finite work on one device, or the replicas of a service three times.
    """

    growth: FloatArray
    batch_growth: FloatArray
    batch_low: FloatArray
    batch_high: FloatArray
    p10: FloatArray
    p50: FloatArray
    p90: FloatArray

    def speed(self, sizing: IntArray, count: FloatArray) -> FloatArray:
        """Devices' worth of work that `count` devices of each row's `sizing` do."""
        done: FloatArray = count ** (1.0 - self.growth[sizing])
        if self.batch_growth.any():
            low, high = self.batch_low[sizing], self.batch_high[sizing]
            thinner = np.clip(1.0, low, high) / np.clip(count, low, high)
            done = done * thinner ** self.batch_growth[sizing]
        return done

    def devices_for(self, sizing: IntArray, speed: FloatArray) -> FloatArray:
        """The count whose `speed` it is, from each of the three stretches in which it is a power of the count."""
        growth = self.growth[sizing]
        power = 1.0 / (1.0 - growth)
        if not self.batch_growth.any():
            only: FloatArray = speed**power
            return only
        batch, low, high = self.batch_growth[sizing], self.batch_low[sizing], self.batch_high[sizing]
        one = np.clip(1.0, low, high)
        below = (speed * (low / one) ** batch) ** power
        between = (speed * one**-batch) ** (1.0 / (1.0 - growth - batch))
        above = (speed * (high / one) ** batch) ** power
        found: FloatArray = np.where(below <= low, below, np.where(between <= high, between, above))
        return found

    def nodes_within(self, sizing: IntArray, gpus: FloatArray, work_h: FloatArray) -> FloatArray:
        """The fewest nodes of `gpus` devices that do finite work in `work_h` hours, more than 0, at the median."""
        devices = self.devices_for(sizing, self.p50[sizing] / np.minimum(1.0, gpus) / work_h)
        # What needs 4 nodes to the last digit takes 4, not 5.
        found: FloatArray = np.ceil(devices / np.maximum(1.0, gpus) * (1.0 - 1e-12))
        return found

    def hours(
        self,
        sizing: IntArray,
        gpus: FloatArray,
        nodes: FloatArray,
        boot_h: FloatArray,
        leases: Tenure | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Hours (p10, p50, p90) from purchase to the end of finite work on `nodes` nodes of `gpus` devices each.

        A node with a fraction of a device has that fraction of its speed. What ends of `leases` take is in them.
        """
        speed = self.speed(sizing, nodes * np.maximum(1.0, gpus))
        if (gpus < 1).any():
            speed = speed * np.minimum(1.0, gpus)
        works = [work[sizing] / speed for work in (self.p10, self.p50, self.p90)]
        p10, p50, p90 = (boot_h + (work if leases is None else leases.lasts_h(work)) for work in works)
        return p10, p50, p90


class Sizings(tuple[Sizing, ...]):
    """Sizings that know their paces: a plan asks for those of the same ones a dozen times."""

    @cached_property
    def paces(self) -> Paces:
        """In the order of the sizings."""
        rows = [_numbers(sizing) for sizing in self]
        return Paces(*np.array(rows, np.float64).reshape(-1, len(Paces._fields)).T)


def paces(sizings: Sequence[Sizing]) -> Paces:
    """The paces of `sizings`, in their order."""
    known = sizings if isinstance(sizings, Sizings) else Sizings(sizings)
    return known.paces


def whole_devices(gpus: FloatArray) -> FloatArray:
    """Devices of a node that count: whole ones, or the fraction of one."""
    return np.where(gpus < 1, gpus, np.floor(gpus))


def _numbers(sizing: Sizing) -> tuple[float, ...]:
    effort = sizing.effort
    if isinstance(effort, Service):
        return (0.0, 0.0, 1.0, 1.0, *(float(effort.replicas),) * 3)
    one = effort.gpu_hours_on(1.0)
    return (effort.growth, effort.batch_growth, *effort.batch_devices, one.p10, one.p50, one.p90)
