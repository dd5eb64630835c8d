"""The pools of a plan over the continuum as plans to apply: each first at its place, then wherever its users may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.errors import UserError
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference
from orchestrator.planning.continuum.jobs import parts_of
from orchestrator.planning.continuum.market import without_distance
from orchestrator.planning.continuum.result import ContinuumPlan, Pool
from orchestrator.planning.judge import judge
from orchestrator.planning.placements import build
from orchestrator.planning.plan import PlanOptions, approval_of, plan, sizings_of

FIRST = (
    "the first is the pool's place in the plan over the continuum, the others are where its users may be served from"
)


def plans_of(
    whole: ContinuumPlan, snapshot: Snapshot, policies: Sequence[Policy], options: PlanOptions
) -> tuple[Plan, ...]:
    """One plan for each pool, in their order, over the market that `whole` was made from.

    `ranked` begins with the pool's offer and nodes. What follows is the failover order of its users under the limits of
    the whole job: where a site is lost, its pool moves to whatever still keeps them. Bounds are the whole plan's.

    Raises: UserError where a pool cannot be bought.
    """
    return tuple(
        _plan(pool, job, snapshot, policies, options) for pool, job in zip(whole.pools, parts_of(whole), strict=True)
    )


def _plan(pool: Pool, job: Inference, snapshot: Snapshot, policies: Sequence[Policy], options: PlanOptions) -> Plan:
    first = _first(pool, job, snapshot, policies)
    if not first.buyable:
        raise UserError(f"{pool.offer.label} cannot be bought: plan with --buyable")
    others = plan(job, snapshot, policies, replace(options, buyable_only=True))
    ranked = (first, *(one for one in others.ranked if one.label != first.label))
    return replace(
        others,
        ranked=ranked[: options.keep],
        feasible=max(1, others.feasible),
        bound=None,
        notes=(FIRST, *others.notes),
        approval=approval_of(options.approval, ranked),
        conflicts=(),
    )


def _first(pool: Pool, job: Inference, snapshot: Snapshot, policies: Sequence[Policy]) -> Placement:
    """The pool as a placement, priced by the policies; its limits of time and money were kept by the whole plan."""
    bare = without_distance(job)
    bare = replace(bare, limits=replace(bare.limits, budget_usd=None))
    sizings = {name: _sized(sizing, pool) for name, sizing in sizings_of(bare, snapshot).items()}
    judgement = judge(bare, snapshot, sizings, policies, buyable_only=False)
    book = judgement.candidates.book
    rows = [row for row in range(len(book)) if book[row].label == pool.offer.label]
    if not rows:
        raise UserError(f"{pool.offer.label}: the policies refuse {pool.nodes} nodes of it for one pool")
    (placed,) = build(judgement, np.array(rows[:1], np.int64))
    return placed


def _sized(sizing: Sizing | Reason, pool: Pool) -> Sizing | Reason:
    """As many replicas as the pool has."""
    if isinstance(sizing, Reason) or not isinstance(sizing.effort, Service):
        return sizing
    effort = replace(sizing.effort, replicas=pool.replicas, mean_replicas=pool.replicas * pool.share_on)
    return replace(sizing, effort=effort)
