"""Whether what a run would buy next needs somebody's approval, and whether that was given."""

from __future__ import annotations

from orchestrator.domain.approval import TOLERANCE_USD, Approval
from orchestrator.lifecycle.billing import spent_usd
from orchestrator.lifecycle.draft import Draft


def needed(draft: Draft, candidate: int) -> Approval | None:
    """The approval that buying `candidate` of the plan needs; None where it needs none, or has it.

    What counts is what the run will have cost in the end: its bill so far and the candidate's expected cost, of which
    the share of the work that the program reported done is left out. The rule is the control plane's own: a plan that
    a user hands in cannot lift it.
    """
    rule, run = draft.rules.approval, draft.run
    if rule is None or run.plan is None:
        return None
    spent, left = spent_usd(run, draft.now), 1.0 - _done(draft)
    cost = run.plan.ranked[candidate].cost_usd
    return rule.needed(spent + left * cost.p50, spent + left * cost.p90, approved_usd=run.approved_usd)


def granted(draft: Draft) -> bool:
    """True where the approval asked for was given, or the settings ask for it no more."""
    rule, asked = draft.rules.approval, draft.run.asked
    if rule is None or asked is None:
        return True
    return asked.usd <= max(draft.run.approved_usd, rule.above_usd) + TOLERANCE_USD


def asking(approval: Approval) -> str:
    """`waiting for cfo@acme's approval of $12,345.00 (expected $10,500.00, above $10,000.00)`."""
    return (
        f"waiting for {approval.by}'s approval of ${approval.usd:,.2f} (expected ${approval.expected_usd:,.2f}, "
        f"above ${approval.above_usd:,.2f})"
    )


def _done(draft: Draft) -> float:
    """The share of the work that the last program to report said was done, from 0 to 1."""
    reported = [attempt.progress.done for attempt in draft.run.attempts if attempt.progress is not None]
    return min(max(reported[-1], 0.0), 1.0) if reported else 0.0
