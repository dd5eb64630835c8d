"""Planning: from a workload and a snapshot to ranked placements, refusals with reasons, and a bound."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.domain.approval import Approval, ApprovalRule
from orchestrator.domain.contracts import Policy
from orchestrator.domain.plan import Bound, Placement, Plan
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.judge import judge
from orchestrator.planning.notes import collect
from orchestrator.planning.placements import build
from orchestrator.sizing.parameters import with_calibration
from orchestrator.sizing.size import size

CONFLICTS = "orchestrator.planning.conflicts"
METHOD = "exhaustive: every candidate priced"
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
    lower = float(judgement.objective.min()) if feasible else None
    return Plan(
        workload=workload,
        snapshot_id=snapshot.id,
        made_at=snapshot.taken_at,
        ranked=ranked,
        feasible=feasible,
        considered=len(snapshot.book),
        refusals=judgement.sieve.counts(),
        policies=tuple(policy.name for policy in policies),
        bound=None if lower is None else Bound(lower_usd=lower, method=IN_STEPS if judgement.competes else METHOD),
        gaps=snapshot.gaps,
        notes=collect(judgement, rows, ranked, max_price_age_s=options.max_price_age_s),
        approval=_approval(options.approval, ranked),
    )


def _approval(rule: ApprovalRule | None, ranked: Sequence[Placement]) -> Approval | None:
    return rule.needed(ranked[0].cost_usd.p50, ranked[0].cost_usd.p90) if rule is not None and ranked else None
