"""The pools of a plan over the continuum as jobs that can each be planned and run alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orchestrator.domain.workload import Inference, Population
from orchestrator.planning.continuum.result import ContinuumPlan, Pool, Route

LEAST: Final = 1e-6  # requests per second below which a route is rounding of the solver's
LONGEST_NAME: Final = 63


def jobs_of(plan: ContinuumPlan) -> tuple[Inference, ...]:
    """One job for each pool, in their order, as `parts_of`, and pinned to its offer."""
    return tuple(_pinned(job, pool) for job, pool in zip(parts_of(plan), plan.pools, strict=True))


def parts_of(plan: ContinuumPlan) -> tuple[Inference, ...]:
    """One job for each pool, in their order: its part of every population it serves, under the limits of the whole.

    The peaks of a population's parts add up to its peak; a pool that serves nobody while every site is there has,
    besides, those whom it stands by for. A peak that is given back while it is not needed is a spiky load of its own; a
    budget is shared out by what the pools cost.
    """
    return tuple(_part(plan, index, pool) for index, pool in enumerate(plan.pools))


def _part(plan: ContinuumPlan, index: int, pool: Pool) -> Inference:
    workload = plan.workload
    routes = [route for route in plan.routes if route.pool == index and route.requests_per_s > LEAST]
    duty = pool.share_on
    budget = workload.limits.budget_usd
    if budget is not None and plan.cost_usd > 0.0:
        budget = max(0.01, budget * pool.cost_usd / plan.cost_usd)
    ending = f"-part-{index + 1}"
    return replace(
        workload,
        name=workload.name[: LONGEST_NAME - len(ending)] + ending,
        users=_users(routes, duty) or _stood_by_for(plan, pool),
        peak_over_mean=1.0 / duty,
        limits=replace(workload.limits, budget_usd=budget),
    )


def _pinned(job: Inference, pool: Pool) -> Inference:
    limits = replace(
        job.limits,
        providers=(pool.offer.provider,),
        regions=(f"{pool.offer.provider}/{pool.offer.region}",),
        accelerators=(pool.offer.accelerator,),
        billing=(pool.offer.billing,),
    )
    return replace(job, limits=limits)


def _users(routes: list[Route], duty: float) -> tuple[Population, ...]:
    """Mean rates, by place: the routes' are of the peak."""
    rates: dict[str, float] = {}
    for route in routes:
        rates[route.population] = rates.get(route.population, 0.0) + route.requests_per_s * duty
    return tuple(Population(place, rate) for place, rate in rates.items())


def _stood_by_for(plan: ContinuumPlan, pool: Pool) -> tuple[Population, ...]:
    """Whom the pool's site takes over at most when another one is lost: without them it would know no distance."""
    here = f"{pool.offer.provider}/{pool.offer.region}"
    rates = {population.place: population.requests_per_s for population in plan.workload.users}
    most: dict[str, float] = {}
    for loss in plan.losses:
        for one in loss.moved:
            if one.site == here:
                most[one.population] = max(most.get(one.population, 0.0), one.share * rates[one.population])
    return tuple(Population(place, rate) for place, rate in most.items())
