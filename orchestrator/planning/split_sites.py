"""Training on several sites: where no offer has the nodes to be in time, two or three that train one model together.

Each site does its share of every step, and they agree seldom (DiLoCo): `sizing.multisite` says what that takes over the
network between them. Nodes are chosen so that all sites keep one pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.egress import End, Tariffs
from orchestrator.domain.network import Network
from orchestrator.domain.plan import Placement, Term
from orchestrator.domain.reason import Reason
from orchestrator.domain.sites import Atlas
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import FineTune, Method, Training
from orchestrator.planning import parts
from orchestrator.planning.judge import Judgement, joined_candidates
from orchestrator.planning.limits import hours_left
from orchestrator.planning.parts import Divided, Piece
from orchestrator.planning.pool import Pool, pool_of
from orchestrator.planning.speed import paces, whole_devices
from orchestrator.sizing.layouts import usual_batch
from orchestrator.sizing.multisite import DILOCO, HOUR_S, Link, MultiSite, Site, extra_tokens, ring_s, verdict
from orchestrator.sizing.parameters import Parameters, with_calibration
from orchestrator.sizing.work import work_of

MOST_SITES = 3
LOOKED_AT = 12  # offers: the cheapest by the work that they do
PRICED = 8  # combinations that the policies judge, the cheapest by the hour first
BYTES_PER_GIB = float(2**30)
ASSUMED_USD_PER_GIB = 0.12  # the dearest first tier of a large vendor's list, as the policy `cost` assumes
# Between offers of one region, from memory as of 2026-11: machines of eight devices of the large clouds have 100 Gbit/s
# and more between their zones, and a round trip of 1 to 2 ms.
SAME_REGION = Link(gbit_s=100.0, rtt_s=0.002)


class Team(NamedTuple):
    """Offers that train together: rows of the pool, their nodes, what it takes, and USD by the hour and for traffic."""

    rows: tuple[int, ...]
    nodes: tuple[int, ...]
    takes: MultiSite
    hours: float  # from purchase to end: the slowest boot and the training
    machines_usd: float
    exchange_usd: float
    assumed: bool  # whether a price of traffic is

    @property
    def usd(self) -> float:
        return self.machines_usd + self.exchange_usd


class Case(NamedTuple):
    """What all teams share."""

    job: Training | FineTune
    pool: Pool
    left_h: float
    atlas: Atlas
    gbit_s: Mapping[frozenset[str], float]
    tariffs: Tariffs
    parameters: Parameters


def divided(judgement: Judgement, sizings: Mapping[str, Sizing | Reason]) -> Divided:
    """The judgement's training on several sites, in time by `sizing.multisite`; the cheapest that is found.

    Sites whose bandwidth nobody measured are left out, and a note says so.
    """
    view = judgement.view
    job, left_h = view.workload, hours_left(view.workload, view.snapshot)
    if left_h is None or not isinstance(job, Training | FineTune):
        return Divided()
    if isinstance(job, FineTune) and job.method is not Method.FULL:
        return Divided(notes=("an adapter is trained in one place: several sites are not looked at",))
    network = view.snapshot.network
    pool = pool_of(judgement, sizings, left_h)
    case = Case(
        job,
        pool.take(_cheapest(pool)),
        left_h,
        Atlas(network),
        _bandwidths(network),
        Tariffs(network),
        with_calibration(view.snapshot.calibration),
    )
    teams, unknown = _teams(case)
    for team in sorted(teams, key=lambda team: (round(team.usd, 6), _labels(case, team)))[:PRICED]:
        pieces = _pieces(case, team)
        placement = parts.placed(judgement, pieces, (Term("planning", "site-exchange", team.exchange_usd),))
        if placement is not None:
            joined = joined_candidates([piece.candidate for piece in pieces])
            return Divided(placement, joined, notes=_notes(case, team, placement))
    if unknown and not teams:
        return Divided(notes=(f"training on several sites is not planned: {unknown}",))
    return Divided()


def _cheapest(pool: Pool) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    usd = pool.units.nodes * pool.units.book.usd_per_hour * pool.work_h
    return np.sort(np.argsort(usd, kind="stable")[:LOOKED_AT])


def _bandwidths(network: Network) -> dict[frozenset[str], float]:
    return {frozenset((link.a, link.b)): link.gbit_s for link in reversed(network.links) if link.gbit_s > 0}


def _teams(case: Case) -> tuple[list[Team], str]:
    """The teams that are in time, and a pair of sites between which nobody measured the bandwidth."""
    teams, unknown = list[Team](), ""
    kinds = [one.precision for one in case.pool.units.sizings]
    for count in range(2, MOST_SITES + 1):
        for rows in combinations(range(len(case.pool.units)), count):
            if len({kinds[int(case.pool.units.sizing[row])] for row in rows}) > 1:
                continue
            link = _slowest(case, rows)
            if isinstance(link, str):
                unknown = unknown or link
                continue
            team = _team(case, rows, link)
            if team is not None:
                teams.append(team)
    return teams, unknown


def _slowest(case: Case, rows: Sequence[int]) -> Link | str:
    """The slowest link between any two of `rows`; a sentence where one is not known."""
    links = []
    for one, other in combinations(rows, 2):
        keys = [_site_of(case, row) for row in (one, other)]
        if keys[0] == keys[1]:
            links.append(SAME_REGION)
            continue
        places = [case.atlas.site(*key) for key in keys]
        gbit_s = case.gbit_s.get(frozenset("/".join(key) for key in keys))
        if gbit_s is None or places[0] is None or places[1] is None:
            return f"nobody measured the bandwidth between {'/'.join(keys[0])} and {'/'.join(keys[1])}"
        links.append(Link(gbit_s=gbit_s, rtt_s=case.atlas.round_trip(places[0], places[1]).ms / 1000.0))
    return Link(gbit_s=min(link.gbit_s for link in links), rtt_s=max(link.rtt_s for link in links))


def _site_of(case: Case, row: int) -> tuple[str, str]:
    book = case.pool.units.book
    return book.provider[row], book.region[row]


def _team(case: Case, rows: tuple[int, ...], link: Link) -> Team | None:
    """The fewest nodes of each of `rows` that keep the pace that is in time; None where there are too few."""
    units = case.pool.units
    boot_h = max(float(units.book.boot_s[row]) for row in rows) / HOUR_S
    steps = _steps(case, 1)
    nodes = _nodes(case, rows, link, steps, case.left_h - boot_h)
    if nodes is not None:  # the usual batch grows with the devices, and is known with them
        devices = sum(count * float(units.book.gpus[row]) for row, count in zip(rows, nodes, strict=True))
        steps = _steps(case, int(devices))
        nodes = _nodes(case, rows, link, steps, case.left_h - boot_h)
    if nodes is None:
        return None
    takes = verdict(
        parameters=case.job.model.parameters,
        steps=steps,
        sites=[_site(case, row, count, len(rows), steps) for row, count in zip(rows, nodes, strict=True)],
        link=link,
        exchange=DILOCO,
        table=case.parameters,
    )
    leases = case.pool.leases
    if leases is not None and takes.hours > min(leases.first_h[row] for row in rows):
        return None  # a lease that ends would stop all sites
    hours = boot_h + takes.hours
    if hours > case.left_h * (1.0 + 1e-9):
        return None
    rate = sum(count * float(units.book.usd_per_hour[row]) for row, count in zip(rows, nodes, strict=True))
    exchange_usd, assumed = _exchange_usd(case, rows, takes.traffic_gb / len(rows) * 1e9 / BYTES_PER_GIB)
    return Team(rows, nodes, takes, hours, rate * hours, exchange_usd, assumed)


def _steps(case: Case, devices: int) -> float:
    job = case.job
    batch = job.global_batch_tokens
    if batch is None:
        work = work_of(job.model, sequence_length=float(job.sequence_length), precision=job.precision)
        batch = usual_batch(work, max(devices, 1), case.parameters)
    return max(1.0, job.tokens / batch)


def _nodes(case: Case, rows: tuple[int, ...], link: Link, steps: float, room_h: float) -> tuple[int, ...] | None:
    """Nodes of each row by which all are in time, or None.

    A site's n-th of the batch takes on d devices what the whole batch takes on n·d of them.
    """
    n, pace = len(rows), paces(case.pool.units.sizings)
    sync = ring_s(
        case.job.model.parameters * DILOCO.bytes_per_parameter, n, link, case.parameters["multisite.link_share"]
    )
    done = steps * (1.0 + extra_tokens(n, DILOCO.inner_steps, case.parameters))
    step_s = room_h * HOUR_S / done - sync / DILOCO.inner_steps
    if not step_s > 0:
        return None
    units, found = case.pool.units, []
    for row in rows:
        sizing, gpus = units.sizing[row : row + 1], whole_devices(units.book.gpus[row : row + 1])
        speed = pace.p50[sizing] * HOUR_S / (steps * step_s) / np.minimum(1.0, gpus)
        wanted = float(pace.devices_for(sizing, speed)[0]) / n / max(1.0, float(gpus[0]))
        count = max(int(units.nodes[row]), int(np.ceil(wanted * (1.0 - 1e-12))))
        if count > case.pool.stock[row] * units.nodes[row]:
            return None
        found.append(count)
    return tuple(found)


def _site(case: Case, row: int, nodes: int, sites: int, steps: float) -> Site:
    units = case.pool.units
    sizing, gpus = units.sizing[row : row + 1], whole_devices(units.book.gpus[row : row + 1])
    pace = paces(units.sizings)
    hours = pace.hours(sizing, gpus, np.array([float(nodes * sites)]), np.zeros(1))[1]
    return Site(
        name=units.book[row].label,
        devices=int(nodes * max(1.0, float(gpus[0]))),
        step_s=float(hours[0]) * HOUR_S / steps,
    )


def _exchange_usd(case: Case, rows: Sequence[int], each_gib: float) -> tuple[float, bool]:
    """What the sites are billed for what each sends to the dearest other, in one month; whether a rate is assumed."""
    book = case.pool.units.book
    ends = [case.tariffs.end(book.provider[row], book.region[row], book.zone[row]) for row in rows]
    bills = [_dearest(case.tariffs, end, ends, each_gib) for end in ends]
    return sum(each_gib * ASSUMED_USD_PER_GIB if usd is None else usd for usd in bills), None in bills


def _dearest(tariffs: Tariffs, source: End, ends: Sequence[End], gib: float) -> float | None:
    found = [tariffs.usd(source, end, gib) for end in ends if end is not source]
    known = [usd for usd in found if usd is not None]
    return max(known, default=0.0) if len(known) == len(found) else None


def _labels(case: Case, team: Team) -> str:
    return " + ".join(case.pool.units.book[row].label for row in team.rows)


def _pieces(case: Case, team: Team) -> tuple[Piece, ...]:
    boot_h = team.hours - team.takes.hours
    pieces = []
    for row, nodes in zip(team.rows, team.nodes, strict=True):
        unit = case.pool.units.take(np.array([row]))
        pieces.append(Piece(_held(unit, nodes, boot_h, team.takes.hours), 1.0 / len(team.rows)))
    return parts.in_order(pieces)


def _held(unit: Candidates, nodes: int, boot_h: float, work_h: float) -> Candidates:
    """`nodes` of one offer from purchase to end, of which the wait for the slowest boot is certain."""
    pace = paces(unit.sizings)
    low, high = (work_h * float((end / pace.p50)[unit.sizing][0]) for end in (pace.p10, pace.p90))
    return replace(
        unit,
        nodes=np.array([nodes]),
        hours=np.array([boot_h + work_h]),
        hours_p10=np.array([boot_h + low]),
        hours_p90=np.array([boot_h + high]),
    )


def _notes(case: Case, team: Team, placement: Placement) -> tuple[str, ...]:
    notes = [
        f"no. 1 trains on {len(placement.parts)} sites, each with its share of every step, that exchange their changes "
        f"every {team.takes.exchange.inner_steps} steps ({team.takes.exchange.name}): the job's program has to do so. "
        f"{team.takes.why}"
    ]
    if len({_site_of(case, row) for row in team.rows}) < len(team.rows):
        notes.append(f"between offers of one region {SAME_REGION.gbit_s:g} Gbit/s are assumed")
    if team.assumed:
        notes.append(f"price of traffic between the sites unknown; assumed {ASSUMED_USD_PER_GIB:g} USD/GiB")
    if case.job.global_batch_tokens is None:
        notes.append("the global batch is not stated: the steps of the sites are of one usual for the model's size")
    return tuple(notes)
