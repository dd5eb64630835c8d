"""Choices: what every job of a fleet could run on, judged as if it were alone, once for jobs that are alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.contracts import Policy
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.reason import Reason
from orchestrator.domain.sites import Sites
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import DataSet, Inference, Workload
from orchestrator.planning.judge import KEEP, RISK, Judgement, judge
from orchestrator.planning.plan import sizings_of
from orchestrator.planning.pricing import Column, added
from orchestrator.planning.shapes import Ladder, ladder, on_ladder

FAST = 48  # offers of a job against time whose larger numbers of nodes are looked at: its cheapest


Shaped = tuple[Candidates, tuple[Column, ...]]


class Choices(NamedTuple):
    """One job's candidates as the solver needs them, columns of shape (n,); `judgement` holds the rest of each row."""

    judgement: Judgement
    offer: IntArray  # row of the snapshot's book
    nodes: IntArray
    usd: FloatArray  # the objective, to a millionth of a dollar
    money_usd: FloatArray
    hours: FloatArray
    site: IntArray
    rank: IntArray  # place of the offer in the order of ties

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.offer)

    def best(self, usd: FloatArray) -> int:
        """The row of least `usd`, shape (n,), ties by the order of offers and then the fewest nodes."""
        rows = np.flatnonzero(usd <= usd.min())
        return int(rows[np.lexsort((self.nodes[rows], self.rank[rows]))[0]])

    def by_site(self, usd: FloatArray, sites: int) -> tuple[FloatArray, IntArray]:
        """The least `usd` on every site, inf where there is none, and its row; shape (sites,) each."""
        least, row = np.full(sites, np.inf), np.full(sites, -1, np.int64)
        if self.size:
            order = np.argsort(self.site * (int(self.rank.max()) + 1) + self.rank, kind="stable")
            start = np.flatnonzero(np.diff(self.site[order], prepend=-1))
            here = self.site[order[start]]
            least[here] = np.minimum.reduceat(usd[order], start)
            best = order[usd[order] <= least[self.site[order]]]
            first = best[np.diff(self.site[best], prepend=-1) > 0]
            row[self.site[first]] = first
        return least, row


class Market(NamedTuple):
    """A snapshot with what the jobs of a fleet have in common on it."""

    snapshot: Snapshot
    sites: Sites
    rank: IntArray  # (n,): place of each offer in the order of ties
    order: IntArray  # (n,): the offers in that order

    @classmethod
    def of(cls, snapshot: Snapshot) -> Market:
        """The sites of the snapshot and the order of its offers."""
        order = tie_order(snapshot.book, frozenset(snapshot.buyable))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return cls(snapshot, Sites.of(snapshot.book), rank, order)


def tie_order(book: OfferBook, buyable: frozenset[str]) -> IntArray:
    """The rows of `book` in the order in which placements of one objective are ranked: as `Judgement.best`."""
    risk = np.array([RISK[Billing(word)] for word in book.billing.vocab], np.int64)
    hazard = book.interruption_rate
    keys = (book.billing, book.instance_type, book.zone, book.region, book.provider)
    return np.lexsort(
        (
            *(column.codes for column in keys),
            book.available < 0,
            ~book.provider.isin(buyable),
            np.where(np.isnan(hazard), np.inf, hazard),
            risk[book.billing.codes] if len(book) else np.zeros(0, np.int64),
        )
    )


class Judge:
    """Judges jobs over one market; sizings and judgements are kept for jobs that are alike."""

    def __init__(
        self,
        market: Market,
        policies: Sequence[Policy],
        *,
        buyable_only: bool = False,
        adjust: Callable[[Market, Workload, Choices], Choices] | None = None,
    ) -> None:
        """By `policies`; with `buyable_only` list prices are refused; `adjust` changes what a job's choices cost."""
        self.market = market
        self.policies = tuple(policies)
        self._buyable_only = buyable_only
        self._adjust = adjust
        self._sizings: dict[Workload, Mapping[str, Sizing | Reason]] = {}
        self._judgements: dict[tuple[Workload, int], Judgement] = {}
        self._choices: dict[int, Choices] = {}  # by the judgement that they are of

    def sizings(self, job: Workload) -> Mapping[str, Sizing | Reason]:
        """Of the job's work on every accelerator on offer."""
        alike = _anonymous(replace(job, data=DataSet()))
        if alike not in self._sizings:
            self._sizings[alike] = sizings_of(alike, self.market.snapshot)
        return self._sizings[alike]

    def judgement(self, job: Workload, *, keep: int = KEEP) -> Judgement:
        """Of every offer for `job`. Raises: as `planning.judge.judge`."""
        key = (_anonymous(job), keep)
        if key not in self._judgements:
            self._judgements[key] = judge(
                job,
                self.market.snapshot,
                self.sizings(job),
                self.policies,
                buyable_only=self._buyable_only,
                keep=keep,
            )
        return self._judgements[key]

    def choices(self, job: Workload) -> Choices:
        """Every offer that nobody refuses `job`, at its best number of nodes. Raises: as `planning.judge.judge`."""
        return self._columns(job, self.judgement(job))

    def more_shapes(self, job: Workload, *, faster: bool = False) -> Choices:
        """As `choices`, with the fewest nodes of every offer beside the best; `faster`: more nodes of the cheapest too.

        Of finite work: a service has the replicas that its load takes.
        """
        best = self.judgement(job)
        if isinstance(job, Inference) or not len(best.candidates):
            return self._columns(job, best)
        parts = [(best.candidates, best.terms)]
        if any(seat.faster != frozenset() for seat in best.panel.seats):
            least = self.judgement(job, keep=0)
            known = best.candidates.nodes[np.searchsorted(best.candidates.offer, least.candidates.offer)]
            parts.append(_rows(least, np.flatnonzero(least.candidates.nodes != known)))
        if faster:
            found = _faster(best)
            if found is not None:
                parts.append(found)
        return self._columns(job, best.with_shapes(parts) if len(parts) > 1 else best)

    def _columns(self, job: Workload, judgement: Judgement) -> Choices:
        found = self._choices.get(id(judgement))
        if found is None or found.judgement is not judgement:
            found = self._choices[id(judgement)] = columns(self.market, judgement)
        return found if self._adjust is None else self._adjust(self.market, job, found)


def columns(market: Market, judgement: Judgement) -> Choices:
    """Every candidate of a judgement as a choice."""
    found = judgement.candidates
    return Choices(
        judgement=judgement,
        offer=found.offer,
        nodes=found.nodes,
        usd=np.round(judgement.objective, 6),
        money_usd=np.maximum(added(judgement.terms, len(found), money=True), 0.0),
        hours=found.hours,
        site=market.sites.index[found.offer],
        rank=market.rank[found.offer],
    )


def _anonymous(job: Workload) -> Workload:
    """`job` without what neither sizing nor any policy looks at."""
    program = job.program
    if program is not None:
        again = min(program.max_attempts, 2)  # whether it may be resumed counts, not how often
        program = replace(program, command=("",), image="", workdir="", env=(), secrets=(), max_attempts=again)
    return replace(job, name="", program=program, after=(), priority=0.0)


def _rows(judgement: Judgement, rows: IntArray) -> Shaped:
    terms = tuple(Column(term.by, term.name, term.usd[rows], term.money) for term in judgement.terms)
    return judgement.candidates.take(rows), terms


def _faster(judgement: Judgement) -> Shaped | None:
    """More nodes, in steps of about 1.4, of the cheapest offers, of those that nobody refuses."""
    few = judgement.candidates.take(np.sort(judgement.best(FAST)))
    rungs: Ladder = ladder(few)
    if not len(rungs.row):
        return None
    more = on_ladder(judgement.view.workload, few, rungs)
    found = judgement.panel.assess(more)
    rows = np.flatnonzero(found.open)
    terms = tuple(Column(term.by, term.name, term.usd[rows], term.money) for term in found.terms)
    return (more.take(rows), terms) if len(rows) else None


def fits(choices: Choices, capacity_nodes: FloatArray) -> BoolArray:
    """Shape (n,): the choices that their offer could hold if nobody else were there."""
    return choices.nodes <= capacity_nodes[choices.offer]
