"""When the jobs of a placed fleet start and end, and when machines come free again."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.fleet.case import Case

TINY = 1e-9


class Span(NamedTuple):
    """Expected hours from the plan's moment."""

    starts_h: float
    ends_h: float


class _Use(NamedTuple):
    span: Span
    amount: float


def timeline(case: Case, rows: Sequence[int]) -> dict[int, Span]:
    """Every placed job as early as the jobs it waits for, and the machines and quotas it needs, allow.

    Whoever is ready first goes first, then the higher priority, then the name (list scheduling). Nobody who goes later
    pushes back somebody who went before.
    """
    hours, depends = case.hours(rows), case.depends
    needs = [_needs(case, job, row) if row >= 0 else {} for job, row in enumerate(rows)]
    caps = _caps(case)
    waiting = {job: sum(rows[one] >= 0 for one in depends.before(job)) for job, row in enumerate(rows) if row >= 0}
    ready = [(0.0, -case.jobs[job].priority, job) for job, count in waiting.items() if not count]
    heapq.heapify(ready)
    spans: dict[int, Span] = {}
    book: dict[tuple[str, int], list[_Use]] = {}
    while ready:
        at_h, _, job = heapq.heappop(ready)
        span = _earliest(at_h, float(hours[job]), needs[job], caps, book)
        spans[job] = span
        for resource, amount in needs[job].items():
            book.setdefault(resource, []).append(_Use(span, amount))
        for other in depends.behind(job):
            if other in waiting:
                waiting[other] -= 1
                if not waiting[other]:
                    begin = max(spans[one].ends_h for one in depends.before(other) if one in spans)
                    heapq.heappush(ready, (begin, -case.jobs[other].priority, other))
    return spans


def _caps(case: Case) -> dict[tuple[str, int], float]:
    caps = {("quota", index): group.cap for index, group in enumerate(case.limits.groups)}
    stock = case.limits.capacity_nodes
    return caps | {("offer", row): float(stock[row]) for row in np.flatnonzero(np.isfinite(stock)).tolist()}


def _needs(case: Case, job: int, row: int) -> dict[tuple[str, int], float]:
    """What a choice holds of what there is only so much of."""
    choices = case.choices[job]
    offer, nodes = int(choices.offer[row]), float(choices.nodes[row])
    needs = {}
    if np.isfinite(case.limits.capacity_nodes[offer]):
        needs["offer", offer] = nodes
    for index, group in enumerate(case.limits.groups):
        place = int(np.searchsorted(group.offer, offer))
        if place < len(group.offer) and group.offer[place] == offer:
            needs["quota", index] = nodes * float(group.units[place])
    return needs


def _earliest(
    at_h: float,
    hours: float,
    needs: dict[tuple[str, int], float],
    caps: dict[tuple[str, int], float],
    book: dict[tuple[str, int], list[_Use]],
) -> Span:
    """The first moment from `at_h` on from which all that is needed stays free long enough."""
    others = [(resource, use) for resource in needs for use in book.get(resource, ())]
    moments = sorted({at_h, *(use.span.ends_h for _, use in others if use.span.ends_h > at_h)})
    for moment in moments:
        span = Span(moment, moment + hours)
        if all(_peak(book.get(one, ()), span) + amount <= caps[one] + TINY for one, amount in needs.items()):
            return span
    return Span(moments[-1], moments[-1] + hours)


def _peak(uses: Sequence[_Use], span: Span) -> float:
    """The most that is held at any moment of `span`."""
    during = [use for use in uses if use.span.starts_h < span.ends_h - TINY and use.span.ends_h > span.starts_h + TINY]
    begins = {span.starts_h, *(max(use.span.starts_h, span.starts_h) for use in during)}
    return max(
        sum(use.amount for use in during if use.span.starts_h <= at + TINY and use.span.ends_h > at + TINY)
        for at in begins
    )


class Freed(NamedTuple):
    """A choice that a job left out could have later."""

    row: int
    at_h: float


def freed(case: Case, job: int, rows: Sequence[int], spans: dict[int, Span], *, most: int = 200) -> Freed | None:
    """When the first of the cheapest `most` choices of a job that is left out comes free; None if none ever does.

    Of offers' nodes alone: neither quotas nor money come back at a moment that is known.
    """
    choices = case.choices[job]
    stock = case.limits.capacity_nodes
    held: dict[int, list[tuple[float, float]]] = {}
    for other, row in enumerate(rows):
        if row >= 0:
            offer = int(case.choices[other].offer[row])
            held.setdefault(offer, []).append((spans[other].ends_h, float(case.choices[other].nodes[row])))
    found: Freed | None = None
    for row in np.argsort(choices.usd, kind="stable")[:most].tolist():
        at_h = _room_at(
            held.get(int(choices.offer[row]), []), float(stock[choices.offer[row]]), float(choices.nodes[row])
        )
        if at_h is not None and at_h > 0 and (found is None or at_h < found.at_h - TINY):
            found = Freed(row, at_h)
    return found


def _room_at(held: list[tuple[float, float]], stock: float, nodes: float) -> float | None:
    """When `nodes` are free for good, as those who hold some end."""
    free = stock - sum(amount for _, amount in held)
    if free >= nodes:
        return 0.0
    for end, amount in sorted(held):
        free += amount
        if free >= nodes:
            return end
    return None


def hours_until(spans: dict[int, Span], jobs: int) -> FloatArray:
    """Shape (jobs,): when each job ends, 0 where it is left out."""
    return np.array([spans[job].ends_h if job in spans else 0.0 for job in range(jobs)], np.float64)
