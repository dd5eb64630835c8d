"""Candidates: the columnar product of offers and sizings that policies judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload

Usd: TypeAlias = npt.NDArray[np.float64]  # a column of US dollars, one per candidate


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidates:
    """n ways to run the workload, each `nodes` nodes of one offer.

    All columns have shape (n,) and are row-aligned with `book` (offers already restricted to those that can be sized).
    `hours` is how long the nodes are held, at the 50th percentile unless `at` chose another; for a service it is the
    horizon.
    """

    book: OfferBook  # n offers: candidate i is about book[i]
    offer: IntArray  # the row of the same offer in the snapshot's book
    sizing: IntArray  # row into `sizings`
    sizings: tuple[Sizing, ...]
    nodes: IntArray
    hours: FloatArray
    hours_p10: FloatArray
    hours_p90: FloatArray

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def gpus(self) -> FloatArray:
        """Devices held."""
        return self.nodes * self.book.gpus

    def sized(self, attribute: Mapping[int, float]) -> FloatArray:
        """A column from one number per sizing row: `sized({row: value})[i] = attribute[sizing[i]]`."""
        table = np.array([attribute[row] for row in range(len(self.sizings))], np.float64)
        return table[self.sizing] if len(table) else np.zeros(len(self), np.float64)

    def take(self, rows: IntArray) -> Candidates:
        """The rows named, in the order given."""
        return Candidates(
            book=self.book.take(rows),
            offer=self.offer[rows],
            sizing=self.sizing[rows],
            sizings=self.sizings,
            nodes=self.nodes[rows],
            hours=self.hours[rows],
            hours_p10=self.hours_p10[rows],
            hours_p90=self.hours_p90[rows],
        )

    def at(self, hours: FloatArray) -> Candidates:
        """The same candidates held for `hours`: how the ends of the cost band are priced."""
        return replace(self, hours=hours)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlanView:
    """What a policy may look at.

    A policy that is asked the same more than once may keep in `memo`, under its name, what it worked out: it lives as
    long as the plan, and no answer may depend on it.
    """

    workload: Workload
    snapshot: Snapshot
    memo: dict[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Refusals:
    """One refusal per candidate at most: the hard half of a policy.

    `refused` has shape (n,). `template` is filled with the row's `figure` when somebody asks:
    `"takes {figure:.1f} h, the deadline leaves 720.0 h"`. Where there are `sentences`, the figure is the place of the
    row's own among them instead.
    """

    code: ReasonCode
    refused: BoolArray  # shape (n,)
    template: str
    figure: FloatArray  # shape (n,)
    sentences: tuple[str, ...] = ()

    def reason(self, by: str, row: int) -> Reason:
        """The reason of candidate `row` in words."""
        if self.sentences:
            return Reason(by, self.code, self.sentences[int(self.figure[row])])
        return Reason(by, self.code, self.template.format(figure=float(self.figure[row])))
