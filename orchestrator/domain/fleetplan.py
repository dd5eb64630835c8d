"""Fleet plans: where many jobs run that share a market, how far that is from the best, and what is scarce."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.plan import Bound, Placement, RefusalCount
from orchestrator.domain.snapshot import Gap
from orchestrator.domain.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A cap on what is held at a time of the offers that fit: `gpus` or `nodes`; a word that is "" fits any.

    Words are as in a job's limits: globs, and an accelerator's family for its members.
    """

    provider: str = ""
    region: str = ""
    accelerator: str = ""
    billing: str = ""
    gpus: float | None = None
    nodes: int | None = None

    @property
    def label(self) -> str:
        """`aws us-east-1 H100: 64 GPUs`."""
        words = [word for word in (self.provider, self.region, self.accelerator, self.billing) if word]
        cap = f"{self.gpus:g} GPUs" if self.gpus is not None else f"{self.nodes} nodes"
        return f"{' '.join(words) or 'everything'}: {cap}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """The result of another job that one reads: moved from site to site before it starts. Its price is a term."""

    job: str  # whose result
    gib: float
    usd: float
    assumed: bool  # nobody says what it costs: a rate was assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedJob:
    """Where one job runs; the placement's terms sum to its objective, handovers to it included.

    `starts_h` and `ends_h` are expected hours from the plan's moment: a job waits for those it reads from, and for
    machines that jobs before it hold.
    """

    job: str
    placement: Placement
    starts_h: float
    ends_h: float
    handovers: tuple[Handover, ...] = ()
    least_usd: float = 0.0  # what the job alone would cost on this market


class Obstacle(StrEnum):
    """Why a job of a fleet has no place."""

    REFUSED = "refused"  # no offer would do even if it were alone
    SCARCE = "scarce"  # others are worth more on what it could use
    PREDECESSOR = "predecessor"  # a job whose result it reads has no place
    DEADLINE = "deadline"  # those it waits for leave it too little time


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplacedJob:
    """A job that is left out and what would let it in."""

    job: str
    why: Obstacle
    detail: str
    hints: tuple[str, ...] = ()  # "fits from +5.2 h on ...", "one more node of ... places it"
    refusals: tuple[RefusalCount, ...] = ()


class Resource(StrEnum):
    """What jobs share."""

    OFFER = "offer"
    QUOTA = "quota"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scarcity:
    """A shared limit that binds: `saves_usd` is what one unit more would save at the margin, by the solver's prices."""

    kind: Resource
    name: str
    unit: str  # "node", "GPU", "USD"
    used: float
    limit: float
    saves_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A running job that was looked at again: what moving it saves over its remaining time, and what moving costs.

    `score` is the saving over the disruption; `moved` says what was decided.
    """

    job: str
    origin: str
    to: str
    saving_usd: float
    restart_usd: float  # booting machines that do no work yet
    lost_work_usd: float  # since the last checkpoint, done again
    transfer_usd: float  # of the checkpoint
    moved: bool
    why: str = ""  # where there was no choice

    @property
    def disruption_usd(self) -> float:
        """What moving costs."""
        return self.restart_usd + self.lost_work_usd + self.transfer_usd

    @property
    def score(self) -> float:
        """Saving over disruption: above 1 a move pays."""
        if self.disruption_usd > 0:
            return self.saving_usd / self.disruption_usd
        return float("inf") if self.saving_usd > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """The answer to many workloads over one snapshot.

    `objective_usd` is all placements' with `unplaced_usd`, the penalty of the jobs left out, on top; no plan that
    starts every job as soon as it can is below `bound.lower_usd`, counted in the same way.
    """

    jobs: tuple[Workload, ...]  # by name
    snapshot_id: str
    made_at: datetime
    placed: tuple[PlacedJob, ...]
    unplaced: tuple[UnplacedJob, ...]
    objective_usd: float
    unplaced_usd: float
    bound: Bound
    considered: int  # offers
    stopped_by: str  # "optimal", "time limit", ...
    scarce: tuple[Scarcity, ...]
    refusals: tuple[tuple[str, tuple[RefusalCount, ...]], ...]  # of every job
    policies: tuple[str, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def gap(self) -> float:
        """How far above the bound the objective is, as a share of the bound."""
        return self.bound.gap(self.objective_usd)

    @property
    def cost_usd(self) -> float:
        """Money expected to be invoiced for all placed jobs."""
        return sum(one.placement.cost_usd.p50 for one in self.placed)

    @property
    def ends_h(self) -> float:
        """Expected hours until the last job ends."""
        return max((one.ends_h for one in self.placed), default=0.0)
