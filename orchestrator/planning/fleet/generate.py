"""Made-up fleets under scarcity, for benchmarks and tests: a market of cells, gangs, teams with budgets, quotas.

Twelve accelerators in sixty regions of six providers, on demand, spot and reserved; job classes that run at different
speeds on each; a third of the jobs near their users; deadlines; egress from where the data is. Every number is made up:
only the shape is that of a market, and the demand for what is cheap is far above what there is of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray
from orchestrator.planning.fleet.cells import CellMarket, Rates
from orchestrator.planning.fleet.greedy import place
from orchestrator.planning.fleet.pool import gather, resources
from orchestrator.planning.fleet.prices import Steps, ascend, no_prices, priced
from orchestrator.planning.fleet.problem import Options, Problem, Quotas, penalties
from orchestrator.planning.fleet.state import State

TYPES, REGIONS, PROVIDERS, BILLINGS = 12, 60, 6, 3
CLASSES, TEAMS = 8, 10
GANGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
GANG_SHARES = (0.26, 0.14, 0.06, 0.14, 0.06, 0.14, 0.05, 0.08, 0.03, 0.04)
MEMORY_GIB = np.array([16, 24, 24, 24, 40, 48, 48, 80, 80, 96, 141, 192.0])
NEEDS_GIB = np.array([10, 20, 38, 70, 90, 130.0])
LARGEST = 64  # nodes of one offer
BINDING = 3  # budgets below what their teams would spend
TIGHT, LOOSE = 0.9, 3.0  # of the way from what the cheapest options cost to what the team would spend without budgets
REACH = 1.6  # options looked at to find that, as times the job's cheapest


class _Market(NamedTuple):
    type: IntArray  # of the cell
    region: IntArray
    billing: IntArray
    speed: FloatArray  # (classes, types)
    distance: FloatArray  # (regions, regions), of a square of side 1
    egress: FloatArray  # (regions, regions), USD per GB


class _Jobs(NamedTuple):
    kind: IntArray
    gang: FloatArray
    work: FloatArray  # hours of the reference device
    memory_gib: FloatArray
    home: IntArray
    data_gb: FloatArray
    reach: FloatArray
    slack: FloatArray  # hours allowed over those of the fastest device

    def take(self, rows: IntArray) -> _Jobs:
        return _Jobs(
            self.kind[rows],
            self.gang[rows],
            self.work[rows],
            self.memory_gib[rows],
            self.home[rows],
            self.data_gb[rows],
            self.reach[rows],
            self.slack[rows],
        )


class _Pricing(NamedTuple):
    """Prices jobs on the cells of the market."""

    market: _Market
    jobs: _Jobs

    def __call__(self, rows: IntArray) -> Rates:
        market, jobs = self.market, self.jobs.take(rows)
        speed = market.speed[jobs.kind]
        hours = (jobs.work / jobs.gang)[:, None] / speed  # (jobs, types)
        fits = jobs.memory_gib[:, None] <= MEMORY_GIB
        fastest = np.where(fits, speed, 0.0).max(axis=1)
        fits &= hours <= (jobs.slack * jobs.work / jobs.gang / fastest)[:, None]
        slope = np.where(fits, jobs.work[:, None] / speed, np.inf)
        risk = 1.0 + 0.08 * np.minimum(hours / 24.0, 3.0)  # a spot job does part of its work twice
        by_billing = np.stack((slope, slope * risk, slope), axis=1).reshape(len(rows), -1)  # (jobs, billings · types)
        near = np.where(market.distance[jobs.home] <= jobs.reach[:, None], 1.0, np.inf)  # (jobs, regions)
        usd = jobs.data_gb[:, None] * market.egress[jobs.home]
        return Rates(
            by_billing[:, market.billing * TYPES + market.type] * near[:, market.region],
            usd[:, market.region],
            np.zeros((1, 1)),
            jobs.gang[:, None],
        )


def fleet(jobs: int, offers: int, rng: np.random.Generator) -> Problem:
    """A fleet problem of `jobs` gangs of 1 to 32 nodes (of one GPU) over `offers` offers of up to 64.

    Three of ten teams' budgets bind; every provider's spot capacity and every region's newest devices have quotas.
    """
    base = 0.35 * np.linspace(1, 7, TYPES) ** 1.25 * rng.uniform(0.85, 1.15, TYPES)
    own = np.arange(REGIONS) % PROVIDERS
    place = rng.uniform(0.85, 1.35, REGIONS) * rng.uniform(0.8, 1.2, PROVIDERS)[own]
    type_, region = rng.integers(0, TYPES, offers), rng.integers(0, REGIONS, offers)
    billing = rng.choice(BILLINGS, offers, p=[0.5, 0.35, 0.15])
    price = base[type_] * place[region] * np.array([1.0, 0.38, 0.65])[billing] * np.exp(rng.normal(0, 0.12, offers))
    capacity = np.asarray(np.clip(np.round(np.exp(rng.normal(2.5, 0.8, offers))), 1, LARGEST), np.float64)
    code = (type_ * REGIONS + region) * BILLINGS + billing
    cells, cell = np.unique(code, return_inverse=True)
    at = rng.uniform(0, 1, (REGIONS, 2))
    market = _Market(
        type=cells // BILLINGS // REGIONS,
        region=cells // BILLINGS % REGIONS,
        billing=cells % BILLINGS,
        speed=_speeds(rng),
        distance=np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)),
        egress=np.where(np.eye(REGIONS, dtype=bool), 0.0, np.where(own[:, None] == own[None], 0.02, 0.09)),
    )
    pricing = _Pricing(market, _jobs(jobs, rng))
    source = CellMarket.of(jobs, pricing.__call__, cell=cell, price=price, capacity_nodes=capacity)
    least = source.least_usd()
    problem = Problem(
        capacity_nodes=capacity,
        options=source,
        unplaced_usd=penalties(least),
        quotas=_quotas(type_, region, billing, own[region], capacity),
    )
    team = rng.integers(0, TEAMS, jobs)
    cheapest = np.where(np.isfinite(least), least, 0.0)
    low = np.bincount(team, cheapest, minlength=TEAMS)
    spend = np.bincount(team, _spending(problem, cheapest), minlength=TEAMS)
    part = np.where(np.arange(TEAMS) < BINDING, TIGHT, LOOSE)
    return replace(problem, team=team, budget_usd=low + part * (spend - low))


def _spending(problem: Problem, least: FloatArray) -> FloatArray:
    """What every job spends in a greedy placement without budgets, by prices that clear the market: their measure."""
    limits = resources(problem)
    columns = gather(problem, limits, REACH * least, np.arange(len(least))).columns
    prices = ascend(columns, limits, no_prices(limits), Steps(80, 0.1, 0.002), problem.unplaced_usd, stop=lambda: False)
    usd = priced(columns, prices, limits)
    state = State(columns, limits)
    place(state, np.argsort(-np.minimum.reduceat(usd, columns.start[:-1]), kind="stable"), usd)
    money = columns.money_usd[state.at]
    return np.where(money > 0, money, least)


def _speeds(rng: np.random.Generator) -> FloatArray:
    speed = np.sort(rng.uniform(0.25, 1, TYPES)) * np.linspace(0.3, 4, TYPES)
    return np.asarray(speed[None, :] * np.exp(rng.normal(0, 0.35, (CLASSES, TYPES))))


def _jobs(count: int, rng: np.random.Generator) -> _Jobs:
    gang = rng.choice(GANGS, count, p=GANG_SHARES).astype(float)
    return _Jobs(
        kind=rng.integers(0, CLASSES, count),
        gang=gang,
        work=np.exp(rng.normal(4.0, 1.2, count)) * np.sqrt(gang),
        memory_gib=rng.choice(NEEDS_GIB, count, p=[0.25, 0.25, 0.2, 0.18, 0.08, 0.04]),
        home=rng.integers(0, REGIONS, count),
        data_gb=np.exp(rng.normal(4.5, 1.7, count)),
        reach=np.where(rng.random(count) < 0.3, rng.uniform(0.15, 0.5, count), np.inf),
        slack=rng.uniform(1.5, 8, count),
    )


def _quotas(type_: IntArray, region: IntArray, billing: IntArray, provider: IntArray, capacity: FloatArray) -> Quotas:
    """Half of every provider's spot nodes, and half of the nodes of the newest devices of every region."""
    groups = [(billing == 1) & (provider == one) for one in range(PROVIDERS)]
    groups += [(type_ >= TYPES - 3) & (region == one) for one in range(REGIONS)]
    members = [np.flatnonzero(group) for group in groups]
    return Quotas(
        start=np.concatenate(([0], np.cumsum([len(rows) for rows in members]))),
        offer=np.concatenate(members),
        units=np.ones(sum(len(rows) for rows in members)),
        cap=np.array([np.floor(capacity[rows].sum() / 2) for rows in members]),
    )


def written_out(problem: Problem) -> Problem:
    """The same problem with every option that beats leaving its job out written down."""
    source = problem.options
    if isinstance(source, Options):
        return problem
    options = source.below(np.arange(source.jobs), problem.unplaced_usd)
    return replace(problem, options=options)
