"""Which queued jobs run next on a fixed cluster, and which running ones make room, when nobody knows run times.

The index of a job is the expected US dollars of waiting that one GPU-hour spent on it ends:

    index = usd_per_wait_hour / (GPUs · expected hours run per expected finish)

the Gittins index of its run time given what it has already run, over its GPUs. Jobs run in the order of the index,
whole gangs only, those that fit passing those that do not. A running job is preempted only for one whose index is
`HYSTERESIS` times its own: that, and a restart counted as hours to run, is what preemption costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.queue.runtimes import Curves, at

HYSTERESIS = 4.0  # on Philly 1 preempts 2 to 4 times as often and is 0.2 to 0.4 % slower


class Queue(NamedTuple):
    """The jobs that have arrived and not ended, as columns of shape (n,).

    `ran_s` is useful seconds run, kept over preemptions; `restart_s` what a job must redo before it goes on (0 for
    one that runs or never ran). `usd_per_wait_hour` is the value of its time, `usd_per_late_hour` what each hour past
    `due_s` costs on top (`due_s` counts from now; inf where there is no deadline). `key` breaks ties: unique.
    """

    key: IntArray
    gpus: IntArray
    running: BoolArray
    ran_s: FloatArray
    restart_s: FloatArray
    usd_per_wait_hour: FloatArray
    usd_per_late_hour: FloatArray
    due_s: FloatArray

    @classmethod
    def plain(
        cls, key: IntArray, gpus: IntArray, running: BoolArray, ran_s: FloatArray, restart_s: FloatArray
    ) -> Queue:
        """Jobs whose time is all worth one dollar an hour, without deadlines."""
        zero = np.zeros(len(key))
        return cls(key, gpus, running, ran_s, restart_s, zero + 1.0, zero, zero + np.inf)


class Decision(NamedTuple):
    """Rows of the queue that start now and rows that are preempted for them, rising."""

    starts: IntArray
    preemptions: IntArray


def usd_of_an_hour(queue: Queue, curves: Curves) -> FloatArray:
    """US dollars that one more hour of waiting costs each job, shape (n,).

    The hour's own value, and of each hour past the deadline as much as it is likely that the job will be late:
    the derivative of the expected cost.
    """
    now = at(curves.survival, queue.gpus, queue.ran_s)
    slack_s = np.maximum(queue.due_s - queue.restart_s, 0.0)
    then = at(curves.survival, queue.gpus, queue.ran_s + np.where(np.isfinite(slack_s), slack_s, 0.0))
    late = np.where(np.isfinite(slack_s), np.divide(then, now, out=np.ones_like(now), where=now > 0), 0.0)
    value: FloatArray = queue.usd_per_wait_hour + queue.usd_per_late_hour * late
    return value


def index(queue: Queue, curves: Curves) -> FloatArray:
    """US dollars of waiting ended per GPU-hour, shape (n,); running jobs as they are, without hysteresis."""
    hours = at(curves.hours_per_finish, queue.gpus, queue.ran_s) + queue.restart_s / 3600.0
    value: FloatArray = usd_of_an_hour(queue, curves) / (queue.gpus * hours)
    return value


def order(queue: Queue, curves: Curves, hysteresis: float = HYSTERESIS) -> IntArray:
    """Rows of the queue, the one to run first at the front; ties by `key`."""
    worth = index(queue, curves) * np.where(queue.running, hysteresis, 1.0)
    return np.lexsort((queue.key, -worth))


def decide(queue: Queue, capacity: int, curves: Curves, hysteresis: float = HYSTERESIS) -> Decision:
    """What starts and what is preempted so that the front of the order runs on `capacity` GPUs, gangs whole."""
    runs = np.zeros(len(queue.key), bool)
    runs[fill(order(queue, curves, hysteresis), queue.gpus, capacity)] = True
    return Decision(np.flatnonzero(runs & ~queue.running), np.flatnonzero(queue.running & ~runs))


def fill(front_first: IntArray, gpus: IntArray, free: int, *, skip: bool = True) -> IntArray:
    """The rows of `front_first` that get their whole gang out of `free` GPUs, in that order.

    With `skip` jobs that fit pass those that do not; without, the first that does not fit blocks all behind it.
    """
    taken: list[IntArray] = []
    rest = front_first
    while free > 0 and len(rest):
        ends = np.cumsum(gpus[rest])
        fits = int(np.searchsorted(ends, free, side="right"))
        if fits:
            taken.append(rest[:fits])
            free -= int(ends[fits - 1])
        if not skip:
            break
        rest = rest[fits:]
        rest = rest[gpus[rest] <= free]
    return np.concatenate(taken) if taken else front_first[:0]
