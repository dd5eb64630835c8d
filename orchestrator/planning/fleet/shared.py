"""What the jobs of a fleet share: nodes on sale, quotas and budgets; and whether choices keep them.

Jobs of which one waits for the other never run at the same time. So every step of the chains (a job's depth in them)
has all of an offer's nodes and of every quota to itself, and money alone adds up over the steps. Jobs of different
chains may overlap where one takes longer than the other: they then wait for each other (`timeline`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.fleetplan import Quota
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray, OfferBook, Words
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.fleet.choices import Choices
from orchestrator.planning.limits import accelerator_matches, matches, region_matches

TOLERANCE_USD = 1e-6


class Group(NamedTuple):
    """A quota over a book: its offers (rows, rising), the units that a node of each takes, and how many there are."""

    quota: Quota
    offer: IntArray
    units: FloatArray
    cap: float


class Shared(NamedTuple):
    """Limits over the offers of one book and the jobs of one fleet."""

    capacity_nodes: FloatArray  # (O,), inf where unknown
    groups: tuple[Group, ...]
    purses: tuple[str, ...]  # names of the budgets, "" is everybody's
    purse: IntArray  # (J,): the one that a job draws on, -1 for none
    budget_usd: FloatArray  # (T,): what is left of each
    everybody_usd: float  # what all together may spend on top of that; inf where nobody says


def shared(jobs: Sequence[Workload], snapshot: Snapshot, quotas: Sequence[Quota], *, held: bool) -> Shared:
    """The limits for `jobs`; with `held`, what the snapshot's runs hold counts against the quotas."""
    book = snapshot.book
    most = book.most_nodes
    stock = np.where(most == UNKNOWN, np.inf, most.astype(np.float64))
    left: dict[str, float] = {}
    for spend in snapshot.spends:
        if spend.starts_at <= snapshot.taken_at < spend.ends_at:
            left[spend.name] = max(0.0, spend.cap_usd - spend.spent_usd - spend.committed_usd)
    teams = tuple(sorted(name for name in left if name))
    everybody = left.get("", np.inf)
    alone = bool(left) and not teams  # everybody's purse is then a budget like another
    purses = ("",) if alone else teams
    place = {name: index for index, name in enumerate(purses)}
    purse = np.array([0 if alone else place.get(job.team, -1) for job in jobs], np.int64)
    return Shared(
        capacity_nodes=stock,
        groups=tuple(_group(quota, snapshot, held=held) for quota in quotas),
        purses=purses,
        purse=purse,
        budget_usd=np.array([left[name] for name in purses], np.float64),
        everybody_usd=np.inf if alone else everybody,
    )


def _group(quota: Quota, snapshot: Snapshot, *, held: bool) -> Group:
    book = snapshot.book
    rows = np.flatnonzero(_members(quota, book))
    by_gpu = quota.gpus is not None
    units = np.maximum(book.gpus[rows], 1e-9) if by_gpu else np.ones(len(rows))
    cap = float(quota.gpus if quota.gpus is not None else quota.nodes or 0)
    if held:
        inside = {_key(book, row) for row in rows.tolist()}
        for holding in snapshot.holdings:
            if (holding.provider, holding.region, holding.instance_type, holding.billing) in inside:
                cap -= holding.gpus if by_gpu else holding.nodes
    return Group(quota, rows, units, max(0.0, cap))


def _key(book: OfferBook, row: int) -> tuple[str, str, str, str]:
    return book.provider[row], book.region[row], book.instance_type[row], book.billing[row]


def _members(quota: Quota, book: OfferBook) -> BoolArray:
    inside = np.ones(len(book), np.bool_)
    if quota.provider:
        inside &= _fits(book.provider, [matches(word, (quota.provider,)) for word in book.provider.vocab])
    if quota.region:
        inside &= _fits(book.region, [region_matches("", word, (quota.region,)) for word in book.region.vocab])
    if quota.accelerator:
        named = (quota.accelerator,)
        inside &= _fits(book.accelerator, [accelerator_matches(word, named) for word in book.accelerator.vocab])
    if quota.billing:
        inside &= book.billing.isin(frozenset((quota.billing,)))
    return inside


def _fits(column: Words, allowed: Sequence[bool]) -> BoolArray:
    return np.array(allowed, np.bool_)[column.codes] if len(column) else np.zeros(0, np.bool_)


class Taken(NamedTuple):
    """What the placed jobs of a fleet take: rows of jobs, offers, nodes and money, in the order of jobs."""

    job: IntArray
    offer: IntArray
    nodes: IntArray
    money_usd: FloatArray


def taken(choices: Sequence[Choices], rows: Sequence[int], money_usd: Sequence[float]) -> Taken:
    """Of the chosen row of every job, -1 for none; `money_usd` with handovers."""
    jobs = [job for job, row in enumerate(rows) if row >= 0]
    return Taken(
        np.array(jobs, np.int64),
        np.array([choices[job].offer[rows[job]] for job in jobs], np.int64),
        np.array([choices[job].nodes[rows[job]] for job in jobs], np.int64),
        np.array([money_usd[job] for job in jobs], np.float64),
    )


def kept(limits: Shared, used: Taken, depth: IntArray) -> bool:
    """Whether capacity and quotas are kept at every step of the chains, and every budget over all."""
    step, count = depth[used.job], int(depth.max(initial=0)) + 1
    offers = len(limits.capacity_nodes)
    nodes = np.bincount(step * offers + used.offer, used.nodes, minlength=count * offers).reshape(count, offers)
    if (nodes > limits.capacity_nodes).any():
        return False
    for group in limits.groups:
        if ((nodes[:, group.offer] * group.units).sum(axis=1) > group.cap + 1e-9).any():
            return False
    return within_budgets(limits, used) and everybody_spent(used) <= limits.everybody_usd + TOLERANCE_USD


def within_budgets(limits: Shared, used: Taken) -> bool:
    """Whether no team's purse is overdrawn."""
    purse = limits.purse[used.job]
    spent = np.bincount(purse[purse >= 0], used.money_usd[purse >= 0], minlength=len(limits.budget_usd))
    return bool((spent <= limits.budget_usd + TOLERANCE_USD).all())


def everybody_spent(used: Taken) -> float:
    """What all jobs pay together."""
    return float(used.money_usd.sum())
