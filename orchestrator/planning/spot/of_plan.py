"""A planned job on spot by its deadline: where its machines are sold, the expected cost, and what to do on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.contracts import Policy
from orchestrator.domain.egress import Tariffs
from orchestrator.domain.errors import Unplaced, UserError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, IntArray, OfferBook
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, Inference, Workload
from orchestrator.planning.judge import judge
from orchestrator.planning.limits import hours_left
from orchestrator.planning.plan import sizings_of
from orchestrator.planning.sanity import absurd
from orchestrator.planning.spot import choose
from orchestrator.planning.spot.expected import Expected, expected, sheet
from orchestrator.planning.spot.hazard import FOUND_DOWN_H, FOUND_UP_H, Floats
from orchestrator.planning.spot.state import Market

MOST_REGIONS = 6  # a table grows with them
SLOT_H = 1.0 / 6.0  # the least time between decisions
SLOTS = 288  # of the table at the most: a second or two for six regions; coarse ones see waiting as too good
STATE = frozenset({"weights", "optimizer", "adapter"})  # what a checkpoint holds, where the sizing gives no size
COPY_GIB_PER_S = 1.0  # from a region's object storage to all nodes together; assumed, from memory
ROWS = 5  # of the table shown: shares of the work
SPARE = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)  # its columns: shares of the slack, where choices change
LOOSE, LOOSE_H = 3.0, 24.0  # times the work, and hours more: a later deadline saves too little for a coarser table


class SpotRegion(NamedTuple):
    """One region: prices in USD per hour of all nodes, hours from a new machine to progress."""

    offer: Offer
    spot_usd_per_hour: float
    on_demand_usd_per_hour: float
    change_over_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPlan:
    """A job on spot by its deadline. `regions` are cheapest first; the job's checkpoint counts as in the first.

    `work`, `left` and `slot` are hours: of work, to the deadline, between decisions. `with_capacity` and `without` say
    what a job that holds no machine does where every region has capacity or none, of the age that a job finds it at: a
    row per `work_h` left, a cell per `spare_h`, the time left beyond that work. `egress_usd`, (regions, regions), is of
    a checkpoint.
    """

    workload: Workload
    snapshot_id: str
    nodes: int
    regions: tuple[SpotRegion, ...]
    egress_usd: tuple[tuple[float, ...], ...]
    checkpoint_gib: float
    work: float
    left: float
    slot: float
    expected: Expected
    work_h: tuple[float, ...]
    spare_h: tuple[float, ...]
    with_capacity: tuple[tuple[str, ...], ...]
    without: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


class _Best(NamedTuple):
    """The best spot placement, and the spot candidates of its shape."""

    row: int
    alike: IntArray
    nodes: int
    work_h: float


def spot_plan(
    workload: Workload, snapshot: Snapshot, policies: Sequence[Policy], *, buyable_only: bool = False
) -> SpotPlan:
    """What `workload` is expected to cost on spot over `snapshot`, and what to do at any work and time left.

    The machines are those of the best spot placement: the same accelerator, devices per node, network and number of
    nodes in up to six regions, each of which sells them on demand too. A change-over is a boot, half an interval
    between checkpoints and the reading of one.

    Raises: UserError where there is no deadline, the job is a service, or its limits rule out spot or on-demand;
    Unplaced where no spot offer is feasible, none has an on-demand twin, or the time is too short for a change-over;
    else as `planning.plan.plan`.
    """
    left_h = _asked(workload, snapshot)
    sizings = sizings_of(workload, snapshot)
    judged = judge(workload, snapshot, sizings, policies, buyable_only=buyable_only)
    candidates, order = judged.candidates, judged.best(len(judged.candidates))
    best = _best(candidates, order)
    sizing = candidates.sizings[int(candidates.sizing[best.row])]
    gib = _checkpoint_gib(sizing)
    regions, alone = _regions(workload, snapshot, candidates, best, gib)
    if not regions:
        raise Unplaced(
            f"no region sells {_shape(candidates, best)} both on spot and on demand: nothing to fall back on in time"
        )
    kept, egress = _connected(regions, snapshot, gib)
    return _solved(workload, snapshot, best, kept, (egress, gib, left_h, _left_out(alone, len(regions) - len(kept))))


def _asked(workload: Workload, snapshot: Snapshot) -> float:
    """Hours to the deadline. Raises: UserError where the question makes no sense for the job."""
    if isinstance(workload, Inference):
        raise UserError(f"--on-spot is for work that ends; '{workload.name}' is a service")
    left_h = hours_left(workload, snapshot)
    if left_h is None:
        raise UserError(f"--on-spot needs a deadline; '{workload.name}' has none: set limits.deadline or finish_by")
    allowed = workload.limits.billing
    for billing in (Billing.SPOT, Billing.ON_DEMAND):
        if allowed and billing not in allowed:
            raise UserError(f"--on-spot runs on spot and falls back on demand; limits.billing rules {billing} out")
    return left_h


def _best(candidates: Candidates, order: IntArray) -> _Best:
    """The best spot placement. Raises: Unplaced where there is none."""
    book = candidates.book
    spot = _sold(book, Billing.SPOT)
    rows = order[spot[order]]
    if not len(rows):
        raise Unplaced("no spot offer is feasible; `isoflop plan` without --on-spot says why each was refused")
    row = int(rows[0])
    alike = rows[
        (book.accelerator.codes[rows] == book.accelerator.codes[row])
        & (book.gpus[rows] == book.gpus[row])
        & (book.fabric.codes[rows] == book.fabric.codes[row])
    ]
    work_h = float(candidates.hours[row] - book.boot_s[row] / 3600.0)
    return _Best(row, alike, int(candidates.nodes[row]), work_h)


def _regions(
    workload: Workload, snapshot: Snapshot, candidates: Candidates, best: _Best, gib: float
) -> tuple[list[SpotRegion], int]:
    """The regions, cheapest first, and how many have spot but no on-demand twin."""
    saves = workload.program.checkpoint if workload.program else Checkpointing()
    redone_h = 0.5 * saves.interval_s / 3600.0 + gib / COPY_GIB_PER_S / 3600.0
    book = candidates.book
    most = book.most_nodes
    enough = (most == UNKNOWN) | (most >= best.nodes)
    cheapest: dict[tuple[str, str], Offer] = {}
    for row in best.alike[enough[best.alike]]:
        offer = book[int(row)]
        known = cheapest.get((offer.provider, offer.region))
        if known is None or _cost(offer) < _cost(known):
            cheapest[offer.provider, offer.region] = offer
    sold = snapshot.book.where(_usable(snapshot.book, best.nodes))
    found, alone = [], 0
    for offer in sorted(cheapest.values(), key=_cost):
        twin = _twin(sold, offer)
        if twin is None:
            alone += 1
            continue
        boot_h = max(offer.boot_s, twin.boot_s) / 3600.0
        prices = best.nodes * offer.usd_per_hour, best.nodes * twin.usd_per_hour
        found.append(SpotRegion(offer, *prices, boot_h + redone_h))
    return found, alone


def _cost(offer: Offer) -> tuple[float, str]:
    return offer.usd_per_hour, offer.label


def _usable(book: OfferBook, nodes: int) -> BoolArray:
    """On-demand offers that have a price and enough nodes."""
    price, stock = book.usd_per_hour, book.most_nodes
    usable = _sold(book, Billing.ON_DEMAND) & np.isfinite(price) & (price > 0.0) & ~absurd(book).mask
    enough: BoolArray = usable & np.isfinite(book.boot_s) & (book.boot_s >= 0) & ((stock == UNKNOWN) | (stock >= nodes))
    return enough


def _twin(sold: OfferBook, offer: Offer) -> Offer | None:
    """The cheapest on-demand offer of the same instance type in the same region."""
    same = sold.instance_type.isin(frozenset((offer.instance_type,))) & sold.region.isin(frozenset((offer.region,)))
    rows = np.flatnonzero(same & sold.provider.isin(frozenset((offer.provider,))))
    return min((sold[int(row)] for row in rows), key=_cost, default=None)


def _sold(book: OfferBook, billing: Billing) -> BoolArray:
    return book.billing.isin(frozenset((str(billing),)))


def _connected(regions: Sequence[SpotRegion], snapshot: Snapshot, gib: float) -> tuple[list[SpotRegion], Floats]:
    """The cheapest regions between which the egress of a checkpoint is known, and that egress in USD."""
    tariffs = Tariffs(snapshot.network)
    kept: list[SpotRegion] = []
    usd: dict[tuple[int, int], float] = {}
    for region in regions:
        if len(kept) == MOST_REGIONS:
            break
        end = tariffs.end(region.offer.provider, region.offer.region)
        others = [tariffs.end(other.offer.provider, other.offer.region) for other in kept]
        moves = [(tariffs.usd(end, other, gib), tariffs.usd(other, end, gib)) for other in others]
        known = [(out, back) for out, back in moves if out is not None and back is not None]
        if len(known) < len(moves):
            continue
        for index, (out, back) in enumerate(known):
            usd[len(kept), index], usd[index, len(kept)] = out, back
        kept.append(region)
    matrix = np.zeros((len(kept), len(kept)))
    for at, price in usd.items():
        matrix[at] = price
    return kept, matrix


def _left_out(alone: int, unused: int) -> tuple[str, ...]:
    notes = []
    if alone:
        notes.append(f"{alone} regions that sell these machines on spot only are left out: no on-demand there in time")
    if unused:
        notes.append(f"{unused} more regions are left out: dearer than the {MOST_REGIONS} shown, or of unknown egress")
    return tuple(notes)


def _solved(
    workload: Workload,
    snapshot: Snapshot,
    best: _Best,
    regions: Sequence[SpotRegion],
    known: tuple[Floats, float, float, tuple[str, ...]],
) -> SpotPlan:
    egress, gib, left_h, notes = known
    change = np.array([region.change_over_h for region in regions])
    demand = np.array([region.on_demand_usd_per_hour for region in regions])
    spot = np.array([region.spot_usd_per_hour for region in regions])
    used_h = min(left_h, LOOSE * (best.work_h + float(change.max())) + LOOSE_H)
    market = Market(demand, np.tile(change, (len(regions), 1)), egress, max(SLOT_H, used_h / SLOTS))
    cost = expected(market, spot, best.work_h, used_h)
    if cost is None:
        raise Unplaced(
            f"{best.work_h:,.1f} h of work and a change-over of {change.min():.2f} h do not fit into the {left_h:,.1f} "
            "h to the deadline: nothing may be lost"
        )
    work = np.linspace(best.work_h, 0.0, ROWS, endpoint=False)
    spare = np.array(SPARE) * (used_h - best.work_h)
    table = choose.table_for(market, spot, best.work_h, used_h)
    if used_h < left_h:
        notes += (f"the deadline counts as {used_h:,.0f} h away: more would save less than a tenth by this model",)
    budget = workload.limits.budget_usd
    if budget is not None and cost.high_usd > budget:
        notes += (f"the upper end of the expected cost is above the job's budget of ${budget:,.2f}",)
    if best.nodes > 1:
        notes += (f"the {best.nodes} nodes count as one machine: there, or lost, together",)
    if not (spot < demand.min()).any():
        notes += ("spot costs no less than on-demand anywhere: there is nothing to save",)
    return SpotPlan(
        workload=workload,
        snapshot_id=snapshot.id,
        nodes=best.nodes,
        regions=tuple(regions),
        egress_usd=tuple(tuple(float(usd) for usd in row) for row in egress),
        checkpoint_gib=gib,
        work=best.work_h,
        left=left_h,
        slot=market.slot_h,
        expected=cost,
        work_h=tuple(work.tolist()),
        spare_h=tuple(spare.tolist()),
        with_capacity=_cells(table, market, work, spare, up=True),
        without=_cells(table, market, work, spare, up=False),
        notes=(*notes, *_assumed(gib)),
    )


def _cells(
    table: choose.Table, market: Market, work: Floats, spare: Floats, *, up: bool
) -> tuple[tuple[str, ...], ...]:
    age_h = FOUND_UP_H if up else FOUND_DOWN_H  # as a job finds it when it looks for the first time
    rows = [sheet(table, market, np.array([hours]), hours + spare, up, age_h=age_h) for hours in work]
    return tuple(row for found in rows for row in found)


def _assumed(gib: float) -> tuple[str, ...]:
    saved = f"a checkpoint of {gib:,.4g} GiB read at {COPY_GIB_PER_S:g} GiB/s" if gib else "a checkpoint of no size"
    return (
        "hazards are the prior of all markets, not learned from these: no rate that an offer states is used",
        f"a change-over is a boot, half an interval between checkpoints, and {saved}",
        "machines and the egress of checkpoints alone: the plan's other terms (data, disks) come on top",
    )


def _checkpoint_gib(sizing: Sizing) -> float:
    effort = sizing.effort
    if isinstance(effort, FiniteWork) and effort.checkpoints is not None:
        return effort.checkpoints.gib
    terms = {term.name: term.gib for term in sizing.memory}
    if not terms.keys() & {"optimizer", "adapter"}:
        return 0.0  # a batch writes its answers as they come
    if "adapter" in terms:
        terms["weights"] = 0.0  # the frozen base is read again, not saved
    return sum(gib for name, gib in terms.items() if name in STATE)


def _shape(candidates: Candidates, best: _Best) -> str:
    offer = candidates.book[best.row]
    return f"{best.nodes} x {offer.gpus:g} {offer.accelerator}"
