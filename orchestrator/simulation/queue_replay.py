"""Replays arrivals of gang jobs on a fixed cluster under a queue policy, event by event, under a virtual clock.

Between events every running job moves on by the same time. Events are arrivals, ends, and, while jobs wait under a
policy that preempts or buys, a review every `review_s`. A preempted job keeps its progress and redoes `restart_s`
before it goes on, holding its GPUs. There is no placement: any free GPUs make a gang.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.queue.order import Queue, fill

NO_ROWS = np.empty(0, np.int64)


class Trace(NamedTuple):
    """Jobs by rising arrival, as columns of shape (n,): seconds since the first, seconds to run, GPUs of the gang."""

    arrived_s: FloatArray
    run_s: FloatArray
    gpus: IntArray


class View(NamedTuple):
    """What a policy sees: the queue (`key` is the job's row in the trace), seconds waited so far, the time."""

    queue: Queue
    waited_s: FloatArray
    now_s: float


class QueuePolicy(Protocol):
    """Which jobs go first. Policies that know run times are given them when they are built, not here."""

    preempts: bool
    skips: bool  # a job that fits passes one in front that does not
    reviews: bool  # what it says changes while nothing arrives or ends
    may_buy: bool

    def front_first(self, view: View) -> IntArray:
        """Rows of the queue, the one to run first at the front; waiting jobs only matter where nothing preempts."""

    def may_pass(self, view: View, waiting: IntArray, free: int) -> IntArray:
        """Those of the rows `waiting`, front first, that may start in `free` GPUs; asked where nothing preempts."""

    def buys(self, view: View) -> BoolArray:
        """True for each row of the queue that leaves now for bought capacity."""

    def finished(self, gpus: IntArray, ran_s: FloatArray) -> None:
        """Jobs that ended by themselves on the cluster."""


class Outcome(NamedTuple):
    """Of each job, shape (n,): seconds from arrival to end, and whether it ended on bought capacity. Of the cluster:
    preemptions, GPU-seconds bought, GPU-seconds held, those of them spent on restarts, most GPUs held at once."""

    completion_s: FloatArray
    bought: BoolArray
    preemptions: int
    bought_gpu_s: float
    held_gpu_s: float
    restart_gpu_s: float
    most_gpus: int

    @property
    def mean_hours(self) -> float:
        """Mean job completion time."""
        return float(self.completion_s.mean()) / 3600.0


def replay(
    trace: Trace, capacity: int, policy: QueuePolicy, *, restart_s: float = 0.0, review_s: float = 60.0
) -> Outcome:
    """Run `trace` on `capacity` GPUs until the last job has ended.

    Raises:
        ValueError: a gang is larger than the cluster, or arrivals do not rise.
    """
    if len(trace.gpus) and int(trace.gpus.max()) > capacity:
        raise ValueError(f"a gang of {int(trace.gpus.max())} GPUs never fits a cluster of {capacity}")
    if np.any(np.diff(trace.arrived_s) < 0):
        raise ValueError("arrivals must rise")
    return _Cluster(trace, capacity, policy, restart_s, review_s).run()


class _Cluster:
    """The state of one replay; `here` are the rows of the trace that have arrived and not ended, rising."""

    def __init__(self, trace: Trace, capacity: int, policy: QueuePolicy, restart_s: float, review_s: float) -> None:
        n = len(trace.gpus)
        self.trace, self.capacity, self.policy = trace, capacity, policy
        self.pause_s, self.review_s = restart_s, review_s
        self.here, self.running = NO_ROWS, NO_ROWS
        self.runs = np.zeros(n, bool)
        self.ran_s, self.redo_s, self.waited_s = np.zeros(n), np.zeros(n), np.zeros(n)
        self.end_s = np.full(n, np.inf)
        self.completion_s, self.bought = np.zeros(n), np.zeros(n, bool)
        self.arrived, self.now_s, self.review_at = 0, 0.0, np.inf
        self.preemptions, self.most_gpus = 0, 0
        self.bought_gpu_s, self.held_gpu_s, self.restart_gpu_s = 0.0, 0.0, 0.0

    def run(self) -> Outcome:
        arrivals = self.trace.arrived_s
        while self.arrived < len(arrivals) or len(self.here):
            arrival = arrivals[self.arrived] if self.arrived < len(arrivals) else np.inf
            end = self.end_s[self.running].min() if len(self.running) else np.inf
            self._advance(min(arrival, end, self.review_at))
            self._finish()
            self._arrive()
            self._decide()
        return Outcome(
            self.completion_s,
            self.bought,
            self.preemptions,
            self.bought_gpu_s,
            self.held_gpu_s,
            self.restart_gpu_s,
            self.most_gpus,
        )

    def _advance(self, until_s: float) -> None:
        passed_s = until_s - self.now_s
        self.now_s = until_s
        if passed_s <= 0.0:
            return
        rows = self.running
        gpus = self.trace.gpus[rows]
        redone = np.minimum(self.redo_s[rows], passed_s)
        self.redo_s[rows] -= redone
        self.ran_s[rows] += passed_s - redone
        self.held_gpu_s += passed_s * float(gpus.sum())
        self.restart_gpu_s += float(redone @ gpus)
        if len(rows) < len(self.here):
            self.waited_s[self.here[~self.runs[self.here]]] += passed_s

    def _finish(self) -> None:
        ended = self.running[self.end_s[self.running] <= self.now_s]
        if not len(ended):
            return
        self.completion_s[ended] = self.now_s - self.trace.arrived_s[ended]
        self.ran_s[ended] = self.trace.run_s[ended]
        self.policy.finished(self.trace.gpus[ended], self.ran_s[ended])
        self._leave(ended)

    def _leave(self, rows: IntArray) -> None:
        self.runs[rows] = False
        self.running = self.running[self.runs[self.running]]
        gone = np.zeros(len(self.runs), bool)
        gone[rows] = True
        self.here = self.here[~gone[self.here]]

    def _arrive(self) -> None:
        last = int(np.searchsorted(self.trace.arrived_s, self.now_s, side="right"))
        if last > self.arrived:
            self.here = np.concatenate([self.here, np.arange(self.arrived, last)])
            self.arrived = last

    def _view(self) -> View:
        rows = self.here
        queue = Queue.plain(rows, self.trace.gpus[rows], self.runs[rows], self.ran_s[rows], self.redo_s[rows])
        return View(queue, self.waited_s[rows], self.now_s)

    def _decide(self) -> None:
        self.review_at = np.inf
        waiting = self.here[~self.runs[self.here]]
        if not len(waiting):
            return
        free = self.capacity - int(self.trace.gpus[self.running].sum())
        if int(self.trace.gpus[waiting].sum()) <= free:
            self._start(waiting)
            return
        if self.policy.preempts:
            self._preempt()
        elif free > 0:
            self._pass(free)
        if self.policy.may_buy:
            self._buy()
        if self.policy.reviews and len(self.running) < len(self.here):
            self.review_at = self.now_s + self.review_s

    def _preempt(self) -> None:
        runs = np.zeros(len(self.here), bool)
        runs[fill(self.policy.front_first(self._view()), self.trace.gpus[self.here], self.capacity)] = True
        out = self.here[self.runs[self.here] & ~runs]
        self.preemptions += len(out)
        self.runs[out] = False
        self.redo_s[out] = self.pause_s
        self.running = self.running[self.runs[self.running]]
        self._start(self.here[runs & ~self.runs[self.here]])

    def _pass(self, free: int) -> None:
        view = self._view()
        front = self.policy.front_first(view)
        front = front[~view.queue.running[front]]
        allowed = self.policy.may_pass(view, front, free)
        self._start(self.here[fill(allowed, view.queue.gpus, free, skip=self.policy.skips)])

    def _buy(self) -> None:
        view = self._view()
        rows = self.here[self.policy.buys(view) & ~view.queue.running]
        if not len(rows):
            return
        left_s = self.redo_s[rows] + self.trace.run_s[rows] - self.ran_s[rows]
        self.completion_s[rows] = self.now_s + left_s - self.trace.arrived_s[rows]
        self.bought[rows] = True
        self.bought_gpu_s += float(left_s @ self.trace.gpus[rows])
        self._leave(rows)

    def _start(self, rows: IntArray) -> None:
        if not len(rows):
            return
        self.end_s[rows] = self.now_s + self.redo_s[rows] + self.trace.run_s[rows] - self.ran_s[rows]
        self.runs[rows] = True
        self.running = self.here[self.runs[self.here]]
        self.most_gpus = max(self.most_gpus, int(self.trace.gpus[self.running].sum()))
