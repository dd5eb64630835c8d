"""A fleet in the solver's form: every step of the chains with capacities and quotas of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.case import Case, Costs
from orchestrator.planning.fleet.problem import Options, Problem, Quotas
from orchestrator.planning.fleet.shared import Group, Shared


class Stated(NamedTuple):
    """A problem for the solver, and which choice and which offer its rows stand for."""

    problem: Problem
    job: IntArray  # of each option
    row: IntArray  # among the job's choices
    offer: IntArray  # of each of the problem's offers, the row in the book
    step: IntArray  # and its step
    group: IntArray  # of each of the problem's quotas, the place among the groups


def stated(case: Case, costs: Costs, limits: Shared) -> Stated:
    """The problem of placing every job of `case` on one of its choices under `limits`."""
    choices, depth = case.choices, case.depends.depth
    jobs, offers = len(choices), len(case.market.order)
    open_ = [np.flatnonzero(np.isfinite(usd) & (usd < costs.unplaced_usd[job])) for job, usd in enumerate(costs.usd)]
    count = [len(rows) for rows in open_]
    job = np.repeat(np.arange(jobs), count)
    row = _joined(open_)
    # In the order of ties, so that the solver's lower offer is the one that a plan of one job would rank first.
    code = depth[job] * offers + case.market.rank[_picked([one.offer for one in choices], open_).astype(np.int64)]
    used, place = np.unique(code, return_inverse=True)
    step, rank = used // max(offers, 1), used % max(offers, 1)
    where = case.market.order[rank]
    problem = Problem(
        capacity_nodes=limits.capacity_nodes[where],
        options=Options(
            start=np.concatenate(([0], np.cumsum(count))).astype(np.int64),
            offer=place.astype(np.int64),
            nodes=_picked([one.nodes for one in choices], open_),
            usd=_picked(costs.usd, open_),
            money_usd=_picked(costs.money_usd, open_),
        ),
        unplaced_usd=costs.unplaced_usd,
        quotas=_quotas(limits.groups, where, step),
        team=limits.purse,
        budget_usd=limits.budget_usd,
    )
    groups = np.tile(np.arange(len(limits.groups)), int(step.max(initial=-1)) + 1)
    return Stated(problem, job, row, where, step, groups)


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _picked(columns: Sequence[FloatArray] | Sequence[IntArray], rows: Sequence[IntArray]) -> FloatArray:
    picked = (np.asarray(column[some], np.float64) for column, some in zip(columns, rows, strict=True))
    return np.concatenate([np.zeros(0), *picked])


def _quotas(groups: Sequence[Group], where: IntArray, step: IntArray) -> Quotas:
    """Every group once for each step."""
    rows, units, caps = [], [], []
    for one in range(int(step.max(initial=-1)) + 1):
        for group in groups:
            place = np.searchsorted(group.offer, where)
            inside = place < len(group.offer)
            inside[inside] = group.offer[place[inside]] == where[inside]
            members = np.flatnonzero(inside & (step == one))
            rows.append(members)
            units.append(group.units[place[members]])
            caps.append(group.cap)
    return Quotas(
        start=np.concatenate(([0], np.cumsum([len(members) for members in rows]))).astype(np.int64),
        offer=_joined(rows),
        units=np.concatenate([np.zeros(0), *units]),
        cap=np.array(caps, np.float64),
    )
