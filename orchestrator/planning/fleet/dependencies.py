"""Which job waits for which: the order, its depth, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import Workload


class Dependencies(NamedTuple):
    """Links between jobs by their rows: job `then[e]` reads the result of job `first[e]`."""

    first: IntArray  # (E,)
    then: IntArray  # (E,)
    order: tuple[int, ...]  # every job after those it waits for
    depth: IntArray  # (J,): links of the longest way to the job

    def before(self, job: int) -> list[int]:
        """The jobs that `job` waits for."""
        found: list[int] = self.first[self.then == job].tolist()
        return found

    def behind(self, job: int) -> list[int]:
        """The jobs that wait for `job`."""
        found: list[int] = self.then[self.first == job].tolist()
        return found

    def ends_h(self, hours: FloatArray) -> FloatArray:
        """Shape (J,): when each job ends, each begun as soon as those it waits for have ended."""
        ends = np.asarray(hours, np.float64).copy()
        for job in self.order:
            before = self.before(job)
            if before:
                ends[job] += max(float(ends[one]) for one in before)
        return ends

    def inherited(self, priority: Sequence[float]) -> list[float]:
        """Each job's priority, raised to the highest of those that wait for it: they cannot go without it."""
        raised = list(priority)
        for job in reversed(self.order):
            raised[job] = max([raised[job], *(raised[one] for one in self.behind(job))])
        return raised


def dependencies(jobs: Sequence[Workload], files: Mapping[str, str] | None = None) -> Dependencies:
    """What `after` says of `jobs`; `files` names the file of each job for messages.

    Raises: SpecError where two jobs share a name, where `after` names a job that is not among them, or where jobs wait
    for each other in a ring.
    """
    names = [job.name for job in jobs]
    row = {name: index for index, name in enumerate(names)}
    first, then = [], []
    for index, job in enumerate(jobs):
        if row[job.name] != index:
            _refuse(job.name, files, "name", f"two jobs are called '{job.name}'", "give each its own name")
        for name in dict.fromkeys(job.after):
            if name not in row:
                _refuse(job.name, files, "after", f"no job is called '{name}'", hint(name, names))
            if name == job.name:
                _refuse(job.name, files, "after", "the job waits for itself", "take its own name out")
            first.append(row[name])
            then.append(index)
    links = (np.array(first, np.int64), np.array(then, np.int64))
    order, depth = _sorted(len(jobs), *links)
    if len(order) < len(jobs):
        ring = _ring(jobs, set(range(len(jobs))) - set(order), row)
        told = " -> ".join(names[index] for index in (*ring, ring[0]))
        _refuse(names[ring[0]], files, "after", f"jobs wait for each other: {told}", "take one of them out")
    return Dependencies(*links, tuple(order), depth)


def _refuse(name: str, files: Mapping[str, str] | None, field: str, message: str, remedy: str) -> None:
    raise SpecError((files or {}).get(name, name), (Problem(0, 0, field, message, remedy),))


def _sorted(jobs: int, first: IntArray, then: IntArray) -> tuple[list[int], IntArray]:
    """Kahn's order, by depth and then by row; jobs of a ring, and those behind one, are left out."""
    depth = np.zeros(jobs, np.int64)
    left = np.bincount(then, minlength=jobs)
    behind: list[list[int]] = [[] for _ in range(jobs)]
    for one, other in zip(first.tolist(), then.tolist(), strict=True):
        behind[one].append(other)
    ready = np.flatnonzero(left == 0).tolist()
    order: list[int] = []
    while ready:
        following: list[int] = []
        for job in ready:
            order.append(job)
            for other in behind[job]:
                left[other] -= 1
                depth[other] = max(int(depth[other]), int(depth[job]) + 1)
                if left[other] == 0:
                    following.append(other)
        ready = sorted(following)
    return order, depth


def _ring(jobs: Sequence[Workload], stuck: set[int], row: Mapping[str, int]) -> list[int]:
    """A ring among the jobs that no order reaches: from any of them on, each is stuck for one that is."""
    seen: list[int] = []
    job = min(stuck)
    while job not in seen:
        seen.append(job)
        job = min(row[name] for name in jobs[job].after if row[name] in stuck)
    ring = seen[seen.index(job) :]
    return list(reversed(ring))
