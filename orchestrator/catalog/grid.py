"""How much carbon dioxide is behind a kilowatt-hour in a place, and how much of it a provider's sites lose."""

from __future__ import annotations

from functools import cache

from orchestrator.catalog.tables import rows
from orchestrator.domain.network import Place
from orchestrator.domain.sizing import Assumption

READ = {"copy": "read in a published copy", "recall": "from memory, not re-read"}
BASIS = {"lifecycle": "lifecycle CO2e of generation", "combustion": "combustion at the plants alone"}


def intensity(place: Place) -> Assumption | None:
    """Grams of CO2(e) per kWh of the grid zone `place` is in, of its country where we do not know the zone.

    An annual average of what is generated there: neither what a provider buys on paper nor what one more kilowatt-hour
    would cause. None where we hold no figure: coordinates, and countries outside the table.
    """
    return zone_intensity(_zones_of_places().get(place.key, place.country))


def zone_intensity(zone: str) -> Assumption | None:
    """The same for a zone: an ISO country code, `EU`, or a part of a country such as `US-ERCT` or `CA-QC`."""
    return _intensities().get(zone)


def pue(provider: str) -> Assumption | None:
    """Total over IT energy as `provider` publishes it over its sites; None where we know of no such figure."""
    return _published_pue().get(provider)


@cache
def _intensities() -> dict[str, Assumption]:
    return {
        row["zone"]: Assumption(
            "g_per_kwh",
            float(row["g_per_kwh"]),
            f"{row['zone']} {row['year']}: {row['source']}, {BASIS[row['basis']]}, {READ[row['checked']]}",
        )
        for row in rows("grid.csv")
    }


@cache
def _zones_of_places() -> dict[str, str]:
    return {row["place"]: row["zone"] for row in rows("grid_places.csv")}


@cache
def _published_pue() -> dict[str, Assumption]:
    return {
        row["provider"]: Assumption("pue", float(row["pue"]), f"{row['source']}, {row['year']}, {READ[row['checked']]}")
        for row in rows("pue.csv")
    }
