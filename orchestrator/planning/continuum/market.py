"""From a job and a snapshot to a problem: every policy prices one node of every offer, and says where none may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import floor, inf, isnan, nan
from typing import Final, NamedTuple

import numpy as np

from orchestrator.domain.candidates import PlanView
from orchestrator.domain.contracts import Policy
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Place
from orchestrator.domain.offerbook import UNKNOWN
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sites import ANTIPODE_RTT_MS, Atlas
from orchestrator.domain.sizing import Band, Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Inference, LatencyTarget
from orchestrator.planning.autoscale.queueing import Mix, of_service
from orchestrator.planning.continuum.problem import Column, Engine, Problem, Site, left_s, slices_of
from orchestrator.planning.judge import Judgement, judge
from orchestrator.planning.plan import sizings_of

BY: Final = "continuum"
LATENCY: Final = "latency"  # the policy and its term that depend on who is served from where
ENDLESS: Final = 100_000  # nodes where nobody says how many are on sale
ASSUMED_FIRST_TOKEN_S: Final = 5.0  # where the job has no limit: a queue must end somewhere
MOST_COLUMNS: Final = 400


class Market(NamedTuple):
    """The problem, the judgement it comes from, and what a reader must know of it."""

    problem: Problem
    judgement: Judgement
    notes: tuple[str, ...]


class Ask(NamedTuple):
    """How to plan: `percentile` of requests keep the limits; `survive` holds after the loss of any one site."""

    percentile: float = 0.99
    survive: bool = False
    buyable_only: bool = False


def market(workload: Inference, snapshot: Snapshot, policies: Sequence[Policy], ask: Ask) -> Market:
    """The problem of serving `workload` from the offers of `snapshot`.

    Terms of policies are of one node and add up; the term `latency` is of a population and a site. An offer that
    another one cannot be worse than is left out: of the same device, as near to everybody, as cheap, in units as small
    and in plenty.

    Raises: UserError for users whose place is unknown and for a service nobody asks anything.
    """
    if not workload.requests_per_s > 0.0:
        raise UserError("nobody sends requests: give a population requests_per_s above 0")
    users = _users(workload, Atlas(snapshot.network))
    stripped = without_distance(workload)
    sizings = {name: _alone(sizing) for name, sizing in sizings_of(stripped, snapshot).items()}
    judgement = judge(stripped, snapshot, sizings, policies, buyable_only=ask.buyable_only)
    columns, sites, engines = _columns(workload, judgement, users)
    limit, total = workload.limits.latency.first_token_s, workload.limits.latency.total_s
    notes = []
    if limit is None and total is None:
        limit = ASSUMED_FIRST_TOKEN_S
        notes.append(f"the job has no limit for the first token; {limit:g} s are taken (limits.latency.first_token)")
    peak = workload.peak_over_mean
    problem = Problem(
        populations=tuple(population.place for population in workload.users),
        rates=tuple(population.requests_per_s * peak for population in workload.users),
        sites=sites,
        columns=columns,
        engines=engines,
        slices=slices_of(peak),
        first_token_s=inf if limit is None else limit,
        total_s=inf if total is None else total,
        percentile=ask.percentile,
        budget_usd=workload.limits.budget_usd or inf,
        survive=ask.survive,
    )
    problem = _reachable(problem, judgement)
    few = _undominated(problem)
    if len(few) > MOST_COLUMNS:
        notes.append(f"of {len(few):,} offers the {MOST_COLUMNS} cheapest by device were looked at")
        few = sorted(sorted(few, key=lambda i: (_each(problem.columns[i]), i))[:MOST_COLUMNS])
    kept = tuple(problem.columns[index] for index in few)
    return Market(problem._replace(columns=kept), judgement, tuple(notes))


def without_distance(workload: Inference) -> Inference:
    """The job without the limits that depend on the distance, which are kept here by population and site."""
    latency = LatencyTarget(per_token_s=workload.limits.latency.per_token_s)
    return replace(workload, limits=replace(workload.limits, latency=latency))


def _alone(sizing: Sizing | Reason) -> Sizing | Reason:
    """One replica, so that one node of every offer is priced."""
    if isinstance(sizing, Reason) or not isinstance(sizing.effort, Service):
        return sizing
    return replace(sizing, effort=replace(sizing.effort, replicas=1, mean_replicas=1.0))


def _users(workload: Inference, atlas: Atlas) -> tuple[Place, ...]:
    places = []
    for population in workload.users:
        place = atlas.place(population.place)
        if place is None:
            close = atlas.similar(population.place)
            hint = f"did you mean {' or '.join(close)}?" if close else "give 'latitude,longitude' instead"
            raise UserError(f"the users' place '{population.place}' is unknown; {hint}")
        places.append(place)
    return tuple(places)


def _columns(
    workload: Inference, judgement: Judgement, users: Sequence[Place]
) -> tuple[tuple[Column, ...], tuple[Site, ...], Mapping[tuple[str, int], Engine]]:
    candidates, atlas = judgement.candidates, Atlas(judgement.view.snapshot.network)
    terms = [term for term in judgement.terms if (term.by, term.name) != (LATENCY, LATENCY)]
    worth = _worth(workload, judgement)
    sites: dict[tuple[str, str], int] = {}
    found: list[Site] = []
    columns: list[Column] = []
    engines: dict[tuple[str, int], Engine] = {}
    most = candidates.book.most_nodes
    for row in range(len(candidates)):
        offer = candidates.book[row]
        sizing = candidates.sizings[int(candidates.sizing[row])]
        key = (offer.provider, offer.region)
        if key not in sites:
            sites[key] = len(found)
            here = atlas.site(*key)
            trips = () if here is None else tuple(atlas.round_trip(user, here) for user in users)
            rtt = tuple(trip.ms for trip in trips) or (nan,) * len(users)
            usd_each = tuple(float(column[row]) for column in worth)
            found.append(Site(*key, rtt, usd_each, tuple(trip.told for trip in trips)))
        share = min(1.0, offer.gpus)
        kind = sizing.accelerator if share >= 1.0 else f"{sizing.accelerator} x{share:g}"
        if (kind, 0) not in engines:
            engines[kind, 0] = _engine(workload, sizing, share)
        usd = tuple((term.by, term.name, float(term.usd[row])) for term in terms)
        columns.append(
            Column(
                offer=offer,
                site=sites[key],
                kind=kind,
                per_node=max(1, floor(offer.gpus / sizing.min_gpus)),
                stock=ENDLESS if most[row] == UNKNOWN else int(most[row]),
                usd=sum(amount for _, _, amount in usd),
                money=float(sum(term.usd[row] for term in terms if term.money)),
                terms=usd,
            )
        )
    return tuple(columns), tuple(found), engines


def _worth(workload: Inference, judgement: Judgement) -> list[np.ndarray]:
    """For every population, by candidate: what its round trip is worth, by its share of all requests."""
    seats = [seat for seat in judgement.panel.seats if seat.policy.name == LATENCY]
    columns = []
    for population in workload.users:
        view = PlanView(workload=replace(workload, users=(population,)), snapshot=judgement.view.snapshot)
        usd = np.zeros(len(judgement.candidates))
        for seat in seats:
            usd = usd + seat.policy.price(view, judgement.candidates).get(LATENCY, np.zeros(len(usd)))
        columns.append(usd * population.requests_per_s / workload.requests_per_s)
    return columns


def _engine(workload: Inference, sizing: Sizing, share: float) -> Engine:
    """One replica of `sizing`, slower where it is a share of a device."""
    effort = sizing.effort
    if not isinstance(effort, Service):
        raise TypeError(f"{sizing.accelerator} is not sized for a service")
    slow = replace(
        effort,
        ttft_s=effort.ttft_s.scaled(1.0 / share),
        tpot_s=effort.tpot_s.scaled(1.0 / share),
        most_tokens_per_s=effort.most_tokens_per_s * share,
    )
    mix = Mix(float(workload.prompt_tokens), float(workload.output_tokens))
    rest: Band = slow.tpot_s
    return Engine(of_service(slow, mix.prompt_tokens, mix.output_tokens), mix, workload.output_tokens * rest.p90)


def _reachable(problem: Problem, judgement: Judgement) -> Problem:
    """Without the offers that are too far from, or too slow for, every population; the sieve counts them."""
    near, rows, figure, why = [], [], [], {}
    for index, column in enumerate(problem.columns):
        site, engine = problem.sites[column.site], problem.engines[column.kind, 0]
        if any(left_s(problem, site, who, engine) > 0.0 for who, rate in enumerate(problem.rates) if rate > 0.0):
            near.append(column)
            continue
        row = int(judgement.candidates.offer[index])
        rows.append(row)
        least, origin = min(zip(site.rtt_ms, site.origins, strict=False), default=(ANTIPODE_RTT_MS, ""))
        figure.append(least)
        why[row] = (
            f"its round trip to the nearest users is {least:,.0f} ms ({origin}), which leaves no time for an answer"
            if origin
            else "the place of the offer's region is unknown, and so its distance to the users"
        )
    order = np.argsort(np.array(rows, np.int64), kind="stable")
    judgement.sieve.refuse_rows(
        np.array(rows, np.int64)[order], BY, ReasonCode.LATENCY, lambda row: why[row],
        figure=np.array(figure, np.float64)[order],
    )  # fmt: skip
    return problem._replace(columns=tuple(near))


def _each(column: Column) -> float:
    return column.usd / column.per_node


def _undominated(problem: Problem) -> list[int]:
    """Columns that some other one is not at least as good as in everything."""
    order = sorted(range(len(problem.columns)), key=lambda i: (_each(problem.columns[i]), i))
    kept: dict[str, list[int]] = {}
    for index in order:
        column = problem.columns[index]
        rivals = kept.setdefault(column.kind, [])
        if not any(_dominates(problem, problem.columns[rival], column) for rival in rivals):
            rivals.append(index)
    return sorted(index for rivals in kept.values() for index in rivals)


def _dominates(problem: Problem, a: Column, b: Column) -> bool:
    """Of `a` not dearer than `b` by the replica."""
    if a.stock < ENDLESS or b.per_node % a.per_node or (b.released and not a.released):
        return False
    if a.offer.boot_s > b.offer.boot_s and len(problem.slices) > 1:
        return False
    if a.money * b.per_node > b.money * a.per_node * (1.0 + 1e-9) and problem.budget_usd < inf:
        return False
    if a.site == b.site:
        return True
    if problem.survive:
        return False
    near, far = problem.sites[a.site], problem.sites[b.site]
    as_near = all(mine <= theirs or isnan(theirs) for mine, theirs in zip(near.rtt_ms, far.rtt_ms, strict=True))
    return as_near and all(mine <= theirs for mine, theirs in zip(near.latency_usd, far.latency_usd, strict=True))
