"""What moving a job's data costs: the input to the machines, the result from them to where it is wanted."""

from __future__ import annotations

from collections.abc import Callable
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


def arrival(view: PlanView, candidates: Candidates, assumed_usd_per_gib: float, before_gib: float) -> Traffic | None:
    """The input brought from `data.location` to each candidate; None where there is nothing to bring.

    Raises: UserError where `data.location` names no place and no provider we know.
    """
    data = view.workload.data
    if not data.location or data.size_gib <= 0:
        return None
    source = locate(data.location, view.snapshot.network, view.snapshot.book)
    tariffs = Tariffs(view.snapshot.network)
    return _priced(
        candidates,
        data.size_gib * assumed_usd_per_gib,
        lambda at: tariffs.usd(source, at, data.size_gib, before_gib),
        tariffs,
        source,
    )


def departure(view: PlanView, candidates: Candidates, assumed_usd_per_gib: float, before_gib: float) -> Traffic | None:
    """The result brought from each candidate to `data.deliver_to`; None where there is nothing to bring.

    Raises: UserError where `data.deliver_to` names no place and no provider we know.
    """
    data = view.workload.data
    if data.result_gib <= 0:
        return None
    target = destination(view, data)
    tariffs = Tariffs(view.snapshot.network)
    return _priced(
        candidates,
        data.result_gib * assumed_usd_per_gib,
        lambda at: tariffs.usd(at, target, data.result_gib, before_gib),
        tariffs,
        target,
    )


def destination(view: PlanView, data: DataSet) -> End:
    """Where the result goes: `deliver_to`, else back to where the input lies, else to the user's own machine."""
    wanted = data.deliver_to or data.location
    return locate(wanted, view.snapshot.network, view.snapshot.book) if wanted else End()


def _priced(
    candidates: Candidates, assumed: float, usd: Callable[[End], float | None], tariffs: Tariffs, other: End
) -> Traffic:
    """`usd` of every site once, spread over the candidates; zone by zone where the other end lies in one zone."""
    book, sites = candidates.book, Sites.of(candidates.book)
    found = [usd(tariffs.end(provider, region)) for provider, region in sites.keys]
    unknown = np.array([price is None for price in found], np.bool_)
    cost = sites.spread([assumed if price is None else price for price in found])
    guessed = unknown[sites.index] if found else np.zeros(len(book), np.bool_)
    same = [
        (index, key) for index, key in enumerate(sites.keys) if other.zone and key == (other.provider, other.region)
    ]
    for index, (provider, region) in same:
        rows = np.flatnonzero(sites.index == index)
        for code in np.unique(book.zone.codes[rows]).tolist():
            within = rows[book.zone.codes[rows] == code]
            price = usd(tariffs.end(provider, region, book.zone.vocab[code]))
            cost[within] = assumed if price is None else price
            guessed[within] = price is None
    return Traffic(cost, guessed)
