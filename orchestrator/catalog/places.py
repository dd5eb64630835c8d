"""Where the regions of the providers are, and the big cities users are in."""

from __future__ import annotations

from orchestrator.catalog.tables import rows
from orchestrator.domain.network import Place

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
EEA = EU | frozenset({"IS", "LI", "NO"})


def jurisdictions(country: str) -> tuple[str, ...]:
    """What a residency limit may call a place in `country`: the ISO code itself, and `EU` and `EEA` for members."""
    unions = (("EU", EU), ("EEA", EEA))
    return (country, *(name for name, members in unions if country in members))


def load() -> tuple[Place, ...]:
    """Every place we know: regions as `provider/region`, cities by their English name.

    The last two columns are those of `grid`, written by `scripts/fill_places.py`: a plan reads one table, not four.
    """
    table = rows("places.csv")
    known = {country: jurisdictions(country) for country in {row["country"] for row in table}}
    return tuple(
        Place(
            key=row["key"],
            latitude=float(row["latitude"]),
            longitude=float(row["longitude"]),
            country=row["country"],
            jurisdictions=known[row["country"]],
            g_co2_per_kwh=_number(row["g_per_kwh"]),
            pue=_number(row["pue"]),
        )
        for row in table
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
