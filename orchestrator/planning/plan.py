"""Planning: from a workload and a snapshot to ranked placements, refusals with reasons, and a bound."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.domain.approval import Approval, ApprovalRule
from orchestrator.domain.contracts import Policy
from orchestrator.domain.plan import Bound, Placement, Plan
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import BatchInference, Workload
from orchestrator.planning.judge import Judgement, joined_candidates, judge
from orchestrator.planning.limits import hours_left
from orchestrator.planning.notes import collect
from orchestrator.planning.placements import build
from orchestrator.planning.refusing import blocked
from orchestrator.sizing.parameters import with_calibration
from orchestrator.sizing.size import size

if TYPE_CHECKING:  # loaded where work divides
    from orchestrator.planning.parts import Divided

CONFLICTS = "orchestrator.planning.conflicts"
SPLIT = "orchestrator.planning.split"  # for batches with a deadline
SITES = "orchestrator.planning.split_sites"  # for training that no offer has the nodes for
METHOD = "exhaustive: every candidate priced"
IN_PARTS = "a linear programme over parts of all offers: no placement, in parts or not, costs less"
IN_STEPS = "every offer priced, at numbers of nodes in steps of 1.4 and finer near the best"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """How to plan, apart from what."""

    keep: int = 20  # placements kept in `ranked`
    buyable_only: bool = False  # refuse offers that are prices only: what the controller plans with
    max_price_age_s: float | None = None  # older prices are pointed out, not refused
    approval: ApprovalRule | None = None  # what costs more waits for somebody's approval


def plan(
    workload: Workload, snapshot: Snapshot, policies: Sequence[Policy], options: PlanOptions = PlanOptions()
) -> Plan:
    """The best placements of `workload` over `snapshot`, every other offer refused with a reason.

    Pure: the same arguments give the same plan, byte for byte; the order of the offers does not matter. Where nothing
    is feasible `ranked` is empty and the refusals say why; that is no error here. Every candidate is priced, so the
    best is the optimum over single-offer placements and the bound is its own objective.

    Raises: UserError where the workload names a place, a policy or a setting that nobody knows; ConfigError where a
    policy breaks its contract.
    """
    made = plan_sized(workload, snapshot, sizings_of(workload, snapshot), policies, options)
    if made.ranked or made.feasible:
        return made
    odds = importlib.import_module(CONFLICTS)  # most plans have something feasible
    case = odds.Case(workload, snapshot, tuple(policies), options.buyable_only)
    found: tuple[str, ...] = odds.conflicts(case, partial(sizings_of, snapshot=snapshot))
    return replace(made, conflicts=found)


def sizings_of(workload: Workload, snapshot: Snapshot) -> Mapping[str, Sizing | Reason]:
    """The sizing of `workload` on every accelerator that is on offer in `snapshot`."""
    used = set(snapshot.book.accelerator.vocab)
    devices = tuple(accelerator for accelerator in snapshot.accelerators if accelerator.name in used)
    return size(workload, devices, with_calibration(snapshot.calibration))


def plan_sized(
    workload: Workload,
    snapshot: Snapshot,
    sizings: Mapping[str, Sizing | Reason],
    policies: Sequence[Policy],
    options: PlanOptions = PlanOptions(),
) -> Plan:
    """As `plan`, with the sizings by accelerator given: for what-if questions and for tests."""
    judgement = judge(workload, snapshot, sizings, policies, buyable_only=options.buyable_only, keep=options.keep)
    rows = judgement.best(options.keep)
    ranked = build(judgement, rows)
    feasible = len(judgement.candidates)
    split = _divided(judgement, sizings, options)
    if split is not None and split.placement is not None:
        ranked = (split.placement, *ranked)[: max(options.keep, 0)]
    top = judgement.candidates.take(rows)
    if split is not None and split.candidates is not None:
        top = joined_candidates([split.candidates, top])
    return Plan(
        workload=workload,
        snapshot_id=snapshot.id,
        made_at=snapshot.taken_at,
        ranked=ranked,
        feasible=feasible,
        considered=len(snapshot.book),
        refusals=judgement.sieve.counts(),
        policies=tuple(policy.name for policy in policies),
        bound=_bound(judgement, split),
        gaps=snapshot.gaps,
        notes=(*collect(judgement, top, ranked, max_price_age_s=options.max_price_age_s), *_told(split)),
        approval=approval_of(options.approval, ranked),
        blocked_until=_blocked_until(judgement) if snapshot.blocks else None,
    )


def _divided(judgement: Judgement, sizings: Mapping[str, Sizing | Reason], options: PlanOptions) -> Divided | None:
    """The work over several offers; None where it cannot be, or where only what the control plane buys is asked for."""
    workload = judgement.view.workload
    if options.buyable_only or hours_left(workload, judgement.view.snapshot) is None:
        return None
    batch = isinstance(workload, BatchInference)
    few = judgement.sieve.caught(ReasonCode.TOO_FEW_NODES) | judgement.sieve.caught(ReasonCode.QUOTA)
    scarce = not len(judgement.candidates) and few.any()
    if not batch and not scarce:
        return None
    found: Divided = importlib.import_module(SPLIT if batch else SITES).divided(judgement, sizings)
    return found


def _bound(judgement: Judgement, split: Divided | None) -> Bound | None:
    if split is not None and split.lower_usd is not None:
        return Bound(lower_usd=split.lower_usd, method=IN_PARTS)
    if not len(judgement.candidates):
        return None
    method = IN_STEPS if judgement.competes else METHOD
    return Bound(lower_usd=float(judgement.objective.min()), method=method)


def _blocked_until(judgement: Judgement) -> datetime | None:
    again = np.flatnonzero(judgement.sieve.caught(ReasonCode.RECENTLY_REFUSED))
    return blocked(judgement.sieve.book, judgement.view.snapshot).until(again)


def _told(split: Divided | None) -> tuple[str, ...]:
    return () if split is None else split.notes


def approval_of(rule: ApprovalRule | None, ranked: Sequence[Placement]) -> Approval | None:
    """What the first placement that the control plane would buy needs: none in parts."""
    one = next((placement for placement in ranked if len(placement.parts) == 1), None)
    return rule.needed(one.cost_usd.p50, one.cost_usd.p90) if rule is not None and one is not None else None
