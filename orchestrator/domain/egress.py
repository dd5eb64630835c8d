"""Egress: what a vendor bills for data that leaves, by where it leaves, where it arrives and how much left before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Network, Place
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.sites import Atlas, Sites
from orchestrator.domain.spelling import hint

ZONE, REGION, INTERNET = "zone", "region", "internet"  # the scopes of a rate

# The areas that vendors price traffic by: the Middle East is one of its own, Mexico is North America.
_COUNTRIES = {
    "Africa": "DZ EG ET GH KE MA NG SN TN TZ UG ZA",
    "Asia": "BD CN HK ID IN JP KH KR KZ LK MM MN MO MY NP PH PK SG TH TW UZ VN",
    "Europe": "AD AL AM AT AZ BA BE BG BY CH CY CZ DE DK EE ES FI FR GB GE GG GI GR HR HU IE IM IS IT JE LI LT LU LV "
    "MC MD ME MK MT NL NO PL PT RO RS RU SE SI SK SM TR UA",
    "Middle East": "AE BH IL IQ JO KW LB OM QA SA",
    "North America": "CA CR CU DO GT MX PA PR US",
    "Oceania": "AU FJ NC NZ PG",
    "South America": "AR BO BR CL CO EC PE PY UY VE",
}
CONTINENTS: Mapping[str, str] = MappingProxyType(
    {country: continent for continent, countries in _COUNTRIES.items() for country in countries.split()}
)

# Pairs of how much a rate says of departure and arrival, the most telling first: 0 region, 1 continent, 2 nothing.
_PRECEDENCE = ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (1, 2), (2, 1), (2, 2))


class End(NamedTuple):
    """Where data leaves or arrives. `provider` "" is a place of the user's own; "" is unknown or unsaid elsewhere.

    Data without a zone lies in storage of the whole region, which every zone of it reads for free.
    """

    provider: str = ""
    region: str = ""
    zone: str = ""
    continent: str = ""


class Tariffs:
    """An index of a network's egress rates, for a look-up per site.

    Of the rates of a scope that fit, the one counts that says more of both ends: a region says more than a continent,
    and that more than nothing; among equals the one that says more of the departure.
    """

    def __init__(self, network: Network) -> None:
        self._atlas = Atlas(network)
        self._tiers: dict[tuple[str, str, str | None, str | None], list[tuple[float, float]]] = {}
        for rate in network.egress:
            key = (rate.provider, rate.scope, rate.region, rate.to)
            self._tiers.setdefault(key, []).append((rate.from_gib, rate.usd_per_gib))
        for tiers in self._tiers.values():
            tiers.sort()

    def end(self, provider: str, region: str, zone: str = "") -> End:
        """A provider's region or zone as an end, on the continent that its place is on where that is known."""
        return End(provider, region, zone, _continent(self._atlas.site(provider, region)))

    def usd(self, source: End, destination: End, gib: float, before_gib: float = 0.0) -> float | None:
        """What `gib` GiB from `source` to `destination` are billed, both ends' charges together; None where unknown.

        `before_gib` have already left this month and used up the first tiers. Data that stays in its zone or region, or
        leaves a place of the user's own, is free: nobody we know sends an invoice for it.
        """
        if not gib or not source.provider or _stays(source, destination):
            return 0.0
        tiers = self._fitting(source, destination)
        if tiers is None:
            return None
        return billed(tiers, before_gib + gib) - billed(tiers, before_gib)

    def tiers(self, source: End, destination: End) -> tuple[tuple[float, float], ...] | None:
        """What `usd` reckons with: (from GiB, USD per GiB), rising; empty where it is free, None where unknown."""
        if not source.provider or _stays(source, destination):
            return ()
        found = self._fitting(source, destination)
        return None if found is None else tuple(found)

    def _fitting(self, source: End, destination: End) -> list[tuple[float, float]] | None:
        scope = INTERNET
        if source.provider == destination.provider:
            scope = ZONE if source.region and source.region == destination.region else REGION
        inside = source.provider == destination.provider
        leaves = (source.region, source.continent, None)
        arrives = (destination.region if inside else "", destination.continent, None)
        for departure, arrival in _PRECEDENCE:
            if leaves[departure] == "" or arrives[arrival] == "":
                continue
            tiers = self._tiers.get((source.provider, scope, leaves[departure], arrives[arrival]))
            if tiers is not None:
                return tiers
        return None


def _stays(source: End, destination: End) -> bool:
    if source.provider != destination.provider or not source.region or source.region != destination.region:
        return False
    return not source.zone or source.zone == destination.zone


def billed(tiers: Sequence[tuple[float, float]], gib: float) -> float:
    """USD for the first `gib` GiB of a month by `tiers`, each (from GiB, USD per GiB), rising."""
    ends = [start for start, _ in tiers[1:]] + [float("inf")]
    return sum(max(0.0, min(gib, end) - start) * usd for (start, usd), end in zip(tiers, ends, strict=True))


def locate(location: str, network: Network, market: OfferBook) -> End:
    """The end that a job file calls `location`: "provider/region", "provider/region/zone", a provider, or a place.

    A name that is both is the provider's where it sells something or has a rate: it sends the invoice.

    Raises: UserError where nothing of that name is known.
    """
    provider, region, zone = (*location.split("/", 2), "", "")[:3]
    codes = [code for code, name in enumerate(market.provider.vocab) if name == provider]
    sold = market.provider.codes == codes[0] if codes else None
    place = network.place(location) or network.place(f"{provider}/{region}")
    if sold is not None and region and (sold & market.region.isin(frozenset((region,)))).any():
        return End(provider, region, zone, _continent(place))
    seller = (sold is not None and sold.any()) or any(rate.provider == provider for rate in network.egress)
    if seller and (not region or place):
        return End(provider, region, zone, _continent(place))
    if place:
        return End(continent=_continent(place))
    known = [f"{name}/{where}" for name, where in Sites.of(market).keys] + [place.key for place in network.places]
    raise UserError(f"'{location}' is no place and no provider/region we know; {hint(location, known)}")


def _continent(place: Place | None) -> str:
    return CONTINENTS.get(place.country, "") if place else ""
