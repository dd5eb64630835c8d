"""Jobs that read each other's results: where each runs, so that work and the data moved between them cost least.

Exact by dynamic programming where the links make no ring (a chain, a tree: min-sum message passing, J. Pearl,
*Probabilistic Reasoning in Intelligent Systems* (1988), chapter 4). Where they do, the exact answer of a spanning tree
is a lower bound, and a descent over all links from there is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray

ROUNDS = 50  # of the descent; each lowers the cost, so it ends by itself long before


class Link(NamedTuple):
    """The result of job `first` moves to job `then`: `usd[a, b]`, 0 or more, where they run on sites a and b."""

    first: int
    then: int
    usd: FloatArray  # (S, S)


class Chosen(NamedTuple):
    """A site of every job, what that costs with all links, and what no choice can be below."""

    site: IntArray  # (J,)
    usd: float
    bound_usd: float


class _Message(NamedTuple):
    """From a job to its parent in the tree: for each site of the parent the least of the branch, and by which site."""

    usd: FloatArray  # (S,)
    site: IntArray  # (S,)


def cheapest(usd: FloatArray, links: Sequence[Link]) -> Chosen:
    """The cheapest site of every job; `usd[j, s]` is job j on site s, inf where it cannot run; each can somewhere.

    Ties go to the lower site. Exact, with the bound equal to the cost, where the links form no ring.
    """
    tree, rest = spanning(len(usd), links)
    site, bound = _solved(usd, tree)
    bound += sum(float(link.usd.min(initial=np.inf)) for link in rest)
    if rest:
        site = descended(usd, links, site)
    return Chosen(site, cost(usd, links, site), bound) if rest else Chosen(site, bound, bound)


def cost(usd: FloatArray, links: Sequence[Link], site: IntArray) -> float:
    """What the sites cost, links included."""
    work = float(usd[np.arange(len(usd)), site].sum())
    return work + sum(float(link.usd[site[link.first], site[link.then]]) for link in links)


def spanning(jobs: int, links: Sequence[Link]) -> tuple[list[Link], list[Link]]:
    """A forest of the links, the dearest first, and those that would close a ring."""
    root = list(range(jobs))

    def find(job: int) -> int:
        while root[job] != job:
            root[job] = root[root[job]]
            job = root[job]
        return job

    tree: list[Link] = []
    rest: list[Link] = []
    for link in sorted(links, key=lambda link: (-float(link.usd.max(initial=0.0)), link.first, link.then)):
        one, other = find(link.first), find(link.then)
        (rest if one == other else tree).append(link)
        root[max(one, other)] = min(one, other)
    return tree, rest


def joined(links: Sequence[Link]) -> list[list[int]]:
    """The jobs of `links` in groups that are linked, however indirectly; rising within a group and by the first."""
    group: dict[int, list[int]] = {}
    for link in links:
        one, other = group.setdefault(link.first, [link.first]), group.setdefault(link.then, [link.then])
        if one is not other:
            one += other
            for job in other:
                group[job] = one
    return sorted({id(jobs): sorted(jobs) for jobs in group.values()}.values())


def _solved(usd: FloatArray, tree: Sequence[Link]) -> tuple[IntArray, float]:
    """The cheapest sites over a forest of links and their cost, by messages from the leaves to each root."""
    order, parent = _outwards(len(usd), tree)
    total = usd.copy()
    messages: dict[int, _Message] = {}
    for job in reversed(order):
        if job in parent:
            messages[job] = _message(total[job], parent[job], job)
            total[_other(parent[job], job)] += messages[job].usd
    site = np.zeros(len(usd), np.int64)
    bound = 0.0
    for job in order:
        if job in parent:
            site[job] = messages[job].site[site[_other(parent[job], job)]]
        else:
            site[job] = int(np.argmin(total[job]))
            bound += float(total[job, site[job]])
    return site, bound


def marginals(usd: FloatArray, links: Sequence[Link]) -> FloatArray:
    """Shape (J, S): below what all linked jobs cost together with job j on site s; exact where links form no ring.

    The jobs linked with j alone count, however indirectly; both ways of every link are passed once.
    """
    tree, _ = spanning(len(usd), links)
    order, parent = _outwards(len(usd), tree)
    total = usd.copy()
    upwards: dict[int, FloatArray] = {}
    for job in reversed(order):
        if job in parent:
            upwards[job] = _message(total[job], parent[job], job).usd
            total[_other(parent[job], job)] += upwards[job]
    for job in order:
        if job in parent:
            above = _other(parent[job], job)
            # What the rest of the tree costs beside the parent, this branch left out: an infinite branch stays so.
            rest = np.where(np.isfinite(total[above]), total[above] - upwards[job], np.inf)
            total[job] += _message(rest, parent[job], above).usd
    return total


def _message(branch: FloatArray, link: Link, job: int) -> _Message:
    towards = link.usd if job == link.first else link.usd.T  # (site of the job, site of the parent)
    # A site that is dearer by more than any move of the data is never the way: few are left to look at.
    near = np.flatnonzero(branch <= branch.min() + towards.max(initial=0.0))
    table = branch[near][:, None] + towards[near]
    best = np.argmin(table, axis=0)
    return _Message(table[best, np.arange(table.shape[1])], near[best])


def _outwards(jobs: int, tree: Sequence[Link]) -> tuple[list[int], dict[int, Link]]:
    """The jobs, every one after its parent, and each one's link to its parent; roots have none."""
    beside: list[list[Link]] = [[] for _ in range(jobs)]
    for link in tree:
        beside[link.first].append(link)
        beside[link.then].append(link)
    order: list[int] = []
    parent: dict[int, Link] = {}
    seen = [False] * jobs
    for start in range(jobs):
        if seen[start]:
            continue
        seen[start] = True
        waiting = [start]
        while waiting:
            job = waiting.pop()
            order.append(job)
            for link in beside[job]:
                other = _other(link, job)
                if not seen[other]:
                    seen[other] = True
                    parent[other] = link
                    waiting.append(other)
    return order, parent


def _other(link: Link, job: int) -> int:
    return link.then if job == link.first else link.first


def descended(usd: FloatArray, links: Sequence[Link], site: IntArray) -> IntArray:
    """No dearer sites than `site`: each job in turn takes its best beside the others', until none moves."""
    beside: list[list[Link]] = [[] for _ in range(len(usd))]
    for link in links:
        beside[link.first].append(link)
        beside[link.then].append(link)
    site = site.copy()
    for _ in range(ROUNDS):
        moved = False
        for job, touching in enumerate(beside):
            if not touching:
                continue
            total = usd[job] + moving(touching, job, site)
            best = int(np.argmin(total))
            if total[best] < total[site[job]] - 1e-9:
                site[job], moved = best, True
        if not moved:
            break
    return site


def moving(touching: Sequence[Link], job: int, site: IntArray) -> FloatArray:
    """Shape (S,): what all links of `job` cost on each site, the others staying where they are."""
    total: FloatArray = np.zeros(touching[0].usd.shape[0] if touching else 0)
    for link in touching:
        total = total + (link.usd[:, site[link.then]] if job == link.first else link.usd[site[link.first]])
    return total
