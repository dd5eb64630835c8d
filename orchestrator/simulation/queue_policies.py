"""Queue policies for replays: ours, and the named ones it is measured against.

FIFO; EASY backfill with exact run times (Lifka 1995); SJF; shortest remaining time and service first (SRTF, SRSF) with
exact and with noisy run times; 2D-LAS with the discrete queues of Tiresias (NSDI'19); least attained service reviewed
every minute. Cloud bursting: no wait, and the wait linear in a job's compute of Starburst (ATC'24).
"""

from __future__ import annotations

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.queue.burst import buys
from orchestrator.planning.queue.order import HYSTERESIS, order
from orchestrator.planning.queue.runtimes import Curves, RuntimeModel
from orchestrator.simulation.queue_replay import Trace, View


class Fifo:
    """First come, first served: a gang that does not fit blocks all behind it. The base of the others."""

    preempts = False
    skips = False
    reviews = False
    may_buy = False

    def front_first(self, view: View) -> IntArray:
        """By arrival."""
        return np.argsort(view.queue.key, kind="stable")

    def may_pass(self, view: View, waiting: IntArray, free: int) -> IntArray:  # noqa: ARG002
        """All."""
        return waiting

    def buys(self, view: View) -> BoolArray:
        """Nothing."""
        return np.zeros(len(view.queue.key), bool)

    def finished(self, gpus: IntArray, ran_s: FloatArray) -> None:
        """Learns nothing."""


class Easy(Fifo):
    """FIFO where a job may pass if it does not delay the first that waits; run times are known exactly."""

    skips = True

    def __init__(self, run_s: FloatArray) -> None:
        self.run_s = run_s

    def may_pass(self, view: View, waiting: IntArray, free: int) -> IntArray:
        """The front while it fits; behind the first that does not, what ends before it can start or leaves it room."""
        queue = view.queue
        ends = np.cumsum(queue.gpus[waiting])
        head = int(np.searchsorted(ends, free, side="right"))
        if head >= len(waiting):
            return waiting
        left = free - (int(ends[head - 1]) if head else 0)
        held = np.flatnonzero(queue.running)
        held = np.concatenate([held, waiting[:head]])
        ends_s = view.now_s + queue.restart_s[held] + self.run_s[queue.key[held]] - queue.ran_s[held]
        by_end = np.argsort(ends_s, kind="stable")
        room = left + np.cumsum(queue.gpus[held][by_end])
        first = int(np.searchsorted(room, queue.gpus[waiting[head]], side="left"))
        start_s, spare = ends_s[by_end][first], int(room[first]) - int(queue.gpus[waiting[head]])
        return self._backfill(view, waiting, head, (start_s, spare, left))

    def _backfill(self, view: View, waiting: IntArray, head: int, shadow: tuple[float, int, int]) -> IntArray:
        start_s, spare, left = shadow
        chosen = list(waiting[:head])
        for row in waiting[head + 1 :]:
            gpus = int(view.queue.gpus[row])
            if gpus > left:
                continue
            if view.now_s + self.run_s[view.queue.key[row]] > start_s:
                if gpus > spare:
                    continue
                spare -= gpus
            left -= gpus
            chosen.append(row)
            if left == 0:
                break
        return np.array(chosen, np.int64)


class Shortest(Fifo):
    """Shortest first by run times that it is told: `gangs` weighs them by GPUs, `preempts` counts what is left."""

    skips = True

    def __init__(self, run_s: FloatArray, *, gangs: bool, preempts: bool) -> None:
        self.run_s, self.gangs, self.preempts = run_s, gangs, preempts

    def front_first(self, view: View) -> IntArray:
        """By seconds or GPU-seconds left."""
        queue = view.queue
        left_s = np.maximum(self.run_s[queue.key] - queue.ran_s, 1e-3) + queue.restart_s
        return np.lexsort((queue.key, left_s * queue.gpus if self.gangs else left_s))


class Attained(Fifo):
    """Least attained service (GPU-seconds) first; in discrete queues where `thresholds_gpu_s` are given."""

    preempts = True
    skips = True
    reviews = True

    def __init__(self, thresholds_gpu_s: tuple[float, ...] = ()) -> None:
        self.thresholds = np.array(thresholds_gpu_s)

    def front_first(self, view: View) -> IntArray:
        """By attained service, or by queue and then arrival."""
        service = view.queue.gpus * view.queue.ran_s
        if len(self.thresholds):
            service = np.searchsorted(self.thresholds, service, side="right").astype(float)
        return np.lexsort((view.queue.key, service))


class Learned(Fifo):
    """Ours: the Gittins order of run times learned on the way; buys by wait budgets where a price is given."""

    preempts = True
    skips = True
    reviews = True

    def __init__(
        self, *, hysteresis: float = HYSTERESIS, usd_per_gpu_hour: float = np.inf, learn_every_s: float = 300.0
    ) -> None:
        self.hysteresis, self.usd_per_gpu_hour, self.learn_every_s = hysteresis, usd_per_gpu_hour, learn_every_s
        self.may_buy = bool(np.isfinite(usd_per_gpu_hour))
        self._model = RuntimeModel()
        self._curves: Curves | None = None
        self._learned_s = 0.0

    def curves(self, view: View) -> Curves:
        """The curves, learned anew every `learn_every_s`."""
        if self._curves is None or view.now_s >= self._learned_s + self.learn_every_s:
            self._curves = self._model.curves(view.queue.gpus, view.queue.ran_s)
            self._learned_s = view.now_s
        return self._curves

    def front_first(self, view: View) -> IntArray:
        """By dollars of waiting ended per GPU-hour."""
        return order(view.queue, self.curves(view), self.hysteresis)

    def buys(self, view: View) -> BoolArray:
        """What has waited longer than buying is worth."""
        return buys(view.queue, view.waited_s, self.curves(view), self.usd_per_gpu_hour)

    def finished(self, gpus: IntArray, ran_s: FloatArray) -> None:
        """Counts run times."""
        self._model.finished(gpus, ran_s)


class Bursting(Fifo):
    """Waits `hours_per_gpu_hour` per GPU-hour of the job, which it knows, then buys (Starburst); 0 never waits."""

    skips = True
    may_buy = True

    def __init__(self, trace: Trace, hours_per_gpu_hour: float, *, smallest_first: bool = False) -> None:
        self.service_s = trace.run_s * trace.gpus
        self.reviews = hours_per_gpu_hour > 0.0
        self.hours_per_gpu_hour, self.smallest_first = hours_per_gpu_hour, smallest_first

    def front_first(self, view: View) -> IntArray:
        """By arrival, or by GPU-seconds."""
        key = view.queue.key
        return np.lexsort((key, self.service_s[key])) if self.smallest_first else super().front_first(view)

    def buys(self, view: View) -> BoolArray:
        """What has waited its share."""
        spent: BoolArray = view.waited_s >= self.hours_per_gpu_hour * self.service_s[view.queue.key]
        return spent
