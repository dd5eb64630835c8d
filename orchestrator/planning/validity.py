"""Validity: whether a plan made earlier still holds over a fresh look at the market."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from orchestrator.domain.errors import Infeasible
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import KEY, OfferBook
from orchestrator.domain.plan import Part, Plan
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.tenure import spoken
from orchestrator.domain.workload import Inference
from orchestrator.planning.limits import BY


def still_valid(plan: Plan, fresh: Snapshot, *, tolerance: float = 0.05) -> tuple[Reason, ...]:
    """Why the best placement of `plan` no longer holds in `fresh`; empty where it does.

    It holds while its offers are on sale in sufficient number, at no more than `tolerance` (a fraction) over the
    price planned with, from a provider that can still be bought from, and with the `finish_by` still ahead of the
    expected end. A price that fell does not make a plan invalid.

    Raises: Infeasible where the plan has no placement.
    """
    best = plan.best
    if best is None:
        raise Infeasible(plan)
    reasons = [reason for part in best.parts for reason in _moved(part, fresh, tolerance, best.hours.p50)]
    for provider in sorted({part.offer.provider for part in best.parts}) if best.buyable else ():
        if provider not in fresh.buyable:
            why = next((f": {gap.detail}" for gap in fresh.gaps if gap.provider == provider), "")
            reasons.append(Reason(BY, ReasonCode.NOT_BUYABLE, f"{provider} cannot be bought from now{why}"))
    finish_by = plan.workload.limits.finish_by
    if finish_by is not None and not isinstance(plan.workload, Inference):
        end = fresh.taken_at + timedelta(hours=best.hours.p50)
        if end > finish_by:
            late_h = (end - finish_by) / timedelta(hours=1)
            reasons.append(Reason(BY, ReasonCode.DEADLINE, f"started now it ends {late_h:,.1f} h after the deadline"))
    return tuple(reasons)


def _moved(part: Part, fresh: Snapshot, tolerance: float, hours: float) -> list[Reason]:
    planned = part.offer
    row = _find(planned, fresh.book)
    if row is None:
        return [Reason(BY, ReasonCode.SOLD_OUT, f"{planned.label} is no longer on the market")]
    now, reasons = fresh.book[row], []
    if now.quota_nodes is not None and now.quota_nodes < part.nodes:
        detail = f"{planned.label}: needs {part.nodes} nodes, the quota allows {now.quota_nodes}"
        reasons.append(Reason(BY, ReasonCode.QUOTA, detail))
    if now.available is not None and now.available < part.nodes:
        code = ReasonCode.TOO_FEW_NODES if now.available else ReasonCode.SOLD_OUT
        reasons.append(Reason(BY, code, f"{planned.label}: needs {part.nodes} nodes, {now.available} on sale now"))
    ends_s, counted_s = now.max_lease_s, planned.max_lease_s
    shorter = ends_s is not None and (counted_s is None or ends_s < counted_s * (1.0 - tolerance))
    if shorter and ends_s is not None and hours * 3600.0 - planned.boot_s > ends_s:
        before = "" if counted_s is None else f", not after {spoken(counted_s / 3600.0)}"
        detail = f"{planned.label}: a lease ends after {spoken(ends_s / 3600.0)} now{before}"
        reasons.append(Reason(BY, ReasonCode.LEASE_TOO_SHORT, detail))
    # Written so that a price that is no number counts as risen.
    if not now.usd_per_hour <= planned.usd_per_hour * (1.0 + tolerance):
        change = f"from {planned.usd_per_hour:g} to {now.usd_per_hour:g} USD/h"
        detail = f"{planned.label}: the price rose {change}; {tolerance:.0%} is tolerated"
        reasons.append(Reason(BY, ReasonCode.PRICE_MOVED, detail))
    return reasons


def _find(offer: Offer, book: OfferBook) -> int | None:
    """The row of the same offer: the one with its key, and the cheapest should there be several."""
    same = np.ones(len(book), np.bool_)
    for name in KEY:
        same &= getattr(book, name).isin(frozenset((str(getattr(offer, name)),)))
    rows = np.flatnonzero(same)
    return int(rows[np.argmin(book.usd_per_hour[rows])]) if len(rows) else None
