"""Places and egress prices."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from orchestrator.catalog import egress, network, places, pricebook
from orchestrator.domain.network import Place, great_circle_km

BY_KEY = {place.key: place for place in places.load()}


def test_place_keys_are_unique_even_without_regard_to_case() -> None:
    keys = [place.key.casefold() for place in places.load()]
    assert len(keys) == len(set(keys))


def test_coordinates_are_on_earth_and_countries_are_codes() -> None:
    for place in BY_KEY.values():
        assert -60 < place.latitude < 72, place.key
        assert -180 <= place.longitude <= 180, place.key
        assert len(place.country) == 2, place.key
        assert place.country.isupper(), place.key


@pytest.mark.parametrize(
    ("region", "city", "within_km"),
    [
        ("aws/eu-central-1", "Frankfurt", 50),
        ("azure/westeurope", "Amsterdam", 50),
        ("gcp/asia-northeast1", "Tokyo", 50),
        ("oci/sa-saopaulo-1", "Sao Paulo", 50),
        ("scaleway/fr-par", "Paris", 50),
        ("aws/ap-southeast-2", "Sydney", 50),
        ("azure/southafricanorth", "Johannesburg", 50),
        ("aws/us-east-1", "Washington", 60),
        ("gcp/us-west1", "Seattle", 300),
    ],
)
def test_a_region_lies_near_the_city_it_is_named_after(region: str, city: str, within_km: float) -> None:
    assert great_circle_km(BY_KEY[region], BY_KEY[city]) < within_km


def box(place: Place) -> tuple[float, float]:
    return place.latitude, place.longitude


@pytest.mark.parametrize(
    ("country", "south", "north", "west", "east"),
    [
        ("US", 25, 49, -125, -66),
        ("CA", 43, 53, -125, -63),
        ("DE", 47, 55, 5.8, 15.1),
        ("JP", 30, 46, 129, 146),
        ("AU", -44, -10, 113, 154),
        ("BR", -34, 6, -74, -34),
        ("IN", 8, 33, 68, 98),
        ("GB", 50, 59, -8, 2),
        ("ES", 36, 44, -9.5, 3.5),
    ],
)
def test_every_place_of_a_country_lies_within_its_borders(
    country: str, south: float, north: float, west: float, east: float
) -> None:
    inside = [place for place in BY_KEY.values() if place.country == country]
    assert inside
    for place in inside:
        latitude, longitude = box(place)
        assert south <= latitude <= north, place.key
        assert west <= longitude <= east, place.key


def test_jurisdictions_name_the_country_and_the_unions_it_is_in() -> None:
    assert BY_KEY["aws/eu-central-1"].jurisdictions == ("DE", "EU", "EEA")
    assert BY_KEY["azure/norwayeast"].jurisdictions == ("NO", "EEA")
    assert BY_KEY["aws/eu-west-2"].jurisdictions == ("GB",), "the name begins with eu, the country is not in it"
    assert BY_KEY["aws/eu-central-2"].jurisdictions == ("CH",)


def test_cities_are_found_by_name_and_cover_every_continent() -> None:
    known = network.load()
    for city in ("Frankfurt", "new york", "Sao Paulo", "Lagos", "Tokyo", "Sydney"):
        assert known.place(city) is not None
    assert sum("/" not in key for key in BY_KEY) >= 60


def test_every_region_of_the_real_offers_has_a_place(shared_data: Path) -> None:
    with gzip.open(shared_data / "offers.csv.gz", "rt", encoding="utf-8", newline="") as stream:
        regions = {f"{row['provider']}/{row['region']}" for row in csv.DictReader(stream)}
    assert len(regions) > 150
    assert regions - BY_KEY.keys() == set()


def test_every_rate_has_a_source_and_every_list_of_tiers_begins_at_nothing() -> None:
    rates = egress.load()
    assert all(rate.source for rate in rates)
    starts: dict[tuple[object, ...], list[float]] = {}
    for rate in rates:
        assert rate.usd_per_gib >= 0
        starts.setdefault((rate.provider, rate.scope, rate.region, rate.to), []).append(rate.from_gib)
    for tiers in starts.values():
        assert tiers[0] == 0
        assert tiers == sorted(set(tiers))


def test_egress_is_known_for_nearly_every_provider_of_the_price_book() -> None:
    priced = {rate.provider for rate in egress.load()}
    assert set(pricebook.load().provider.compact().vocab) - priced == {"nebius"}, "nebius: no published figure found"
