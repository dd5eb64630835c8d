"""The fleet problem: many jobs, each with options on shared offers, under capacities, quotas and budgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from orchestrator.domain.errors import UserError
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray

PENALTY = 6.0  # a job left out costs so many times its cheapest option, unless the caller says otherwise
LONELY_USD = 1.0  # the penalty's base for a job without any option


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Options:
    """Every job's options as rows, job by job: rows `start[j]:start[j + 1]` are job j's, in any order.

    One option is a whole job on one offer: all of its nodes or none (a gang). `usd` is what the option is judged by,
    everything soft included (for a running job also what moving it costs); `money_usd` is what leaves a budget.
    """

    start: IntArray  # (J + 1,)
    offer: IntArray
    nodes: FloatArray  # whole nodes, > 0
    usd: FloatArray
    money_usd: FloatArray
    row: IntArray | None = None  # the caller's number of an option, if not its row

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return len(self.start) - 1

    def least_usd(self, among: BoolArray | None = None) -> FloatArray:
        """Shape (J,): every job's cheapest option on the offers `among` (None: on any); inf where it has none."""
        usd = self.usd if among is None else np.where(among[self.offer], self.usd, np.inf)
        least = np.full(self.jobs, np.inf)
        filled = np.flatnonzero(np.diff(self.start))
        if len(filled):
            least[filled] = np.minimum.reduceat(usd, self.start[filled])
        return least

    def below(self, jobs: IntArray, limit_usd: FloatArray) -> Options:
        """Every option of the jobs named that costs less than the job's own limit."""
        count = np.diff(self.start)[jobs]
        rows = np.arange(count.sum()) + np.repeat(self.start[jobs] - np.cumsum(count) + count, count)
        job = np.repeat(np.arange(len(jobs)), count)
        keep = self.usd[rows] < limit_usd[job]
        rows, job = rows[keep], job[keep]
        return Options(
            start=np.searchsorted(job, np.arange(len(jobs) + 1)),
            offer=self.offer[rows],
            nodes=self.nodes[rows],
            usd=self.usd[rows],
            money_usd=self.money_usd[rows],
            row=rows if self.row is None else self.row[rows],
        )


class Source(Protocol):
    """Options too many to write down: the jobs' prices, asked for as far as they matter."""

    @property
    def jobs(self) -> int:
        """How many jobs there are."""

    def least_usd(self, among: BoolArray | None = None) -> FloatArray:
        """Shape (J,): every job's cheapest option on the offers `among` (None: on any); inf where it has none."""

    def below(self, jobs: IntArray, limit_usd: FloatArray) -> Options:
        """Every option of the jobs named that costs less than the job's own limit, none left out."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Quotas:
    """Caps on groups of offers; an offer may count against any number of groups.

    Rows `start[q]:start[q + 1]` of `offer` and `units` are group q's: its offers, and the units of the cap that one
    node of each takes (1 counts nodes, the GPUs of a node count GPUs).
    """

    start: IntArray = field(default_factory=lambda: np.zeros(1, np.int64))  # (Q + 1,)
    offer: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    units: FloatArray = field(default_factory=lambda: np.zeros(0))
    cap: FloatArray = field(default_factory=lambda: np.zeros(0))  # (Q,)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """J jobs, O offers, T budgets. Rows are put into the order of the names first, so that with names the order in
    which jobs and offers are given does not matter; without them a tie goes to the earlier row.
    """

    capacity_nodes: FloatArray  # (O,): nodes to be had, inf for no limit
    options: Options | Source
    unplaced_usd: FloatArray  # (J,): the penalty of leaving a job out; `penalties` gives the usual one
    quotas: Quotas = field(default_factory=Quotas)
    team: IntArray | None = None  # (J,): the budget a job draws on, -1 for none
    budget_usd: FloatArray = field(default_factory=lambda: np.zeros(0))  # (T,)
    jobs: tuple[str, ...] = ()  # names, for messages and ties; empty: rows
    offers: tuple[str, ...] = ()

    def job_name(self, row: int) -> str:
        """What to call job `row` in a message."""
        return f"job {self.jobs[row]!r}" if self.jobs else f"job {row}"

    def offer_name(self, row: int) -> str:
        """What to call offer `row` in a message."""
        return f"offer {self.offers[row]!r}" if self.offers else f"offer {row}"


def penalties(least_usd: FloatArray, priority: IntArray | None = None, *, times: float = PENALTY) -> FloatArray:
    """Shape (J,): what leaving a job out costs: `times` its cheapest option, in tiers of `priority` (higher first).

    Within a tier the penalty is as many times the cheapest option. A tier's smallest penalty is more than all the
    penalties below it together, so no saving lower down is worth a job of a higher tier: such a job is left out only
    where it does not fit beside the others of its tier and those above. Tiers cost digits: a proven gap in per cent
    is then one of the highest tier's penalties; keep to a few.
    """
    base = times * np.where(np.isfinite(least_usd), np.maximum(least_usd, 1e-9), LONELY_USD)
    if priority is None:
        return base
    result = base.copy()
    below = 0.0
    for tier in np.unique(priority):
        mine = priority == tier
        result[mine] = base[mine] + below
        below += float(result[mine].sum())
    return result


def check(problem: Problem) -> None:
    """Refuse what cannot be meant.

    Raises: UserError naming the job or offer whose numbers are missing, negative, not finite or out of range.
    """
    _offers(problem)
    _jobs(problem)
    _quotas(problem)
    if isinstance(problem.options, Options):
        check_options(problem, problem.options, np.arange(len(problem.unplaced_usd)))


def _first(wrong: BoolArray) -> int:
    return int(np.argmax(wrong)) if wrong.any() else -1


def _offers(problem: Problem) -> None:
    capacity = problem.capacity_nodes
    row = _first(~(capacity >= 0))
    if row >= 0:
        raise UserError(f"{problem.offer_name(row)}: the capacity must be 0 nodes or more, not {capacity[row]:g}")
    if problem.offers and (len(problem.offers) != len(capacity) or len(set(problem.offers)) != len(capacity)):
        raise UserError("the names of the offers must be one for each offer, and no two the same")


def _jobs(problem: Problem) -> None:
    penalty = problem.unplaced_usd
    row = _first(~(np.isfinite(penalty) & (penalty >= 0)))
    if row >= 0:
        raise UserError(f"{problem.job_name(row)}: the penalty of leaving it out must be a finite sum of 0 or more")
    if problem.jobs and (len(problem.jobs) != len(penalty) or len(set(problem.jobs)) != len(penalty)):
        raise UserError("the names of the jobs must be one for each job, and no two the same")
    budget = problem.budget_usd
    row = _first(~(budget >= 0))
    if row >= 0:
        raise UserError(f"budget {row}: must be 0 USD or more, not {budget[row]:g}")
    if problem.team is not None:
        if len(problem.team) != len(penalty):
            raise UserError("`team` must have one entry a job")
        row = _first((problem.team < -1) | (problem.team >= len(budget)))
        if row >= 0:
            raise UserError(f"{problem.job_name(row)}: draws on budget {problem.team[row]}, of which there is none")


def _quotas(problem: Problem) -> None:
    quotas = problem.quotas
    row = _first(~(quotas.cap >= 0))
    if row >= 0:
        raise UserError(f"quota {row}: the cap must be 0 or more, not {quotas.cap[row]:g}")
    if len(quotas.start) != len(quotas.cap) + 1 or len(quotas.offer) != len(quotas.units):
        raise UserError("the quotas' columns do not fit together")
    if ((quotas.offer < 0) | (quotas.offer >= len(problem.capacity_nodes))).any():
        raise UserError("a quota names an offer that is none")
    if not (quotas.units > 0).all():
        raise UserError("a quota's units per node must be more than 0")


def check_options(problem: Problem, options: Options, jobs: IntArray) -> None:
    """As `check`, for rows of options of the `jobs` named.

    Raises: UserError.
    """
    count = len(options.offer)
    if len(options.start) != len(jobs) + 1 or not all(
        len(column) == count for column in (options.nodes, options.usd, options.money_usd)
    ):
        raise UserError("the options' columns do not fit the jobs or each other")
    offer = options.offer
    wrong = (offer < 0) | (offer >= len(problem.capacity_nodes))
    _refuse(problem, options, jobs, wrong, "names an offer that is none")
    wrong = ~(np.isfinite(options.usd) & (options.usd >= 0))
    _refuse(problem, options, jobs, wrong, "the cost must be a finite sum of 0 USD or more")
    wrong = ~(np.isfinite(options.money_usd) & (options.money_usd >= 0))
    _refuse(problem, options, jobs, wrong, "the money must be a finite sum of 0 USD or more")
    wrong = ~((options.nodes > 0) & np.isfinite(options.nodes) & (options.nodes == np.floor(options.nodes)))
    _refuse(problem, options, jobs, wrong, "the nodes must be a whole number above 0")


def _refuse(problem: Problem, options: Options, jobs: IntArray, wrong: BoolArray, message: str) -> None:
    row = _first(wrong)
    if row >= 0:
        job = int(jobs[int(np.searchsorted(options.start, row, side="right")) - 1])
        offer = int(options.offer[row])
        where = problem.offer_name(offer) if 0 <= offer < len(problem.capacity_nodes) else f"offer {offer}"
        raise UserError(f"{problem.job_name(job)} on {where}: {message}")
