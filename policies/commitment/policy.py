"""The commitment policy: reserved and owned capacity is already paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.billed import billed_hours
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Commitment, Holding

NAME = "commitment"
PAID_SHARE = "owned_paid_share"
DEFAULTS: Mapping[str, float] = {
    # A device of one's own costs money whether it works or not; only its power waits for work. Of 35 000 USD of H100
    # with server over four years, 10 % of that a year for staff and space, and 1.1 kW at 0.10 USD/kWh, power is 7 %; of
    # an L4 or of power at 0.40 USD it is above 20 %. A quarter is the cautious side.
    PAID_SHARE: 0.75,
}


class CommitmentPolicy:
    """Terms, neither above 0, for nodes n, price p per node-hour and the hours that are billed.

    - `already-paid`, money: minus p·(hours covered) of every node that a free commitment covers, so that running on it
      adds nothing to the invoice.
    - `owned-paid`, worth: minus the share of an owned machine's rate that is spent anyway, for hours not covered.
    """

    name = NAME
    bills = frozenset({"already-paid"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """More nodes may stand on commitments, and more of one's own machines are paid for anyway."""
        return frozenset({"already-paid", "owned-paid"})

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: what is not committed can be bought."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """`already-paid` where there are commitments, `owned-paid` where there are owned machines."""
        share = min(overridden(view.workload, NAME, self._settings)[PAID_SHARE], 1.0)
        book, terms = candidates.book, dict[str, Usd]()
        billed_h = billed_hours(candidates)
        covered_h = np.zeros(len(candidates), np.float64)
        if view.snapshot.commitments:
            covered_h = _covered_node_hours(view.snapshot, candidates, billed_h)
            terms["already-paid"] = -covered_h * book.usd_per_hour
        if share and str(Billing.OWNED) in book.billing.vocab:
            owned = book.billing.isin(frozenset((str(Billing.OWNED),)))
            rest_h = np.where(owned, candidates.nodes * billed_h - covered_h, 0.0)
            terms["owned-paid"] = -share * np.maximum(rest_h, 0.0) * book.usd_per_hour
        return terms

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """Commitments that end before a placement that stands on them."""
        snapshot = view.snapshot
        if not snapshot.commitments:
            return ()
        billed_h = billed_hours(candidates)
        spans = [span for span in _free(snapshot) if span.nodes and span.hours < float("inf")]
        outlived = np.zeros(len(candidates), np.bool_)
        for span in spans:
            outlived |= _covers(span.commitment, candidates) & (billed_h > span.hours)
        count = int(np.count_nonzero(outlived))
        if not count:
            return ()
        return (f"a commitment ends before {count} of the placements shown do; the hours after it are billed",)


class _Span(NamedTuple):
    """What of a commitment nobody uses: `nodes` for `hours` from now (infinite where it has no end)."""

    commitment: Commitment
    nodes: int
    hours: float


def _free(snapshot: Snapshot) -> list[_Span]:
    """The commitments less what is held on them, those that last longest first.

    A machine that is held fills the commitment for its own region before one for any region, and then the one that ends
    first: what is left is worth the most.
    """
    ends = [_hours_to_end(commitment, snapshot) for commitment in snapshot.commitments]
    pairs = sorted(
        ((commitment, hours) for commitment, hours in zip(snapshot.commitments, ends, strict=True) if hours > 0),
        key=lambda pair: (not pair[0].region, pair[1], repr(pair[0])),
    )
    left = [commitment.nodes for commitment, _ in pairs]
    for holding in snapshot.holdings:
        held = holding.nodes
        for index, (commitment, _) in enumerate(pairs):
            if held and _holds(commitment, holding):
                used = min(held, left[index])
                left[index] -= used
                held -= used
    spans = [_Span(commitment, nodes, hours) for (commitment, hours), nodes in zip(pairs, left, strict=True)]
    return sorted(spans, key=lambda span: (-span.hours, repr(span.commitment)))


def _hours_to_end(commitment: Commitment, snapshot: Snapshot) -> float:
    if commitment.ends_at is None:
        return float("inf")
    return (commitment.ends_at - snapshot.taken_at).total_seconds() / 3600.0


def _holds(commitment: Commitment, holding: Holding) -> bool:
    return (
        (commitment.provider, commitment.instance_type) == (holding.provider, holding.instance_type)
        and commitment.region in ("", holding.region)
        and holding.billing != Billing.SPOT
    )


def _covers(commitment: Commitment, candidates: Candidates) -> BoolArray:
    book = candidates.book
    covers = book.provider.isin(frozenset((commitment.provider,)))
    covers &= book.instance_type.isin(frozenset((commitment.instance_type,)))
    if commitment.region:
        covers &= book.region.isin(frozenset((commitment.region,)))
    return covers & ~book.billing.isin(frozenset((str(Billing.SPOT),)))


def _covered_node_hours(snapshot: Snapshot, candidates: Candidates, billed_h: FloatArray) -> FloatArray:
    """Node-hours of each candidate that free commitments pay for, those that last longest used first."""
    covered = np.zeros(len(candidates), np.float64)
    open_nodes = candidates.nodes.astype(np.float64)
    for span in _free(snapshot):
        rows = np.flatnonzero(_covers(span.commitment, candidates))
        used = np.minimum(open_nodes[rows], span.nodes)
        covered[rows] += used * np.minimum(billed_h[rows], span.hours)
        open_nodes[rows] -= used
    return covered


def create(context: PolicyContext) -> CommitmentPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    settings = configured(f"policy {NAME}", context.settings, DEFAULTS)
    if settings[PAID_SHARE] > 1.0:
        raise ConfigError(f"policy {NAME}: setting '{PAID_SHARE}' is {settings[PAID_SHARE]:g}; a share is at most 1")
    return CommitmentPolicy(settings)
