"""What moving a job's data costs: the input to the machines, the result from them to where it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Usd
from orchestrator.domain.egress import End, Tariffs, locate
from orchestrator.domain.offerbook import BoolArray
from orchestrator.domain.sites import Sites
from orchestrator.domain.workload import DataSet


class Traffic(NamedTuple):
    """USD per candidate, and where the vendor's price is unknown and one had to be assumed."""

    usd: Usd
    assumed: BoolArray


class Routes:
    """`gib` GiB between one end and any site, to it or from it: USD by provider, region and zone, found once each."""

    def __init__(self, tariffs: Tariffs, other: End, gib: float, before_gib: float, *, inwards: bool) -> None:
        self.other = other
        self._tariffs = tariffs
        self._gib, self._before_gib, self._inwards = gib, before_gib, inwards
        self._known: dict[tuple[str, str, str], float | None] = {}

    def usd(self, provider: str, region: str, zone: str = "") -> float | None:
        """What the way costs; None where the vendor's price is unknown."""
        key = (provider, region, zone)
        if key not in self._known:
            at = self._tariffs.end(provider, region, zone)
            ends = (self.other, at) if self._inwards else (at, self.other)
            self._known[key] = self._tariffs.usd(*ends, self._gib, self._before_gib)
        return self._known[key]


class Way(NamedTuple):
    """Routes and the price that stands in where a vendor's is unknown."""

    routes: Routes
    assumed_usd: float


def ways(view: PlanView, assumed_usd_per_gib: float, before_gib: float) -> Mapping[str, Way]:
    """The input from `data.location` as `egress`, the result to `data.deliver_to` as `delivery`, where there are any.

    `before_gib` have left the same provider this month already.

    Raises: UserError where one of them names no place and no provider we know.
    """
    data, found = view.workload.data, dict[str, Way]()
    arrives, leaves = bool(data.location) and data.size_gib > 0, data.result_gib > 0
    if not arrives and not leaves:
        return found
    network, market = view.snapshot.network, view.snapshot.book
    tariffs = Tariffs(network)
    if arrives:
        source = locate(data.location, network, market)
        routes = Routes(tariffs, source, data.size_gib, before_gib, inwards=True)
        found["egress"] = Way(routes, data.size_gib * assumed_usd_per_gib)
    if leaves:
        routes = Routes(tariffs, _destination(view, data), data.result_gib, before_gib, inwards=False)
        found["delivery"] = Way(routes, data.result_gib * assumed_usd_per_gib)
    return found


def priced(way: Way, candidates: Candidates) -> Traffic:
    """The way of every candidate, looked up per site; zone by zone where the other end lies in one zone."""
    book, sites, other = candidates.book, Sites.of(candidates.book), way.routes.other
    found = [way.routes.usd(provider, region) for provider, region in sites.keys]
    cost = sites.spread([way.assumed_usd if price is None else price for price in found])
    unknown = np.array([price is None for price in found], np.bool_)
    guessed = unknown[sites.index] if found else np.zeros(len(book), np.bool_)
    if other.zone and (other.provider, other.region) in sites.keys:
        rows = np.flatnonzero(sites.index == sites.keys.index((other.provider, other.region)))
        for code in sorted(set(book.zone.codes[rows].tolist())):
            within = rows[book.zone.codes[rows] == code]
            price = way.routes.usd(other.provider, other.region, book.zone.vocab[code])
            cost[within] = way.assumed_usd if price is None else price
            guessed[within] = price is None
    return Traffic(cost, guessed)


def _destination(view: PlanView, data: DataSet) -> End:
    """Where the result goes: `deliver_to`, else back to where the input lies, else to the user's own machine."""
    wanted = data.deliver_to or data.location
    return locate(wanted, view.snapshot.network, view.snapshot.book) if wanted else End()
