"""Re-planning: running jobs move only where what they save is worth the disruption, and each shows its score.

A running job's choices are priced for what is left of it. Staying costs just that. Every other choice pays the restart
(booting machines that do no work yet), the work since the last checkpoint done again, the checkpoint's way to the new
site and the input's; these count `threshold` times, so that a move must save that many times what it disturbs. The
idea is that of Karpenter's consolidation policy *Balanced* (savings weighed against disruption), with dollars on both
sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.fleetplan import FleetPlan, Move, PlacedJob
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import KEY, UNKNOWN, FloatArray, OfferBook
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, FineTune, Inference, Method, Training, Workload
from orchestrator.planning import shapes
from orchestrator.planning.fleet.case import Case, FleetOptions
from orchestrator.planning.fleet.choices import Choices, Market, columns
from orchestrator.planning.fleet.handover import Traffic
from orchestrator.planning.fleet.place import Placed, keeps
from orchestrator.planning.fleet.plan import USUAL, fleet_plan, placed_fleet
from orchestrator.planning.fleet.solving import Solve
from orchestrator.planning.pricing import Column
from orchestrator.sizing.goodput import checkpoint_bytes

THRESHOLD = 1.0
EGRESS = "egress"  # the term that brings the input: paid once, and again after a move
GIB = float(2**30)
TINY_USD = 1e-6


class _Left(NamedTuple):
    """A running job's choices: what is left to pay on each, and what moving there disturbs; `stay` is its own row."""

    usd: FloatArray
    restart_usd: FloatArray
    lost_usd: FloatArray
    transfer_usd: FloatArray
    stay: int | None

    @property
    def disruption_usd(self) -> FloatArray:
        """Shape (n,): 0 where it stays."""
        return self.restart_usd + self.lost_usd + self.transfer_usd


def replan(
    jobs: Sequence[Workload],
    snapshot: Snapshot,
    policies: Sequence[Policy],
    current: FleetPlan,
    options: FleetOptions = USUAL,
    *,
    threshold: float = THRESHOLD,
    solve: Solve,
    stop: Callable[[], bool] = lambda: False,
    files: Mapping[str, str] | None = None,
) -> FleetPlan:
    """As `plan_fleet` for jobs of which those placed in `current` run since then, as far as expected.

    The objective is of what is left, disruptions `threshold` times. Where the whole current placement still holds, the
    answer costs no more than it; no job moves below the threshold but to make room for what gains more.

    Raises: as `plan_fleet`.
    """
    running = _Running(snapshot, current, threshold)
    case, placed = placed_fleet(
        jobs,
        roomier(snapshot, current),
        policies,
        replace(options, held=False),
        solve=solve,
        stop=stop,
        files=files,
        adjust=running.adjusted,
    )
    stays = [running.stay(case, row) for row in range(len(case.jobs))]
    placed = _calmed(case, placed, stays)
    plan = fleet_plan(case, placed, policies)
    note = (
        f"the objective counts what is left of running jobs, disruptions {threshold:g} times; costs are of whole jobs"
    )
    moves = tuple(move for row in range(len(case.jobs)) for move in running.moves(case, placed.rows[row], row))
    return replace(plan, snapshot_id=snapshot.id, moves=moves, notes=(*plan.notes, note))


def roomier(snapshot: Snapshot, current: FleetPlan) -> Snapshot:
    """The market with what the fleet itself holds: nodes that its runs would give back, at least those of the plan."""
    book = snapshot.book
    available = book.available.copy()
    planned: dict[int, int] = {}
    for one in current.placed:
        for part in one.placement.parts:
            row = _find(part.offer, book)
            if row is not None:
                planned[row] = planned.get(row, 0) + part.nodes
    held: dict[tuple[str, ...], int] = {}
    for holding in snapshot.holdings:
        key = (holding.provider, holding.region, holding.zone, holding.instance_type, holding.billing)
        held[key] = held.get(key, 0) + holding.nodes
    for row, nodes in planned.items():
        if available[row] != UNKNOWN:
            ours = min(nodes, held.get(tuple(getattr(book, name)[row] for name in KEY), 0))
            available[row] = max(int(available[row]) + ours, nodes)
    return replace(snapshot, book=OfferBook.from_columns({**book.columns(), "available": available}))


def _find(offer: Offer, book: OfferBook) -> int | None:
    same = np.ones(len(book), np.bool_)
    for name in KEY:
        same &= getattr(book, name).isin(frozenset((str(getattr(offer, name)),)))
    rows = np.flatnonzero(same)
    return int(rows[np.argmin(book.usd_per_hour[rows])]) if len(rows) else None


class _Running:
    """The jobs of the current plan as they stand at the snapshot's moment."""

    def __init__(self, snapshot: Snapshot, current: FleetPlan, threshold: float) -> None:
        self._placed = {one.job: one for one in current.placed}
        self._elapsed_h = max(0.0, (snapshot.taken_at - current.made_at).total_seconds() / 3600.0)
        self._network = snapshot.network
        self._threshold = threshold
        self._traffic: Traffic | None = None

    def adjusted(self, market: Market, job: Workload, choices: Choices) -> Choices:
        """The choices of `job` at what is left of it, its own among them, moves with their disruption."""
        running = self._placed.get(job.name)
        if running is None or not choices.size:
            return choices
        choices = _with_own(market, running, choices)
        left = self._left(market, job, running, choices)
        return choices._replace(
            usd=np.round(left.usd + self._threshold * left.disruption_usd, 6),
            money_usd=np.maximum(choices.money_usd * self._share(running) + left.disruption_usd, 0.0),
            hours=choices.hours * self._share(running),
        )

    def stay(self, case: Case, row: int) -> int:
        """The row of the job's own place among its choices, -1 where it has none."""
        running = self._placed.get(case.jobs[row].name)
        if running is None:
            return -1
        found = _own(case.market.snapshot.book, running, case.choices[row])
        return -1 if found is None else found

    def moves(self, case: Case, chosen: int, row: int) -> list[Move]:
        """What was decided about a running job and the best that was considered; nothing where it does not run."""
        job = case.jobs[row]
        running = self._placed.get(job.name)
        if running is None:
            return []
        origin, choices = running.placement.label, case.choices[row]
        stay = self.stay(case, row)
        if chosen < 0 or not choices.size:
            return [_forced(job.name, origin, "nowhere", "it has no place any more", moved=True)]
        full = columns(case.market, choices.judgement)
        left = self._left(case.market, case.asked[row], running, full)
        if stay < 0:
            return [
                _forced(job.name, origin, _label(choices, chosen), "its own place is gone or refused now", moved=True)
            ]
        moved = chosen != stay
        others = np.flatnonzero(np.arange(choices.size) != stay)
        if not moved and not len(others):
            return [_forced(job.name, origin, "nowhere", "there is no other place", moved=False)]
        to = chosen if moved else int(others[np.argmin(choices.usd[others])])
        return [
            Move(
                job=job.name,
                origin=origin,
                to=_label(choices, to),
                saving_usd=float(left.usd[stay] - left.usd[to]),
                restart_usd=float(left.restart_usd[to]),
                lost_work_usd=float(left.lost_usd[to]),
                transfer_usd=float(left.transfer_usd[to]),
                moved=moved,
            )
        ]

    def _ran_h(self, running: PlacedJob) -> float:
        return min(max(0.0, self._elapsed_h - running.starts_h), running.placement.hours.p50)

    def _share(self, running: PlacedJob) -> float:
        """What is left of the job, by the time expected."""
        hours = running.placement.hours.p50
        return 1.0 - self._ran_h(running) / hours if hours > 0 else 0.0

    def _left(self, market: Market, job: Workload, running: PlacedJob, choices: Choices) -> _Left:
        found = choices.judgement.candidates
        full, nothing = columns(market, choices.judgement), np.zeros(len(found))
        stay = _own(market.snapshot.book, running, choices)
        if self._elapsed_h < running.starts_h:  # not begun: it boots and reads its input wherever it will run
            return _Left(full.usd, nothing, nothing, nothing, stay)
        boot_usd = found.nodes * found.book.usd_per_hour * np.minimum(found.book.boot_s / 3600.0, found.hours)
        inputs = np.zeros(len(found))
        for term in choices.judgement.terms:
            if term.name == EGRESS:
                inputs = inputs + term.usd
        share = self._share(running)
        usd = share * (full.usd - boot_usd - inputs)
        lost = np.zeros(len(found))
        if self._ran_h(running) > 0 and not isinstance(job, Inference):
            checkpoint = job.program.checkpoint if job.program else Checkpointing()
            again_h = min(self._ran_h(running), 0.5 * checkpoint.interval_s / 3600.0)
            lost = again_h * np.maximum(full.usd, 0.0) / np.maximum(full.hours, 1e-9)
        transfer = inputs + self._carried_usd(market, job, running, choices)
        restart = boot_usd.copy()
        if stay is not None:  # machines that run have booted, and hold their input
            lost[stay] = restart[stay] = transfer[stay] = 0.0
        return _Left(usd, restart, lost, transfer, stay)

    def _carried_usd(self, market: Market, job: Workload, running: PlacedJob, choices: Choices) -> FloatArray:
        """What the checkpoint's way to each choice costs; nothing of a service, and of what has not saved any."""
        gib = checkpoint_gib(job) if self._ran_h(running) > 0 else 0.0
        (part, *_) = running.placement.parts
        place = (part.offer.provider, part.offer.region)
        if not gib or place not in market.sites.keys:
            return np.zeros(choices.size)
        if self._traffic is None:
            self._traffic = Traffic.between(market.sites.keys, self._network)
        usd: FloatArray = self._traffic.usd(gib)[market.sites.keys.index(place), choices.site]
        return usd


def checkpoint_gib(job: Workload) -> float:
    """GiB of a checkpoint that a restart elsewhere needs: nothing of what serves, and of adapters next to nothing."""
    whole = isinstance(job, Training) or (isinstance(job, FineTune) and job.method is Method.FULL)
    return checkpoint_bytes(job.model.parameters) / GIB if whole else 0.0


def _own(book: OfferBook, running: PlacedJob, choices: Choices) -> int | None:
    """The row of the place where a job runs."""
    (part, *_) = running.placement.parts
    offer = _find(part.offer, book)
    if offer is None:
        return None
    rows = np.flatnonzero((choices.offer == offer) & (choices.nodes == part.nodes))
    return int(rows[0]) if len(rows) else None


def _with_own(market: Market, running: PlacedJob, choices: Choices) -> Choices:
    """The choices with the place where the job runs, at its own number of nodes, if nobody refuses that."""
    if _own(market.snapshot.book, running, choices) is not None:
        return choices
    (part, *_) = running.placement.parts
    offer = _find(part.offer, market.snapshot.book)
    judgement = choices.judgement
    rows = np.flatnonzero(judgement.candidates.offer == (-1 if offer is None else offer))[:1]
    if not len(rows):
        return choices
    own = shapes.counted(judgement.view.workload, judgement.candidates.take(rows), np.array([part.nodes], np.int64))
    found = judgement.panel.assess(own)
    if not found.open.all():
        return choices
    terms = tuple(Column(term.by, term.name, term.usd, term.money) for term in found.terms)
    parts = [(judgement.candidates, judgement.terms), (own, terms)]
    return columns(market, judgement.with_shapes(parts))


def _calmed(case: Case, placed: Placed, stays: Sequence[int]) -> Placed:
    """The placement with every move taken back that does not pay, all at once where that is better still."""
    rows = list(placed.rows)
    back = [stay if stay >= 0 else row for stay, row in zip(stays, rows, strict=True)]
    if case.total_usd(back) <= case.total_usd(rows) + TINY_USD and keeps(case, back, case.limits):
        rows = back
    changed = True
    while changed:
        changed = False
        for job, stay in enumerate(stays):
            if stay < 0 or rows[job] == stay:
                continue
            tried = [*rows[:job], stay, *rows[job + 1 :]]
            if case.total_usd(tried) <= case.total_usd(rows) + TINY_USD and keeps(case, tried, case.limits):
                rows, changed = tried, True
    left_out = {job: why for job, why in placed.left_out.items() if rows[job] < 0}
    return placed._replace(rows=tuple(rows), usd=case.total_usd(rows), left_out=left_out)


def _forced(job: str, origin: str, to: str, why: str, *, moved: bool) -> Move:
    return Move(
        job=job,
        origin=origin,
        to=to,
        saving_usd=0.0,
        restart_usd=0.0,
        lost_work_usd=0.0,
        transfer_usd=0.0,
        moved=moved,
        why=why,
    )


def _label(choices: Choices, row: int) -> str:
    return f"{int(choices.nodes[row])}x {choices.judgement.candidates.book[row].label}"
