"""The spread policy: not all that runs in one provider, region or zone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offerbook import BoolArray, FloatArray, OfferBook, Words
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import Holding
from orchestrator.domain.workload import Workload

NAME = "spread"
DEFAULTS: Mapping[str, float] = {
    "max_share": 0.0,  # of all that is held, at one provider; 0 is no limit
    "max_region_share": 0.0,  # in one region
    "max_zone_share": 0.0,  # in one zone, whose machines share power and network and so fail together
    "count_gpus": 0.0,  # 1: shares of the GPUs held; 0: of the dollars an hour they cost
    "usd_per_share": 0.0,  # what it is worth not to have all at one provider
    "usd_per_zone_share": 0.0,  # what it is worth not to have all in one zone
}
# A place is one string, so that places are looked up by words: "aws", "aws/us-east-1", "aws/us-east-1/us-east-1a".
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "max_share": ("provider",),
    "max_region_share": ("provider", "region"),
    "max_zone_share": ("provider", "region", "zone"),
    "usd_per_share": ("provider",),
    "usd_per_zone_share": ("provider", "region", "zone"),
}
SPELT: Mapping[str, str] = {
    "max_share": "at the provider",
    "max_region_share": "in the region",
    "max_zone_share": "in the zone",
}
Held: TypeAlias = dict[str, float]


class SpreadPolicy:
    """Counts what runs (`Snapshot.holdings`) and the candidate: share = (held there + candidate) / (all + candidate).

    Hard: SPREAD over `max_share` and its like for regions and zones, but never where, of all the places of the market
    that the job may use, none has less: there the limit cannot be kept better, and so nothing is refused while nothing
    is held or where there is only one place. Soft: the term `concentration`, dollars times the share, which is worth
    and no money. With nothing held every share is 1, and there is no term.
    """

    name = NAME

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """SPREAD where too large a share would be in one place."""
        settings = overridden(view.workload, NAME, self._settings)
        found = []
        for name, where in SPELT.items():
            limit = settings[name]
            if limit and view.snapshot.holdings:
                share, there = _shares(view, candidates, COLUMNS[name], gpus=settings["count_gpus"] > 0)
                least = _least(view, COLUMNS[name], gpus=settings["count_gpus"] > 0)
                over: BoolArray = (share > limit) & (there > least)
                template = f"{{figure:.0%}} of what is held would be {where}; the limit is {limit:.0%}"
                found.append(Refusals(ReasonCode.SPREAD, over, template, share))
        return found

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term `concentration` where a share has a price and something is held."""
        settings = overridden(view.workload, NAME, self._settings)
        priced = [name for name in ("usd_per_share", "usd_per_zone_share") if settings[name]]
        if not priced or not view.snapshot.holdings:
            return {}
        usd = np.zeros(len(candidates), np.float64)
        for name in priced:
            usd += settings[name] * _shares(view, candidates, COLUMNS[name], gpus=settings["count_gpus"] > 0)[0]
        return {"concentration": usd}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: more nodes in a place are a larger share."""
        return frozenset()


def _shares(
    view: PlanView, candidates: Candidates, columns: Sequence[str], *, gpus: bool
) -> tuple[FloatArray, FloatArray]:
    """The share of each candidate's place with it there, and what is held there now, shape (n,) each."""
    held = _held(view.snapshot.holdings, columns, gpus=gpus)
    there = _by_place(candidates.book, columns, lambda place: held.get(place, 0.0))
    added = candidates.gpus if gpus else candidates.nodes * candidates.book.usd_per_hour
    whole = sum(held.values()) + added
    # Owned machines may cost nothing, and nothing of nothing is no share.
    return np.divide(there + added, whole, out=np.zeros(len(whole), np.float64), where=whole > 0), there


def _held(holdings: Sequence[Holding], columns: Sequence[str], *, gpus: bool) -> Held:
    held: Held = {}
    for holding in holdings:
        place = "/".join(getattr(holding, column) for column in columns)
        held[place] = held.get(place, 0.0) + (holding.gpus if gpus else holding.usd_per_hour)
    return held


def _least(view: PlanView, columns: Sequence[str], *, gpus: bool) -> float:
    """The least that is held in any place of the market that the job may use."""
    held, snapshot = _held(view.snapshot.holdings, columns, gpus=gpus), view.snapshot
    usable = frozenset(
        provider for provider in (snapshot.buyable or snapshot.book.provider.vocab) if _allowed(view.workload, provider)
    )
    book = snapshot.book.where(snapshot.book.provider.isin(usable) & (snapshot.book.available != 0))
    amounts = _by_place(book, columns, lambda place: held.get(place, 0.0))
    return float(amounts.min()) if len(amounts) else 0.0


def _allowed(workload: Workload, provider: str) -> bool:
    limits = workload.limits.providers
    return not limits or any(fnmatchcase(provider.casefold(), pattern.casefold()) for pattern in limits)


def _by_place(book: OfferBook, columns: Sequence[str], amount: Callable[[str], float]) -> FloatArray:
    """`amount` of each row's place, shape (n,), asked once per place."""
    words: list[Words] = [getattr(book, column) for column in columns]
    code = np.zeros(len(book), np.int64)
    for column in words:
        code = code * len(column.vocab) + column.codes
    codes, first, index = np.unique(code, return_index=True, return_inverse=True)
    places = ["/".join(column[row] for column in words) for row in first.tolist()]
    return np.array([amount(place) for place in places], np.float64)[index] if len(codes) else np.zeros(0, np.float64)


def create(context: PolicyContext) -> SpreadPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return SpreadPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
