"""The case: a fleet of jobs read, judged and linked, ready to be placed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.fleetplan import Quota
from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.fleet.chain import Link
from orchestrator.planning.fleet.choices import Choices, Judge, Market
from orchestrator.planning.fleet.dependencies import Dependencies, dependencies
from orchestrator.planning.fleet.handover import ASSUMED_USD_PER_GIB, Traffic
from orchestrator.planning.fleet.problem import PENALTY, penalties
from orchestrator.planning.fleet.shared import Shared, shared
from orchestrator.planning.limits import hours_left

Adjust = Callable[[Market, Workload, Choices], Choices]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """How to plan a fleet, apart from what."""

    buyable_only: bool = False
    quotas: tuple[Quota, ...] = ()
    penalty: float = PENALTY  # a job left out costs so many times its cheapest choice
    assumed_usd_per_gib: float = ASSUMED_USD_PER_GIB  # of results that move where no rate is known
    held: bool = True  # what runs hold counts against quotas


class Costs(NamedTuple):
    """What every job's choices are judged by, and what leaves a budget: columns as the job's choices."""

    usd: tuple[FloatArray, ...]
    money_usd: tuple[FloatArray, ...]
    unplaced_usd: FloatArray  # (J,)


class Case(NamedTuple):
    """J jobs, sorted by name."""

    jobs: tuple[Workload, ...]
    asked: tuple[Workload, ...]  # as they are judged: a result that is read by others stays where it was made
    market: Market
    depends: Dependencies
    choices: tuple[Choices, ...]
    limits: Shared
    traffic: Traffic
    links: tuple[Link, ...]
    left_h: FloatArray  # (J,): hours to each job's deadline, inf without one
    surely_usd: FloatArray  # (J,): its cheapest choice with its results moved the dearest way
    unplaced_usd: FloatArray  # (J,): what leaving it out counts

    def costs(self) -> Costs:
        """By the choices themselves, no result moved."""
        usd, money = ([one.usd for one in self.choices], [one.money_usd for one in self.choices])
        return Costs(tuple(usd), tuple(money), self.unplaced_usd)

    def with_choices(self, changed: Mapping[int, Choices]) -> Case:
        """The same case with other choices of some jobs."""
        return self._replace(choices=tuple(changed.get(job, one) for job, one in enumerate(self.choices)))

    def beside(self, job: int) -> list[Link]:
        """The links of a job."""
        return [link for link in self.links if job in (link.first, link.then)]

    def sites(self, rows: Sequence[int]) -> IntArray:
        """Shape (J,): where the chosen rows run; -1 for jobs left out."""
        found = [int(self.choices[job].site[row]) if row >= 0 else -1 for job, row in enumerate(rows)]
        return np.array(found, np.int64)

    def hours(self, rows: Sequence[int]) -> FloatArray:
        """Shape (J,): expected hours of the chosen rows, 0 for jobs left out."""
        return np.array([self.choices[job].hours[row] if row >= 0 else 0.0 for job, row in enumerate(rows)])

    def moved_usd(self, rows: Sequence[int]) -> FloatArray:
        """Shape (J,): what bringing the results to each job costs: the reader pays."""
        site = self.sites(rows)
        usd = np.zeros(len(rows))
        for link in self.links:
            if site[link.first] >= 0 and site[link.then] >= 0:
                usd[link.then] += link.usd[site[link.first], site[link.then]]
        return usd

    def money_usd(self, rows: Sequence[int]) -> FloatArray:
        """Shape (J,): what each job's budget pays, results brought to it included."""
        own = [float(self.choices[job].money_usd[row]) if row >= 0 else 0.0 for job, row in enumerate(rows)]
        return np.array(own) + self.moved_usd(rows)

    def total_usd(self, rows: Sequence[int]) -> float:
        """The objective: all placements, all results moved, and the penalties of the jobs left out."""
        own = sum(
            float(self.choices[job].usd[row]) if row >= 0 else float(self.unplaced_usd[job])
            for job, row in enumerate(rows)
        )
        return own + float(self.moved_usd(rows).sum())


def read(
    jobs: Sequence[Workload],
    snapshot: Snapshot,
    policies: Sequence[Policy],
    options: FleetOptions = FleetOptions(),
    *,
    files: Mapping[str, str] | None = None,
    adjust: Adjust | None = None,
) -> tuple[Case, Judge]:
    """Judge every job by itself; `adjust` may change what its choices cost (running jobs: `replan`).

    Raises: SpecError where jobs do not go together, naming their `files`; otherwise as `planning.judge.judge`.
    """
    ordered = tuple(sorted(jobs, key=lambda job: job.name))
    depends = dependencies(ordered, files)
    market = Market.of(snapshot)
    judge = Judge(market, policies, buyable_only=options.buyable_only, adjust=adjust)
    asked = tuple(_handed(job, ordered, depends, row) for row, job in enumerate(ordered))
    choices = tuple(judge.choices(job) for job in asked)
    traffic = Traffic.none(len(market.sites))
    if any(ordered[first].data.result_gib > 0 for first in depends.first.tolist()):
        assumed = options.assumed_usd_per_gib
        traffic = Traffic.between(market.sites.keys, snapshot.network, assumed_usd_per_gib=assumed)
    links = tuple(
        Link(first, then, traffic.usd(ordered[first].data.result_gib))
        for first, then in zip(depends.first.tolist(), depends.then.tolist(), strict=True)
        if ordered[first].data.result_gib > 0
    )
    surely = _surely(choices, links)
    left = [hours_left(job, snapshot) for job in ordered]
    case = Case(
        jobs=ordered,
        asked=asked,
        market=market,
        depends=depends,
        choices=choices,
        limits=shared(ordered, snapshot, options.quotas, held=options.held),
        traffic=traffic,
        links=links,
        left_h=np.array([np.inf if hours is None else hours for hours in left], np.float64),
        surely_usd=surely,
        unplaced_usd=penalties(surely, _tiers(ordered, depends), times=options.penalty),
    )
    return case, judge


def _handed(job: Workload, jobs: Sequence[Workload], depends: Dependencies, row: int) -> Workload:
    """The job as it is judged: its result stays for those that read it, and data that may not leave binds them too."""
    data = job.data
    if depends.behind(row) and not data.deliver_to:
        data = replace(data, result_gib=0.0)
    bound = [jobs[one].data for one in depends.before(row) if jobs[one].data.stays]
    if bound and not data.location:
        data = replace(data, location=bound[0].location, size_gib=0.0, stays=True)
    return job if data == job.data else replace(job, data=data)


def _surely(choices: Sequence[Choices], links: Sequence[Link]) -> FloatArray:
    """Shape (J,): what a job costs at the most where it may choose, wherever its neighbours are; inf without choice."""
    least = np.array([max(0.0, float(one.usd.min(initial=np.inf))) for one in choices], np.float64)
    for link in links:
        dearest = float(link.usd.max(initial=0.0))
        least[link.first] += dearest
        least[link.then] += dearest
    return least


def _tiers(jobs: Sequence[Workload], depends: Dependencies) -> IntArray:
    """Shape (J,): the rank of each job's priority, inherited from those that wait for it."""
    inherited = np.array(depends.inherited([job.priority for job in jobs]), np.float64)
    return np.unique(inherited, return_inverse=True)[1].reshape(-1)
