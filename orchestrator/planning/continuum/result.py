"""What a plan over the continuum says: pools, routes, what the loss of a site means, and what else there was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Bound, RefusalCount, Term
from orchestrator.domain.snapshot import Gap
from orchestrator.domain.workload import Inference


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """So many nodes of one offer that serve one queue; costs are over the horizon."""

    offer: Offer
    nodes: int
    replicas: int
    layer: str  # "all", or of a spiky load "base" (always on) and "peak" (on while it is needed)
    requests_per_s: float  # at its peak
    most_requests_per_s: float  # that keep the promise
    utilisation: float  # of what the replicas answer when they are never idle, at the peak
    first_token_s: float  # that the share `percentile` of requests has it within, without the round trip
    duty: float  # share of the time that a node is on
    cost_usd: float

    @property
    def share_on(self) -> float:
        """The share of the time that it is on, in (0, 1]: a `duty` of 0, of an offer that costs nothing, is always."""
        return min(1.0, self.duty) if self.duty > 0.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The share of a population's requests that goes to one pool (an index into the plan's)."""

    population: str
    pool: int
    share: float
    requests_per_s: float
    rtt_ms: float
    first_token_s: float  # with the round trip
    limit_s: float
    rtt_origin: str | None = None  # how the round trip is known: measured, imported, estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where a share of a population goes when its site is lost; `site` None is nowhere."""

    population: str
    share: float
    site: str | None
    first_token_s: float | None
    kept: bool  # whether the limits still hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What happens to whom when a site fails at the peak."""

    site: str
    moved: tuple[Moved, ...]

    @property
    def harmless(self) -> bool:
        """Whether every limit still holds."""
        return all(one.kept for one in self.moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What a simpler plan would cost; None where it serves not everybody."""

    name: str  # "best single site", "best single kind", "nearest sites"
    label: str
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuumPlan:
    """One service over many sites. The `terms` sum to `objective_usd`; `cost_usd` is money alone.

    Without `pools` there is no plan, and `unserved` says who cannot be served and why.
    """

    workload: Inference
    snapshot_id: str
    made_at: datetime
    percentile: float
    pools: tuple[Pool, ...]
    routes: tuple[Route, ...]
    losses: tuple[Loss, ...]
    alternatives: tuple[Alternative, ...]
    terms: tuple[Term, ...]
    objective_usd: float
    cost_usd: float
    bound: Bound | None
    considered: int
    refusals: tuple[RefusalCount, ...]
    policies: tuple[str, ...]
    gaps: tuple[Gap, ...]
    unserved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """`aws/eu-central-1`, every site once, in order."""
        return tuple(sorted({f"{pool.offer.provider}/{pool.offer.region}" for pool in self.pools}))
