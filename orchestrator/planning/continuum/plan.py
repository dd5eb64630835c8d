"""Planning over the continuum: which sites, devices and replicas serve which users, proven to be near the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Final, NamedTuple

from orchestrator.domain.contracts import Policy
from orchestrator.domain.plan import Bound, Term
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference
from orchestrator.planning.autoscale.queueing import first_token_quantile, saturation
from orchestrator.planning.continuum.greedy import greedy
from orchestrator.planning.continuum.losses import first_token_s, losses
from orchestrator.planning.continuum.market import LATENCY, Ask, Market, market
from orchestrator.planning.continuum.model import CALM
from orchestrator.planning.continuum.problem import Option, Problem, options
from orchestrator.planning.continuum.result import Alternative, ContinuumPlan, Pool, Route
from orchestrator.planning.continuum.solution import Solution
from orchestrator.planning.continuum.solve import USUAL, Found, Search, solve

USUALLY: Final = Ask()


class Chosen(NamedTuple):
    """The best that was found, and the simpler plans it was held against."""

    found: Found
    alternatives: tuple[Alternative, ...]


def plan_continuum(
    workload: Inference, snapshot: Snapshot, policies: Sequence[Policy], ask: Ask = USUALLY, search: Search = USUAL
) -> ContinuumPlan:
    """Where to serve `workload` from, over the offers of `snapshot`; nothing is bought.

    Pure: the same arguments give the same plan. Where somebody cannot be served there are no pools, and `unserved`
    says who and by how much it fails.

    Raises: UserError for users in unknown places, for no requests at all, and as `planning.plan.plan` does.
    """
    base = market(workload, snapshot, policies, ask)
    problem = base.problem
    pools = options(problem)
    alone = unserved(problem, pools)
    if alone:
        return _told(workload, base, None, pools, alone)
    chosen = choose(problem, pools, search)
    if chosen.found.solution is None:
        return _told(workload, base, None, pools, short(problem, pools))
    return _told(workload, base, chosen, pools, ())


def choose(problem: Problem, pools: Sequence[Option], search: Search = USUAL) -> Chosen:
    """The cheapest solution, never dearer than the best single site, the best single kind or everybody's nearest site.

    The bound holds for all of them.
    """
    found = solve(problem, pools, search)
    best = found.solution
    alternatives = []
    for name, label, kept in _simpler(problem, pools):
        few = [pools[index] for index in kept]
        simple = None if _out_of_reach(problem, few) else greedy(problem, few)
        if simple is not None:
            flow = {(s, kept[o], p): share for (s, o, p), share in simple.flow.items()}
            simple = simple._replace(flow=flow, nodes={kept[o]: count for o, count in simple.nodes.items()})
            if best is None or simple.usd < best.usd:
                best = simple
        alternatives.append(Alternative(name=name, label=label, usd=None if simple is None else simple.usd))
    found = found._replace(solution=best, bound=found.bound if best is None else min(found.bound, best.usd))
    return Chosen(found, _best_of(alternatives))


def _simpler(problem: Problem, pools: Sequence[Option]) -> list[tuple[str, str, list[int]]]:
    columns = problem.columns
    found = []
    for site in sorted({columns[option.column].site for option in pools}):
        kept = [index for index, option in enumerate(pools) if columns[option.column].site == site]
        found.append(("best single site", problem.sites[site].label, kept))
    for kind in sorted({columns[option.column].kind for option in pools}):
        kept = [index for index, option in enumerate(pools) if columns[option.column].kind == kind]
        found.append(("best single kind of GPU", kind, kept))
    return found


def _best_of(alternatives: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """The cheapest of each name, or that there is none."""
    best: dict[str, Alternative] = {}
    for one in alternatives:
        known = best.get(one.name)
        if known is None or (one.usd is not None and (known.usd is None or one.usd < known.usd)):
            best[one.name] = one if one.usd is not None else Alternative(name=one.name, label="none", usd=None)
    return tuple(best.values())


def unserved(problem: Problem, pools: Sequence[Option]) -> tuple[str, ...]:
    """Whom no pool can serve in time, and what the nearest miss is."""
    return tuple(_miss(problem, who) for who in _out_of_reach(problem, pools))


def _out_of_reach(problem: Problem, pools: Sequence[Option]) -> list[int]:
    """Populations that no pool may serve."""
    reached = {
        (who, option.slice, bucket)
        for option in pools
        for who in option.allowed
        for bucket in problem.groups[option.group].buckets
    }
    parts = [(layer, bucket) for layer in range(len(problem.slices)) for bucket in range(problem.buckets)]
    return [
        who
        for who, rate in enumerate(problem.rates)
        if rate > 0.0 and any((who, layer, bucket) not in reached for layer, bucket in parts)
    ]


def _miss(problem: Problem, who: int) -> str:
    """The column that comes nearest to serving a population in time."""
    name, best = problem.populations[who], None
    idle: dict[str, float] = {}
    for column in problem.columns:
        site, engine = problem.sites[column.site], problem.engines.get((column.kind, 0))
        if engine is None or isnan(site.rtt_ms[who]) or not column.stock:
            continue
        if column.kind not in idle:
            idle[column.kind] = first_token_quantile(problem.percentile, 1e-9, 1, engine.replica, engine.mix)
        first = idle[column.kind]
        over = max(
            site.rtt_ms[who] / 1000.0 + first - problem.first_token_s,
            site.rtt_ms[who] / 1000.0 + first + engine.rest_s - problem.total_s,
        )
        if best is None or over < best[0]:
            best = (over, site.rtt_ms[who], first, f"{column.kind} in {site.label}")
    if best is None:
        return f"{name}: no offer in a place that is known passes every limit"
    over, rtt, first, where = best
    return (
        f"{name}: the nearest miss is {where}: {rtt:,.0f} ms round trip and {first * 1000:,.0f} ms to the first token "
        f"of an idle replica ({problem.percentile:.3g} of requests), {max(over, 0.0) * 1000:,.0f} ms over the limit"
    )


def short(problem: Problem, pools: Sequence[Option]) -> tuple[str, ...]:
    """What the nodes on sale within each population's reach could carry at most, where they do not carry all."""
    told = []
    for who, rate in enumerate(problem.rates):
        best: dict[int, float] = {}
        for option in pools:
            if who in option.allowed:
                most = option.curve.rate(problem.columns[option.column].stock)
                best[option.column] = max(best.get(option.column, 0.0), most)
        if sum(best.values()) < rate:
            told.append(
                f"{problem.populations[who]}: the nodes on sale within reach carry {sum(best.values()):,.3g} of "
                f"{rate:,.3g} requests/s"
            )
    limit = " and the budget" if problem.budget_usd < float("inf") else ""
    spare = " after the loss of any one site" if problem.survive else ""
    return tuple(told) or (f"the nodes on sale{limit} do not allow everybody to be served in time{spare}",)


def _told(
    workload: Inference, base: Market, chosen: Chosen | None, pools: Sequence[Option], failed: tuple[str, ...]
) -> ContinuumPlan:
    problem, judgement = base.problem, base.judgement
    snapshot = judgement.view.snapshot
    solution = None if chosen is None else chosen.found.solution
    shown = [] if solution is None else sorted(index for index, count in solution.nodes.items() if count)
    place = {index: at for at, index in enumerate(shown)}
    bound = None if chosen is None else Bound(lower_usd=chosen.found.bound, method=chosen.found.method)
    return ContinuumPlan(
        workload=workload,
        snapshot_id=snapshot.id,
        made_at=snapshot.taken_at,
        percentile=problem.percentile,
        pools=() if solution is None else tuple(_pool(problem, pools, solution, index) for index in shown),
        routes=() if solution is None else _routes(problem, pools, solution, place),
        losses=() if solution is None else losses(problem, pools, solution),
        alternatives=() if chosen is None else chosen.alternatives,
        terms=() if solution is None else _terms(problem, pools, solution),
        objective_usd=0.0 if solution is None else solution.usd,
        cost_usd=0.0 if solution is None else solution.money,
        bound=bound,
        considered=len(snapshot.book),
        refusals=judgement.sieve.counts(),
        policies=tuple(seat.policy.name for seat in judgement.panel.seats),
        gaps=snapshot.gaps,
        unserved=failed,
        notes=base.notes,
    )


def _duty(problem: Problem, option: Option, count: int) -> float:
    """The share of the time that a node is on, on the average of `count`."""
    usd = problem.columns[option.column].usd
    return min(1.0, (option.usd * count + option.usd_open) / (usd * count)) if usd > 0.0 else 1.0


def _pool(problem: Problem, pools: Sequence[Option], solution: Solution, index: int) -> Pool:
    option, count = pools[index], solution.nodes[index]
    column, curve = problem.columns[option.column], option.curve
    load = solution.load(problem, pools, index)
    replicas = count * column.per_node
    return Pool(
        offer=column.offer,
        nodes=count,
        replicas=replicas,
        layer="all" if len(problem.slices) == 1 else ("base", "peak")[option.slice],
        requests_per_s=load,
        most_requests_per_s=curve.rate(count),
        utilisation=load / (replicas * saturation(curve.replica, curve.mix)),
        first_token_s=first_token_s(problem, option, count, load),
        duty=_duty(problem, option, count),
        cost_usd=option.money * count + option.money_open,
    )


def _routes(problem: Problem, pools: Sequence[Option], solution: Solution, place: dict[int, int]) -> tuple[Route, ...]:
    routes = []
    for (scenario, index, who), share in sorted(solution.flow.items(), key=lambda item: (item[0][2], item[0][1])):
        if scenario != CALM or index not in place:
            continue
        option = pools[index]
        site = problem.sites[problem.columns[option.column].site]
        rtt = site.rtt_ms[who]
        part = share * problem.slices[option.slice].share * problem.groups[option.group].share
        first = first_token_s(problem, option, solution.nodes[index], solution.load(problem, pools, index))
        engine = problem.engines[problem.columns[option.column].kind, option.group]
        routes.append(
            Route(
                population=problem.populations[who],
                pool=place[index],
                share=part,
                requests_per_s=part * problem.rates[who],
                rtt_ms=rtt,
                first_token_s=first + rtt / 1000.0,
                limit_s=min(problem.first_token_s, problem.total_s - engine.rest_s),
                rtt_origin=site.origins[who] if site.origins else None,
            )
        )
    return tuple(routes)


def _terms(problem: Problem, pools: Sequence[Option], solution: Solution) -> tuple[Term, ...]:
    """The terms over all pools; a pool that is not always on has its share of every one."""
    sums: dict[tuple[str, str], float] = {}
    for index, count in sorted(solution.nodes.items()):
        option, column = pools[index], problem.columns[pools[index].column]
        if not count:
            continue
        total = option.usd * count + option.usd_open
        for by, name, usd in column.terms:
            part = usd / column.usd if column.usd else 0.0
            sums[by, name] = sums.get((by, name), 0.0) + total * part
    terms = [Term(by, name, usd) for (by, name), usd in sums.items()]
    if solution.latency_usd:
        terms.append(Term(LATENCY, LATENCY, solution.latency_usd))
    return tuple(terms)
