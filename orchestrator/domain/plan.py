"""Plans: ranked placements, what was refused and why, and how far from the best."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.approval import Approval
from orchestrator.domain.offer import Offer
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Band, Sizing
from orchestrator.domain.snapshot import Gap
from orchestrator.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class Term:
    """One priced part of a placement's objective."""

    by: str  # the policy
    name: str  # "compute", "egress", "boot"
    usd: float


@dataclass(frozen=True, slots=True)
class Part:
    """So many nodes of one offer, and what they do where a placement has several parts.

    `share` is of the work: of a batch's requests, of the tokens of each training step. The shares of a placement add up
    to 1. `hours` and `cost_usd` are the part's own; None where they are the placement's.
    """

    offer: Offer
    nodes: int
    share: float = 1.0
    hours: Band | None = None
    cost_usd: Band | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to run the workload. The `terms` sum to `objective_usd`; `cost_usd` is money alone, with its range."""

    parts: tuple[Part, ...]
    sizing: Sizing
    hours: Band
    cost_usd: Band
    terms: tuple[Term, ...]
    objective_usd: float
    rtt_ms: float | None = None  # from the users that are farthest, where the workload has users
    rtt_origin: str | None = None  # how that is known: measured when and where, imported from what, estimated
    buyable: bool = False

    @property
    def label(self) -> str:
        """`2x aws us-east-1 p5.48xlarge spot`."""
        return " + ".join(f"{part.nodes}x {part.offer.label}" for part in self.parts)

    @property
    def usd_per_hour(self) -> float:
        """What all parts cost per hour."""
        return sum(part.nodes * part.offer.usd_per_hour for part in self.parts)

    @property
    def gpus(self) -> float:
        """Devices held in all."""
        return sum(part.nodes * part.offer.gpus for part in self.parts)


@dataclass(frozen=True, slots=True)
class Example:
    """One offer that was refused, in words."""

    offer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """How many offers one reason refused, with a few of them."""

    by: str
    code: ReasonCode
    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How far the best placement can be from the optimum: the objective is proven to be at least `lower_usd`."""

    lower_usd: float
    method: str  # "exhaustive: every candidate priced"

    def gap(self, objective_usd: float) -> float:
        """(objective - bound) / bound; 0 where both are 0."""
        excess = objective_usd - self.lower_usd
        return excess / self.lower_usd if self.lower_usd else (0.0 if excess <= 0 else float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer to a workload over one snapshot.

    `ranked` is the failover order, best first, cut to the best few; `feasible` counts them all, and
    `feasible + sum(r.count for r in refusals) == considered`. A service's costs are over its `duration_s`.
    """

    workload: Workload
    snapshot_id: str
    made_at: datetime  # the snapshot's moment: planning has no clock
    ranked: tuple[Placement, ...]
    feasible: int
    considered: int
    refusals: tuple[RefusalCount, ...]
    policies: tuple[str, ...]
    bound: Bound | None
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...] = ()  # "prices of 12 offers are older than 90 days", ...
    approval: Approval | None = None  # that the best placement needs before it is bought
    conflicts: tuple[str, ...] = ()  # limits that cannot be kept together, where nothing is feasible
    blocked_until: datetime | None = None  # the first moment at which an offer that was refused lately is asked again

    @property
    def best(self) -> Placement | None:
        """The first of `ranked`."""
        return self.ranked[0] if self.ranked else None
