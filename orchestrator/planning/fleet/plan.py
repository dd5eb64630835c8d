"""Planning a fleet: from workloads and a snapshot to placements that share it, with a proven bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.domain.contracts import Policy
from orchestrator.domain.fleetplan import FleetPlan, Obstacle
from orchestrator.domain.plan import Bound
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.fleet import told
from orchestrator.planning.fleet.case import Adjust, Case, FleetOptions, read
from orchestrator.planning.fleet.place import EXACT, Placed, place
from orchestrator.planning.fleet.solving import Solve
from orchestrator.planning.fleet.timeline import Span, timeline

USUAL = FleetOptions()
METHOD = "every job's cheapest choice, chains by dynamic programming"
SHARED_METHOD = "Lagrangian bound on what the jobs share, results moved for nothing"


def plan_fleet(
    jobs: Sequence[Workload],
    snapshot: Snapshot,
    policies: Sequence[Policy],
    options: FleetOptions = USUAL,
    *,
    solve: Solve,
    stop: Callable[[], bool] = lambda: False,
    files: Mapping[str, str] | None = None,
) -> FleetPlan:
    """Where each of `jobs` runs over `snapshot`, all limits of each and those they share kept.

    Pure: with a `stop` that is never True the same arguments give the same plan, and neither the order of jobs nor
    that of offers matters. When `stop` says True the best found so far is the answer.

    Raises: SpecError where jobs do not go together (names, `after`), naming `files`; otherwise as `planning.plan`.
    """
    case, placed = placed_fleet(jobs, snapshot, policies, options, solve=solve, stop=stop, files=files)
    return fleet_plan(case, placed, policies)


def placed_fleet(
    jobs: Sequence[Workload],
    snapshot: Snapshot,
    policies: Sequence[Policy],
    options: FleetOptions,
    *,
    solve: Solve,
    stop: Callable[[], bool],
    files: Mapping[str, str] | None = None,
    adjust: Adjust | None = None,
) -> tuple[Case, Placed]:
    """As `plan_fleet`, as rows."""
    case, judge = read(jobs, snapshot, policies, options, files=files, adjust=adjust)
    return place(case, judge, solve, stop)


def fleet_plan(case: Case, placed: Placed, policies: Sequence[Policy]) -> FleetPlan:
    """The plan of a placed fleet."""
    placed, spans = _in_time(case, placed)
    snapshot = case.market.snapshot
    total = case.total_usd(placed.rows)
    left_out = sum(float(case.unplaced_usd[job]) for job, row in enumerate(placed.rows) if row < 0)
    return FleetPlan(
        jobs=case.jobs,
        snapshot_id=snapshot.id,
        made_at=snapshot.taken_at,
        placed=told.placed_jobs(case, placed, spans),
        unplaced=told.unplaced_jobs(case, placed, spans),
        objective_usd=total,
        unplaced_usd=left_out,
        bound=Bound(lower_usd=min(placed.bound_usd, total), method=METHOD if placed.how == EXACT else SHARED_METHOD),
        considered=len(snapshot.book),
        stopped_by=placed.how,
        scarce=told.scarcities(case, placed),
        refusals=tuple((job.name, told.refusals(case, row)) for row, job in enumerate(case.jobs)),
        policies=tuple(policy.name for policy in policies),
        gaps=snapshot.gaps,
        notes=told.notes(case, placed, spans),
    )


def _in_time(case: Case, placed: Placed) -> tuple[Placed, dict[int, Span]]:
    """The placement without those that waiting for machines of other chains makes late, and when everybody runs."""
    while True:
        spans = timeline(case, placed.rows)
        late = [job for job, span in spans.items() if span.ends_h > case.left_h[job] + 1e-6]
        if not late:
            return placed, spans
        out = dict(placed.left_out) | dict.fromkeys(late, Obstacle.DEADLINE)
        for job in case.depends.order:
            if job not in out and any(one in out for one in case.depends.before(job)):
                out[job] = Obstacle.PREDECESSOR
        placed = placed._replace(
            rows=tuple(-1 if job in out else row for job, row in enumerate(placed.rows)), left_out=out
        )
