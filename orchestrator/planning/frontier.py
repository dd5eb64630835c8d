"""The frontier: the ways to run a job of which no other is at once cheaper, faster and greener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.contracts import Policy
from orchestrator.domain.footprint import g_per_kwh, kg_co2
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray
from orchestrator.domain.plan import Placement
from orchestrator.domain.sites import Sites
from orchestrator.domain.sizing import Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, Workload
from orchestrator.planning import shapes
from orchestrator.planning.judge import Judgement, judge
from orchestrator.planning.placements import build, farthest
from orchestrator.planning.plan import sizings_of
from orchestrator.planning.pricing import Column, added
from orchestrator.planning.shapes import Ladder

CHEAPEST, FASTEST, GREENEST, CHOICE = "cheapest", "fastest", "greenest", "least objective"
SHOWN = 12  # placements told in full; all points are in the chart
MANY = 1000  # rows of which strong points clear most before the others are compared one by one
CHUNK = 200_000  # shapes judged together: what bounds the memory


class Point(NamedTuple):
    """One way on the frontier: `usd` is what is invoiced and `hours` the time, both expected (50th percentile).

    For a service `hours` are those until the farthest users have a first token. `kg_known` is False where the grid's
    carbon intensity is the world's average for want of a better one, `stock_known` where nobody says how many nodes are
    on sale.
    """

    label: str
    nodes: int
    gpus: float
    usd: float
    hours: float
    kg_co2: float
    kg_known: bool
    stock_known: bool
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The non-dominated ways, cheapest first, of `considered` shapes of `offers` feasible offers.

    `placements` are those of `shown`, positions in `points`: the named extremes and others spread between them.
    """

    points: tuple[Point, ...]
    shown: tuple[int, ...]
    placements: tuple[Placement, ...]
    offers: int
    considered: int
    service: bool

    def titled(self, title: str) -> Point | None:
        """The point called `title`: CHEAPEST, FASTEST, GREENEST, CHOICE."""
        return next((point for point in self.points if title in point.titles), None)


def frontier(
    workload: Workload, snapshot: Snapshot, policies: Sequence[Policy], *, buyable_only: bool = False
) -> Frontier:
    """The frontier of `workload` over `snapshot` among everything that no limit and no policy refuses.

    Every offer is looked at with its fewest nodes and, where the work is finite, with more in steps of about 1.4.
    Empty where nothing is feasible. Raises: as `planning.plan.plan`.
    """
    least = judge(workload, snapshot, sizings_of(workload, snapshot), policies, buyable_only=buyable_only, keep=0)
    judgement, considered = _every_shape(least)
    candidates = judgement.candidates
    usd = added(judgement.terms, len(candidates), money=True)
    time_h, kg = _time_h(judgement), kg_co2(judgement.view, candidates)
    rows = non_dominated(np.column_stack((usd, time_h, kg)))
    rows = rows[np.lexsort((candidates.nodes[rows], candidates.offer[rows], kg[rows], time_h[rows], usd[rows]))]
    titles = _titles(rows, judgement, {CHEAPEST: usd, FASTEST: time_h, GREENEST: kg})
    few = candidates.take(rows)
    known, gpus = ~np.isnan(g_per_kwh(judgement.view, few)), few.gpus
    points = tuple(
        Point(
            label=f"{int(few.nodes[index])}x {few.book[index].label}",
            nodes=int(few.nodes[index]),
            gpus=float(gpus[index]),
            usd=float(usd[row]),
            hours=float(time_h[row]),
            kg_co2=float(kg[row]),
            kg_known=bool(known[index]),
            stock_known=bool(few.book.available[index] != UNKNOWN),
            titles=titles.get(index, ()),
        )
        for index, row in enumerate(rows.tolist())
    )
    shown = spread(len(points), tuple(titles), SHOWN)
    return Frontier(
        points=points,
        shown=shown,
        placements=build(judgement, rows[list(shown)]),
        offers=len(least.candidates),
        considered=considered,
        service=isinstance(workload, Inference),
    )


def non_dominated(points: FloatArray) -> IntArray:
    """Rows of `points`, shape (n, k), that no other row is at most as large as in every column and smaller in one.

    Of rows that are equal in every column the first stands for all. Rising. Rows that are not finite are left out.
    """
    rows = np.flatnonzero(np.isfinite(points).all(axis=1))
    # By the first column and then the others: nothing later in this order dominates anything earlier.
    rows = rows[np.lexsort(tuple(points[rows, column] for column in reversed(range(points.shape[1]))))]
    left, found = np.ascontiguousarray(points[rows].T), []
    if len(rows) > MANY:
        keep = _uncleared(left)
        rows, left = rows[keep], left[:, keep]
    while len(rows):
        found.append(int(rows[0]))
        keep = _below(left, left[:, 0])
        rows, left = rows[keep], left[:, keep]
    return np.array(sorted(found), np.int64)


def _uncleared(columns: FloatArray) -> BoolArray:
    """Shape (n,): False where one of a few strong points is as small in every one of `columns` and smaller in one.

    They are the least in the product of the columns, and in those in which one column counts three times: what takes
    most rows away before the others are compared one by one.
    """
    left: BoolArray = np.ones(columns.shape[1], np.bool_)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(columns, 0.0))
    for weights in (np.ones(len(columns)), *(1.0 + 2.0 * np.eye(len(columns)))):
        pivot = columns[:, int(np.argmin((weights[:, None] * logs).sum(axis=0)))]
        left &= _below(columns, pivot) | (columns == pivot[:, None]).all(axis=0)
    return left


def _below(columns: FloatArray, point: FloatArray) -> BoolArray:
    """Shape (n,): True where any of the `columns`, shape (k, n), is below that of `point`."""
    below: BoolArray = columns[0] < point[0]
    for column, value in zip(columns[1:], point[1:], strict=True):
        below |= column < value
    return below


def spread(count: int, wanted: Sequence[int], most: int) -> tuple[int, ...]:
    """Up to `most` of `count` positions: the `wanted` ones, and others as evenly between the ends as there is room."""
    chosen = set(wanted)
    for position in np.linspace(0, count - 1, max(most, 2)).round().astype(np.int64).tolist() if count else ():
        if len(chosen) < most:
            chosen.add(position)
    return tuple(sorted(chosen))


def _every_shape(least: Judgement) -> tuple[Judgement, int]:
    """The judgement with a candidate for every shape that no policy refuses, of finite work, and their number.

    Of those judged together only the non-dominated are kept: what is dominated among a few is among all.
    """
    candidates = least.candidates
    if isinstance(least.view.workload, Inference) or not len(candidates):
        return least, len(candidates)
    rungs = shapes.ladder(candidates)
    considered, parts = len(candidates), [_best_of(least, candidates, least.terms)]
    for start in range(0, len(rungs.row), CHUNK):
        piece = slice(start, start + CHUNK)
        more = shapes.on_ladder(least.view.workload, candidates, Ladder(rungs.row[piece], rungs.nodes[piece]))
        found = least.panel.assess(more)
        rows = np.flatnonzero(found.open)
        if len(rows):
            considered += len(rows)
            parts.append(_best_of(least, more.take(rows), _rows_of(found.terms, rows)))
    return least.with_shapes(parts), considered


def _best_of(
    least: Judgement, candidates: Candidates, terms: tuple[Column, ...]
) -> tuple[Candidates, tuple[Column, ...]]:
    usd = added(terms, len(candidates), money=True)
    rows = non_dominated(np.column_stack((usd, candidates.hours, kg_co2(least.view, candidates))))
    return candidates.take(rows), _rows_of(terms, rows)


def _rows_of(terms: tuple[Column, ...], rows: IntArray) -> tuple[Column, ...]:
    return tuple(Column(term.by, term.name, term.usd[rows], term.money) for term in terms)


def _time_h(judgement: Judgement) -> FloatArray:
    candidates = judgement.candidates
    if not isinstance(judgement.view.workload, Inference):
        return candidates.hours
    sites, away = Sites.of(candidates.book), farthest(judgement.view)
    trips = [away(provider, region) for provider, region in sites.keys]
    rtt_s = sites.spread([float("inf") if trip is None else trip.ms / 1000.0 for trip in trips])
    first_s = candidates.sized({row: _first_s(sizing) for row, sizing in enumerate(candidates.sizings)})
    time_h: FloatArray = (first_s / np.minimum(1.0, candidates.book.gpus) + rtt_s) / 3600.0
    return time_h


def _first_s(sizing: Sizing) -> float:
    return sizing.effort.ttft_s.p50 if isinstance(sizing.effort, Service) else 0.0


def _titles(rows: IntArray, judgement: Judgement, columns: dict[str, FloatArray]) -> dict[int, tuple[str, ...]]:
    """The names of points by position: the least of each column, and of the frontier the least objective."""
    found: dict[int, tuple[str, ...]] = {}
    for title, column in (*columns.items(), (CHOICE, judgement.objective)):
        if len(rows):
            index = int(np.argmin(column[rows]))
            found[index] = (*found.get(index, ()), title)
    return found
