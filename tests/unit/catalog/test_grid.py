"""Carbon intensity and PUE by place."""

from __future__ import annotations

from datetime import date

import pytest

from orchestrator.catalog import grid, places
from orchestrator.catalog.tables import rows
from orchestrator.domain.network import Place

PLACES = {place.key: place for place in places.load()}


def of(key: str) -> float:
    found = grid.intensity(PLACES[key])
    assert found is not None
    return found.value


def test_every_place_we_know_has_an_intensity_with_its_origin() -> None:
    for place in PLACES.values():
        found = grid.intensity(place)
        assert found is not None, place.key
        assert 0 < found.value < 1000
        assert found.origin


def test_every_country_of_the_european_union_is_covered_and_so_is_the_union() -> None:
    for zone in (*places.EU, "EU", "US"):
        assert grid.zone_intensity(zone) is not None, zone


def test_a_place_whose_zone_we_know_has_the_zones_intensity_and_another_its_countrys() -> None:
    assert of("aws/ca-central-1") < 10  # Quebec's water power
    assert of("aws/ca-west-1") > 300  # Alberta's gas
    assert of("coreweave/US-WEST-02") == of("fluidstack/us")  # "US West" names no grid
    assert of("Chicago") != of("fluidstack/us")


def test_the_order_of_well_known_grids_is_right() -> None:
    assert of("Oslo") < of("Paris") < of("Madrid") < of("Berlin") < of("Warsaw") < of("Mumbai")


def test_pounds_per_megawatt_hour_are_grams_per_kilowatt_hour() -> None:
    for row in rows("grid.csv"):
        if "lb/MWh" in row["source"]:
            pounds = float(row["source"].rpartition("(")[2].split()[0])
            assert float(row["g_per_kwh"]) == pytest.approx(pounds * 0.45359237, abs=0.06)


def test_what_is_unknown_is_none_and_never_a_guess() -> None:
    nowhere = Place(key="48.1,11.6", latitude=48.1, longitude=11.6, country="", jurisdictions=())
    atlantis = Place(key="x/atlantis-1", latitude=30.0, longitude=-40.0, country="XX", jurisdictions=("XX",))
    assert grid.intensity(nowhere) is None
    assert grid.intensity(atlantis) is None
    assert grid.zone_intensity("") is None
    assert grid.pue("coreweave") is None


def test_what_was_not_read_again_is_marked() -> None:
    recalled = grid.zone_intensity("CA-QC")
    copied = grid.zone_intensity("FR")
    assert recalled is not None
    assert "from memory" in recalled.origin
    assert copied is not None
    assert "Ember" in copied.origin


def test_the_tables_are_sound() -> None:
    table = rows("grid.csv")
    zones = [row["zone"] for row in table]
    assert zones == sorted(set(zones))
    for row in table:
        assert row["basis"] in grid.BASIS
        assert row["checked"] in grid.READ
        assert 2015 < int(row["year"]) <= date.fromisoformat(row["as_of"]).year
    located = rows("grid_places.csv")
    assert [row["place"] for row in located] == sorted({row["place"] for row in located})
    for row in located:
        assert row["place"] in PLACES
        assert row["zone"] in zones
        assert row["zone"].startswith(PLACES[row["place"]].country)


def test_hyperscalers_publish_their_pue() -> None:
    for provider in ("aws", "azure", "gcp"):
        found = grid.pue(provider)
        assert found is not None
        assert 1.0 < found.value < 1.3


def test_places_carry_what_the_tables_say_of_them() -> None:
    """`scripts/fill_places.py` writes the columns; this fails where a table was changed without it."""
    for place in PLACES.values():
        intensity, provider = grid.intensity(place), place.key.partition("/")[0]
        published = grid.pue(provider) if "/" in place.key else None
        assert place.g_co2_per_kwh == (None if intensity is None else intensity.value), place.key
        assert place.pue == (None if published is None else published.value), place.key
